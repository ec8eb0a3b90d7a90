"""OpenAPI documents to catalogs."""

import pytest

from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.core.catalog.matcher import Match, Matcher
from audit_proxy.core.catalog.model import NONE, ConsentRule
from audit_proxy.core.errors import Reason, Refusal
from tests.unit.core.catalog.documents import answering, build, catalog

NAME = {"type": "string", "x-data-category": "user.name"}


def plan(schema, components=None, **operation):
    found = build(answering(schema, components, **operation))
    return found.operations[0].responses["200"].media["application/json"].field, found.findings


def test_the_people_platform_has_no_findings() -> None:
    """A fully described document compiles without a remark, but for the free list items."""
    found = catalog()
    assert found.findings == ()
    assert {one.id for one in found.operations} >= {"getMe", "getPerson", "listFriends", "search", "export", "getBlob"}
    blob = next(one for one in found.operations if one.id == "getBlob")
    assert blob.unjudged
    export = next(one for one in found.operations if one.id == "export")
    assert export.responses["200"].media["application/x-ndjson"].lines


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"openapi": "2.0"}, "3.0"),
        ({"openapi": "3.1.0", "info": {}}, "no operation"),
        ({**answering(NAME), "x-error-dialect": "klingon"}, "dialect"),
        ({"openapi": "3.1.0", "info": {}, "paths": {"/a{b}": {"get": {"responses": {}}}}}, "whole segment"),
        (
            {
                "openapi": "3.1.0",
                "info": {},
                "paths": {"/a": {"get": {"operationId": "x"}}, "/b": {"get": {"operationId": "x"}}},
            },
            "twice",
        ),
        ({"openapi": "3.1.0", "info": {}, "paths": {"/a": {"$ref": "#/nothing"}}}, "resolved"),
        ({"openapi": "3.1.0", "info": {}, "paths": {"/a": {"get": []}}}, "OpenAPI"),
        ({"openapi": "3.1.0", "info": {}, "paths": {"/a": {"$ref": "#/paths/~1a"}}}, "itself"),
    ],
)
def test_what_makes_no_catalog(document, text) -> None:
    """The error names what is wrong."""
    with pytest.raises(CatalogError, match=text):
        build(document)


def test_overlay_problems_are_catalog_errors() -> None:
    """And an overlay's stale target is a finding."""
    with pytest.raises(CatalogError, match="overlay"):
        build(answering(NAME), {"overlay": "9"})
    stale = {"overlay": "1.0.0", "info": {}, "actions": [{"target": "$.nothing", "update": {}}]}
    assert any("matches nothing" in one for one in build(answering(NAME), stale).findings)


def test_security_is_an_or_of_ands() -> None:
    """Alternatives stay apart; an empty requirement admits anonymous requests; none at all admits nobody."""
    document = answering(NAME, security=[{"o": ["a", "b"]}, {"o": ["c"], "k": []}, {}])
    operation = build(document).operations[0]
    assert operation.requirements == (frozenset({"a", "b"}), frozenset({"c"}), frozenset())
    assert operation.anonymous
    document = answering(NAME)
    del document["security"]
    found = build(document)
    assert found.operations[0].requirements == ()
    assert any("no security" in one for one in found.findings)


def test_scope_implications_are_transitive() -> None:
    """a => b => c; cycles end."""
    document = answering(NAME)
    document["components"]["securitySchemes"] = {
        "o": {"type": "oauth2", "x-scope-implies": {"a": "b", "b": ["c", "a"]}}
    }
    found = build(document)
    assert found.expand(["a"]) == {"a", "b", "c"}
    assert found.expand(["z"]) == {"z"}
    assert build(answering(NAME)).expand(["a"]) == {"a"}


def test_categories_scopes_and_rules_are_inherited() -> None:
    """A nested place takes its parent's category and adds to its scopes; a new subject resets the consent rule."""
    schema = {
        "type": "object", "x-data-category": "user.content", "x-required-scopes": ["a"], "x-consent": "public",
        "properties": {
            "inner": {"type": "object", "x-required-scopes": ["b"], "properties": {"text": {"type": "string"}}},
            "by": {"type": "object", "x-data-subject": "/id", "properties": {"id": {"type": "string", "x-data-category": "user.unique_id"}}},
            "free": {"type": "object"},
            "more": {"type": "object", "additionalProperties": True, "properties": {"n": NAME}},
        },
    }  # fmt: skip
    root, findings = plan(schema)
    assert findings == ()
    inner = root.object.fields["inner"].object.fields["text"]
    assert (inner.categories, inner.scopes, inner.rule) == (("user.content",), {"a", "b"}, ConsentRule.public)
    assert root.object.fields["by"].object.fields["id"].rule is ConsentRule.subject
    assert root.object.fields["free"].free
    assert root.object.fields["more"].object.additional.free
    assert inner.name == "op.inner.text"


def test_components_name_their_fields_and_recursion_ends() -> None:
    """A component's fields carry its name wherever it stands."""
    components = {
        "Post": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "x-data-category": "user.content"},
                "repost": {"$ref": "#/components/schemas/Post"},
            },
        }
    }
    root, _ = plan({"type": "array", "items": {"$ref": "#/components/schemas/Post"}}, components)
    post = root.item.object
    assert post.fields["text"].name == "Post.text"
    assert post.fields["repost"].object.fields["text"].name == "Post.text"


def test_one_of_is_classified_only_where_every_alternative_is() -> None:
    """An alternative that nobody classified keeps the place unclassified; all categories and scopes add up."""
    mixed = {
        "oneOf": [
            {"type": "object", "properties": {"n": NAME}},
            {"type": "object", "properties": {"n": {"type": "string"}}},
        ]
    }
    root, findings = plan(mixed)
    assert root.object.fields["n"].categories == ()
    assert any("unclassified" in one for one in findings)
    both = {
        "anyOf": [
            {"type": "string", "x-data-category": "user.name"},
            {"type": "integer", "x-data-category": "none", "x-required-scopes": ["s"]},
            {"type": "null"},
        ]
    }
    root, _ = plan(both)
    assert (root.categories, root.scopes, root.scalars) == (("user.name",), {"s"}, {str, int, type(None)})
    root, _ = plan({"oneOf": [{"type": "string", "x-data-category": "user.name"}, {"type": "integer"}]})
    assert root.categories == ()


def test_all_of_lays_schemas_over_one_another() -> None:
    """Either part may classify; subjects of both apply."""
    components = {
        "Base": {
            "type": "object",
            "x-data-subject": "/id",
            "properties": {"id": {"type": "string", "x-data-category": "user.unique_id"}},
        }
    }
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Base"},
            {"type": "object", "x-data-subject": "/by", "properties": {"by": NAME, "id": {"type": "string"}}},
        ]
    }
    root, findings = plan(schema, components)
    assert root.object.subjects == (("id",), ("by",))
    assert root.object.fields["id"].categories == ("user.unique_id",)
    assert findings == ()


def test_a_discriminator_chooses_the_plan() -> None:
    """By mapping or by component name."""
    components = {
        "Cat": {"type": "object", "properties": {"kind": {"type": "string", "x-data-category": "none"}, "n": NAME}},
        "Dog": {"type": "object", "properties": {"kind": {"type": "string", "x-data-category": "none"}}},
    }
    refs = [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]
    root, _ = plan(
        {
            "oneOf": refs,
            "discriminator": {"propertyName": "kind", "mapping": {"c": "#/components/schemas/Cat", "d": "Dog"}},
        },
        components,
    )
    assert root.variants is not None
    assert root.variants[1]["c"].name == "Cat"
    assert set(root.variants[1]) == {"c", "d"}
    root, _ = plan({"oneOf": refs, "discriminator": {"propertyName": "kind"}}, components)
    assert set(root.variants[1]) == {"Cat", "Dog"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "x-data-category": "user.nonsense"}, "taxonomy"),
        ({"type": "string"}, "unclassified"),
        ({"type": "string", "x-data-category": "none", "x-consent": "maybe"}, "x-consent"),
        ({"type": "string", "x-data-category": "none", "x-batch": {}}, "not supported yet"),
        ({"type": "string", "x-data-category": "none", "x-cursor": True}, "say x-cursor-for"),
        ({"type": "string", "x-data-category": "none", "x-cursor": "sealed"}, "must be true"),
        ({"type": "string", "x-data-category": "none", "x-cursor": True, "x-cursor-for": 7}, "operationId"),
        ({"type": "boolean", "x-data-category": "none", "x-cursor": True}, "goes on text"),
        ({"type": "integer", "x-data-category": "none", "x-cursor": True}, "gets text"),
        ({"type": "object", "x-data-subject": "id", "properties": {"id": NAME}}, "relative JSON Pointer"),
        ({"type": "object", "x-data-subject": "/nobody", "properties": {"id": NAME}}, "not a property"),
        ({"type": "object", "x-public-when": {"nothing": [1]}, "properties": {"id": NAME}}, "x-public-when"),
        ({"type": "object", "required": ["id"], "properties": {"id": NAME}}, "x-withhold"),
        ({"type": "array", "minItems": 1, "items": NAME}, "minItems"),
        ({"$ref": "#/components/schemas/Nothing"}, "cannot be resolved"),
        ({"$ref": "https://elsewhere.example.org/x"}, "cannot be resolved"),
        ({"type": "object", "properties": {"a": 7}}, "must be an object"),
    ],
)
def test_findings(schema, text) -> None:
    """What endangers data or breaks a schema is said, with its place."""
    _, findings = plan(schema)
    assert any(text in one and one.startswith("GET /x") for one in findings), findings


def test_a_reference_to_itself_is_a_finding() -> None:
    """And compiles to nothing."""
    _, findings = plan({"$ref": "#/components/schemas/A"}, {"A": {"$ref": "#/components/schemas/A"}})
    assert any("itself" in one for one in findings)


def test_siblings_of_a_reference_override_its_category() -> None:
    """An overlay may classify at the place of use."""
    root, _ = plan(
        {"type": "object", "properties": {"n": {"$ref": "#/components/schemas/S", "x-data-category": "none"}}},
        {"S": NAME},
    )
    assert root.object.fields["n"].categories == NONE


def test_literals_beat_parameters_and_case_cannot_slip_between() -> None:
    """``/me`` is not ``/{id}``; ``/ME`` is neither."""
    document = answering(NAME)
    document["paths"] = {
        "/{id}": {"get": {"operationId": "byId", "responses": {}}},
        "/me": {"get": {"operationId": "me", "responses": {}}},
        "/me/{x}/a": {"post": {"operationId": "a", "responses": {}}},
    }
    matcher = Matcher(build(document).operations)
    found = matcher.find("GET", ("me",))
    assert isinstance(found, Match)
    assert found.operation.id == "me"
    found = matcher.find("GET", ("7",))
    assert isinstance(found, Match)
    assert (found.operation.id, found.path_values) == ("byId", ("7",))
    for method, segments, reason in (
        ("GET", ("ME",), Reason.operation_not_described),
        ("GET", ("",), Reason.operation_not_described),
        ("GET", ("me", "1"), Reason.operation_not_described),
        ("DELETE", ("me",), Reason.method_not_described),
        ("GET", ("me", "1", "a"), Reason.method_not_described),
    ):
        refused = matcher.find(method, segments)
        assert isinstance(refused, Refusal)
        assert refused.reason is reason
    with pytest.raises(ValueError, match="twice"):
        Matcher([*build(document).operations, build(document).operations[0]])


def test_statuses_match_exactly_then_by_class_then_default() -> None:
    """As OpenAPI says."""
    operation = build(
        answering(
            NAME, responses={"200": {"description": "a"}, "4XX": {"description": "b"}, "default": {"description": "c"}}
        )
    ).operations[0]
    assert operation.response(200) is operation.responses["200"]
    assert operation.response(404) is operation.responses["4XX"]
    assert operation.response(500) is operation.responses["default"]
    assert build(answering(NAME)).operations[0].response(500) is None


def test_what_has_no_effect_is_said() -> None:
    """A selector without its parameter, a media type without a schema, an unscoped personal parameter."""
    parameter = {"name": "email", "in": "query", "schema": {"type": "string", "x-data-category": "user.contact.email"}}
    document = answering(NAME, parameters=[parameter], **{"x-fields-parameter": "fields"})
    document["paths"]["/x"]["get"]["responses"]["201"] = {"description": "x", "content": {"application/json": {}}}
    findings = " ".join(build(document).findings)
    for text in ("x-fields-parameter", "no schema", "x-required-scopes"):
        assert text in findings
    parameter["schema"]["x-data-category"] = ["user.nonsense"]
    assert "taxonomy" in " ".join(build(document).findings)


def test_a_subject_beside_a_discriminator_holds_for_every_variant() -> None:
    """Whom the whole is about, each of its variants is about."""
    choice = {"type": "object", "properties": {"kind": NAME, "of": {"$ref": "#/components/schemas/Any"}}}
    schema = {
        "x-data-subject": ["/id", "$holder"],
        "oneOf": [{"$ref": "#/components/schemas/A"}],
        "discriminator": {"propertyName": "kind", "mapping": {"a": "#/components/schemas/A"}},
    }
    catalog = build(answering({"$ref": "#/components/schemas/Any"}, {"A": choice, "Any": schema}))
    field = catalog.operations[0].responses["200"].media["application/json"].field
    assert field.variants is not None
    plan = field.variants[1]["a"]
    assert (plan.subjects, plan.about, plan.opens) == ((("id",),), ("$holder",), True)
    assert plan.fields["of"].variants is not None
    assert plan.fields["of"].variants[1]["a"].subjects == (("id",),)


@pytest.mark.parametrize("union", ["oneOf", "anyOf", "allOf"])
def test_what_contains_itself_through_alternatives_ends(union) -> None:
    """A node that is null or holds nodes."""
    node = {
        union: [
            {"type": "object", "properties": {"name": NAME, "child": {"$ref": "#/components/schemas/Node"}}},
            {"type": ["object", "null"]},
        ]
    }
    catalog = build(answering({"$ref": "#/components/schemas/Node"}, {"Node": node}))
    place = catalog.operations[0].responses["200"].media["application/json"].field
    for _ in range(5):
        assert place.object is not None
        assert place.object.fields["name"].categories == ("user.name",)
        place = place.object.fields["child"]


def test_an_array_of_itself_is_an_error_that_says_so() -> None:
    """Rather than a fault."""
    with pytest.raises(CatalogError, match="array of itself"):
        build(answering({"$ref": "#/components/schemas/L"}, {"L": {"type": "array", "items": {"$ref": "#/components/schemas/L"}}}))  # fmt: skip


def test_a_subject_that_does_not_fit_its_type_is_a_finding() -> None:
    """A list's ids stand on its items; a text has no properties."""
    for schema, subject in (
        ({"type": "array", "items": NAME}, ""),
        ({"type": "array", "items": NAME}, "/id"),
        (NAME, "/id"),
    ):
        findings = build(
            answering({"type": "object", "properties": {"a": {**schema, "x-data-subject": subject}}})
        ).findings
        assert any(f"x-data-subject {subject!r} does not fit the type here" in one for one in findings)


IDS = {"name": "ids", "in": "query", "schema": {"type": "array", "items": {"type": "string"}, "x-data-subject": ""}}
PERSON = {"type": "object", "x-data-subject": "/id", "properties": {"id": {"type": "string"}}}


@pytest.mark.parametrize(
    ("parameter", "schema", "names"),
    [
        (IDS, PERSON, {"ids"}),
        ({**IDS, "in": "header"}, PERSON, set()),
        ({**IDS, "schema": {"type": "string", "x-data-subject": ""}}, PERSON, set()),
        ({**IDS, "schema": {"type": "array"}}, PERSON, set()),
        (IDS, {**PERSON, "x-consent": "public"}, set()),
        (IDS, {"type": "array", "items": {**PERSON, "x-public-when": {"id": ["1"]}}}, set()),
        (IDS, {**PERSON, "properties": {"id": {"type": "string", "x-consent": "public"}}}, set()),
        (IDS, {"type": "object", "x-data-subject": "$request.query.ids"}, set()),
    ],
)
def test_arrays_of_whom_fewer_may_be_asked_for(parameter, schema, names) -> None:
    """Arrays of people in the query, where nothing is public and the answer is not about all of them together."""
    assert build(answering(schema, parameters=[parameter])).operations[0].lists_people == names


def test_a_write_asks_for_everyone_it_names() -> None:
    """Fewer would be another write."""
    document = answering(PERSON, parameters=[IDS])
    document["paths"]["/x"]["post"] = document["paths"]["/x"].pop("get")
    assert build(document).operations[0].lists_people == set()
