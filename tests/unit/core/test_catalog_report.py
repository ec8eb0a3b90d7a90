"""What the catalog makes of operations, and what records tell of its gaps."""

import datetime as dt
from typing import Any

import pytest

from audit_proxy.core.catalog_report import consequences, fields_of, gaps
from audit_proxy.core.policy import OperationRule, Policy, Unclassified
from audit_proxy.core.record import Group, Record, Would, encode
from tests.unit.core.catalog.documents import answering, build

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
PERSON = {
    "type": "object",
    "x-data-subject": "/id",
    "properties": {
        "id": {"type": "string", "x-data-category": "user.unique_id"},
        "nick": {"type": "string"},
        "kind": {"type": "string", "x-data-category": "none"},
        "best": {"$ref": "#/components/schemas/Person"},
        "notes": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string", "x-data-category": "user.name"}},
    },
}
CATALOG = build(answering({"$ref": "#/components/schemas/Person"}, {"Person": PERSON}))
QUIZ = frozenset({"read"})


def told(policy: Policy, apps: tuple[frozenset[str], ...], **operation: Any) -> list[str]:
    catalog = build(answering({"$ref": "#/components/schemas/Person"}, {"Person": PERSON}, **operation))
    (one,) = catalog.operations
    return list(consequences(one, fields_of(one), policy, apps))


def record(**more: Any) -> Record:
    told: dict[str, Any] = {
        "v": 1,
        "id": "a",
        "ts": NOW,
        "node": "n",
        "kind": "access",
        "app": "quiz",
        "operation": "op",
    }
    return Record(**{**told, "mode": "enforce", "decision": "redact", "status": 200, "catalog": "h", **more})


def group(*fields: str, consent: str = "unclassified", categories: tuple[str, ...] = ("unclassified",)) -> Group:
    return Group(fields, categories, "none", consent, ())


def found(*records: Record, since: dt.datetime = NOW) -> list[tuple[str, str, int]]:
    return [(gap.what, gap.effect.value, gap.exchanges) for gap in gaps(map(encode, records), since, CATALOG)]


def test_fields_are_counted_once_however_often_they_stand_inside_one_another():
    fields = fields_of(CATALOG.operations[0])
    assert fields.categories == {
        "Person.id": ("user.unique_id",), "Person.kind": ("none",), "Person.tags[]": ("user.name",),
    }  # fmt: skip
    assert fields.unclassified == ("Person.nick", "Person.notes")
    assert fields.personal == 2


def test_a_field_that_is_classified_in_one_answer_only_is_unclassified():
    error = {"description": "no", "content": {"application/json": {"schema": {"x-data-category": "none", "$ref": "#/components/schemas/Person"}}}}  # fmt: skip
    answers = answering({"$ref": "#/components/schemas/Person"})["paths"]["/x"]["get"]["responses"] | {"404": error}
    made = build(answering({}, {"Person": PERSON}, responses=answers))
    assert "Person.nick" in fields_of(made.operations[0]).unclassified


@pytest.mark.parametrize(
    ("operation", "policy", "apps", "expected"),
    [
        ({}, Policy("h"), (QUIZ,), ["drops what is unclassified", "drops the body of answers with an undescribed status"]),
        ({}, Policy("h", unclassified=Unclassified.unsafe_pass), (QUIZ,), ["passes what is unclassified"]),
        ({}, Policy("h", operations={"op": OperationRule(unclassified=Unclassified.unsafe_pass)}), (QUIZ,), ["passes what is unclassified"]),
        ({}, Policy("h"), (), ["refuses every request: no app is approved for its scopes"]),
        ({"security": None}, Policy("h"), (QUIZ,), ["refuses every request: no security is described"]),
        ({"security": []}, Policy("h"), (), ["drops what is unclassified"]),
        ({"x-data-category": "none"}, Policy("h"), (), ["passes unread: the operation as a whole is 'none'"]),
        ({"responses": {"302": {"description": "away"}, "default": {"description": "x", "content": {"text/csv": {"schema": {"x-data-category": "none"}}}}}},
         Policy("h"), (QUIZ,), ["refuses redirects (302)", "refuses what is not JSON (text/csv)"]),
    ],
)  # fmt: skip
def test_what_enforce_does_with_an_operation_is_said(operation, policy, apps, expected):
    if operation.get("security", 0) is None:
        document = answering({"$ref": "#/components/schemas/Person"}, {"Person": PERSON})
        del document["security"]
        made = build(document)
        said = list(consequences(made.operations[0], fields_of(made.operations[0]), policy, apps))
    else:
        said = told(policy, apps, **operation)
    assert said[: len(expected)] == expected
    if "302" in operation.get("responses", {}):
        assert len(said) == 2


def test_what_was_dropped_passed_and_would_have_been_dropped_is_told_apart():
    assert found(record(withheld=(group("Person.nick", "Person.?"),))) == [
        ("Person.?", "dropped", 1), ("Person.nick", "dropped", 1),
    ]  # fmt: skip
    assert found(record(disclosed=(group("Person.?"),))) == [("Person.?", "passed", 1)]
    monitored = record(
        mode="monitor",
        disclosed=(group("Person.?"), group("Person.nick")),
        would=Would("redact", None, (group("Person.?"),)),
    )
    assert found(monitored) == [("Person.?", "would drop", 1), ("Person.nick", "passed", 1)]


def test_of_an_answer_that_enforce_would_refuse_nothing_simply_passed():
    refused = record(mode="monitor", disclosed=(group("Person.?"),), would=Would("deny", "not_found"))
    assert found(refused) == [("Person.?", "would drop", 1)]


def test_a_refusing_persons_unclassified_fields_count_as_well():
    """They stand among what is withheld for want of a grant; of those, the catalog tells which have no category."""
    withheld = group("Person.id", "Person.nick", consent="no_grant", categories=("unclassified", "user.unique_id"))
    assert found(record(withheld=(withheld,))) == [("Person.nick", "dropped", 1)]


def test_what_is_classified_is_no_gap():
    assert found(record(withheld=(group("Person.id", consent="no_grant", categories=("user.unique_id",)),))) == []


def test_a_stream_counts_once_for_each_gap():
    chunks = [record(phase="chunk", seq=n, withheld=(group("Person.?"),)) for n in (1, 2)]
    other = record(id="b", phase="chunk", seq=1, withheld=(group("Person.?"),))
    assert found(chunks[0], other, chunks[1], record(counts={"unclassified": 2})) == [("Person.?", "dropped", 2)]


def test_a_record_in_parts_counts_once():
    parts = [record(part=n, parts=2, withheld=(group("Person.?"),)) for n in (1, 2)]
    assert found(*parts) == [("Person.?", "dropped", 1)]


def test_in_parts_too_what_would_be_withheld_did_not_simply_pass():
    parts = [
        record(mode="monitor", part=1, parts=2, disclosed=(group("Person.?"),), would=Would("redact")),
        record(mode="monitor", part=2, parts=2, would=Would("redact", None, (group("Person.?"),))),
    ]
    assert found(*parts) == [("Person.?", "would drop", 1)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"decision": "deny", "reason": "response_not_described", "status": 418}, ("response_not_described (status 418)", "refused", 1)),
        ({"mode": "monitor", "decision": "allow", "would": Would("deny", "response_not_described"), "status": 418},
         ("response_not_described (status 418)", "would refuse", 1)),
        ({"kind": "denial", "decision": "deny", "reason": "parameter_not_described", "status": 400}, ("parameter_not_described", "refused", 1)),
        ({"kind": "denial", "decision": "deny", "reason": "operation_not_described", "operation": None}, ("operation_not_described", "refused", 1)),
        ({"decision": "deny", "reason": "token_expired"}, None),
        ({"kind": "admin", "withheld": (group("x"),)}, None),
    ],
)  # fmt: skip
def test_what_nothing_describes_is_a_gap_and_other_refusals_are_none(more, expected):
    assert found(record(**more)) == ([] if expected is None else [expected])


def test_only_the_window_counts():
    assert found(record(withheld=(group("Person.?"),)), since=NOW + dt.timedelta(seconds=1)) == []


def test_who_when_and_under_which_catalog():
    later = record(id="b", app="other", ts=NOW + dt.timedelta(hours=1), withheld=(group("Person.?"),), catalog="before")
    (gap,) = gaps(map(encode, (record(withheld=(group("Person.?"),), catalog="before"), later)), NOW, CATALOG)
    assert (gap.apps, gap.first, gap.last, gap.current) == ({"quiz": 1, "other": 1}, NOW, later.ts, False)
    (gap,) = gaps([encode(record(withheld=(group("Person.?"),)))], NOW, CATALOG)
    assert gap.current


def test_a_line_that_is_no_record_is_told():
    with pytest.raises(ValueError, match="truncated"):
        gaps([b'{"unclassified'], NOW, CATALOG)
