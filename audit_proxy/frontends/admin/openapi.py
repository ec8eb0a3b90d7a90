"""The admin API's OpenAPI 3.1 document, as it is served."""

import functools
from typing import Any

from audit_proxy import __version__
from audit_proxy.core.statements import APP_MAX, EVIDENCE_MAX, LINE_MAX, SOURCE_MAX
from audit_proxy.frontends.admin.access import ACTIONS
from audit_proxy.frontends.admin.problems import MEDIA_TYPE, STATUS, TITLES, AdminReason

Schema = dict[str, Any]

_TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339, with its offset."}
_TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time", "description": "RFC 3339, with its offset."}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SOURCE: Schema = {"type": "string", "maxLength": SOURCE_MAX, "description": "Where the statement was collected."}
_EVIDENCE: Schema = {
    "type": "string",
    "maxLength": EVIDENCE_MAX,
    "description": "What proves it, e.g. a form's version.",
}
_PURPOSE: Schema = {
    "type": "string",
    "pattern": r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$",
    "description": "A fideslang data use; it covers those below it.",
}
_SCOPES: Schema = {
    "description": "Scope tokens (RFC 6749 section 3.3): an array, or one string separated by single spaces.",
    "oneOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string", "minLength": 1}],
}
_APP: Schema = {"type": "string", "minLength": 1, "maxLength": APP_MAX, "description": "The OAuth client id."}
_SUBJECT: Schema = {
    "type": "string",
    "pattern": "^[a-z][a-z0-9_.-]{0,62}:.+$",
    "description": "The person: namespace:id.",
    "examples": ["person:1001"],
}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return made | ({"required": required} if required else {})


_COUNTS: dict[str, Schema] = {
    "lines": {**_COUNT, "description": "Lines read so far."},
    "taken": {**_COUNT, "description": "Statements that changed something."},
    "unchanged": {**_COUNT, "description": "Statements that were stored already."},
    "superseded": {**_COUNT, "description": "Grants that a withdrawal or a newer grant stands against."},
    "refused": {**_COUNT, "description": "Lines that are no valid statement."},
    "withdrawals_refused": {**_COUNT, "description": "Of the refused lines, those that may have been withdrawals."},
}
_SCHEMAS: dict[str, Schema] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "reason"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "reason": {"enum": [reason.value for reason in AdminReason]},
            "detail": {"type": "string"},
            "applied": {"type": "boolean", "description": "The change is in force although the call was not recorded."},
            "withdrawn_at": _TIME,
        },
    },
    "GrantBody": _object(
        {
            "scopes": _SCOPES,
            "purpose": _PURPOSE,
            "expires_at": {**_TIME_OR_NULL, "description": "RFC 3339; null: until withdrawn."},
            "granted_at": {
                **_TIME_OR_NULL,
                "description": "When the person gave it. Absent: now, which lifts a withdrawal. Given: it is superseded by "
                "whatever came after.",
            },
            "source": _SOURCE,
            "evidence": _EVIDENCE,
        },
        optional=("expires_at", "granted_at", "source", "evidence"),
    ),
    "WithdrawalBody": _object({"source": _SOURCE, "evidence": _EVIDENCE}, optional=("source", "evidence")),
    "Statement": _object(
        {
            "app": _APP,
            "subject": _SUBJECT,
            "scopes": _SCOPES,
            "purpose": _PURPOSE,
            "expires_at": _TIME_OR_NULL,
            "granted_at": {
                **_TIME_OR_NULL,
                "description": "When the person gave it. A grant without it never lifts a withdrawal.",
            },
            "source": _SOURCE,
            "evidence": _EVIDENCE,
            "withdrawn": {
                "type": "boolean",
                "description": "True: a withdrawal, from the app or (app '*') from all; then no scopes, purpose or expiry.",
            },
            "withdrawn_at": _TIME_OR_NULL,
        },
        optional=(
            "scopes",
            "purpose",
            "expires_at",
            "granted_at",
            "source",
            "evidence",
            "withdrawn",
            "withdrawn_at",
        ),
        description="One line of an import: a grant (scopes and purpose are needed) or a withdrawal.",
    ),
    "Held": _object(
        {
            "app": _APP,
            "subject": _SUBJECT,
            "withdrawn": {"type": "boolean", "description": "Whether a withdrawal stands and no grant came after it."},
            "grants": {
                "type": "array",
                "items": _object(
                    {
                        "scopes": {"type": "array", "items": {"type": "string"}},
                        "purpose": _PURPOSE,
                        "expires_at": _TIME_OR_NULL,
                        "granted_at": {**_TIME_OR_NULL, "description": "null: the statement did not say."},
                        "recorded_at": _TIME,
                        "source": _SOURCE,
                        "evidence": _EVIDENCE,
                        "in_effect": {"type": "boolean", "description": "No withdrawal came after it."},
                    }
                ),
            },
            "withdrawals": {
                "type": "array",
                "items": _object({"app": _APP, "withdrawn_at": _TIME, "source": _SOURCE, "evidence": _EVIDENCE}),
            },
        }
    ),
    "PutResult": _object({"outcome": {"const": "taken"}}),
    "WithdrawResult": _object({"withdrawn_at": _TIME}),
    "LoadedResult": _object({"loaded": {"const": True}}),
    "Progress": _object(
        {
            "done": {"type": "boolean", "description": "True on the last line, where the file was read to its end."},
            **_COUNTS,
            "loaded": {"type": "boolean", "description": "Whether the store counts as loaded now."},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of the bytes that were read."},
            "problems": {
                "type": "array",
                "description": "The first refused lines.",
                "items": _object({"line": {"type": "integer", "minimum": 1}, "reason": {"type": "string"}}),
            },
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
        optional=("loaded", "sha256", "problems", "problem"),
        description="One line of an import's answer; only the last has more than counts.",
    ),
    "EraseResult": _object(
        {
            "erased": {"const": True},
            "epochs": {**_COUNT, "description": "In how many key epochs that had not been done before."},
        }
    ),
    "Pseudonyms": _object(
        {
            "subject": _SUBJECT,
            "pseudonyms": {
                "type": "object",
                "description": "By live key epoch; none where the person was erased.",
                "additionalProperties": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
            },
        }
    ),
    "Keys": _object(
        {
            "epochs": {"type": "array", "items": _object({"epoch": {"type": "integer", "minimum": 1}, "began": _TIME})},
            "in_force": {"type": "integer", "minimum": 1},
        }
    ),
    "RotateResult": _object({"epoch": {"type": "integer", "minimum": 1}}),
    "Live": _object({"status": {"const": "ok"}}),
    "Ready": _object(
        {
            "status": {"enum": ["ok", "unready"]},
            "checks": {"type": "object", "additionalProperties": {"enum": ["ok", "failed", "timeout"]}},
        }
    ),
}

_AUDITED = {"X-Audit-Id": {"description": "The call's record in the audit log.", "schema": {"type": "string"}}}
_BODY = (AdminReason.request_too_large, AdminReason.request_timeout, AdminReason.media_type_unsupported)
_DURABLE = (AdminReason.audit_unavailable, AdminReason.consent_unavailable, AdminReason.internal_error)
_RECORDED = (AdminReason.audit_unavailable, AdminReason.internal_error)
_PARAMETERS = [
    {"name": "app", "in": "path", "required": True, "schema": _APP},
    {"name": "subject", "in": "path", "required": True, "schema": _SUBJECT},
]


def _content(schema: str, media: str = "application/json") -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _refusals(*reasons: AdminReason) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for reason in reasons:
        status = str(STATUS[reason])
        text = f"`{reason.value}`: {TITLES[reason]}."
        made = answers.setdefault(status, {"description": text, "content": _content("Problem", MEDIA_TYPE)})
        if made["description"] != text:
            made["description"] += f" {text}"
    return answers


def _operation(action: str, summary: str, ok: dict[str, Any], *reasons: AdminReason, **more: Any) -> dict[str, Any]:
    refusals = _refusals(AdminReason.token_missing, AdminReason.token_invalid, AdminReason.role_insufficient, *reasons)
    roles = ", ".join(sorted(ACTIONS[action]))
    return {
        "operationId": action,
        "summary": summary,
        "description": f"Roles: {roles}.",
        "responses": {"200": ok, **refusals},
        **more,
    }


def _ok(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": content, "headers": _AUDITED}


@functools.cache
def openapi() -> dict[str, Any]:
    """The document. Shared: not to be changed."""
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "audit-proxy admin API",
            "version": __version__,
            "description": "Consent, erasure, keys, health and metrics. Every call is a record of the audit log, durable before the "
            "answer; probes and metrics scrapes are not recorded.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": {
            "/v1/consent/{app}/{subject}": {
                "parameters": _PARAMETERS,
                "put": _operation(
                    "consent.put",
                    "Store a person's grant for an app, in place of the one for the same purpose.",
                    _ok("The grant is in force.", _content("PutResult")),
                    *_BODY,
                    AdminReason.statement_invalid,
                    AdminReason.superseded,
                    *_DURABLE,
                    requestBody={"required": True, "content": _content("GrantBody")},
                ),
                "get": _operation(
                    "consent.get",
                    "What is stored about a person's consent towards an app.",
                    _ok("Grants and withdrawals.", _content("Held")),
                    AdminReason.statement_invalid,
                    *_DURABLE,
                ),
            },
            "/v1/consent/{app}/{subject}/withdraw": {
                "parameters": _PARAMETERS,
                "post": _operation(
                    "consent.withdraw",
                    "Withdraw a person's consent from an app, or from all (app '*'). In force within a second everywhere.",
                    _ok("The withdrawal is in force.", _content("WithdrawResult")),
                    *_BODY,
                    AdminReason.statement_invalid,
                    *_DURABLE,
                    requestBody={"required": False, "content": _content("WithdrawalBody")},
                ),
            },
            "/v1/consent/import": {
                "post": _operation(
                    "consent.import",
                    "Load many statements from a file. At its end the store counts as loaded, unless every line was "
                    "refused or one that may have been a withdrawal.",
                    _ok(
                        "Progress while it runs, one JSON object a line; the last has the outcome.",
                        _content("Progress", "application/x-ndjson"),
                    ),
                    AdminReason.media_type_unsupported,
                    AdminReason.file_invalid,
                    AdminReason.import_running,
                    AdminReason.import_cut_short,
                    *_DURABLE,
                    requestBody={
                        "required": True,
                        "description": f"Lines of at most {LINE_MAX} bytes. CSV has a header line with the keys of a "
                        "statement; scopes are separated by spaces; an empty field is an absent key.",
                        "content": {**_content("Statement", "application/x-ndjson"), "text/csv": text["text/plain"]},
                    },
                ),
            },
            "/v1/consent/loaded": {
                "post": _operation(
                    "consent.loaded",
                    "Say that the store is loaded: third parties with a grant are disclosed from here on.",
                    _ok("It counts as loaded.", _content("LoadedResult")),
                    *_DURABLE,
                ),
            },
            "/v1/subjects/{subject}/erase": {
                "parameters": _PARAMETERS[1:],
                "post": _operation(
                    "subject.erase",
                    "Erase a person from the pseudonym keys, for ever: nobody can tell any more which records are about "
                    "them. Until the next key epoch they count as withdrawn from every app.",
                    _ok("The person is erased.", _content("EraseResult")),
                    AdminReason.statement_invalid,
                    AdminReason.keys_unavailable,
                    *_RECORDED,
                ),
            },
            "/v1/subjects/{subject}/pseudonyms": {
                "parameters": _PARAMETERS[1:],
                "get": _operation(
                    "subject.pseudonyms",
                    "What records call a person, in every live key epoch.",
                    _ok("The pseudonyms.", _content("Pseudonyms")),
                    AdminReason.statement_invalid,
                    *_RECORDED,
                ),
            },
            "/v1/keys": {
                "get": _operation(
                    "keys.list",
                    "The live key epochs.",
                    _ok("When each began.", _content("Keys")),
                    *_RECORDED,
                ),
            },
            "/v1/keys/rotate": {
                "post": _operation(
                    "keys.rotate",
                    "Begin a new key epoch: from now on everybody has another pseudonym.",
                    _ok("The epoch in force.", _content("RotateResult")),
                    AdminReason.keys_unavailable,
                    *_RECORDED,
                ),
            },
            "/v1/openapi.json": {
                "get": _operation(
                    "openapi.get",
                    "This document.",
                    _ok("OpenAPI 3.1.", {"application/json": {"schema": {"type": "object"}}}),
                    AdminReason.audit_unavailable,
                    AdminReason.internal_error,
                ),
            },
            "/metrics": {
                "get": _operation(
                    "metrics.get",
                    "Metrics in Prometheus's text format or OpenMetrics.",
                    {
                        "description": "The metrics.",
                        "content": {**text, "application/openmetrics-text": text["text/plain"]},
                    },
                    AdminReason.internal_error,
                ),
            },
            "/livez": {
                "get": {
                    "operationId": "livez",
                    "summary": "Whether the process answers.",
                    "security": [],
                    "responses": {"200": {"description": "It does.", "content": _content("Live")}},
                },
            },
            "/readyz": {
                "get": {
                    "operationId": "readyz",
                    "summary": "Whether what the proxy depends on answers.",
                    "security": [],
                    "responses": {
                        "200": {"description": "All of it does.", "content": _content("Ready")},
                        "503": {"description": "Some of it does not.", "content": _content("Ready")},
                    },
                },
            },
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of admin-tokens.yaml."}
            },
        },
    }
