"""The sample world: the same from the same seed, social in its shape, whole in its references."""

import hashlib
import itertools
import statistics

import pytest

from audit_proxy.demo.world import MAX_FRIENDS, World


@pytest.fixture(scope="module")
def world():
    return World(1500, 3)


def everything(world):
    """All that a world holds, as one digest."""
    digest = hashlib.sha256()
    for one in range(world.people):
        held = (world.profiles[one], world.friends[one], world.likes(one), world.posts(one), world.photos(one))
        digest.update(repr((held, world.messages(one), [world.comments(post) for post in world.posts(one)])).encode())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_world():
    """Two worlds of the same size and seed agree in every fact; another seed gives other facts."""
    assert everything(World(60, 7)) == everything(World(60, 7)) != everything(World(60, 8))


def test_the_order_of_asking_changes_nothing():
    """A person's facts do not depend on who was asked for before."""
    forwards, backwards = World(60, 7), World(60, 7)
    there = [(forwards.likes(one), forwards.posts(one), forwards.photos(one)) for one in range(60)]
    back = [(backwards.likes(one), backwards.posts(one), backwards.photos(one)) for one in reversed(range(60))]
    assert there == back[::-1]


def test_friendships_are_mutual_and_nobody_befriends_themselves(world):
    """Whoever is a friend has that friend too, once; nobody is without friends."""
    for one, friends in enumerate(world.friends):
        assert friends
        assert len(set(friends)) == len(friends)
        assert one not in friends
        assert all(one in world.friends[other] for other in friends)


def test_degrees_are_heavy_tailed(world):
    """The mean is near 40, the median below it, the largest many times the mean and below the cap."""
    degrees = [len(friends) for friends in world.friends]
    assert 30 <= statistics.mean(degrees) <= 45
    assert statistics.median(degrees) < statistics.mean(degrees)
    assert 5 * statistics.mean(degrees) < max(degrees) <= MAX_FRIENDS * 1.2


def test_friends_share_friends(world):
    """Two friends of one person know each other far more often than two people drawn at random."""
    known = [set(friends) for friends in world.friends]
    closed = total = 0
    for friends in world.friends[:300]:
        for one, other in itertools.pairwise(friends):
            total += 1
            closed += other in known[one]
    chance = statistics.mean(map(len, world.friends)) / world.people
    assert closed / total > 2 * chance


def test_names_and_addresses_are_samples(world):
    """E-mail addresses are unique, plain ASCII and of the reserved domain; pictures are of a reserved one (RFC 2606)."""
    emails = [profile.email for profile in world.profiles]
    assert len(set(emails)) == world.people
    assert all(email.isascii() and email.endswith("@example.org") and " " not in email for email in emails)
    assert all(profile.picture.startswith("https://media.sample.example/") for profile in world.profiles)


def test_every_reference_leads_somewhere(world):
    """Ids lead back to their person; posts are found by id; shared posts, tags, authors and ends of messages exist."""
    for one in range(0, world.people, 151):
        assert world.index_of(world.id_of(one)) == one
        for post in world.posts(one):
            assert world.post(post.id) == post
            assert all(comment.author in world.friends[one] for comment in world.comments(post))
        for photo in world.photos(one):
            assert {tagged for tagged, _, _ in photo.tags} <= set(world.friends[one])
        for message in world.messages(one):
            assert one in (message.sender, message.recipient)
            assert message in world.messages(message.sender)
            assert message in world.messages(message.recipient)


@pytest.mark.parametrize("text", ["", "p", "p1", "q10000100", "p-1", "p1000009900", "p" + "9" * 40, "p١٢٣٤"])
def test_a_post_id_that_means_nothing_finds_nothing(world, text):
    """Ids of no post, however strange, give None."""
    assert world.post(text) is None


def test_ids_outside_the_world_are_nobody(world):
    """Only ids of the world's people are people."""
    first = world.id_of(0)
    assert world.index_of(first - 1) is None
    assert world.index_of(first + world.people) is None


@pytest.mark.parametrize("people", [2, 3, 10])
def test_small_worlds_exist(people):
    """A handful of people is a world too; one person is none."""
    world = World(people, 1)
    assert all(friends for friends in world.friends)
    with pytest.raises(ValueError, match="two people"):
        World(1, 1)
