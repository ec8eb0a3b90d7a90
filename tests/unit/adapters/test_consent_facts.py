"""The cache of facts: what may enter it, and how much it holds."""

from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.adapters.consent_sqlite.facts import FactCache
from audit_proxy.core.consent import NOTHING_KNOWN, Grant, Standing
from audit_proxy.core.statements import ALL_APPS


def likes():
    return Standing((Grant(frozenset({"likes"}), "marketing"),))


def looked_up(cache, app, found):
    lookup = cache.begin(app)
    facts = cache.settle(lookup, found)
    cache.end(lookup)
    return facts


def test_what_was_looked_up_is_cached_nothing_known_too():
    """A fact enters the cache of its app alone; so does the fact that nothing is known."""
    cache = FactCache(10)
    looked_up(cache, "quiz", {"person:1": likes(), "person:2": Standing()})
    assert cache.of("quiz") == {"person:1": likes(), "person:2": NOTHING_KNOWN}
    assert cache.of("quiz")["person:2"] is NOTHING_KNOWN
    assert cache.of("other") == {}


def test_equal_standings_become_one_object():
    """Facts from different look-ups that are equal are the same object."""
    cache = FactCache(10)
    first = looked_up(cache, "quiz", {"person:1": likes()})
    second = looked_up(cache, "other", {"person:2": likes()})
    assert first["person:1"] is second["person:2"]


def test_a_fact_that_changed_during_its_look_up_is_not_cached():
    """An eviction between begin and settle taints that subject, not the others, and not later look-ups."""
    cache = FactCache(10)
    lookup = cache.begin("quiz")
    cache.evict("quiz", ["person:1"])
    found = cache.settle(lookup, {"person:1": likes(), "person:2": likes()})
    cache.end(lookup)
    assert set(found) == {"person:1", "person:2"}
    assert set(cache.of("quiz")) == {"person:2"}
    looked_up(cache, "quiz", {"person:1": likes()})
    assert set(cache.of("quiz")) == {"person:1", "person:2"}


def test_a_withdrawal_from_all_apps_taints_look_ups_of_every_app():
    """Evicting towards all apps concerns each look-up in flight; evicting towards another app does not."""
    cache = FactCache(10)
    quiz, other = cache.begin("quiz"), cache.begin("other")
    cache.evict("other", ["person:2"])
    cache.evict(ALL_APPS, ["person:1"])
    cache.settle(quiz, {"person:1": likes(), "person:2": likes()})
    cache.settle(other, {"person:1": likes(), "person:2": likes()})
    assert set(cache.of("quiz")) == {"person:2"}
    assert set(cache.of("other")) == set()


def test_a_look_up_that_began_after_the_change_may_be_cached():
    """Only changes after a look-up's beginning taint it, although an older look-up is in flight still."""
    cache = FactCache(10)
    older = cache.begin("quiz")
    cache.evict("quiz", ["person:1"])
    newer = cache.begin("quiz")
    cache.settle(newer, {"person:1": likes()})
    assert set(cache.of("quiz")) == {"person:1"}
    cache.end(newer)
    cache.end(older)


def test_emptying_everything_taints_everything():
    """After clear, no look-up in flight may bring back what it read."""
    cache = FactCache(10)
    lookup = cache.begin("quiz")
    cache.clear()
    cache.settle(lookup, {"person:1": likes()})
    assert len(cache) == 0


def test_evicting_very_many_from_all_apps_empties_the_cache():
    """A bulk withdrawal from all apps costs no walk over subjects times apps."""
    cache = FactCache(10_000)
    for number in range(2_000):
        looked_up(cache, f"app-{number}", {"person:1": likes()})
    cache.evict(ALL_APPS, [f"person:{number}" for number in range(1, 1_000)])
    assert len(cache) == 0


def test_what_came_first_goes_first():
    """Over the bound, the oldest batch is dropped; a page larger than the bound is not kept at all."""
    cache = FactCache(3)
    looked_up(cache, "quiz", {"person:1": likes(), "person:2": likes()})
    looked_up(cache, "other", {"person:3": likes()})
    looked_up(cache, "other", {"person:4": likes()})
    assert cache.of("quiz") == {}
    assert set(cache.of("other")) == {"person:3", "person:4"}
    looked_up(cache, "quiz", {f"person:{number}": likes() for number in range(9)})
    assert len(cache) == 0


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(
            st.sampled_from(["look", "evict", "evict all", "clear"]), st.integers(0, 2), st.sets(st.integers(0, 9))
        ),
        max_size=60,
    ),
)
def test_it_never_holds_more_than_its_bound(bound, steps):
    """Whatever is looked up and evicted in whatever order, the number of facts stays bounded and evicted ones are gone."""
    cache = FactCache(bound)
    for step, app, people in steps:
        subjects = [f"person:{number}" for number in people]
        if step == "look":
            looked_up(cache, f"app-{app}", dict.fromkeys(subjects, NOTHING_KNOWN))
        elif step == "clear":
            cache.clear()
        else:
            named = ALL_APPS if step == "evict all" else f"app-{app}"
            cache.evict(named, subjects)
            for each in range(3):
                if step == "evict all" or each == app:
                    assert not set(cache.of(f"app-{each}")) & set(subjects)
        assert len(cache) <= bound
