"""A request target in its one normal form."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.catalog.matcher import Match, Matcher
from audit_proxy.core.catalog.target import (
    Target,
    encode_query,
    parse_query,
    parse_target,
    without_parameter,
    without_values,
)
from audit_proxy.core.errors import Reason, Refusal
from tests.unit.core.catalog.documents import catalog

FIXTURES = Path(__file__).parents[5] / "shared" / "fixtures" / "paths"


@pytest.mark.parametrize(
    ("raw", "text", "segments"),
    [
        ("/", "/", ("",)),
        ("/a/b", "/a/b", ("a", "b")),
        ("/a/", "/a/", ("a", "")),
        ("/%41", "/A", ("A",)),
        ("/a%20b".replace("%20", "-"), "/a-b", ("a-b",)),
        ("/caf%c3%a9", "/caf%C3%A9", ("café",)),
        ("/a:b@c", "/a:b@c", ("a:b@c",)),
        ("/a.json", "/a.json", ("a.json",)),
    ],
)
def test_normal_forms(raw, text, segments) -> None:
    """Unreserved characters lose their encoding; what needs one keeps it in upper case."""
    target = parse_target(raw)
    assert isinstance(target, Target)
    assert (target.text, target.segments) == (text, segments)


@pytest.mark.parametrize(
    "raw",
    [
        "*", "http://x/y", "a", "//", "/a//b", "/./a", "/a/..", "/%2e/a", "/%2e%2E/a", "/a%2fb", "/a%5cb", "/a\\b", "/a;b", "/a%3bb", "/a%00", "/a%0a",
        "/a%20b", "/%zz", "/%4", "/%c0%af", "/%ff", "/%252e", "/%25", "/a%3f", "/a%23", "/%ef%bd%8de", "/. ", "/..%20", "/%e2%80%a5", "/a#b",
    ],
)  # fmt: skip
def test_what_has_no_single_normal_form_is_refused(raw) -> None:
    """Dots, slashes, double encodings, Unicode look-alikes: 400, never a guess."""
    refused = parse_target(raw)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.path_not_normal


def test_an_encoded_slash_has_one_form_where_it_is_asked_for() -> None:
    """The segment holds it, the text spells it %2F; its parts obey what segments obey."""
    target = parse_target("/a%2fb/c", encoded_slash=True)
    assert isinstance(target, Target)
    assert (target.segments, target.text) == (("a/b", "c"), "/a%2Fb/c")
    for raw in ("/a%2f", "/%2fa", "/a%2f%2fb", "/a%2f..", "/.%2fa", "/a%2fb%5c", "/a%252fb", "//a%2fb"):
        assert isinstance(parse_target(raw, encoded_slash=True), Refusal), raw


def test_queries() -> None:
    """Pairs keep their order; plus is a space; empty pieces go; what cannot be decoded is refused."""
    target = parse_target("/a?x=1+2&&y=%c3%a9&z")
    assert isinstance(target, Target)
    assert target.query == (("x", "1 2"), ("y", "é"), ("z", ""))
    assert target.text == "/a?x=1%202&y=%C3%A9&z="
    assert isinstance(parse_target("/a?"), Target)
    for bad in ("/a?x=%zz", "/a?x=%00", "/a?%ff=1", "/a?x=#"):
        refused = parse_target(bad)
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.query_not_normal


@given(st.text(alphabet="/%.2eEfF;\\aé\x00?=&+ #5c", max_size=24))
def test_the_normal_form_is_a_fixed_point(text) -> None:
    """Parsing what was made of a target gives the same target."""
    first = parse_target("/" + text)
    if isinstance(first, Target):
        assert parse_target(first.text) == first


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs", "Cc"])),
        )
    )
)
def test_an_encoded_query_parses_back(pairs) -> None:
    """Whatever the values hold."""
    assert parse_query(encode_query(tuple(pairs))) == tuple(pairs)


def test_a_parameter_is_taken_out_of_a_target_with_all_its_values() -> None:
    """However it is written; the others stay as they were, and what is left is in normal form."""
    for raw, left in (
        ("/me?access_token=x", "/me"),
        ("/me?a=1&%61ccess_token=x&b=%2B&access_token", "/me?a=1&b=%2B"),
        ("/m%65?access_tokens=1", "/me?access_tokens=1"),
    ):
        target = parse_target(raw)
        assert isinstance(target, Target)
        assert without_parameter(target, "access_token") == parse_target(left)


@pytest.mark.skipif(not FIXTURES.exists(), reason="the shared path attacks are not beside this checkout")
def test_path_attacks_reach_no_other_operation() -> None:
    """Each listed trick around a forbidden path is refused, or finds no operation, or is judged as what is forwarded."""
    matcher = Matcher(catalog().operations)
    ends = (FIXTURES / "endpaths").read_text().splitlines()
    middles = (FIXTURES / "midpaths").read_text().splitlines()
    tried = itertools.chain(
        (f"/people/1{end}" for end in ends),
        (f"/people/{middle}me" for middle in middles),
        (f"/{middle}/me" for middle in middles),
    )
    for raw in tried:
        target = parse_target(raw)
        if isinstance(target, Target):
            assert parse_target(target.text) == target
            found = matcher.find("GET", target.segments)
            if isinstance(found, Match) and found.operation.id == "getMe":
                assert target.text.partition("?")[0] == "/me"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("ids=1,2", "ids=1,2"),
        ("ids=1,3", "ids=1"),
        ("q=3&ids=3,1&q=3", "q=3&ids=1&q=3"),
        ("ids=3&ids=1", "ids=1"),
        ("ids=&q=1", "ids=&q=1"),
        ("ids=3", None),
        ("ids=3,3&q=1", None),
        ("ids=3&to=1", None),
        ("ids=1&to=3", None),
    ],
)
def test_values_go_from_their_arrays_alone(query, left) -> None:
    """Everything else stays; an array that would hold nothing is no request any more."""
    target = parse_target(f"/x?{query}")
    assert isinstance(target, Target)
    found = without_values(target, {"ids", "to"}, {"3"})
    assert (found.text if found is not None else None) == (f"/x?{left}" if left is not None else None)
    assert found is None or parse_target(found.text) == found
