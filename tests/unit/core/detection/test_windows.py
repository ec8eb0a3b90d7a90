"""Windows and their buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.detection.windows import WINDOWS, ascending


@given(st.floats(-1e10, 1e10, allow_subnormal=False))  # no clock tells 1e-308 s from none
def test_a_window_never_holds_less_than_its_seconds_and_at_most_a_sixth_more(now):
    for window in ascending(WINDOWS):
        window.turn(now)
        assert window.start <= now - window.seconds
        assert window.start > now - window.seconds * 7 / 6 - 1e-3
        assert window.opened <= now < window.ends
        assert window.bucket_of(now) == window.bucket


@given(st.floats(0, 1e10, allow_subnormal=False))
def test_a_longer_window_begins_first(now):
    windows = ascending(WINDOWS)
    for window in windows:
        window.turn(now)
    starts = [window.start for window in windows]
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    "windows", [{}, {"a": 60, "b": 60}, {"a": 60, "b": 69}, {"a": 0.0}, {"a": -60.0}, {"a": math.nan}, {"a": math.inf}]
)
def test_windows_that_are_none_or_do_not_ascend_are_refused(windows):
    with pytest.raises(ValueError, match="windows"):
        ascending(windows)
