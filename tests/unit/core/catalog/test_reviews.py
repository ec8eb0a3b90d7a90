"""Reviews: what one covers, and when it no longer holds."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from audit_proxy.core.catalog.reviews import Review, ReviewState, target
from tests.unit.core.catalog.documents import build

BY = {"by": "Ada", "at": "2026-11-25"}


def document() -> dict[str, Any]:
    """Two operations that share a recursive component, and a third that stands alone."""
    text = {"type": "string", "x-data-category": "user.name"}
    person = {
        "type": "object",
        "description": "Somebody",
        "x-data-subject": "/id",
        "x-public-when": {"title": [True], "id": ["0"]},
        "properties": {
            "id": {"type": "string", "x-data-category": "user.unique_id"},
            "description": {**text, "description": "what they say of themselves"},
            "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}},
        },
    }

    def operation(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        content = {"application/json": {"schema": schema, "example": {"id": "1"}}}
        return {"operationId": name, "summary": name, "responses": {"200": {"description": "ok", "content": content}}}

    reference = {"$ref": "#/components/schemas/Person"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "security": [{"o": ["read"]}],
        "paths": {
            "/me": {"get": operation("getMe", reference)},
            "/people/{id}": {"get": operation("getPerson", reference), "parameters": [{"name": "id", "in": "path"}]},
            "/status": {"get": {**operation("status", {"type": "object"}), "x-data-category": "none"}},
        },
        "components": {
            "schemas": {"Person": person},
            "securitySchemes": {"o": {"type": "oauth2", "x-scope-implies": {"all": ["read"], "more": ["other"]}}},
        },
    }


def states(described: dict[str, Any]) -> dict[str, str]:
    return {one.id: one.review_state.value for one in build(described).operations}


def place(described: dict[str, Any], name: str) -> dict[str, Any]:
    """Where the review of an operation or of a component stands."""
    if name.startswith("#"):
        return described["components"]["schemas"][name.rpartition("/")[2]]
    return next(item["get"] for item in described["paths"].values() if item["get"]["operationId"] == name)


def reviewed(*names: str, described: dict[str, Any] | None = None) -> dict[str, Any]:
    """The document with reviews of these, as they are; components first."""
    made = copy.deepcopy(described or document())
    for name in names:
        place(made, name)["x-reviewed"] = {**BY, "of": "-"}
    of = {unit.name: unit.of for one in build(made).operations for unit in one.units}
    for name in names:
        place(made, name)["x-reviewed"]["of"] = of[name]
    return made


def test_what_nobody_marked_is_unreviewed_and_what_was_marked_as_it_is_is_reviewed():
    assert states(document()) == dict.fromkeys(("getMe", "getPerson", "status"), "unreviewed")
    assert states(reviewed("getMe")) == {"getMe": "reviewed", "getPerson": "unreviewed", "status": "unreviewed"}
    (unit,) = build(reviewed("getMe")).operations[0].units
    assert unit.review == Review("Ada", "2026-11-25", unit.of)


PERSON = ("components", "schemas", "Person")
ME = ("paths", "/me", "get")
EVERYBODY = (("security",), ("components", "securitySchemes", "o", "x-scope-implies"))  # scopes that all of them need


def changed(described: dict[str, Any], path: tuple[str, ...], change: Callable[[Any], object]) -> dict[str, Any]:
    at: Any = described
    for part in path:
        at = at[part]
    change(at)
    return described


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ((*PERSON, "properties"), lambda at: at.update(email={"type": "string"})),
        ((*PERSON, "properties", "id"), lambda at: at.update({"x-data-category": "none"})),
        ((*PERSON, "properties", "id"), lambda at: at.update(type="integer")),
        ((*PERSON, "properties"), lambda at: at.pop("description")),  # a property of that name is no prose
        (PERSON, lambda at: at.update({"x-consent": "public"})),
        (PERSON, lambda at: at.pop("x-data-subject")),
        (ME, lambda at: at.update(security=[{"o": ["other"]}])),
        (("security",), lambda at: at.append({})),
        (ME, lambda at: at.update(parameters=[{"name": "fields", "in": "query"}])),
        ((*ME, "responses"), lambda at: at.update({"404": {"description": "no"}})),
        ((*ME, "responses", "200", "content"), lambda at: at.update({"text/csv": {}})),
        ((*ME, "responses", "200"), lambda at: at.update(headers={"X-A": {"x-data-category": "none"}})),
        (("components", "securitySchemes", "o", "x-scope-implies"), lambda at: at.update(few=["read"])),
        ((*PERSON, "x-public-when"), lambda at: at.pop("title")),  # a name among an extension's data is no prose either
        (("paths", "/me"), lambda at: at.update(parameters=[{"name": "q", "in": "query"}])),
    ],
)
def test_a_change_of_what_an_operation_answers_or_asks_makes_its_review_stale(path, change):
    """Whether vendor or overlay made it, near or far; it is the others' business only where it reaches them too."""
    found = states(changed(reviewed("getMe", "status"), path, change))
    assert found["getMe"] == "stale"
    assert found["status"] == ("stale" if path in EVERYBODY else "reviewed")


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (PERSON, lambda at: at.update(description="other words", title="Person")),
        ((*PERSON, "properties", "description"), lambda at: at.update(description="other words", example="x")),
        (ME, lambda at: at.update(summary="other words", tags=["a"], externalDocs={"url": "https://a.example/"})),
        ((*ME, "responses", "200", "content", "application/json"), lambda at: at.pop("example")),
        ((*ME, "responses", "200"), lambda at: at.update(description="other words")),
        (("paths",), lambda at: at.pop("/status")),
        (("info",), lambda at: at.update(version="2")),
        (("components", "schemas"), lambda at: at.update(Unused={"type": "object"})),
        (("components", "securitySchemes", "o", "x-scope-implies"), lambda at: at.update(more=["another"])),
    ],
)
def test_prose_examples_and_other_operations_change_nothing(path, change):
    assert states(changed(reviewed("getMe"), path, change))["getMe"] == "reviewed"


def test_the_order_of_members_means_nothing():
    described = reviewed("getMe")
    properties = described["components"]["schemas"]["Person"]["properties"]
    described["components"]["schemas"]["Person"]["properties"] = dict(reversed(properties.items()))
    assert states(described)["getMe"] == "reviewed"


def test_what_streams_unread_is_reviewed_by_its_description_all_the_same():
    """``none`` for the whole operation is the most anybody can claim: a new field in what it streams undoes the review."""
    described = reviewed("status")
    place(described, "status")["responses"]["200"]["content"]["application/json"]["schema"]["properties"] = {
        "email": {}
    }
    assert states(described)["status"] == "stale"


def test_a_component_with_a_review_of_its_own_asks_for_one_review_when_it_changes():
    """Operations that refer to it are stale until it is reviewed again, and then hold as they did."""
    names = ("#/components/schemas/Person", "getMe", "getPerson")
    described = reviewed(*names)
    assert states(described) | {"status": ""} == {"getMe": "reviewed", "getPerson": "reviewed", "status": ""}
    place(described, names[0])["properties"]["email"] = {"type": "string"}
    assert states(described) | {"status": ""} == {"getMe": "stale", "getPerson": "stale", "status": ""}
    again = reviewed(names[0], described=described)
    assert states(again) | {"status": ""} == {"getMe": "reviewed", "getPerson": "reviewed", "status": ""}
    (me, *_) = build(again).operations
    assert [unit.name for unit in me.units] == ["getMe", names[0]]


def test_an_operation_without_a_review_is_unreviewed_whatever_its_components_are():
    assert states(reviewed("#/components/schemas/Person"))["getMe"] == "unreviewed"


def test_a_component_between_other_components_is_found():
    described = document()
    described["components"]["schemas"]["Page"] = {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
    place(described, "getMe")["responses"]["200"]["content"]["application/json"]["schema"] = {
        "$ref": "#/components/schemas/Page"
    }
    names = ("#/components/schemas/Person", "#/components/schemas/Page", "getMe")
    described = reviewed(*names, described=described)
    place(described, names[0])["properties"].pop("id")
    me = build(described).operations[0]
    assert me.review_state is ReviewState.stale
    assert {unit.name: unit.state.value for unit in me.units} == {
        "getMe": "reviewed", "#/components/schemas/Page": "reviewed", "#/components/schemas/Person": "stale",
    }  # fmt: skip


@pytest.mark.parametrize(
    "mark",
    [
        "Ada",
        {"by": "Ada"},
        {**BY, "of": 1},
        {**BY, "of": ""},
        {"by": " ", "at": "2026-11-25", "of": "x"},
        {"by": "A\x1b[2J", "at": "2026-11-25", "of": "x"},
        {"by": "Ada", "at": "yesterday", "of": "x"},
        {**BY, "of": "x", "note": "fine"},
    ],
)
def test_a_malformed_review_is_none_and_is_told(mark):
    described = document()
    place(described, "getMe")["x-reviewed"] = mark
    assert states(described)["getMe"] == "unreviewed"
    assert any("x-reviewed must hold 'by', 'at' (a date) and 'of'" in one for one in build(described).findings)


def test_a_review_inside_a_description_has_no_effect_and_is_told():
    described = reviewed("getMe")
    place(described, "#/components/schemas/Person")["properties"]["id"]["x-reviewed"] = {**BY, "of": "x"}
    assert states(described)["getMe"] == "reviewed"
    assert any("x-reviewed has no effect here" in one for one in build(described).findings)


def test_targets_find_what_they_are_made_for():
    """Also where names hold quotes, slashes and other things that a JSONPath quotes."""
    assert target("getMe", "/it's/{a}", "GET") == r"$.paths['/it\'s/{a}'].get"
    assert target("#/components/schemas/Person", "", "") == "$.components.schemas.Person"
    assert target("#/components/schemas/a~1b.c", "", "") == "$.components.schemas['a/b.c']"
