"""A parameter's description, as it is judged."""

from typing import Any

import pytest

from audit_proxy.core.catalog.compile import compile_catalog
from audit_proxy.core.catalog.model import NONE, Bounds, Catalog, Parameter
from tests.unit.core.catalog.documents import CATEGORIES, answering

EMAIL = {"x-data-category": "user.contact.email", "x-required-scopes": ["email"]}
REF = {"$ref": "#/components/schemas/Email"}


def _catalog(schema: dict[str, Any], *, body: bool = False) -> Catalog:
    if body:
        content = {"application/json": {"schema": {"type": "object", "properties": {"p": schema}}}}
        operation: dict[str, Any] = {"requestBody": {"content": content}}
    else:
        operation = {"parameters": [{"name": "p", "in": "query", "schema": schema}]}
    document = answering({"type": "object"}, {"Email": {"type": "string", **EMAIL}}, **operation)
    return compile_catalog(document, None, hash="h", categories=CATEGORIES)


def parameter(schema: dict[str, Any], *, body: bool = False) -> Parameter:
    """The one parameter, or body property, of a document."""
    (operation,) = _catalog(schema, body=body).operations
    if body:
        assert operation.body is not None
        return operation.body.parameters["p"]
    return operation.parameters["query", "p"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", **EMAIL},
        REF,
        {"allOf": [{"type": "string"}, EMAIL]},
        {"allOf": [{"allOf": [REF]}]},
        {"anyOf": [REF, {"type": "null"}]},
        {"oneOf": [REF, {"type": "integer"}]},
        {"anyOf": [{"const": "a"}, {"type": "string", **EMAIL}]},
        {"type": "array", "items": REF},
        {"type": "array", "items": {"anyOf": [REF, {"type": "integer"}]}},
        {"anyOf": [{"type": "array", "items": REF}, {"type": "null"}]},
    ],
)
def test_what_any_part_demands_the_parameter_demands(schema) -> None:
    """By reference, laid over, as an alternative that nothing tells apart, as an array."""
    found = parameter(schema)
    assert (found.categories, found.scopes, found.by_value) == (("user.contact.email",), {"email"}, {})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"e": REF}},
        {"type": "object", "properties": {"deep": {"type": "object", "properties": {"e": REF}}}},
        {"type": "array", "items": {"type": "object", "properties": {"e": {"oneOf": [REF, {"type": "null"}]}}}},
        {"type": "object", "additionalProperties": REF},
        {"oneOf": [{"type": "object", "properties": {"e": REF}}, {"type": "object"}]},
    ],
)
def test_what_stands_inside_a_body_property_it_demands(schema) -> None:
    """At any depth."""
    assert parameter(schema, body=True).scopes == {"email"}


def test_a_value_that_holds_json_demands_what_stands_in_it() -> None:
    """A parameter described by ``content``: any text, and all that its schema demands."""
    schema = {"type": "object", "properties": {"e": REF}}
    given = {"name": "p", "in": "query", "content": {"application/json": {"schema": schema}}}
    document = answering({"type": "object"}, {"Email": {"type": "string", **EMAIL}}, parameters=[given])
    (operation,) = compile_catalog(document, None, hash="h", categories=CATEGORIES).operations
    found = operation.parameters["query", "p"]
    assert (found.scopes, found.types, found.many) == ({"email"}, frozenset(), False)


@pytest.mark.parametrize("key", ["oneOf", "anyOf"])
def test_listed_values_demand_for_themselves(key) -> None:
    """Each alternative lists its values: they are all there are, and each demands its own."""
    found = parameter(
        {key: [{"const": "name"}, {"enum": ["mail", "-mail"], **EMAIL}, {"const": True}, {"type": "null"}]}
    )
    assert (found.scopes, found.categories, found.enum) == (frozenset(), NONE, {"name", "mail", "-mail", "true"})
    assert {value for value, scopes in found.by_value.items() if scopes} == {"mail", "-mail"}


def test_arrays_alternatives_to_null_and_bounds() -> None:
    """Types are those of the items, or of what is not null."""
    found = parameter({"anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 1}}, {"type": "null"}]})
    assert (found.many, found.types, found.bounds) == (True, {"integer"}, Bounds(1, None, None))
    assert parameter({"type": "array"}).types == frozenset()


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "string", "default": "birthday"}, ("birthday",)),
        ({"type": "array", "items": {"type": "boolean"}, "default": [True, False]}, ("true", "false")),
        ({"type": "string", "default": None}, ()),
        ({"type": "string", "default": ""}, ()),
        ({"type": "string", "x-data-subject": "", "default": "me"}, ()),
    ],
)
def test_what_is_meant_where_nothing_is_said(schema, default) -> None:
    """A default demands as the value does; nobody is named by saying nothing."""
    assert parameter(schema).default == default


def test_bounds_hold_or_not() -> None:
    """Least, most and multiple, each where it is given."""
    assert [Bounds(1, 3, None).hold(one) for one in (0, 1, 3, 4)] == [False, True, True, False]
    assert [Bounds(None, None, 25).hold(one) for one in (-25, 0, 24, 50)] == [True, True, False, True]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "x-data-category": "user.nowhere"}, "not in the fideslang taxonomy"),
        ({"anyOf": [{"type": "string", "x-data-category": "user.name"}, {"type": "null"}]}, "x-required-scopes"),
        ({"type": "object", "properties": {"who": {"type": "string", "x-data-subject": ""}}}, "names nobody"),
    ],
)
def test_what_is_doubtful_is_said(schema, text) -> None:
    """As findings of the catalog."""
    assert any(text in finding for finding in _catalog(schema, body=True).findings)


def test_a_schema_that_contains_itself_ends() -> None:
    """Also in many places, and what it demands counts."""
    node = {"type": "object", "properties": {name: {"$ref": "#/components/schemas/N"} for name in "abcdefgh"}}
    node["properties"]["e"] = {"type": "string", **EMAIL}
    content = {
        "application/json": {"schema": {"type": "object", "properties": {"p": {"$ref": "#/components/schemas/N"}}}}
    }
    document = answering({"type": "object"}, {"N": node}, requestBody={"content": content})
    (operation,) = compile_catalog(document, None, hash="h", categories=CATEGORIES).operations
    assert operation.body is not None
    assert operation.body.parameters["p"].scopes == {"email"}
