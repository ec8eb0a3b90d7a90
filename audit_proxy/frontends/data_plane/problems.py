"""Refusals on the wire: RFC 9457 problem details with the stable ``reason``, RFC 6750 challenges, error dialects.

Invariants:

- A withheld person and an unknown id get the same bytes: ``not_found`` has no variable part.
- In a challenge ``error`` goes last: client libraries exist that read only the last parameter.
- A dialect changes the body's shape, never the status or the reason (which also stands in ``Proxy-Status``).

The dialects' shapes are those that the platforms' own client libraries turn into their typed errors.
"""

from typing import Any

import msgspec

from audit_proxy.core.errors import Reason, Refusal

STATUS: dict[Reason, int] = {
    Reason.path_not_normal: 400,
    Reason.query_not_normal: 400,
    Reason.request_too_large: 413,
    Reason.request_not_inspectable: 415,
    Reason.request_malformed: 400,
    Reason.app_gone: 499,  # nobody gets it; it stands in the record
    Reason.app_too_slow: 408,  # nobody gets it; it stands in the metrics
    Reason.token_missing: 401,
    Reason.token_repeated: 400,
    Reason.token_misplaced: 400,
    Reason.token_malformed: 401,
    Reason.token_invalid: 401,
    Reason.token_expired: 401,
    Reason.token_not_yet_valid: 401,
    Reason.issuer_unknown: 401,
    Reason.keys_unavailable: 503,
    Reason.introspection_unavailable: 503,
    Reason.holder_unavailable: 503,
    Reason.operation_not_described: 404,
    Reason.method_not_described: 405,
    Reason.parameter_not_described: 400,
    Reason.parameter_invalid: 400,
    Reason.field_not_described: 400,
    Reason.cursor_invalid: 400,
    Reason.scope_missing: 403,
    Reason.scope_not_approved: 403,
    Reason.app_unknown: 403,
    Reason.app_suspended: 403,
    Reason.app_quarantined: 403,
    Reason.holder_blocked: 403,
    Reason.over_budget: 429,
    Reason.upstream_unreachable: 502,
    Reason.upstream_timeout: 504,
    Reason.upstream_protocol_error: 502,
    Reason.redirect_refused: 502,
    Reason.response_not_described: 502,
    Reason.response_not_inspectable: 502,
    Reason.response_too_large: 502,
    Reason.not_found: 404,
    Reason.audit_unavailable: 503,
    Reason.overloaded: 503,
    Reason.internal_error: 500,
}

TITLES: dict[Reason, str] = {
    Reason.not_found: "Not found",
    Reason.scope_missing: "The token lacks a scope",
    Reason.scope_not_approved: "The app is not approved for a scope",
    Reason.audit_unavailable: "The access cannot be recorded now, so nothing is released",
    Reason.operation_not_described: "No such operation",
    Reason.method_not_described: "The method is not described for this path",
}

_TOKEN_ERRORS = frozenset(
    {
        Reason.token_malformed,
        Reason.token_invalid,
        Reason.token_expired,
        Reason.token_not_yet_valid,
        Reason.issuer_unknown,
    }
)
_PROXY_ERRORS: dict[Reason, str] = {  # RFC 9209 section 2.3
    Reason.upstream_unreachable: "destination_unavailable",
    Reason.upstream_timeout: "http_response_timeout",
    Reason.upstream_protocol_error: "http_protocol_error",
    Reason.response_too_large: "http_response_body_size",
    Reason.response_not_inspectable: "http_response_incomplete",
    Reason.internal_error: "proxy_internal_error",
    Reason.overloaded: "connection_limit_reached",
    Reason.audit_unavailable: "proxy_internal_response",
}
_encode = msgspec.json.encode


def problem(refusal: Refusal, dialect: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (content type and challenge) and body of a refusal."""
    reason = refusal.reason
    status = STATUS[reason]
    title = TITLES.get(reason, reason.value.replace("_", " ").capitalize())
    shape = _DIALECTS[dialect]
    media, body = shape(status, title, refusal)
    return status, {"Content-Type": media, "Cache-Control": "no-store"}, _encode(body)


def challenge(refusal: Refusal, realm: str) -> str | None:
    """The ``WWW-Authenticate`` value (RFC 6750 section 3) of a refusal, or None where none belongs."""
    reason = refusal.reason
    scopes = " ".join(sorted(refusal.scopes))
    scope = f', scope="{scopes}"' if scopes else ""
    if reason is Reason.token_missing:
        return f'Bearer realm="{realm}"{scope}'
    if reason in (Reason.token_repeated, Reason.token_misplaced):
        return f'Bearer realm="{realm}", error="invalid_request"'
    if reason in _TOKEN_ERRORS:
        return f'Bearer realm="{realm}", error="invalid_token"'
    if reason is Reason.scope_missing:
        return f'Bearer realm="{realm}"{scope}, error="insufficient_scope"'
    return None


def proxy_status(name: str, refusal: Refusal | None, received: int | None) -> str:
    """The ``Proxy-Status`` member (RFC 9209) that tells our refusals from the platform's answers."""
    if refusal is not None and refusal.reason is not Reason.not_found:
        error = _PROXY_ERRORS.get(refusal.reason, "http_request_denied")
        return f'{name}; error={error}; details="{refusal.reason.value}"'
    if received is None:
        return name
    return f"{name}; received-status={received}"


def _problem(status: int, title: str, refusal: Refusal) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "type": f"urn:audit-proxy:{refusal.reason.value}",
        "title": title,
        "status": status,
        "reason": refusal.reason.value,
    }
    if refusal.detail:
        body["detail"] = refusal.detail
    if refusal.scopes:
        body["scopes"] = sorted(refusal.scopes)
    return "application/problem+json", body


def _graph(status: int, title: str, refusal: Refusal) -> tuple[str, dict[str, Any]]:
    code = 190 if status == 401 else 10 if status == 403 else 100 if status in (400, 404, 405) else 2
    kind = "OAuthException" if status in (401, 403) else "GraphMethodException"
    return "application/json", {
        "error": {"message": refusal.detail or title, "type": kind, "code": code, "reason": refusal.reason.value}
    }


def _mastodon(status: int, title: str, refusal: Refusal) -> tuple[str, dict[str, Any]]:
    text = (
        "The access token is invalid"
        if status == 401
        else "Record not found"
        if status == 404
        else refusal.detail or title
    )
    return "application/json", {"error": text, "reason": refusal.reason.value}


def _x(status: int, title: str, refusal: Refusal) -> tuple[str, dict[str, Any]]:
    media, body = _problem(status, title, refusal)
    body.setdefault("detail", title)
    return media, body


_DIALECTS = {"problem": _problem, "graph": _graph, "mastodon": _mastodon, "x": _x}
