"""The fuzzed functions on sound inputs, on inputs near to these, on any bytes, and on what fuzzing once found."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_proxy.core.catalog.target import Target, parse_target
from tests.fuzz import harness
from tests.fuzz.found import FOUND
from tests.fuzz.harness import SEEDS, TARGETS


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, seeds in SEEDS.items() for data in seeds])
def test_sound_inputs_hold(name, data):
    """Seeds are what a fuzzer starts from."""
    TARGETS[name](data)


def test_what_was_found_stays_mended():
    """Each input that once failed."""
    for name, data in FOUND:
        TARGETS[name](data)


@st.composite
def near(draw, seeds):
    """A seed with a piece of it replaced by any bytes, or by a piece of a seed."""
    data = draw(st.sampled_from(seeds))
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 40)))
    other = draw(st.sampled_from(seeds))
    cut = draw(st.integers(0, len(other)))
    return data[:start] + draw(st.binary(max_size=12) | st.just(other[cut : cut + 40])) + data[stop:]


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_near_to_sound_ones_and_any_bytes_hold(name):
    """Without atheris, and the same each time in kind, not in bytes."""

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(near(SEEDS[name]) | st.binary(max_size=200))
    def run(data):
        TARGETS[name](data)

    run()


def test_the_harness_notices_a_form_that_is_not_normal(monkeypatch):
    """A parser that copied the target instead of rebuilding it would be a finding."""

    def copying(raw, *, encoded_slash=False):
        read = parse_target(raw, encoded_slash=encoded_slash)
        return Target(read.segments, read.query, raw) if isinstance(read, Target) else read

    monkeypatch.setattr(harness, "parse_target", copying)
    with pytest.raises(AssertionError):
        harness.target(b"/\xc3\xa9")
