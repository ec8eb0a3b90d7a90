"""What stands in the admin API's bodies and answers, as JSON Schemas."""

from typing import Any

from audit_proxy.core.detection.account import Status
from audit_proxy.core.statements import APP_MAX, EVIDENCE_MAX, SOURCE_MAX
from audit_proxy.frontends.admin.problems import AdminReason

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
APP: Schema = {"type": "string", "minLength": 1, "maxLength": APP_MAX, "description": "The OAuth client id."}
SUBJECT: Schema = {
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
_REASON: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 500,
    "description": "Why; it is recorded as it stands.",
}
_BY_WINDOW: Schema = {"type": "object", "description": "People, by window.", "additionalProperties": _COUNT}
_APP_SHORT: dict[str, Schema] = {
    "id": APP,
    "name": {"type": "string"},
    "owner": {"type": "string"},
    "tier": {"type": "string"},
    "status": {"enum": [status.value for status in Status]},
    "since": _TIME_OR_NULL,
    "people_24h": {**_COUNT, "description": "People other than its users whose data it received."},
    "open_findings": _COUNT,
}
SCHEMAS: dict[str, Schema] = {
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
            "app": APP,
            "subject": SUBJECT,
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
            "app": APP,
            "subject": SUBJECT,
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
                "items": _object({"app": APP, "withdrawn_at": _TIME, "source": _SOURCE, "evidence": _EVIDENCE}),
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
            "subject": SUBJECT,
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
    "Retention": _object(
        {
            "retention_days": {"type": "integer", "minimum": 1},
            "minimum_index": {**_COUNT, "description": "Of the first record that is kept."},
            "would_be": {**_COUNT, "description": "What the minimum index would be after pruning now."},
        }
    ),
    "PruneResult": _object(
        {"minimum_index": _COUNT, "removed": {**_COUNT, "description": "How many records were removed."}}
    ),
    "Decision": _object({"reason": _REASON}),
    "Dismissal": _object(
        {"reason": _REASON, "finding": {"type": "string", "description": "The id of the finding's record."}}
    ),
    "Apps": _object({"apps": {"type": "array", "items": _object(_APP_SHORT)}}),
    "AppShown": _object(
        {
            **_APP_SHORT,
            "protected": {"type": "boolean", "description": "Never quarantined by a machine."},
            "status_by": {"type": ["string", "null"], "description": "An admin token's name, or 'machine'."},
            "status_reason": {"type": ["string", "null"]},
            "people": _BY_WINDOW,
            "holders": _BY_WINDOW,
            "without_grant": _BY_WINDOW,
            "missed": _BY_WINDOW,
            "budget_used": {
                "type": "object",
                "description": "The highest share of a limit that is used, by window.",
                "additionalProperties": {"type": "number", "minimum": 0},
            },
            "still_leaking": {
                "type": "boolean",
                "description": "People other than its users left in the last minutes.",
            },
            "last_at": _TIME_OR_NULL,
            "trust_reset_at": _TIME_OR_NULL,
            "blocked_holders": _COUNT,
            "categories": {"type": "object", "description": "When each was last taken.", "additionalProperties": _TIME},
            "findings": {"type": "array", "description": "Open ones, newest first.", "items": {"type": "object"}},
            "records": {"type": "array", "description": "Ids of the last audit records.", "items": {"type": "string"}},
            "siblings": {"type": "array", "description": "Its owner's other apps.", "items": _object(_APP_SHORT)},
        }
    ),
    "Live": _object({"status": {"const": "ok"}}),
    "Ready": _object(
        {
            "status": {"enum": ["ok", "unready"]},
            "checks": {"type": "object", "additionalProperties": {"enum": ["ok", "failed", "timeout"]}},
        }
    ),
}
