"""The admin API's OpenAPI 3.1 document, as it is served."""

import functools
from typing import Any

from audit_proxy import __version__
from audit_proxy.core.statements import LINE_MAX
from audit_proxy.frontends.admin.access import ACTIONS
from audit_proxy.frontends.admin.problems import MEDIA_TYPE, STATUS, TITLES, AdminReason
from audit_proxy.frontends.admin.schemas import APP, SCHEMAS, SUBJECT

_AUDITED = {"X-Audit-Id": {"description": "The call's record in the audit log.", "schema": {"type": "string"}}}
_BODY = (AdminReason.request_too_large, AdminReason.request_timeout, AdminReason.media_type_unsupported)
_DURABLE = (AdminReason.audit_unavailable, AdminReason.consent_unavailable, AdminReason.internal_error)
_RECORDED = (AdminReason.audit_unavailable, AdminReason.internal_error)
_PARAMETERS = [
    {"name": "app", "in": "path", "required": True, "schema": APP},
    {"name": "subject", "in": "path", "required": True, "schema": SUBJECT},
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


def _decision(action: str, summary: str, *reasons: AdminReason, body: str = "Decision") -> dict[str, Any]:
    """What a person decides about an app."""
    return _operation(
        action,
        summary,
        _ok("The app as it is now.", _content("AppShown")),
        *_BODY,
        AdminReason.app_unknown,
        *reasons,
        AdminReason.reason_invalid,
        AdminReason.detection_unavailable,
        *_RECORDED,
        requestBody={"required": True, "content": _content(body)},
    )


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
            "description": "Consent, erasure, keys, retention, apps' status, health and metrics. Every call is a record of the audit log, durable before the "
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
            "/v1/log/retention": {
                "get": _operation(
                    "log.retention",
                    "What retention has removed from the log, and what it would remove now.",
                    _ok("Indices of records.", _content("Retention")),
                    AdminReason.retention_unset,
                    AdminReason.log_unusable,
                    *_RECORDED,
                ),
            },
            "/v1/log/prune": {
                "post": _operation(
                    "log.prune",
                    "Carry retention out now: remove the segments whose records are all older than audit.retention_days.",
                    _ok("What is kept.", _content("PruneResult")),
                    AdminReason.retention_unset,
                    AdminReason.log_unusable,
                    AdminReason.keys_unavailable,
                    *_RECORDED,
                ),
            },
            "/v1/apps": {
                "get": _operation(
                    "app.list",
                    "All registered apps and their status.",
                    _ok("In the order of apps.yaml.", _content("Apps")),
                    *_RECORDED,
                ),
            },
            "/v1/apps/{app}": {
                "parameters": _PARAMETERS[:1],
                "get": _operation(
                    "app.show",
                    "Whom an app reached, what was found, and what would break if it were stopped.",
                    _ok("The app.", _content("AppShown")),
                    AdminReason.app_unknown,
                    *_RECORDED,
                ),
            },
            "/v1/apps/{app}/restrict": {
                "parameters": _PARAMETERS[:1],
                "post": _decision("app.restrict", "Give an app the data of its own users only, until it is released."),
            },
            "/v1/apps/{app}/quarantine": {
                "parameters": _PARAMETERS[:1],
                "post": _decision("app.quarantine", "Stop an app: all its tokens are refused, until it is released."),
            },
            "/v1/apps/{app}/release": {
                "parameters": _PARAMETERS[:1],
                "post": _decision("app.release", "Let an app go on, with a new allowance on top of what it reached."),
            },
            "/v1/apps/{app}/dismiss": {
                "parameters": _PARAMETERS[:1],
                "post": _decision(
                    "app.dismiss",
                    "Close a finding; the app keeps its status.",
                    AdminReason.finding_unknown,
                    body="Dismissal",
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
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of admin-tokens.yaml."}
            },
        },
    }
