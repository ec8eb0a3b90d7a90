"""Requests about an opaque token, and what their answers say."""

import base64
import json
import math
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import Verified
from audit_proxy.core.introspection import (
    FACTS,
    OPAQUE_MAX,
    RFC_7662,
    Asking,
    Rules,
    basic_credentials,
    facts_of,
    opaque_refusal,
    parse_pointer,
    places,
    read_facts,
    render,
)
from audit_proxy.core.jose import NotStrict

NOW = 1_000_000.0
RULES = Rules("https://auth.example/", "person")


def asking(pointers: dict[str, str] | None = None, **more: Any) -> Asking:
    given = {
        "method": "POST",
        "url": "https://auth.example/introspect",
        "headers": {},
        "query": {},
        "form": None,
    } | more
    facts = {name: parse_pointer(text) for name, text in (RFC_7662 if pointers is None else pointers).items()}
    return Asking(json=given.pop("json", None), facts=facts, **given)


def read(answer: dict[str, Any], rules: Rules = RULES, pointers: dict[str, str] | None = None) -> Verified | Refusal:
    one = asking(pointers)
    return read_facts([one], [facts_of(one, json.dumps(answer).encode())], rules, NOW)


def identity(answer: dict[str, Any], **more: Any):
    found = read({"active": True, "client_id": "quiz"} | answer, **more)
    assert isinstance(found, Verified), found
    return found.identity


def refused(answer: dict[str, Any], **more: Any) -> Reason:
    found = read({"active": True, "client_id": "quiz"} | answer, **more)
    assert isinstance(found, Refusal)
    return found.reason


# --- placing a token ----------------------------------------------------------------------------------------------------

ANY_TOKEN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80).filter(
    lambda text: opaque_refusal(text) is None
)


@given(ANY_TOKEN, ANY_TOKEN)
def test_whatever_a_token_spells_it_stays_one_value(token, secret):
    """In the query, a header, a form and JSON: read back, each place holds exactly the token, and nothing else came in."""
    values = {"token": token, "secret": secret, "basic": "eA=="}
    query = render(asking(query={"a": "1", "t": "{token}", "s": "1|{secret}"}), values)
    assert parse_qsl(urlsplit(query.url).query, strict_parsing=True) == [("a", "1"), ("t", token), ("s", f"1|{secret}")]
    assert urlsplit(query.url)[:3] == ("https", "auth.example", "/introspect")
    assert urlsplit(query.url).fragment == ""
    form = render(asking(form={"token": "{token}", "secret": "{secret}"}), values)
    assert form.body is not None
    assert parse_qsl(form.body.decode(), strict_parsing=True) == [("token", token), ("secret", secret)]
    body = render(asking(json={"in": [{"token": "{token}"}, 5, None], "b": "<{token}>"}), values)
    assert body.body is not None
    assert json.loads(body.body) == {"in": [{"token": token}, 5, None], "b": f"<{token}>"}
    header = render(asking(headers={"Authorization": "Bearer {token}"}), values)
    assert header.headers["Authorization"] == f"Bearer {token}"
    assert header.headers["Authorization"].isprintable()


def test_a_token_that_spells_a_place_is_not_filled_in_again():
    """Else an app could have the proxy's own secret sent, or read."""
    call = render(
        asking(json={"token": "{token}"}), {"token": "{secret}{basic}", "secret": "S3CRET", "basic": "S3CRET"}
    )
    assert call.body == b'{"token": "{secret}{basic}"}'


@pytest.mark.parametrize(
    "token", ["", "a b", "a\r\nHost: evil", "a\x00", "é", "a\n", 'a"b', "a\\b", "a,b", "\ud800", "a" * (OPAQUE_MAX + 1)]
)
def test_what_no_token_holds_is_malformed(token):
    found = opaque_refusal(token)
    assert found is not None
    assert found.reason is Reason.token_malformed
    assert len(token) < 3 or token not in found.detail


def test_a_query_is_added_to_one_that_is_there():
    call = render(asking(url="https://a.example/x?v=1", query={"t": "{token}"}), {"token": "%&"})
    assert call.url == "https://a.example/x?v=1&t=%25%26"


def test_a_request_shows_nothing_of_itself():
    """Logs and tracebacks may hold its text."""
    call = render(asking(query={"t": "{token}"}, form={"t": "{token}"}, headers={"X": "{token}"}), {"token": "S3CRET"})
    assert "S3CRET" not in repr(call)


def test_basic_credentials_are_form_encoded_first():
    """RFC 6749 section 2.3.1: a colon in the client's id does not end it."""
    name, _, secret = base64.b64decode(basic_credentials("a:b", "p w%é")).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == ("a:b", "p w%é")


def test_places_are_found_wherever_they_stand():
    found = places([{"a": "{token}"}, {"b": [{"c": "x{secret}y"}, 5]}, "{}", "{nonsense}", {"{key}": "no place"}])
    assert found == {"token", "secret", "", "nonsense"}


# --- reading an answer --------------------------------------------------------------------------------------------------


def test_an_answer_of_rfc_7662_becomes_an_identity():
    found = read({
        "active": True, "client_id": "quiz", "sub": "42", "scope": "read email", "exp": NOW + 60, "nbf": NOW - 5,
        "iss": "https://auth.example/", "aud": ["api"], "username": "ann", "token_type": "Bearer",
    })  # fmt: skip
    assert isinstance(found, Verified)
    assert found.not_before == NOW - 5
    one = found.identity
    assert (one.issuer, one.app, one.holder) == ("https://auth.example/", "quiz", "person:42")
    assert (one.scopes, one.expires_at) == ({"read", "email"}, NOW + 60)


@pytest.mark.parametrize("active", [False, None, 1, "true", "True", [True], {"active": True}, 0, ""])
def test_only_true_is_active(active):
    assert refused({"active": active}) is Reason.token_invalid


def test_an_answer_without_active_is_not_active():
    found = read({"client_id": "quiz"})
    assert isinstance(found, Refusal)
    assert found.reason is Reason.token_invalid


@pytest.mark.parametrize("more", [{}, {"sub": None}, {"sub": ""}, {"sub": "quiz"}, {"client_id": "7", "sub": 7}])
def test_a_token_without_a_holder_or_whose_holder_is_its_app_is_app_only(more):
    """RFC 9068 section 2.2 puts the client's id into sub; so do servers that introspect."""
    assert identity(more).holder is None


@pytest.mark.parametrize("sub", [True, 1.5, ["42"], {"id": "42"}, "a\nb", "a" * 257, 2**70])
def test_a_holder_that_is_no_id_is_refused(sub):
    assert refused({"sub": sub}) is Reason.token_malformed


@pytest.mark.parametrize("app", [None, "", True, 1.5, ["quiz"], "é", "a\nb"])
def test_a_token_without_a_valid_app_is_refused(app):
    assert refused({"client_id": app}) is Reason.token_malformed


@pytest.mark.parametrize("scope", [5, True, "a  b", ["a", 5], {"a": True}, 'a"b'])
def test_malformed_scopes_are_a_refusal_never_a_part_of_them(scope):
    assert refused({"scope": scope}) is Reason.token_malformed


def test_no_scopes_are_none():
    assert identity({}).scopes == frozenset()
    assert identity({"scope": ""}).scopes == frozenset()


@pytest.mark.parametrize(
    ("more", "expires_at"),
    [
        ({}, math.inf), ({"exp": 0}, math.inf), ({"exp": NOW + 5}, NOW + 5), ({"exp": str(int(NOW) + 5)}, NOW + 5),
        ({"exp": 5}, 5.0), ({"in": 60}, NOW + 60), ({"in": "60"}, NOW + 60), ({"in": 0}, NOW),
        ({"exp": NOW + 5, "in": 60}, NOW + 5), ({"exp": NOW + 90, "in": 60}, NOW + 60),
    ],
)  # fmt: skip
def test_a_token_ends_when_the_first_of_its_times_does(more, expires_at):
    pointers = dict(RFC_7662) | {"expires_in": "/in"}
    assert identity(more, pointers=pointers).expires_at == expires_at


@pytest.mark.parametrize("time", ["soon", -1, True, [5], 1e300, "1e9", "-5", math.inf])
@pytest.mark.parametrize("name", ["exp", "nbf"])
def test_a_time_that_is_none_is_refused(name, time):
    if time is math.inf:
        with pytest.raises(NotStrict):
            read({"active": True, "client_id": "quiz", name: time})
        return
    assert refused({name: time}) is Reason.token_malformed


def test_an_answer_of_another_issuer_is_invalid():
    assert refused({"iss": "https://other.example/"}) is Reason.token_invalid


@pytest.mark.parametrize(
    ("aud", "good"), [("api", True), (["x", "api"], True), ("x", False), ([], False), (None, False), (5, False)]
)
def test_the_audience_is_judged_where_one_is_set(aud, good):
    rules = Rules("https://auth.example/", "person", frozenset({"api"}))
    if good:
        identity({"aud": aud}, rules=rules)
    else:
        assert refused({"aud": aud}, rules=rules) is Reason.token_invalid


def test_facebook_s_answer_is_read_by_pointers():
    pointers = {
        "active": "/data/is_valid", "app": "/data/app_id", "holder": "/data/user_id", "scopes": "/data/scopes",
        "expires_at": "/data/expires_at",
    }  # fmt: skip
    data = {"app_id": 138483919580948, "is_valid": True, "user_id": "1207059", "scopes": ["email"], "expires_at": 0}
    found = read({"data": data}, pointers=pointers)
    assert isinstance(found, Verified)
    one = found.identity
    assert (one.app, one.holder, one.scopes, one.expires_at) == (
        "138483919580948",
        "person:1207059",
        {"email"},
        math.inf,
    )
    for change in ({"is_valid": False}, {"is_valid": None}):
        assert isinstance(read({"data": data | change}, pointers=pointers), Refusal)
    assert isinstance(read({"error": {"code": 190}}, pointers=pointers), Refusal)


def test_facts_of_several_answers_are_joined():
    """The app and its scopes from one request, the holder from another; each must be active where it says so."""
    app = asking({"app": "/name", "scopes": "/scopes"})
    person = asking({"holder": "/id", "active": "/ok"})
    answers = [facts_of(app, b'{"name":"quiz","scopes":["read"]}'), facts_of(person, b'{"id":"7","ok":true}')]
    found = read_facts([app, person], answers, RULES, NOW)
    assert isinstance(found, Verified)
    assert (found.identity.app, found.identity.holder) == ("quiz", "person:7")
    answers[1]["active"] = False
    assert isinstance(read_facts([app, person], answers, RULES, NOW), Refusal)


@pytest.mark.parametrize("body", [b"", b"[]", b"true", b'{"a":1,"a":2}', b"{", b'{"a":NaN}', b'"\xff"', b"{}x"])
def test_an_answer_that_is_not_one_object_is_none(body):
    with pytest.raises(NotStrict):
        facts_of(asking(), body)


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [("", ()), ("/", ("",)), ("/a/0", ("a", "0")), ("/a~1b/~0", ("a/b", "~")), ("/~01", ("~1",))],
)
def test_a_pointer_is_read_as_rfc_6901_says(pointer, tokens):
    assert parse_pointer(pointer) == tokens


@pytest.mark.parametrize("pointer", ["a", "a/b", "/~", "/~2"])
def test_what_is_no_pointer_is_refused(pointer):
    with pytest.raises(ValueError, match="JSON Pointer"):
        parse_pointer(pointer)


def test_a_pointer_leads_through_arrays_and_to_nothing_where_nothing_is():
    one = asking({"app": "/a/1/id", "holder": "/a/9/id", "scopes": "/a/-1", "active": "/a/x", "issuer": "/a/1/id/deep"})
    assert facts_of(one, b'{"a":[{"id":"x"},{"id":"quiz"}]}') == {"app": "quiz"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([pointer[1:] for pointer in RFC_7662.values()]), JSON))
def test_no_answer_whatever_raises_or_gives_a_half_identity(answer):
    found = read({"active": True} | answer)
    if isinstance(found, Verified):
        assert answer.get("active", True) is True
        assert found.identity.app
        assert all(isinstance(scope, str) for scope in found.identity.scopes)
        assert found.identity.expires_at >= 0


def test_every_fact_of_rfc_7662_is_one_we_know():
    assert set(RFC_7662) <= set(FACTS)
