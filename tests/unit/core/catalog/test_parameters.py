"""What a request asks with."""

import pytest

from audit_proxy.core.catalog.fields import parse_fields
from audit_proxy.core.catalog.matcher import Match, Matcher
from audit_proxy.core.catalog.parameters import Asked, judge_parameters
from audit_proxy.core.catalog.target import Target, parse_target
from audit_proxy.core.errors import Reason, Refusal
from tests.unit.core.catalog.documents import answering, build

NAME = {"type": "string", "x-data-category": "user.name"}


def _query(name, required=False, **schema):
    return {"name": name, "in": "query", "required": required, "schema": schema}


PARAMETERS = [
    _query("n", type="integer"),
    _query("f", type="number"),
    _query("b", type="boolean"),
    _query("kind", type="string", enum=["a", "b"]),
    _query("ids", type="array", items={"type": "integer"}),
    _query("who", type="string", **{"x-data-subject": ""}),
    _query("email", type="string", **{"x-data-category": "user.contact.email", "x-required-scopes": ["email"]}),
    _query("fields", type="string"),
]
PERSON = {
    "type": "object",
    "properties": {
        "name": NAME,
        "email": {"type": "string", "x-data-category": "user.contact.email", "x-required-scopes": ["email"]},
        "friends": {
            "type": "object",
            "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/P"}}},
        },
    },
}
BODY = {
    "required": True,
    "content": {
        kind: {
            "schema": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "count": {"type": "integer"},
                    "email": {
                        "type": "string",
                        "x-data-category": "user.contact.email",
                        "x-required-scopes": ["email"],
                    },
                    "to": {"type": "string", "x-data-subject": ""},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
        for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    },
}


def judge(query="", body=b"", content_type="application/json", **operation):
    document = answering(
        {"$ref": "#/components/schemas/P"},
        {"P": PERSON},
        **{"parameters": PARAMETERS, "x-fields-parameter": "fields", **operation},
    )
    found = build(document).operations[0]
    target = parse_target(f"/x?{query}")
    assert isinstance(target, Target)
    match = Matcher([found]).find("GET", target.segments)
    assert isinstance(match, Match)
    return judge_parameters(match, target, content_type, body)


@pytest.mark.parametrize(
    "query",
    [
        "n=-5",
        "f=1.5e3",
        "b=true",
        "kind=a",
        "ids=1,2",
        "ids=1&ids=2",
        "who=7",
        "fields=name",
        "fields=name,friends{email,friends{name}}",
    ],
)
def test_described_parameters_pass(query) -> None:
    """Each form that the description permits."""
    assert isinstance(judge(query), Asked)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("x=1", Reason.parameter_not_described),
        ("n=1&n=2", Reason.parameter_invalid),
        ("n=abc", Reason.parameter_invalid),
        ("f=1e9999", Reason.parameter_invalid),
        ("b=yes", Reason.parameter_invalid),
        ("kind=c", Reason.parameter_invalid),
        ("ids=1,x", Reason.parameter_invalid),
        ("fields=", Reason.parameter_invalid),
        ("fields=name{", Reason.parameter_invalid),
        ("fields=name}", Reason.parameter_invalid),
        ("fields=na%20me", Reason.parameter_invalid),
        ("fields=password", Reason.field_not_described),
        ("fields=friends{password}", Reason.field_not_described),
        ("fields=name{first}", Reason.field_not_described),
    ],
)
def test_what_is_not_described_is_refused(query, reason) -> None:
    """With a reason, before the upstream is asked."""
    refused = judge(query)
    assert isinstance(refused, Refusal)
    assert refused.reason is reason


def test_asking_by_a_personal_field_demands_its_scopes() -> None:
    """Of everyone that matches; a selected field demands them of the token alone."""
    asked = judge("email=a&who=7")
    assert isinstance(asked, Asked)
    assert (asked.scopes, asked.people, asked.must_permit) == ({"email"}, ["7"], ["7"])
    asked = judge("fields=friends{email}")
    assert isinstance(asked, Asked)
    assert (asked.scopes, asked.token_scopes) == (set(), {"email"})


def _selecting(schema, selector, schemas):
    found = build(answering(schema, schemas, parameters=PARAMETERS, **{"x-fields-parameter": "fields"})).operations[0]
    target = parse_target(f"/x?fields={selector}")
    assert isinstance(target, Target)
    match = Matcher([found]).find("GET", target.segments)
    assert isinstance(match, Match)
    return judge_parameters(match, target, "", b"")


@pytest.mark.parametrize("key", [{}, {"x-data-subject": "$key"}])
def test_a_selector_goes_through_the_values_of_a_map(key) -> None:
    """A map under ids, or under anything: names are those of its values, and demand their scopes."""
    people = {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/P"}, **key}
    asked = _selecting(people, "name,friends{email}", {"P": PERSON})
    assert isinstance(asked, Asked)
    assert asked.token_scopes == {"email"}
    refused = _selecting(people, "password", {"P": PERSON})
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.field_not_described


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Node"}},
        {"type": "object", "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}}}},
    ],
)
def test_a_map_or_a_list_of_itself_has_nothing_to_select(schema) -> None:
    """A description that contains itself ends the search for names, and the request is refused."""
    refused = _selecting({"$ref": "#/components/schemas/Node"}, "name", {"Node": schema})
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.field_not_described


def test_required_and_patterned_parameters() -> None:
    """A missing required parameter, and one off its pattern, are refused."""
    assert isinstance(judge("", parameters=[_query("q", True, type="string")], **{"x-fields-parameter": None}), Refusal)
    assert isinstance(
        judge("q=1", parameters=[_query("q", pattern="^[a-z]+$")], **{"x-fields-parameter": None}), Refusal
    )
    assert isinstance(judge("q=a", parameters=[_query("q", pattern="^[a-z]+$")], **{"x-fields-parameter": None}), Asked)


def test_a_selector_without_an_answer_is_refused() -> None:
    """Nothing is described to select from."""
    refused = judge("fields=name", responses={"204": {"description": "none"}})
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.field_not_described


@pytest.mark.parametrize("text", ["a{" * 12 + "b" + "}" * 12, ",".join("a" * 3000)])
def test_selectors_are_bounded(text) -> None:
    """In depth and in length."""
    assert parse_fields(text) is None


def test_bodies_are_rebuilt_from_the_parse() -> None:
    """JSON and forms; people and scopes they name are noted."""
    asked = judge(body=b'{"text":"a","text":"b","to":"7","email":"x","tags":["t"],"count":1}', requestBody=BODY)
    assert isinstance(asked, Asked)
    assert asked.body == b'{"text":"b","to":"7","email":"x","tags":["t"],"count":1}'
    assert (asked.people, asked.must_permit, asked.scopes) == (["7"], ["7"], {"email"})
    asked = judge(
        body=b"text=a+b&tags=1&tags=2&to=7",
        content_type="application/x-www-form-urlencoded; charset=utf-8",
        requestBody=BODY,
    )
    assert isinstance(asked, Asked)
    assert asked.body == b"text=a%20b&tags=1&tags=2&to=7"
    open_body = {
        "content": {"application/json": {"schema": {"type": "object", "properties": {}, "additionalProperties": True}}}
    }
    asked = judge(body=b'{"any":1}', requestBody=open_body)
    assert isinstance(asked, Asked)
    assert isinstance(judge(requestBody=open_body), Asked)


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", "application/json", Reason.parameter_invalid),
        (b"{", "application/json", Reason.request_not_inspectable),
        (b"[1]", "application/json", Reason.request_not_inspectable),
        (b'{"x":1}', "application/json", Reason.parameter_not_described),
        (b'{"count":true}', "application/json", Reason.parameter_invalid),
        (b'{"text":"a"}', "application/json; charset=utf-16", Reason.request_not_inspectable),
        (b"<a/>", "text/xml", Reason.request_not_inspectable),
        (b"--x", "multipart/form-data; boundary=x", Reason.request_not_inspectable),
        (b"x=1", "application/x-www-form-urlencoded", Reason.parameter_not_described),
        (b"text=1&text=2", "application/x-www-form-urlencoded", Reason.parameter_invalid),
        (b"count=x", "application/x-www-form-urlencoded", Reason.parameter_invalid),
        (b"text=%zz", "application/x-www-form-urlencoded", Reason.query_not_normal),
        (b"text=\xff", "application/x-www-form-urlencoded", Reason.request_not_inspectable),
    ],
)
def test_bodies_that_are_refused(body, content_type, reason) -> None:
    """Parse or refuse."""
    refused = judge(body=body, content_type=content_type, requestBody=BODY)
    assert isinstance(refused, Refusal)
    assert refused.reason is reason


def test_a_body_that_no_operation_describes_is_refused() -> None:
    """Even an empty object."""
    refused = judge(body=b"{}")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.parameter_not_described


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"access_token":"x"}'),
        ("application/json", b'{"text":"t","\\u0061ccess_token":null}'),
        ("application/x-www-form-urlencoded", b"access_token=x"),
        ("application/x-www-form-urlencoded", b"text=t&%61ccess_token="),
    ],
)
def test_a_token_in_the_body_is_refused_even_where_it_is_described(kind, body, described) -> None:
    """The platform could take it for the request's (RFC 6750 section 2.2), and answer for somebody else."""
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": True}
    if described:
        schema["properties"]["access_token"] = {"type": "string"}
    refused = judge(body=body, content_type=kind, requestBody={"content": {kind: {"schema": schema}}})
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.token_misplaced
