"""Redaction against a slow reference that reads the schema itself, over generated catalogs and bodies."""

import copy
import itertools
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.core.catalog import compile_catalog
from audit_proxy.core.catalog.model import Operation
from audit_proxy.core.consent import Permission
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import find_subjects, parse, render
from audit_proxy.core.redaction import GONE, Redacted, Redactor, Terms, verdicts_of

CATEGORIES = frozenset({"user.name", "user.contact.email", "user.unique_id", "user.content"})
SCOPES = ("read", "email", "posts")
IDS: list[Any] = ["1", "2", "3", 4, 5]
AVAILABLE = frozenset({"read", "email"})
OPERATION_SCOPES = frozenset({"read"})
NAMED: dict[str, list[Any]] = {"$holder": [4], "$request.query.a": ["1"], "$request.query.b": ["2", None]}

SEALED = "sealed"


def seal(place: Any, value: Any, subjects: Any) -> str:
    """In place of every cursor stands the same; nothing of the platform's."""
    assert value is not None
    return SEALED


# -- generated schemas ------------------------------------------------------------------------------------------------


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["string", "integer", "number", "boolean"]))
    schema: dict[str, Any] = {"type": kind}
    category = draw(st.sampled_from([*sorted(CATEGORIES), "none", None]))
    if category is not None:
        schema["x-data-category"] = category
    if draw(st.integers(0, 3)) == 0:
        schema["x-required-scopes"] = [draw(st.sampled_from(SCOPES))]
    withhold = draw(st.sampled_from([None, None, "drop", "null", "constant"]))
    if withhold == "null":
        schema["type"] = [kind, "null"]
        schema["x-withhold"] = "null"
    elif withhold == "constant":
        schema["x-withhold"] = {"string": "withheld", "integer": 0, "number": 0.5, "boolean": False}[kind]
    elif withhold == "drop":
        schema["x-withhold"] = "drop"
    if draw(st.integers(0, 9)) == 0:
        schema["x-aggregate"] = True
    if draw(st.integers(0, 9)) == 0:
        schema["x-data-subject"] = draw(st.sampled_from(sorted(NAMED)))
    if kind == "string" and draw(st.integers(0, 3)) == 0:
        schema["x-cursor"] = True
    return schema


@st.composite
def objects(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if draw(st.booleans()):
        schema["x-data-category"] = draw(st.sampled_from([*sorted(CATEGORIES), "none"]))
    subject = draw(st.sampled_from(["none", "one", "one", "two"]))
    if subject != "none":
        properties["id"] = {"type": ["string", "integer"], "x-data-category": "user.unique_id"}
        schema["x-data-subject"] = "/id"
    if subject == "two":
        properties["to"] = {"type": ["string", "integer"], "x-data-category": "user.unique_id"}
        schema["x-data-subject"] = ["/id", "/to"]
    if draw(st.integers(0, 4)) == 0:
        named = draw(st.sampled_from(sorted(NAMED)))
        schema["x-data-subject"] = (
            named
            if subject == "none"
            else [*([schema["x-data-subject"]] if subject == "one" else schema["x-data-subject"]), named]
        )
    if draw(st.integers(0, 4)) == 0:
        schema["x-consent"] = draw(st.sampled_from(["public", "subject", "unsafe-holder-speaks-for-others"]))
    if draw(st.integers(0, 4)) == 0:
        properties["vis"] = {"type": "string", "x-data-category": "none"}
        schema["x-public-when"] = {"vis": ["public"]}
    if draw(st.integers(0, 5)) == 0:
        schema["additionalProperties"] = draw(leaves())
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)):
        properties[name] = draw(places(depth - 1))
    return schema


def places(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    if depth <= 0:
        return leaves()
    lists = st.builds(
        lambda items, about: {"type": "array", "items": items, **({"x-data-subject": about} if about else {})},
        objects(depth),
        st.sampled_from([*NAMED, None, None, None]),
    )
    maps = objects(depth).map(lambda one: {"type": "object", "x-data-subject": "$key", "additionalProperties": one})
    return st.one_of(leaves(), objects(depth), lists, maps)


# -- generated bodies -------------------------------------------------------------------------------------------------

_counter = itertools.count()
_HOSTILE: list[Any] = [None, True, 1.0, "", [], {}, [["x"]], {"id": "1", "a": "smuggled"}, 2**70, "1"]


@st.composite
def bodies(draw: st.DrawFn, schema: dict[str, Any], hostile: bool) -> Any:
    if hostile and draw(st.integers(0, 11)) == 0:
        return draw(st.sampled_from(_HOSTILE))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = kinds[0]
    if kind == "array":
        return [draw(bodies(schema["items"], hostile)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "object":
        return draw(inside(schema, hostile))
    if kind == "string":
        return f"m{next(_counter)}m"
    if kind == "integer":
        return draw(st.integers(2**64, 2**70))
    if kind == "number":
        return draw(st.floats(allow_nan=False, allow_infinity=False))
    return draw(st.booleans())


@st.composite
def inside(draw: st.DrawFn, schema: dict[str, Any], hostile: bool) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, one in schema.get("properties", {}).items():
        if draw(st.integers(0, 5)) == 0:
            continue
        if name in ("id", "to"):
            body[name] = draw(st.sampled_from([*IDS, *([True, 1.0, None, ["1", "2"]] if hostile else [])]))
        elif name == "vis":
            body[name] = draw(st.sampled_from(["public", "friends"]))
        else:
            body[name] = draw(bodies(one, hostile))
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        for key in draw(st.lists(st.sampled_from(["1", "2", "9"]), unique=True, max_size=2)):
            body[key] = draw(bodies(additional, hostile))
    if hostile and draw(st.integers(0, 5)) == 0:
        body["undescribed"] = draw(st.sampled_from([f"m{next(_counter)}m", {"id": "1", "a": f"m{next(_counter)}m"}]))
    return body


# -- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """Decides field by field from the schema, with none of the code under test."""

    def __init__(self, permissions: dict[Any, Permission]) -> None:
        self.permissions = permissions
        self.disclosed: set[tuple[str, Any]] = set()

    def scopes_of(self, ids: list[Any]) -> frozenset[str] | None:
        if not ids:
            return None
        scopes = AVAILABLE
        for one in ids:
            if isinstance(one, bool) or not isinstance(one, int | str) or one == "":
                return None
            permission = self.permissions.get(one)
            if permission is None or permission.scopes is None or not permission.scopes >= OPERATION_SCOPES:
                return None
            scopes = scopes & permission.scopes
        return scopes

    def place(self, schema: dict[str, Any], value: Any, name: str, ctx: dict[str, Any]) -> Any:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        ctx = {
            **ctx,
            "category": schema.get("x-data-category", ctx["category"]),
            "needs": ctx["needs"] | set(schema.get("x-required-scopes", ())),
        }
        if "x-consent" in schema:
            ctx["rule"] = schema["x-consent"]
        elif "x-data-subject" in schema:
            ctx["rule"] = "subject"
        subjects = schema.get("x-data-subject")
        about = [NAMED[one] for one in ([subjects] if isinstance(subjects, str) else subjects or []) if one in NAMED]
        if about and kinds[0] != "object":
            ids = [one for reached in about for one in reached]
            resolved = ids if None not in ids else []
            ctx = {**ctx, "ids": resolved, "scopes": self.scopes_of(ids), "public": False, "root": False}
            if ctx["scopes"] is None and ctx["rule"] == "subject":
                return GONE
        if isinstance(value, dict | list) and schema.get("x-cursor"):
            return GONE
        if isinstance(value, dict):
            return self.object(schema, value, name, ctx) if "object" in kinds else GONE
        if isinstance(value, list):
            if "array" not in kinds:
                return GONE
            found = [self.place(schema["items"], one, f"{name}[]", ctx) for one in value]
            return [one for one in found if one is not GONE]
        inside = schema.get("properties") or schema.get("additionalProperties") or schema.get("items")
        if value is None and kinds[0] in ("object", "array") and inside:
            return None
        cursor = schema.get("x-cursor") and value is not None
        if cursor:
            if type(value) not in (str, int):
                return GONE
            return SEALED if self.allowed(schema, ctx, name) else GONE
        fits = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
        if value is not None and not any(
            isinstance(value, fits[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds if k in fits
        ):
            return GONE
        return value if self.allowed(schema, ctx, name) else GONE

    def allowed(self, schema: dict[str, Any], ctx: dict[str, Any], name: str) -> bool:
        if ctx["category"] is None or not ctx["needs"] <= AVAILABLE:
            return False
        if schema.get("x-aggregate") and not ctx["needs"]:
            return False
        if ctx["category"] == "none":
            return True
        if schema.get("x-aggregate") and ctx["root"]:
            return self.note(ctx, name)
        if ctx["public"] or ctx["rule"] == "public" or ctx["rule"].startswith("unsafe"):
            return self.note(ctx, name)
        if ctx["scopes"] is None or not ctx["needs"] <= ctx["scopes"]:
            return False
        return self.note(ctx, name)

    def note(self, ctx: dict[str, Any], name: str) -> bool:
        if ctx["category"] != "none":
            for one in ctx["ids"] or [None]:
                self.disclosed.add((name, one))
        return True

    def object(self, schema: dict[str, Any], value: dict[str, Any], name: str, ctx: dict[str, Any]) -> Any:
        subjects = schema.get("x-data-subject")
        subjects = [subjects] if isinstance(subjects, str) else subjects or []
        pointers = [one for one in subjects if one != "$key"]
        if pointers:
            ids: list[Any] = [raw for one in pointers for raw in NAMED.get(one, [])]
            for pointer in (one for one in pointers if one not in NAMED):
                found = value.get(pointer[1:])
                ids.append(None if isinstance(found, list) else found)  # ids are described as scalars here
            scopes = self.scopes_of(ids)
            resolvable = all(isinstance(one, int | str) and not isinstance(one, bool) and one != "" for one in ids)
            ctx = {**ctx, "ids": ids if ids and resolvable else [], "scopes": scopes, "public": False, "root": False}
        when = schema.get("x-public-when", {})
        if when and all(value.get(k) in v for k, v in when.items()):
            ctx["public"] = True
        open_to_all = ctx["public"] or ctx["rule"] == "public" or ctx["rule"].startswith("unsafe")
        if pointers and ctx["scopes"] is None and not open_to_all:
            return GONE
        if not schema.get("properties") and not isinstance(schema.get("additionalProperties"), dict):
            return value if self.allowed(schema, ctx, name) else GONE  # free-form: its category covers all of it
        out: dict[str, Any] = {}
        for key, one in value.items():
            described = schema.get("properties", {}).get(key)
            inner, child = ctx, f"{name}.{key}"
            if described is None:
                described = schema.get("additionalProperties")
                child = f"{name}.*"
                if not isinstance(described, dict):
                    continue
                if "$key" in subjects:
                    scopes = self.scopes_of([key])
                    inner = {**ctx, "ids": [key], "scopes": scopes, "public": False, "root": False}
                    named = Reference(self.permissions)
                    if not named.allowed({}, {**inner, "category": "user.unique_id"}, f"{name}.$key"):
                        continue
            constant = described.get("x-withhold", "drop")
            if constant not in ("drop", "null") and one == constant and type(one) is type(constant):
                silent = Reference(self.permissions)
                if silent.place(described, one, child, inner) is GONE:
                    out[key] = one
                    continue
            result = self.place(described, one, child, inner)
            if result is GONE and constant != "drop":
                result = None if constant == "null" else constant
            if result is not GONE:
                out[key] = result
                if child == f"{name}.*" and "$key" in subjects:
                    self.disclosed |= named.disclosed
        return out


def operation_for(schema: dict[str, Any]) -> tuple[Operation, tuple[str, ...]]:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/x": {
                "get": {
                    "operationId": "op",
                    "security": [{"o": sorted(OPERATION_SCOPES)}],
                    "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
                }
            }
        },
    }
    catalog = compile_catalog(document, None, hash="h", categories=CATEGORIES)
    return catalog.operations[0], catalog.findings


def run(schema: dict[str, Any], body: Any, permissions: dict[Any, Permission], cache: Any = None) -> Redacted:
    operation, _ = operation_for(schema)
    plan = operation.responses["200"].media["application/json"].field
    value = parse(json.dumps(body).encode())
    find_subjects(plan, value, 64)
    verdicts = verdicts_of(Terms(AVAILABLE, (OPERATION_SCOPES,)), {} if cache is None else cache)
    return Redactor(permissions, verdicts, named=NAMED, seal=seal).redact(plan, value)


permission = st.sampled_from(
    [
        Permission(AVAILABLE, Consent.token),
        Permission(frozenset({"read"}), Consent.grant),
        Permission(frozenset({"read", "email"}), Consent.grant),
        Permission(frozenset({"email"}), Consent.grant),
        Permission(None, Consent.no_grant),
        Permission(None, Consent.withdrawn),
    ]
)
everyone = st.fixed_dictionaries(dict.fromkeys(IDS, permission))
ROOT = {
    "category": None,
    "needs": frozenset(),
    "rule": "subject",
    "public": False,
    "scopes": None,
    "ids": [],
    "root": True,
}


@settings(max_examples=60, deadline=None)
@given(st.data(), objects(3), everyone, st.booleans())
def test_redaction_equals_the_reference(data, schema, permissions, hostile) -> None:
    """What is sent, and what is listed as disclosed, is what the schema and the people's consent say."""
    body = data.draw(bodies(schema, hostile))
    reference = Reference(permissions)
    expected = reference.place(schema, copy.deepcopy(body), "op", dict(ROOT))
    redacted = run(schema, body, permissions)
    if expected is GONE or redacted.value is GONE:
        assert redacted.value is expected
    else:
        assert json.dumps(redacted.value) == json.dumps(expected)
    listed = {
        (name, one) for group in redacted.disclosed for name in group.fields for one in (group.subjects or (None,))
    }
    assert listed == reference.disclosed


@settings(max_examples=60, deadline=None)
@given(st.data(), objects(3), everyone)
def test_nothing_more_is_withheld_the_second_time(data, schema, permissions) -> None:
    """Inspection of a redacted body finds nothing more to withhold."""
    body = data.draw(bodies(schema, hostile=True))
    first = run(schema, body, permissions)
    if first.value is GONE:
        return
    second = run(schema, json.loads(render(first.value)), permissions)
    assert second.withheld == ()
    assert second.value == first.value


@settings(max_examples=60, deadline=None)
@given(st.data(), objects(3), everyone)
def test_no_withheld_marker_is_in_the_answer(data, schema, permissions) -> None:
    """Each string is unique, so a withheld value's bytes in the answer would show; kept values are unchanged."""
    body = data.draw(bodies(schema, hostile=False))
    redacted = run(schema, body, permissions)
    if redacted.value is GONE:
        return
    sent = render(redacted.value)
    original = json.dumps(body)
    for value in _strings(redacted.value):
        assert value in original or value in ("withheld", SEALED)
    reference = Reference(permissions)
    kept = reference.place(schema, body, "op", dict(ROOT))
    for value in set(_strings(body)) - set(_strings(kept)):
        if value.startswith("m"):
            assert value.encode() not in sent


@settings(max_examples=60, deadline=None)
@given(st.data(), objects(3), everyone)
def test_a_redacted_body_still_validates(data, schema, permissions) -> None:
    """Where the original validated and nothing required can be lost, the redacted body validates too."""
    body = data.draw(bodies(schema, hostile=False))
    if not jsonschema.Draft202012Validator(schema).is_valid(body):
        return
    redacted = run(schema, body, permissions)
    if redacted.value is not GONE:
        jsonschema.Draft202012Validator(schema).validate(json.loads(render(redacted.value)))


@settings(max_examples=60, deadline=None)
@given(st.data(), objects(2), everyone, everyone)
def test_a_warm_table_cache_changes_nothing(data, schema, permissions, others) -> None:
    """Verdict tables that other people's permissions compiled give the same result as none."""
    body = data.draw(bodies({"type": "array", "items": schema}, hostile=True))
    whole = {"type": "array", "items": schema}
    cold = run(whole, body, permissions)
    cache: dict[Any, Any] = {}
    operation, _ = operation_for(whole)
    plan = operation.responses["200"].media["application/json"].field
    for one in (others, permissions):
        verdicts = verdicts_of(Terms(AVAILABLE, (OPERATION_SCOPES,)), cache)
        warm = Redactor(one, verdicts, named=NAMED, seal=seal).redact(plan, parse(json.dumps(body).encode()))
    assert warm == cold or (warm.value is GONE and cold.value is GONE)


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for one in value.values() for found in _strings(one)]
    if isinstance(value, list):
        return [found for one in value for found in _strings(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("kind", "value"), [("object", [{"a": "secret"}]), ("object", [])])
def test_a_free_object_is_no_list(kind, value) -> None:
    """Anything may stand inside an object that is ``none``; a list in its place is what nothing describes."""
    assert run({"type": kind, "properties": {}, "x-data-category": "none"}, value, {}).value is GONE
    assert run({"type": kind, "properties": {}, "x-data-category": "none"}, {"a": value}, {}).value == {"a": value}
