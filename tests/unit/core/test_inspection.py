"""Bodies parsed and searched for people."""

import json
from pathlib import Path

import pytest

from audit_proxy.core.catalog.pointer import resolve
from audit_proxy.core.inspection import NotInspectable, find_subjects, parse, render
from tests.unit.core.catalog.documents import answering, build

SUITE = Path(__file__).parents[4] / "shared" / "fixtures" / "json-test-suite"
ID = {"type": "string", "x-data-category": "user.unique_id"}


def _plan(schema, components=None):
    return build(answering(schema, components)).operations[0].responses["200"].media["application/json"].field


@pytest.mark.skipif(not SUITE.exists(), reason="the shared JSON test suite is not beside this checkout")
def test_json_test_suite() -> None:
    """Every y_ parses and comes back equal, every n_ is refused; i_ may do either, and nothing crashes."""
    tried = 0
    for path in sorted(SUITE.glob("*.json")):
        data = path.read_bytes()
        tried += 1
        try:
            value = parse(data)
        except NotInspectable:
            assert not path.name.startswith("y_"), path.name
            continue
        assert not path.name.startswith("n_"), path.name
        if path.name.startswith("y_"):
            assert parse(render(value)) == json.loads(data)
    assert tried > 300


def test_integers_stay_exact_and_floats_are_binary64() -> None:
    """Big integers keep every digit; a float out of range is refused."""
    big = b"[123456789012345678901234567890,-9223372036854775809,18446744073709551616]"
    assert render(parse(big)) == big
    assert parse(b"0.1") == 0.1
    with pytest.raises(NotInspectable):
        parse(b"1e400")


@pytest.mark.parametrize("body", [b"", b"{}{}", b"\xff", b"[" * 100_000, b'"\\ud800"'])
def test_what_is_no_json_is_refused(body) -> None:
    """Without a crash."""
    with pytest.raises(NotInspectable):
        parse(body)


def test_lines() -> None:
    """NDJSON: one value a line, empty lines skipped, each line ended."""
    assert parse(b'{"a":1}\n\n[2]\r\n', lines=True) == [{"a": 1}, [2]]
    assert render([{"a": 1}, [2]], lines=True) == b'{"a":1}\n[2]\n'
    with pytest.raises(NotInspectable):
        parse(b"{}\nx", lines=True)


def test_people_are_found_wherever_the_plan_names_them() -> None:
    """In lists, maps by key, nested objects, arrays of ids, values that are ids, several pointers."""
    person = {"type": "object", "x-data-subject": "/id", "properties": {"id": ID}}
    message = {
        "type": "object",
        "x-data-subject": ["/from/id", "/to"],
        "properties": {"from": person, "to": {"type": "array", "items": ID}},
    }
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": person},
            "map": {
                "type": "object",
                "x-data-subject": "$key",
                "additionalProperties": {"type": "object", "properties": {}},
            },
            "messages": {"type": "array", "items": message},
            "ids": {"type": "array", "items": {**ID, "x-data-subject": ""}},
            "one": person,
        },
    }
    body = {
        "list": [{"id": "1"}, {"id": True}, {"id": ["9"]}, {}, "x", {"id": ""}],
        "map": {"2": {}},
        "messages": [{"from": {"id": "3"}, "to": ["4", "5"]}],
        "ids": ["6", None, 7],
        "one": {"id": 8},
    }
    assert find_subjects(_plan(schema), body, 64) == {"1", "2", "3", "4", "5", "6", 7, 8}


def test_depth_is_bounded() -> None:
    """A recursive schema does not follow a body without end."""
    components = {
        "P": {
            "type": "object",
            "x-data-subject": "/id",
            "properties": {
                "id": ID,
                "p": {"$ref": "#/components/schemas/P"},
                "l": {"type": "array", "items": {"$ref": "#/components/schemas/P"}},
            },
        }
    }
    plan = _plan({"$ref": "#/components/schemas/P"}, components)
    for key in ("p", "l"):
        body = {"id": "1"}
        for _ in range(40):
            body = {"id": "1", key: body if key == "p" else [body]}
        with pytest.raises(NotInspectable):
            find_subjects(plan, body, 20)


def test_a_discriminator_leads_to_its_people() -> None:
    """An unknown value leads nowhere."""
    components = {
        "A": {"type": "object", "x-data-subject": "/id", "properties": {"t": ID, "id": ID}},
        "B": {"type": "object", "properties": {"t": ID}},
    }
    refs = [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]
    plan = _plan({"type": "array", "items": {"oneOf": refs, "discriminator": {"propertyName": "t"}}}, components)
    assert find_subjects(
        plan, [{"t": "A", "id": "1"}, {"t": "B", "id": "2"}, {"t": "C", "id": "3"}, {"t": ["A"], "id": "4"}], 9
    ) == {"1"}


def test_pointers_resolve_through_arrays() -> None:
    """A missing place gives None: someone is meant who cannot be named."""
    assert resolve({"a": [{"b": 1}, {"b": 2}, 3]}, ("a", "b")) == [1, 2, None]
    assert resolve({"a": [5, 6]}, ("a", "1")) == [6]
    assert resolve({"a": [5]}, ("a", "7")) == [None]
    assert resolve({"a": 1}, ("a", "b")) == [None]
    assert resolve({"a": [[1], [2]]}, ("a",)) == [[1], [2]]
