"""Taking the people of a list together gives what taking them one by one gives, whatever stands in the list."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit_proxy.core.consent import Permission
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import find_subjects, parse, render
from audit_proxy.core.policy import RefusedThirdParty, Unclassified
from audit_proxy.core.redaction import GONE, Redactor, Terms, verdicts_of
from tests.unit.core.test_redaction_properties import operation_for

AVAILABLE = frozenset({"read", "email"})
PERSON = {
    "type": "object",
    "x-data-subject": "/id",
    "properties": {
        "id": {"type": ["string", "integer", "boolean"], "x-data-category": "user.unique_id"},
        "name": {"type": "string", "x-data-category": "user.name"},
        "email": {"type": ["string", "null"], "x-data-category": "user.contact.email", "x-required-scopes": ["email"]},
        "score": {"type": "number", "x-data-category": "user.behavior"},
        "kind": {"type": ["string", "boolean"], "x-data-category": "none"},
    },
}
LIST = {"type": "array", "items": PERSON}
OPERATION, _ = operation_for(LIST)
PLAN = OPERATION.responses["200"].media["application/json"].field
IDS: list[Any] = ["1", 1, "2", 2, 0, -1, 2**64, 10**40, True, False, 1.0, None, "", "x" * 2000, [], ["1"], {"id": "1"}]
VALUES: list[Any] = ["v", "", 1, 2**70, 1.5, True, None, [], {}, ["x"], {"id": "1"}]
KEYS = ["id", "name", "email", "score", "kind", "undescribed"]
PERMISSIONS = [
    None,
    Permission(AVAILABLE, Consent.token),
    Permission(frozenset({"read"}), Consent.grant),
    Permission(frozenset({"email"}), Consent.grant),
    Permission(AVAILABLE, Consent.grant),
    Permission(None, Consent.no_grant),
    Permission(None, Consent.withdrawn),
]


class OneByOne(Redactor):
    """Takes nobody together."""

    def _people(self, item: Any, plan: Any, value: Any, context: Any, depth: int) -> list[Any]:
        return self._one_by_one(item, plan, value, context, depth)


class Generally(Redactor):
    """Treats each like any object."""

    def _people(self, item: Any, plan: Any, value: Any, context: Any, depth: int) -> list[Any]:
        found = [self._value(item, one, context, depth) for one in value]
        return [one for one in found if one is not GONE]


def _object(keys: list[str], values: list[Any], raw: Any) -> dict[str, Any]:
    return {key: raw if key == "id" else one for key, one in zip(keys, values, strict=True)}


@st.composite
def alike(draw: st.DrawFn) -> list[Any]:
    """Objects of one shape and one type of ids, now and then with one that differs a little."""
    keys = draw(st.permutations(KEYS).map(lambda all_: all_[: draw(st.integers(1, 6))]))
    values = [draw(st.sampled_from(VALUES)) for _ in keys]
    ids = draw(st.sampled_from([["1", "2", "3"], [1, 2, 2**64], [True, False], ["", "x" * 2000], ["1", 1, True]]))
    people: list[Any] = [_object(keys, values, draw(st.sampled_from(ids))) for _ in range(draw(st.integers(0, 6)))]
    if draw(st.booleans()):
        odd = draw(
            st.one_of(
                st.sampled_from([{}, None, [], "1", 1, {"id": "1"}, {"name": "n"}]),
                st.builds(_object, st.just(keys[::-1]), st.just(values), st.sampled_from(IDS)),
                st.builds(
                    _object, st.just(keys), st.tuples(*[st.sampled_from(VALUES)] * len(keys)), st.sampled_from(IDS)
                ),
            )
        )
        people.insert(draw(st.integers(0, len(people))), odd)
    return people


def _seen(kind: type[Redactor], body: Any, permissions: Any, terms: Terms, *, warm: Any = None) -> Any:
    value = parse(json.dumps(body).encode())
    find_subjects(PLAN, value, 64)
    cache: dict[Any, Any] = {}
    if warm is not None:
        kind(permissions, verdicts_of(terms, cache)).redact(PLAN, parse(json.dumps(warm).encode()))
    result = kind(permissions, verdicts_of(terms, cache)).redact(PLAN, value)

    def listed(groups: Any) -> set[tuple[str, str, str]]:
        return {
            (field, one.ground.value, repr(subject))
            for one in groups
            for field in one.fields
            for subject in one.subjects or (None,)
        }

    return render(result.value), listed(result.disclosed), listed(result.withheld), result.unclassified


@settings(max_examples=300, deadline=None)
@given(
    alike(),
    alike(),
    st.lists(st.sampled_from(PERMISSIONS), min_size=10, max_size=10),
    st.sampled_from(RefusedThirdParty),
    st.sampled_from(Unclassified),
)
@example([{"id": True}, {"id": True}], [], PERMISSIONS[1:2] * 10, RefusedThirdParty.drop, Unclassified.drop)
@example([{"id": ""}, {"id": ""}], [], PERMISSIONS[1:2] * 10, RefusedThirdParty.drop, Unclassified.drop)
@example([{"id": "x" * 2000}], [], PERMISSIONS[1:2] * 10, RefusedThirdParty.drop, Unclassified.drop)
@example([{"id": True}, {"id": 1}], [], PERMISSIONS[1:2] * 10, RefusedThirdParty.drop, Unclassified.drop)
@example([{"id": "1", "name": "v"}] * 3, [], PERMISSIONS[2:3] * 10, RefusedThirdParty.drop, Unclassified.drop)
def test_together_is_one_by_one(body, warm, given_, refused, unclassified) -> None:
    """The same body, and the same people, fields and grounds in the record, whatever was seen before."""
    ids: list[Any] = ["1", "2", "3", 1, 2, 0, -1, 2**64, 10**40, "x" * 2000]
    permissions = {one: given for one, given in zip(ids, given_, strict=True) if given is not None}
    needed = (frozenset({"read"}),)
    terms = Terms(AVAILABLE, needed, refused_third_party=refused, unclassified=unclassified)
    together = _seen(Redactor, body, permissions, terms, warm=warm)
    assert together == _seen(OneByOne, copy.deepcopy(body), permissions, terms)
    assert together == _seen(Generally, copy.deepcopy(body), permissions, terms)


@pytest.mark.parametrize("many", [1, 2, 1000])
def test_whoever_stands_often_in_a_list_is_one_person(many) -> None:
    """Each place is judged alike, and the record names the person once."""
    body = [{"id": "1", "name": "a", "email": "e"}] * many
    permissions = {"1": Permission(frozenset({"read"}), Consent.grant)}
    sent, disclosed, withheld, _ = _seen(Redactor, body, permissions, Terms(AVAILABLE, (frozenset({"read"}),)))
    assert json.loads(sent) == [{"id": "1", "name": "a"}] * many
    assert {one[2] for one in disclosed | withheld} == {"'1'"}
