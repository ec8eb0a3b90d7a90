"""What alternatives, references and keywords that are not read may not do: lend one object another's openness."""

from typing import Any

import pytest

from audit_proxy.core.catalog.model import NONE, ConsentRule, Field
from tests.unit.core.catalog.documents import answering, build

TEXT = {"type": "string"}
NAME = {**TEXT, "x-data-category": "user.name"}
FREE = {**TEXT, "x-data-category": "none"}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def _plan(schema: dict[str, Any], components: dict[str, Any] | None = None) -> tuple[Field, tuple[str, ...]]:
    catalog = build(answering(schema, components))
    return catalog.operations[0].responses["200"].media["application/json"].field, catalog.findings


PERSON = _object({"id": FREE, "name": NAME, "bio": TEXT}, **{"x-data-subject": "/id"})


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("union", ["oneOf", "anyOf"])
def test_one_alternative_s_category_is_not_another_s(union: str, first: bool) -> None:
    """An error that is about nobody, beside a person, classifies nothing of the person."""
    error = _object({"code": TEXT}, **{"x-data-category": "none"})
    root, findings = _plan({union: [error, PERSON] if first else [PERSON, error]})
    assert root.object is not None
    assert root.object.fields["bio"].categories == ()
    assert root.object.fields["name"].categories == ("user.name",)
    assert any("bio: unclassified" in one for one in findings)


def test_a_category_that_all_alternatives_share_is_inherited() -> None:
    """So is the one that stands outside of them; none beside another counts as the other."""
    error = _object({"code": TEXT}, **{"x-data-category": "none"})
    other = _object({"text": TEXT}, **{"x-data-category": "user.content"})
    root, _ = _plan({"oneOf": [error, other, {"type": "null"}]})
    assert root.object is not None
    assert {one.categories for one in root.object.fields.values()} == {("user.content",)}
    root, _ = _plan({"oneOf": [_object({"a": TEXT}), _object({"b": TEXT})], "x-data-category": "none"})
    assert root.object is not None
    assert {one.categories for one in root.object.fields.values()} == {NONE}
    root, _ = _plan({"anyOf": [TEXT, {"type": "integer"}, {"type": "null"}], "x-data-category": "user.name"})
    assert root.categories == ("user.name",)


def test_an_alternative_nobody_classified_stays_so_beside_null() -> None:
    """Where null stands among the alternatives changes nothing."""
    for parts in ([TEXT, FREE, {"type": "null"}], [{"type": "null"}, TEXT, FREE]):
        root, _ = _plan({"anyOf": parts})
        assert root.categories == ()


def test_one_public_alternative_does_not_make_the_others_public() -> None:
    """A page may be public where a person stands beside it, who is not."""
    page = _object({"id": FREE, "name": NAME}, **{"x-consent": "public"})
    root, findings = _plan({"oneOf": [page, PERSON]})
    assert root.object is not None
    assert root.object.rule is ConsentRule.subject
    assert {one.rule for one in root.object.fields.values()} == {ConsentRule.subject}
    assert any("x-consent on some alternatives only" in one for one in findings)
    lenient = _object({"name": {**NAME, "x-consent": "public"}})
    root, _ = _plan({"oneOf": [lenient, PERSON]})
    assert root.object is not None
    assert root.object.fields["name"].rule is ConsentRule.subject
    root, _ = _plan({"oneOf": [page, {**PERSON, "x-consent": "public"}]})
    assert root.object is not None
    assert root.object.rule is ConsentRule.public


def test_one_alternative_s_visibility_is_not_another_s() -> None:
    """A property that makes a post public says nothing of a note; several conditions for one property all hold."""
    post = _object({"id": FREE, "v": FREE}, **{"x-data-subject": "/id", "x-public-when": {"v": ["public", "all"]}})
    note = _object({"id": FREE, "v": FREE, "text": NAME}, **{"x-data-subject": "/id"})
    root, findings = _plan({"oneOf": [post, note]})
    assert root.object is not None
    assert root.object.public_when == ()
    assert any("x-public-when on some alternatives only" in one for one in findings)
    for union in ("oneOf", "allOf"):
        root, _ = _plan({union: [post, {**note, "x-public-when": {"v": ["public"]}}]})
        assert root.object is not None
        assert root.object.public_when == (("v", frozenset({"public"})),)


def test_references_that_end_alike_are_different_schemas() -> None:
    """What a bundler writes (references into the middle of other schemas) is known by its whole reference."""
    components = {
        "Page": _object({"info": _object({"name": FREE})}),
        "User": _object({"info": _object({"name": NAME})}),
    }
    refs = {name: {"$ref": f"#/components/schemas/{name}/properties/info"} for name in components}
    root, _ = _plan(_object(refs), components)
    assert root.object is not None
    found = {name: place.object.fields["name"].categories for name, place in root.object.fields.items() if place.object}
    assert found == {"Page": NONE, "User": ("user.name",)}


def test_what_stands_beside_a_reference_counts_at_that_place() -> None:
    """Also where the component was compiled before without it."""
    beside = {"$ref": "#/components/schemas/P", "properties": {"name": {"x-required-scopes": ["s"]}}}
    root, _ = _plan(_object({"a": {"$ref": "#/components/schemas/P"}, "b": beside}), {"P": _object({"name": NAME})})
    assert root.object is not None
    found = {name: place.object.fields["name"].scopes for name, place in root.object.fields.items() if place.object}
    assert found == {"a": frozenset(), "b": {"s"}}


@pytest.mark.parametrize(
    "unread",
    [
        {"patternProperties": {"^n": NAME}},
        {"if": {"required": ["n"]}, "then": {"properties": {"n": NAME}}},
        {"dependentSchemas": {"n": {"properties": {"n": NAME}}}},
        {"unevaluatedProperties": NAME},
    ],
)
def test_keywords_that_are_not_read_leave_what_they_describe_unclassified(unread: dict[str, Any]) -> None:
    """A free-form object's category does not cover what another keyword may describe as personal."""
    for more in ({}, {"additionalProperties": True}):
        root, findings = _plan({"type": "object", "x-data-category": "none", **more, **unread})
        assert not root.free
        assert root.object is not None
        assert root.object.additional is None
        assert any("is not read" in one for one in findings)
