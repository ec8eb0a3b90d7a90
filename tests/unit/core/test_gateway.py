"""Identity in a gateway's headers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.exchange import Peer
from audit_proxy.core.gateway import GatewayRules, gateway_identity
from audit_proxy.core.identity import Identity

NAME = "dns:gateway.internal"
RULES = GatewayRules("https://gateway/", frozenset({NAME, "sha256:00"}), "x-app", "x-person", "x-scopes", "person")
GATEWAY = Peer(frozenset({NAME, "subject:CN=gateway"}))
GOOD = {"x-app": "quiz", "x-person": "42", "x-scopes": "read email"}


def identity(**changes: str) -> Identity:
    found = gateway_identity({**GOOD, **{f"x-{name}": value for name, value in changes.items()}}, GATEWAY, RULES)
    assert isinstance(found, Identity), found
    return found


def reason(headers: dict[str, str]) -> Reason:
    found = gateway_identity(headers, GATEWAY, RULES)
    assert isinstance(found, Refusal), found
    return found.reason


def test_the_gateway_s_headers_are_an_identity():
    one = identity()
    assert (one.issuer, one.app, one.holder, one.scopes) == ("https://gateway/", "quiz", "person:42", {"read", "email"})
    assert one.expires_at == math.inf


@pytest.mark.parametrize(
    "peer",
    [
        None, Peer(frozenset()), Peer(frozenset({"dns:gateway.internal.evil.example"})), Peer(frozenset({"subject:CN=gateway"})),
        Peer(frozenset({"uri:dns:gateway.internal"})), Peer(frozenset({"dns:*.internal"})), Peer(frozenset({"sha256:0"})),
    ],
)  # fmt: skip
def test_nobody_else_s_headers_say_anything(peer):
    """Without a verified certificate, and with anybody else's."""
    assert gateway_identity(GOOD, peer, RULES) is None


def test_no_certificate_configured_believes_nobody():
    rules = GatewayRules("https://gateway/", frozenset(), "x-app", "x-person", "x-scopes", "person")
    assert gateway_identity(GOOD, GATEWAY, rules) is None


@pytest.mark.parametrize("person", ["", "quiz"])
def test_without_a_person_or_with_the_app_for_one_it_is_app_only(person):
    assert identity(person=person).holder is None
    found = gateway_identity({"x-app": "quiz"}, GATEWAY, RULES)
    assert isinstance(found, Identity)
    assert (found.holder, found.scopes) == (None, frozenset())


def test_a_gateway_that_names_no_app_identifies_nobody():
    """Operations that need no token stay open to it."""
    assert reason({}) is Reason.token_missing
    assert reason({"x-person": "42"}) is Reason.token_missing
    assert reason({"x-app": ""}) is Reason.token_missing


@pytest.mark.parametrize(
    "headers",
    [
        {"x-app": "quiz, poll"}, {"x-app": "quiz,"}, {"x-app": "é"}, {"x-app": "a" * 257}, {"x-person": "1, 2"},
        {"x-person": "4\x7f2"}, {"x-person": "4" * 257}, {"x-scopes": "read, email"}, {"x-scopes": "read  email"},
        {"x-scopes": 'a"b'}, {"x-scopes": " read"},
    ],
)  # fmt: skip
def test_what_is_malformed_or_stands_twice_is_refused(headers):
    assert reason({**GOOD, **headers}) is Reason.token_malformed


@given(st.dictionaries(st.sampled_from(["x-app", "x-person", "x-scopes", "authorization"]), st.text()))
def test_no_headers_whatever_raise(headers):
    found = gateway_identity(headers, GATEWAY, RULES)
    assert isinstance(found, Identity | Refusal)
