"""Distinct people in sliding windows, against a slow exact reference."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.detection.distinct import Distinct
from tests.unit.core.detection.reference import Reference

DAY_S = 86_400.0
EPOCH_S = 1.7e9

steps = st.sampled_from([0.0, 0.1, 5.0, 9.9, 61.0, 700.0, 5e3, 1e5, 8e5, 4e6, 1e7]) | st.floats(-1e5, 1e5)
pages = st.lists(st.integers(0, 60), max_size=25)


def moments(jumps):
    return itertools.accumulate((jump for jump in jumps), initial=EPOCH_S)


@given(st.lists(st.tuples(steps, pages, pages), max_size=30))
def test_while_small_counts_and_fresh_are_exact_whatever_the_clock_does(visits):
    """Windows slide, people expire, a clock that goes backwards counts as the latest time."""
    distinct, reference, now = Distinct(), Reference(), EPOCH_S
    for jump, asked, page in visits:
        now += jump
        assert distinct.fresh(now, asked) == reference.fresh(now, asked)
        distinct.add(now, page)
        reference.add(now, page)
        assert distinct.counts(now) == reference.counts(now)
        assert Distinct.restore(distinct.snapshot()).snapshot() == distinct.snapshot()


@given(st.lists(st.tuples(steps, pages), max_size=20), st.lists(st.tuples(steps, pages), max_size=10))
def test_a_restored_one_goes_on_as_if_nothing_had_happened(before, after):
    distinct, now = Distinct(), EPOCH_S
    for jump, page in before:
        now += jump
        distinct.add(now, page)
    restored = Distinct.restore(distinct.snapshot())
    for jump, page in after:
        now += jump
        assert restored.fresh(now, page) == distinct.fresh(now, page)
        distinct.add(now, page)
        restored.add(now, page)
        assert restored.counts(now) == distinct.counts(now)


def test_asking_changes_nothing():
    distinct = Distinct()
    distinct.add(EPOCH_S, range(10))
    before = distinct.snapshot()
    assert set(distinct.fresh(EPOCH_S, range(5, 20)).values()) == {10.0}
    assert distinct.snapshot() == before


def test_a_person_named_twice_on_a_page_is_one():
    distinct = Distinct()
    assert set(distinct.fresh(EPOCH_S, [7, 7]).values()) == {1.0}
    distinct.add(EPOCH_S, [7, 7])
    assert set(distinct.counts(EPOCH_S).values()) == {1.0}


def test_windows_are_named_as_they_were_given():
    distinct = Distinct({"day": DAY_S})
    distinct.add(EPOCH_S, [1])
    assert distinct.counts(EPOCH_S) == {"day": 1.0}
    assert Distinct.restore(distinct.snapshot()).counts(EPOCH_S) == {"day": 1.0}


@pytest.mark.parametrize("cut", range(0, 180, 7))
def test_a_snapshot_that_is_cut_off_or_longer_is_refused(cut):
    distinct = Distinct()
    distinct.add(EPOCH_S, range(5))
    data = distinct.snapshot()
    for damaged in (data[:cut], data + bytes(cut + 1)):
        with pytest.raises(ValueError, match=r"snapshot|windows"):
            Distinct.restore(damaged)
