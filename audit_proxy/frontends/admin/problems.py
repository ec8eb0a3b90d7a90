"""Refusals of the admin API: RFC 9457 problem details with a stable ``reason``."""

from enum import StrEnum
from typing import Any

import msgspec
from aiohttp import web


class AdminReason(StrEnum):
    """Why an admin call was refused. An id that ``core.errors`` has too means the same there."""

    token_missing = "token_missing"
    token_invalid = "token_invalid"
    role_insufficient = "role_insufficient"
    not_found = "not_found"
    method_not_allowed = "method_not_allowed"
    statement_invalid = "statement_invalid"
    file_invalid = "file_invalid"
    request_too_large = "request_too_large"
    request_timeout = "request_timeout"
    media_type_unsupported = "media_type_unsupported"
    superseded = "superseded"
    import_running = "import_running"
    import_cut_short = "import_cut_short"
    audit_unavailable = "audit_unavailable"
    consent_unavailable = "consent_unavailable"
    keys_unavailable = "keys_unavailable"
    log_unusable = "log_unusable"
    retention_unset = "retention_unset"
    app_unknown = "app_unknown"
    finding_unknown = "finding_unknown"
    reason_invalid = "reason_invalid"
    detection_unavailable = "detection_unavailable"
    internal_error = "internal_error"


STATUS: dict[AdminReason, int] = {
    AdminReason.token_missing: 401,
    AdminReason.token_invalid: 401,
    AdminReason.role_insufficient: 403,
    AdminReason.not_found: 404,
    AdminReason.method_not_allowed: 405,
    AdminReason.statement_invalid: 422,
    AdminReason.file_invalid: 422,
    AdminReason.request_too_large: 413,
    AdminReason.request_timeout: 408,
    AdminReason.media_type_unsupported: 415,
    AdminReason.superseded: 409,
    AdminReason.import_running: 409,
    AdminReason.import_cut_short: 400,
    AdminReason.audit_unavailable: 503,
    AdminReason.consent_unavailable: 503,
    AdminReason.keys_unavailable: 503,
    AdminReason.log_unusable: 503,
    AdminReason.retention_unset: 409,
    AdminReason.app_unknown: 404,
    AdminReason.finding_unknown: 404,
    AdminReason.reason_invalid: 422,
    AdminReason.detection_unavailable: 503,
    AdminReason.internal_error: 500,
}
TITLES: dict[AdminReason, str] = {
    AdminReason.token_missing: "A bearer token is needed",
    AdminReason.token_invalid: "The token is not known",
    AdminReason.role_insufficient: "The token's role does not permit this",
    AdminReason.not_found: "No such resource",
    AdminReason.method_not_allowed: "The resource has no such method",
    AdminReason.statement_invalid: "The statement about consent is not valid",
    AdminReason.file_invalid: "The file cannot be read line by line",
    AdminReason.request_too_large: "The request is too large",
    AdminReason.request_timeout: "The request's body did not arrive in time",
    AdminReason.media_type_unsupported: "The body has a media type or coding that is not taken here",
    AdminReason.superseded: "A withdrawal or a newer grant stands against this grant",
    AdminReason.import_running: "Another import is running",
    AdminReason.import_cut_short: "The file ended before its end",
    AdminReason.audit_unavailable: "The call cannot be recorded now",
    AdminReason.consent_unavailable: "The consent store does not answer",
    AdminReason.keys_unavailable: "The pseudonym keys cannot be changed now",
    AdminReason.log_unusable: "The log's files cannot be read or changed",
    AdminReason.retention_unset: "The configuration sets no retention",
    AdminReason.app_unknown: "No such app is registered",
    AdminReason.finding_unknown: "The app has no such open finding",
    AdminReason.reason_invalid: "The decision lacks a reason that can be recorded",
    AdminReason.detection_unavailable: "The app's status cannot be stored now",
    AdminReason.internal_error: "Something went wrong",
}
MEDIA_TYPE = "application/problem+json"

encode = msgspec.json.encode


def document(reason: AdminReason, detail: str = "", **members: Any) -> dict[str, Any]:
    """The problem as an object. ``detail`` is for people and holds no value the caller sent."""
    body = {
        "type": f"urn:audit-proxy:{reason.value}",
        "title": TITLES[reason],
        "status": STATUS[reason],
        "reason": reason.value,
    }
    return body | ({"detail": detail} if detail else {}) | members


def problem(reason: AdminReason, detail: str = "", **members: Any) -> web.Response:
    """The problem as an answer, with RFC 6750's challenge where a token is the matter."""
    headers = {}
    if reason is AdminReason.token_missing:
        headers["WWW-Authenticate"] = 'Bearer realm="admin"'
    elif reason is AdminReason.token_invalid:
        headers["WWW-Authenticate"] = 'Bearer realm="admin", error="invalid_token"'
    elif reason is AdminReason.role_insufficient:
        headers["WWW-Authenticate"] = 'Bearer realm="admin", error="insufficient_scope"'
    elif STATUS[reason] == 503:
        headers["Retry-After"] = "1"
    body = encode(document(reason, detail, **members))
    return web.Response(status=STATUS[reason], body=body, content_type=MEDIA_TYPE, headers=headers)


class Refused(Exception):  # noqa: N818  (a refusal on its way out of a handler)
    """Ends a handler with a problem."""

    def __init__(self, reason: AdminReason, detail: str = "", **members: Any) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
        self.members = members
