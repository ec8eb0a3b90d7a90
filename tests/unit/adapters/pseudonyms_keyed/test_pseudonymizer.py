"""The hot path: cached pseudonyms, before and after somebody is erased."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.adapters.pseudonyms_keyed.pseudonymizer import KeyedPseudonymizer
from audit_proxy.core.pseudonyms import tree
from audit_proxy.core.pseudonyms.epoch import new_top, open_epoch

KEY = b"k" * 32
TOP = new_top(1, b"epoch-id", 0.0, KEY, random.Random(1).randbytes(4096))
PEOPLE = [f"person:{n}" for n in range(12)]


def epoch():
    return open_epoch(TOP, KEY)


def erase(keyed, subject):
    """What the keyring does: the keys first, then the caches."""
    keyed.epoch.apply(tree.puncture(keyed.epoch.blocks, keyed.epoch.path_of(subject)))
    keyed.forget(subject)


@given(
    st.lists(st.one_of(st.lists(st.sampled_from(PEOPLE), max_size=8), st.sampled_from(PEOPLE)), max_size=12),
    st.integers(1, 9),
)
def test_whatever_the_cache_holds_the_pseudonyms_are_the_definition_s(calls, entries):
    """In order, with repetitions, through every eviction, and with people erased in between."""
    keyed, erased = KeyedPseudonymizer(epoch(), cache_entries=entries), set()
    for call in calls:
        if isinstance(call, str):
            erase(keyed, call)
            erased.add(call)
            continue
        expected = ["erased" if one in erased else epoch().pseudonym(one) for one in call]
        assert keyed.pseudonyms(call) == expected
        assert set(keyed.erased(call)) == erased & set(call)


def test_the_cache_is_bounded():
    """It never holds more people than it was allowed."""
    keyed = KeyedPseudonymizer(epoch(), cache_entries=10)
    keyed.pseudonyms([f"person:{n}" for n in range(1000)])
    assert len(keyed._young) + len(keyed._old) <= 10


def test_people_below_the_same_cached_key_keep_their_pseudonyms():
    """Two people whose first two steps are equal: one is erased, the key that both came from is no longer used."""
    first = "person:0"
    start = epoch().path_of(first)[:2]
    near = next(one for one in (f"person:{n}" for n in range(1, 10**6)) if epoch().path_of(one)[:2] == start)
    keyed = KeyedPseudonymizer(epoch())
    before = keyed.pseudonyms([first, near])
    erase(keyed, first)
    keyed.use(keyed.epoch)
    assert keyed.pseudonyms([first, near]) == ["erased", before[1]]


def test_another_epoch_gives_everybody_another_pseudonym():
    """Nothing of the former one stays in a cache; who was erased in it is not in the new one."""
    keyed = KeyedPseudonymizer(epoch())
    before = keyed.pseudonyms(PEOPLE)
    erase(keyed, PEOPLE[0])
    keyed.use(open_epoch(new_top(2, b"epoch-02", 0.0, KEY, random.Random(2).randbytes(4096)), KEY))
    after = keyed.pseudonyms(PEOPLE)
    assert len({*before, *after}) == 2 * len(PEOPLE)
    assert keyed.erased(PEOPLE) == ()


@pytest.mark.parametrize("subjects", [[], PEOPLE])
def test_while_nobody_was_erased_nobody_is_looked_up(subjects):
    """The question costs nothing then: no pseudonym is computed for it."""
    keyed = KeyedPseudonymizer(epoch())
    assert keyed.erased(subjects) == ()
    assert not keyed._young
