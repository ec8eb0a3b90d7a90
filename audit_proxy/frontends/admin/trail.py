"""Records of admin calls.

Invariants:

- People stand in a record as pseudonyms, tokens by name; no evidence, no source, no body.
- ``write`` returns once the record is durable.
- Refused callers cannot flood the log: of one kind of refusal (no token or a wrong one; or one token's role for one
  action) the first is a record at once and the others are counted into one record a second.
- A refusal that could not be recorded stays counted until it can.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.record import RECORD_VERSION, Kind, Record, lines, timestamp, uuid7
from audit_proxy.ports import AuditLog, Clock, Pseudonymizer

OnRecord = Callable[[str], None]  # told the kind of each record once it is durable

_COLLECT_S = 1.0

_log = structlog.get_logger("audit_proxy.admin")


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals that are told as one: an unauthenticated caller has no ``actor``, and no action of theirs is told apart."""

    actor: str | None
    action: str | None


@dataclass(slots=True)
class _Window:
    counts: dict[str, int] = field(default_factory=dict)


class Trail:
    def __init__(self, log: AuditLog, pseudonyms: Pseudonymizer, clock: Clock, node: str, on_record: OnRecord) -> None:
        self._log = log
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._node = node
        self._on_record = on_record
        self._windows: dict[Refusals, _Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def person(self, subject: str) -> str:
        """The subject's pseudonym."""
        return self._pseudonyms.pseudonyms([subject])[0]

    async def write(
        self,
        kind: Kind,
        action: str | None,
        actor: str | None,
        *,
        method: str | None = None,
        route: str | None = None,
        app: str | None = None,
        target: dict[str, Any] | None = None,
        reason: str | None = None,
        counts: dict[str, int] | None = None,
        trace: str | None = None,
    ) -> str:
        """Writes one record; its id. With a ``reason`` the call was refused or did not come about. Raises AuditUnavailable."""
        now = self._clock.now()
        record = Record(
            v=RECORD_VERSION,
            id=uuid7(now, os.urandom(10)),
            ts=timestamp(now),
            node=self._node,
            kind=kind,
            app=app,
            method=method,
            route=route,
            decision="deny" if reason else "allow",
            reason=reason,
            counts=counts or {},
            actor=actor,
            action=action,
            target=target,
            trace=trace,
        )
        await self._log.append(*lines(record))
        self._on_record(kind)
        return record.id

    async def refused(self, which: Refusals, reason: str) -> None:
        """Counts a refusal; the first of its kind in a while is durable on return. Raises nothing: a refusal stands."""
        window = self._windows.get(which)
        if window is not None:
            window.counts[reason] = window.counts.get(reason, 0) + 1
            return
        window = self._windows[which] = _Window({reason: 1})
        try:
            await self._flush(which, window)
        finally:
            task = asyncio.create_task(self._collect(which, window))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _collect(self, which: Refusals, window: _Window) -> None:
        """Flushes what was counted each second, until a second brings nothing."""
        while True:
            await asyncio.sleep(_COLLECT_S)
            if not window.counts:
                del self._windows[which]
                return
            await self._flush(which, window)

    async def _flush(self, which: Refusals, window: _Window) -> None:
        counts, window.counts = window.counts, {}
        if not counts:
            return
        reason = max(counts, key=lambda each: counts[each])
        try:
            await self.write("admin", which.action, which.actor, reason=reason, counts=counts)
        except BaseException as error:
            for each, count in counts.items():
                window.counts[each] = window.counts.get(each, 0) + count
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, AuditUnavailable):
                _log.error("admin_refusal_unrecorded", error=type(error).__name__)

    async def close(self) -> None:
        """Writes what is counted still, as far as the log takes it."""
        for task in tuple(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for which, window in tuple(self._windows.items()):
            await self._flush(which, window)
