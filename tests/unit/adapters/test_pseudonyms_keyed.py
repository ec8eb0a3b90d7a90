"""The cached pseudonymizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.adapters.pseudonyms_keyed import KeyedPseudonymizer
from audit_proxy.core.pseudonyms import pseudonym

KEY = b"k" * 32


@given(
    st.lists(st.lists(st.sampled_from([f"person:{n}" for n in range(12)]), max_size=8), max_size=12), st.integers(1, 9)
)
def test_whatever_the_cache_holds_the_pseudonyms_are_the_definition_s(calls, entries):
    """In order, with repetitions, through every eviction."""
    keyed = KeyedPseudonymizer(KEY, cache_entries=entries)
    for subjects in calls:
        assert keyed.pseudonyms(subjects) == [pseudonym(KEY, s) for s in subjects]


def test_the_cache_is_bounded():
    """It never holds more people than it was allowed."""
    keyed = KeyedPseudonymizer(KEY, cache_entries=10)
    keyed.pseudonyms([f"person:{n}" for n in range(1000)])
    assert len(keyed._young) + len(keyed._old) <= 10


def test_a_short_key_is_refused():
    """32 bytes or none."""
    with pytest.raises(ValueError):
        KeyedPseudonymizer(b"short")
