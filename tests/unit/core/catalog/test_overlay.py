"""Overlay 1.0 actions."""

import pytest

from audit_proxy.core.catalog.overlay import OverlayError, apply_overlay


def _apply(document, *actions):
    return apply_overlay(document, {"overlay": "1.0.0", "info": {}, "actions": list(actions)})


def test_update_merges_objects_and_appends_to_arrays() -> None:
    """Objects merge recursively, arrays inside them join, an array target takes the update as one more element."""
    document = {"a": {"b": {"c": 1, "tags": ["x"]}}, "list": [1]}
    result, findings = _apply(
        document,
        {"target": "$.a", "update": {"b": {"d": 2, "c": 3, "tags": ["y"]}}},
        {"target": "$.list", "update": {"n": 2}},
    )
    assert result == {"a": {"b": {"c": 3, "d": 2, "tags": ["x", "y"]}}, "list": [1, {"n": 2}]}
    assert findings == []
    assert document == {"a": {"b": {"c": 1, "tags": ["x"]}}, "list": [1]}


def test_remove_takes_every_match() -> None:
    """Elements of one array go without moving one another."""
    result, _ = _apply({"a": [{"x": 1}, {"x": 2}, {"y": 3}, {"x": 4}]}, {"target": "$.a[?@.x]", "remove": True})
    assert result == {"a": [{"y": 3}]}


def test_places_that_share_a_value_are_marked_one_by_one() -> None:
    """What YAML aliases write once stands in two places: an action on one of them leaves the other as it was."""
    shared = {"type": "object", "properties": {"id": {}, "total": {}}}
    document = {"page": {"item": shared}, "other": shared}
    marked, _ = _apply(document, {"target": "$.page.item.properties.id", "update": {"x-data-category": "none"}})
    assert marked["page"]["item"]["properties"]["id"] == {"x-data-category": "none"}
    assert marked["other"]["properties"]["id"] == {}
    emptied, _ = _apply(document, {"target": "$..properties.*", "remove": True})
    assert emptied == {
        "page": {"item": {"type": "object", "properties": {}}},
        "other": {"type": "object", "properties": {}},
    }


def test_an_update_that_shares_a_value_is_written_out_as_well() -> None:
    """A later action on one of the new places does not reach the other."""
    shared = {"tags": []}
    result, _ = _apply(
        {"a": {}},
        {"target": "$.a", "update": {"one": shared, "two": shared}},
        {"target": "$.a.one.tags", "update": "x"},
    )
    assert result == {"a": {"one": {"tags": ["x"]}, "two": {"tags": []}}}


def test_a_place_named_twice_is_changed_once() -> None:
    """A JSONPath may yield one node several times."""
    assert _apply({"a": {"b": 1, "c": 2}}, {"target": "$.a['b','b']", "remove": True})[0] == {"a": {"c": 2}}
    assert _apply({"a": []}, {"target": "$['a','a']", "update": 1})[0] == {"a": [1]}


def test_a_target_without_a_match_is_a_finding() -> None:
    """An overlay that has lost its place is reported, not ignored."""
    _, findings = _apply({"a": 1}, {"target": "$.b", "update": {}})
    assert "matches nothing" in findings[0]


@pytest.mark.parametrize(
    ("overlay", "text"),
    [
        ({}, "overlay"),
        ({"overlay": "2.0.0", "actions": [{}]}, "overlay"),
        ({"overlay": "1.0.0", "actions": []}, "actions"),
        ({"overlay": "1.0.0", "actions": ["x"]}, "target"),
        ({"overlay": "1.0.0", "actions": [{"target": "$["}]}, "JSONPath"),
        ({"overlay": "1.0.0", "actions": [{"target": "$.a"}]}, "needs"),
        ({"overlay": "1.0.0", "actions": [{"target": "$.a", "updates": {}}]}, "unknown key"),
        ({"overlay": "1.0.0", "actions": [{"target": "$", "remove": True}]}, "whole document"),
        ({"overlay": "1.0.0", "actions": [{"target": "$.a", "update": {}}]}, "scalar"),
        ({"overlay": "1.0.0", "actions": [{"target": "$.o", "update": []}]}, "object"),
    ],
)
def test_what_is_no_overlay_is_refused(overlay, text) -> None:
    """Each problem names its action."""
    with pytest.raises(OverlayError, match=text):
        apply_overlay({"a": 1, "o": {}}, overlay)
