"""The sample platform's ``fields``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.demo.selection import MAX_DEPTH, SelectionInvalid, parse


def spell(selection):
    return ",".join(name + (f"{{{spell(inner)}}}" if inner else "") for name, inner in selection.items())


NAMES = st.text("abc_", min_size=1, max_size=4)
SELECTIONS = st.dictionaries(
    NAMES, st.dictionaries(NAMES, st.dictionaries(NAMES, st.just({}), max_size=2), max_size=3), min_size=1, max_size=4
)


@given(SELECTIONS)
def test_what_is_spelled_is_parsed(selection):
    """Every selection of at most two nested braces is read as it was meant."""
    assert parse(spell(selection)) == selection


@given(st.text("ab{},", max_size=12))
def test_what_is_parsed_is_spelled(text):
    """A text is a selection exactly when it can be spelled back, but for names given twice."""
    try:
        found = parse(text)
    except SelectionInvalid:
        return
    assert parse(spell(found)) == found


@pytest.mark.parametrize(
    "text", ["", ",", "a,", ",a", "a{}", "a{", "a}", "a{b", "a{b}}", "{a}", "a b", "a{b}c", "A", "a.b"]
)
def test_anything_else_is_refused(text):
    """Half a selection, an empty one, and foreign characters are refused."""
    with pytest.raises(SelectionInvalid):
        parse(text)


def test_nesting_has_an_end():
    """Braces go two deep and no deeper."""
    assert MAX_DEPTH == 2
    assert parse("a{b{c}}") == {"a": {"b": {"c": {}}}}
    with pytest.raises(SelectionInvalid):
        parse("a{b{c{d}}}")
