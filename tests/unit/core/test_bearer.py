"""Where a request carries its token (RFC 6750 section 2)."""

import pytest

from audit_proxy.core.bearer import bearer_token
from audit_proxy.core.errors import Reason, Refusal


def reason(*args, **options):
    found = bearer_token(*args, **options)
    assert isinstance(found, Refusal)
    assert "S3CRET" not in found.detail
    return found.reason


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_header_s_token_is_the_request_s(scheme):
    assert bearer_token(f"{scheme} abc", [("q", "1")]) == "abc"


def test_a_request_without_a_token_says_so():
    assert reason(None, []) is Reason.token_missing
    assert reason(None, [("q", "1")]) is Reason.token_missing


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "S3CRET", "Bearer a S3CRET", "Bearer  S3CRET", " Bearer S3CRET"]
)
def test_what_is_not_bearer_and_one_token_is_malformed(header):
    assert reason(header, []) is Reason.token_malformed


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(
    ("header", "query"),
    [
        ("Bearer S3CRET, Bearer S3CRET", []), ("Bearer S3CRET, ", []), (", Bearer S3CRET", []), ("Basic x, Bearer S3CRET", []),
        ("Bearer S3CRET", [("access_token", "S3CRET")]), ("Bearer S3CRET", [("access_token", "")]),
        ("Basic x", [("access_token", "S3CRET")]), ("", [("access_token", "S3CRET")]),
        (None, [("access_token", "S3CRET"), ("access_token", "S3CRET")]), (None, [("access_token", ""), ("access_token", "x")]),
    ],
)  # fmt: skip
def test_two_tokens_are_refused_whichever_they_are(header, query, unsafe):
    """Also equal ones, empty ones, and where tokens in the query are permitted."""
    assert reason(header, query, unsafe_in_query=unsafe) is Reason.token_repeated


def test_a_token_in_the_query_is_refused_unless_a_setting_permits_it():
    query = [("a", "1"), ("access_token", "S3CRET")]
    assert reason(None, query) is Reason.token_misplaced
    assert bearer_token(None, query, unsafe_in_query=True) == "S3CRET"
    assert reason(None, [("access_token", "")], unsafe_in_query=True) is Reason.token_malformed
