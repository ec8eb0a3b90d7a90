"""Consent over HTTP: put, get, withdraw one; mark the store loaded. ``load`` has the import.

Invariants:

- A call's record is durable before the call acts and before it is answered. An act that then does not come about gets a
  second record that says so. Without the log: 503 ``audit_unavailable``, and nothing changed.
- But a withdrawal protects a person, so it acts first: with the log down it is in force all the same, and the answer is
  503 ``audit_unavailable`` with ``applied: true``. To withdraw again is harmless: the caller repeats it until the answer
  is 200, and by then it is on record.
"""

import datetime as dt
from typing import Any

from aiohttp import web

from audit_proxy.core.errors import ConsentUnavailable
from audit_proxy.core.statements import (
    StatementInvalid,
    WithdrawalStatement,
    check_app,
    check_subject,
    grant,
    withdrawal,
)
from audit_proxy.frontends.admin.call import Call, answer
from audit_proxy.frontends.admin.problems import AdminReason, Refused
from audit_proxy.ports import ConsentAdmin, ConsentLoad, Held, HeldGrant


def rfc3339(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC, to the microsecond where there is a fraction."""
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _grant(held: HeldGrant) -> dict[str, Any]:
    return {
        "scopes": held.grant.scopes.split(" "),
        "purpose": held.grant.purpose,
        "expires_at": rfc3339(held.grant.expires_at),
        "granted_at": rfc3339(held.grant.granted_at),
        "recorded_at": rfc3339(held.recorded_at),
        "source": held.grant.source,
        "evidence": held.grant.evidence,
        "in_effect": held.in_effect,
    }


def _withdrawal(made: WithdrawalStatement) -> dict[str, Any]:
    return {
        "app": made.app,
        "withdrawn_at": rfc3339(made.withdrawn_at),
        "source": made.source,
        "evidence": made.evidence,
    }


def _held(app: str, subject: str, held: Held) -> dict[str, Any]:
    return {
        "app": app,
        "subject": subject,
        "withdrawn": held.withdrawn,
        "grants": list(map(_grant, held.grants)),
        "withdrawals": list(map(_withdrawal, held.withdrawals)),
    }


class ConsentApi:
    def __init__(self, store: ConsentAdmin, loader: ConsentLoad) -> None:
        self._store = store
        self._loader = loader

    async def put(self, call: Call) -> web.Response:
        app, subject = await _pair(call)
        body = await call.body()
        try:
            given = grant(body, app, subject)
        except StatementInvalid as error:
            raise await _invalid(call, error) from error
        target = {
            "app": app,
            "subject": call.trail.person(subject),
            "purpose": given.purpose,
            "scopes": given.scopes.split(" "),
            "expires_at": rfc3339(given.expires_at),
        }
        audit_id = await call.record(app=app, target=target)
        try:
            outcome = await self._store.put(given)
        except ConsentUnavailable as error:
            raise await _undone(call, AdminReason.consent_unavailable, app, target) from error
        if outcome == "superseded":
            raise await _undone(call, AdminReason.superseded, app, target)
        return answer({"outcome": outcome}, audit_id)

    async def get(self, call: Call) -> web.Response:
        app, subject = await _pair(call)
        audit_id = await call.record(app=app, target={"app": app, "subject": call.trail.person(subject)})
        try:
            held = await self._store.held(app, subject)
        except ConsentUnavailable as error:
            raise Refused(AdminReason.consent_unavailable) from error
        return answer(_held(app, subject, held), audit_id)

    async def withdraw(self, call: Call) -> web.Response:
        app, subject = await _pair(call, all_apps=True)
        body = await call.body()
        try:
            made = withdrawal(body, app, subject)
        except StatementInvalid as error:
            raise await _invalid(call, error) from error
        target = {"app": app, "subject": call.trail.person(subject)}
        try:
            withdrawn_at = rfc3339(await self._store.withdraw(made))
        except ConsentUnavailable as error:
            raise await _undone(call, AdminReason.consent_unavailable, app, target) from error
        try:
            audit_id = await call.record(app=app, target=target)
        except Refused as error:
            raise Refused(error.reason, "repeat the call", applied=True, withdrawn_at=withdrawn_at) from error
        return answer({"withdrawn_at": withdrawn_at}, audit_id)

    async def loaded(self, call: Call) -> web.Response:
        audit_id = await call.record()
        try:
            await self._loader.mark_loaded()
        except ConsentUnavailable as error:
            raise await _undone(call, AdminReason.consent_unavailable, None, None) from error
        return answer({"loaded": True}, audit_id)


async def _pair(call: Call, *, all_apps: bool = False) -> tuple[str, str]:
    names = call.request.match_info
    try:
        return check_app(names["app"], all_apps=all_apps), check_subject(names["subject"])
    except StatementInvalid as error:
        raise await _invalid(call, error) from error


async def _invalid(call: Call, error: StatementInvalid) -> Refused:
    await call.record(reason=AdminReason.statement_invalid)
    return Refused(AdminReason.statement_invalid, str(error))


async def _undone(call: Call, reason: AdminReason, app: str | None, target: dict[str, Any] | None) -> Refused:
    await call.record(app=app, target=target, reason=reason)
    return Refused(reason)
