"""Apps over HTTP: whom they reached, and what a person decides about them.

Invariants:

- A decision needs a reason, and its record is durable before it takes effect. One that then cannot be stored gets a second
  record.
- The reason stands in the record as it was given: it is about an app, and must name no person.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from audit_proxy.core.detection.account import Status
from audit_proxy.core.errors import DetectionUnavailable
from audit_proxy.frontends.admin.call import Call, answer
from audit_proxy.frontends.admin.problems import AdminReason, Refused
from audit_proxy.pipeline.app_control import AppControl

REASON_MAX = 500  # characters


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a decision."""

    reason: str


class Dismissal(msgspec.Struct, forbid_unknown_fields=True):
    """``finding``: id of the finding's record."""

    reason: str
    finding: str


_Given = TypeVar("_Given", Decision, Dismissal)


class AppsApi:
    def __init__(self, control: AppControl) -> None:
        self._control = control

    async def list(self, call: Call) -> web.Response:
        audit_id = await call.record()
        return answer({"apps": self._control.every()}, audit_id)

    async def show(self, call: Call) -> web.Response:
        app = await self._app(call)
        audit_id = await call.record(app=app)
        return answer(self._control.one(app), audit_id)

    def decides(self, status: Status) -> Callable[[Call], Awaitable[web.Response]]:
        """The handler that gives an app a status."""

        async def decide(call: Call) -> web.Response:
            app = await self._app(call)
            given = await self._body(call, Decision)
            audit_id = await call.record(app=app, target={"reason": given.reason})
            try:
                self._control.decide(app, status, call.actor, given.reason)
            except DetectionUnavailable as error:
                await call.record(app=app, reason=AdminReason.detection_unavailable)
                raise Refused(AdminReason.detection_unavailable, "in force until the next start: repeat it") from error
            return answer(self._control.one(app), audit_id)

        return decide

    async def dismiss(self, call: Call) -> web.Response:
        app = await self._app(call)
        given = await self._body(call, Dismissal)
        target = {"reason": given.reason, "finding": given.finding[:64]}
        audit_id = await call.record(app=app, target=target)
        try:
            closed = self._control.dismiss(app, given.finding)
        except DetectionUnavailable as error:
            await call.record(app=app, reason=AdminReason.detection_unavailable)
            raise Refused(AdminReason.detection_unavailable, "in force until the next start: repeat it") from error
        if not closed:
            await call.record(app=app, reason=AdminReason.finding_unknown)
            raise Refused(AdminReason.finding_unknown)
        return answer(self._control.one(app), audit_id)

    async def _app(self, call: Call) -> str:
        app = call.request.match_info["app"]
        if not self._control.knows(app):
            await call.record(reason=AdminReason.app_unknown)
            raise Refused(AdminReason.app_unknown)
        return app

    @staticmethod
    async def _body(call: Call, shape: type[_Given]) -> _Given:
        data = await call.body()
        try:
            given = msgspec.json.decode(data, type=shape)
        except ValueError:
            given = None
        reason = given.reason if given is not None else ""
        if given is not None and reason.strip() and reason.isprintable() and len(reason) <= REASON_MAX:
            return given
        await call.record(reason=AdminReason.reason_invalid)
        text = f"send JSON with 'reason': one line of at most {REASON_MAX} characters"
        raise Refused(AdminReason.reason_invalid, text)
