"""Refusals in the shapes that the platforms' own client libraries turn into their typed errors."""

import json

import pytest

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.frontends.data_plane.problems import STATUS, challenge, problem, proxy_status

SCOPED = frozenset({"read:accounts", "read"})
MISSING = Refusal(Reason.scope_missing, "the token lacks a scope that the request needs", SCOPED)
INVALID = Refusal(Reason.token_invalid, "no key of the issuer verifies the token's signature")


def shown(refusal, dialect):
    status, headers, body = problem(refusal, dialect)
    return status, headers["Content-Type"], json.loads(body)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("dialect", ["problem", "graph", "mastodon", "x"])
def test_a_dialect_changes_the_shape_alone(reason, dialect):
    """Every reason has a status, the same in each dialect, and stands in each body; nothing is cached."""
    status, headers, body = problem(Refusal(reason, "why"), dialect)
    assert status == STATUS[reason]
    assert headers["Cache-Control"] == "no-store"
    read = json.loads(body)
    assert (read["error"] if dialect == "graph" else read)["reason"] == reason.value


def test_the_default_is_rfc_9457():
    status, media, body = shown(MISSING, "problem")
    assert (status, media) == (403, "application/problem+json")
    assert body == {
        "type": "urn:audit-proxy:scope_missing",
        "title": "The token lacks a scope",
        "status": 403,
        "reason": "scope_missing",
        "detail": MISSING.detail,
        "scopes": ["read", "read:accounts"],
    }


@pytest.mark.parametrize(("refusal", "code"), [(INVALID, 190), (MISSING, 10)])
def test_graph_errors_are_oauth_exceptions_with_a_code(refusal, code):
    """facebook-sdk reads ``error.code``, and takes a 403 in problem+json for success."""
    _, media, body = shown(refusal, "graph")
    assert media == "application/json"
    assert (body["error"]["type"], body["error"]["code"]) == ("OAuthException", code)
    assert body["error"]["message"] == refusal.detail


def test_mastodon_errors_are_one_text():
    """Mastodon.py shows ``error`` and ignores the rest; the text of a 401 is the platform's own."""
    assert shown(INVALID, "mastodon")[1:] == (
        "application/json",
        {"error": "The access token is invalid", "reason": "token_invalid"},
    )
    assert shown(MISSING, "mastodon")[2]["error"] == MISSING.detail


@pytest.mark.parametrize("refusal", [INVALID, MISSING, Refusal(Reason.overloaded)])
def test_x_errors_are_an_object_with_a_detail(refusal):
    """tweepy reads ``detail``; an array as the body makes it fail."""
    status, media, body = shown(refusal, "x")
    assert media == "application/problem+json"
    assert body["status"] == status
    assert body["detail"]


@pytest.mark.parametrize(
    ("refusal", "error"), [(INVALID, 'error="invalid_token"'), (MISSING, 'error="insufficient_scope"')]
)
def test_a_challenge_ends_with_its_error(refusal, error):
    """praw reads only what follows the last ``=``."""
    value = challenge(refusal, "api")
    assert value is not None
    assert value.startswith('Bearer realm="api"')
    assert value.endswith(error)
    assert value.rsplit("=", 1)[1].strip('"') in ("invalid_token", "insufficient_scope")


def test_a_challenge_without_a_token_names_the_scopes_and_no_error():
    """RFC 6750 section 3: a request that carried no credential is told no error."""
    assert (
        challenge(Refusal(Reason.token_missing, "", SCOPED), "api") == 'Bearer realm="api", scope="read read:accounts"'
    )
    assert challenge(Refusal(Reason.not_found), "api") is None


def test_a_withheld_person_is_told_in_no_header():
    """``not_found`` looks in ``Proxy-Status`` like the platform's own answer; other refusals name their reason."""
    assert proxy_status("p", Refusal(Reason.not_found), None) == "p"
    assert proxy_status("p", MISSING, None) == 'p; error=http_request_denied; details="scope_missing"'
    assert proxy_status("p", None, 200) == "p; received-status=200"
