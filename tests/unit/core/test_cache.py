"""A bounded memory, least recently used first out."""

from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.cache import Generations


def test_what_was_put_is_there_until_it_is_discarded():
    cache: Generations[str, int] = Generations(10)
    cache.put("a", 1)
    assert cache.get("a") == 1
    cache.put("a", 2)
    assert cache.get("a") == 2
    cache.discard("a")
    assert cache.get("a") is None


@given(st.integers(0, 40), st.lists(st.integers(0, 100)))
def test_it_never_holds_more_than_it_may(entries, keys):
    cache: Generations[int, int] = Generations(entries)
    for key in keys:
        cache.put(key, key)
        assert cache.get(key) == key
        assert len(cache) <= max(2, entries)


def test_what_is_used_stays():
    cache: Generations[int, int] = Generations(10)
    cache.put(-1, 0)
    for key in range(1000):
        cache.put(key, key)
        assert cache.get(-1) == 0
