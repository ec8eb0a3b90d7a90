"""The simulated population."""

import statistics

import pytest

from audit_proxy.simulation.people import People


def test_friends_are_mutual_and_nobody_is_their_own() -> None:
    """Whoever is a friend of somebody has them as a friend too."""
    people = People(30_000, seed=3)
    for one in (0, 1, 77, 1_999, 2_000, 15_000, 29_999):
        friends = people.friends(one)
        assert len(set(friends)) == len(friends)
        assert one not in friends
        assert all(0 <= other < people.count for other in friends)
        assert all(one in people.friends(other) for other in friends)


def test_friends_are_as_many_as_the_quiz_of_2014_met_with_a_heavy_tail() -> None:
    """185 to 322 on average; a few people have thousands."""
    people = People(1_000_000, seed=1)
    degrees = [people.degree(one) for one in range(0, people.count, 101)]
    assert 180 < statistics.median(degrees) < 200
    assert 230 < statistics.fmean(degrees) < 322
    assert people.degree(0) > 4_000
    assert degrees == sorted(degrees, reverse=True)


def test_the_same_seed_gives_the_same_friends_and_another_one_others() -> None:
    assert People(10_000, 5).friends(42) == People(10_000, 5).friends(42)
    assert People(10_000, 5).friends(42) != People(10_000, 6).friends(42)


def test_no_two_people_share_a_key() -> None:
    """A hundred thousand people and as many ids that are nobody's."""
    people = People(100_000, seed=2)
    assert len({people.key(one) for one in range(200_000)}) == 200_000


def test_too_few_people_are_no_population() -> None:
    with pytest.raises(ValueError, match="10 people"):
        People(9, seed=1)
