"""Judged answers in lines or events, released chunk by chunk.

Invariants:

- A chunk is judged by itself, with the consent of that moment, and released after its record is durable. The first chunk
  decides whether the answer begins at all. A closing record totals the chunks, however the stream ended.
- A stream that cannot go on (a chunk that is refused, no record, a platform that breaks off or stalls, an expired token, a
  suspended app) ends the app's connection without the end of the body, so that no client takes it for whole.
- At most one chunk is held besides what the sockets hold. While the app does not read, the platform is not read; an app
  that takes nothing for the upstream's total time is cut off, and one that has left ends the platform's part.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from aiohttp import ClientResponse, web
from multidict import CIMultiDict

from audit_proxy.core.errors import AuditUnavailable, Reason, Refusal
from audit_proxy.core.events import Cutter, UnitTooLong
from audit_proxy.core.exchange import Response
from audit_proxy.core.record import Record
from audit_proxy.core.redaction import Group
from audit_proxy.frontends.data_plane.coding import CodingError, decoder
from audit_proxy.frontends.data_plane.problems import STATUS, proxy_status
from audit_proxy.frontends.data_plane.stages import Stages
from audit_proxy.frontends.data_plane.upstream import FAILURES, translated
from audit_proxy.pipeline.admit import Admission
from audit_proxy.pipeline.observe import observe
from audit_proxy.pipeline.record import StreamTotals
from audit_proxy.pipeline.review import Outcome, stream_plan

_GATHER_S = 0.05  # how long a whole line or event may wait for more
_LOOK_S = 0.25  # how often a quiet stream looks whether the app is still there
_ALIVE = b":\n\n"  # what the app gets of the platform's comments: that the stream lives


class _AppGoneError(Exception):
    """The app has left, or reads no more."""


class JudgedStream:
    """One such answer. ``applies``: whether it is one at all."""

    def __init__(
        self, stages: Stages, admission: Admission, incoming: web.BaseRequest, answer: ClientResponse, began: float
    ) -> None:
        assert admission.operation is not None  # admitted
        self._stages = stages
        self._admission = admission
        self._incoming = incoming
        self._answer = answer
        self._began = began
        self._patience_s = stages.upstream.limits.total_s
        kinds = answer.headers.getall("Content-Type", ())
        self._headers = {"content-type": kinds[0] if len(kinds) == 1 else ""}
        self._plan = stream_plan(admission.operation, Response(answer.status, self._headers, b""))
        self._response: web.StreamResponse | None = None
        self._totals = StreamTotals(admission.unmapped)

    @property
    def applies(self) -> bool:
        return self._plan is not None

    async def run(self, passing: CIMultiDict[str], lost: tuple[Group, ...]) -> web.StreamResponse | Outcome:
        """The answer after its end, or the Outcome to answer with where it did not begin. ``passing``: headers that may
        pass; ``lost``: what of them does not, recorded with the first chunk. Raises AuditUnavailable and what reading the platform raises, while the answer has not begun.
        """
        whole = False
        refusal: Refusal | None = None
        try:
            outcome = await self._through(passing, lost)
            if self._response is None:
                return outcome or await self._review(b"")
            refusal = outcome.refusal if outcome is not None else None
            whole = outcome is None
        except AuditUnavailable:
            if self._response is None:
                raise
            refusal = Refusal(Reason.audit_unavailable)
        except FAILURES as error:
            if self._response is None:
                raise
            refusal = translated(error, self._answer).refusal
        except _AppGoneError:
            refusal = Refusal(Reason.app_gone)
        finally:
            self._answer.close()
            if self._response is not None and not whole:
                await self._close(refusal)
        if self._response is None:
            return Outcome(499, None, refusal=refusal)
        if not whole or not await self._close(None):
            self._cut_off()
        return self._response

    async def _through(self, passing: CIMultiDict[str], lost: tuple[Group, ...]) -> Outcome | None:
        """Releases chunk after chunk; the Outcome that ends the stream early, None at its end."""
        async with aclosing(self._chunks()) as chunks:
            try:
                async for chunk in chunks:
                    outcome = await self._review(chunk)
                    withheld = outcome.refusal is not None and outcome.refusal.reason is Reason.not_found
                    if outcome.refusal is not None and (self._response is None or not withheld):
                        return outcome
                    outcome.withheld += lost
                    lost = ()
                    await self._release(outcome, passing)
            except (CodingError, UnitTooLong) as error:
                too_long = isinstance(error, UnitTooLong)
                reason = Reason.response_too_large if too_long else Reason.response_not_inspectable
                return Outcome(502, None, refusal=Refusal(reason, str(error)), uninspected=True)
        return None

    async def _review(self, chunk: bytes) -> Outcome:
        now = self._stages.clock.now()
        lapsed = self._stages.admitter.lapsed(self._admission, now)
        if lapsed is not None:
            return Outcome(STATUS[lapsed.reason], None, refusal=lapsed)
        self._admission = msgspec.structs.replace(self._admission, now=now)
        answer = Response(self._answer.status, self._headers, chunk)
        outcome = await self._stages.reviewer.review(self._admission, answer)
        self._stages.reserver.reserve(self._admission, outcome)
        return outcome

    async def _release(self, outcome: Outcome, passing: CIMultiDict[str]) -> None:
        body = outcome.body or b""
        recorded = bool(body or outcome.withheld or outcome.refusal is not None)
        if recorded:
            totals = self._totals
            record = await self._stages.recorder.chunk(
                self._admission, outcome, seq=totals.chunks + 1, size=len(body), elapsed=self._elapsed()
            )
            totals.add(outcome, len(body))
            self._observe(record, outcome.unclassified, outcome.unmapped)
        elif self._plan is not None and self._plan.events and self._response is not None:
            body = _ALIVE
        try:
            async with asyncio.timeout(self._patience_s):
                if self._response is None and recorded:
                    self._response = self._begun(outcome, passing)
                    await self._response.prepare(self._incoming)
                if self._response is not None and body:
                    await self._response.write(body)
        except (TimeoutError, ConnectionError) as error:
            raise _AppGoneError from error

    def _begun(self, outcome: Outcome, passing: CIMultiDict[str]) -> web.StreamResponse:
        assert outcome.content_type is not None  # it was judged, and not refused
        headers = passing.copy()
        headers["X-Audit-Id"] = self._admission.id
        headers["Proxy-Status"] = proxy_status(self._stages.wire.via, None, self._answer.status)
        headers["Content-Type"] = outcome.content_type
        headers.setdefault("Cache-Control", "no-store")
        return web.StreamResponse(status=self._answer.status, headers=headers)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """The body without its coding, in chunks. Raises CodingError, UnitTooLong, and what reading raises."""
        assert self._plan is not None  # applies
        clock = asyncio.get_running_loop().time
        cutter = Cutter(events=self._plan.events)
        removing = decoder(",".join(self._answer.headers.getall("Content-Encoding", ())))
        read = asyncio.ensure_future(self._answer.content.readany())
        due: float | None = None  # when what is waiting has to go
        moved = clock()  # when the last line or event became whole
        try:
            while True:
                await asyncio.wait({read}, timeout=_LOOK_S if due is None else max(0.0, due - clock()))
                transport = self._incoming.transport
                if transport is None or transport.is_closing():
                    raise _AppGoneError
                if read.done():
                    data = read.result()
                    if not data:
                        break
                    for piece in removing.pieces(data) if removing is not None else (data,):
                        for chunk in cutter.feed(piece):
                            yield chunk
                            moved = clock()
                    read = asyncio.ensure_future(self._answer.content.readany())
                now = clock()
                if cutter.waiting or not cutter.unfinished:
                    moved = now
                elif now - moved >= self._patience_s:
                    raise TimeoutError
                due = (due or now + _GATHER_S) if cutter.waiting else None
                if due is not None and now >= due:
                    due = None
                    yield cutter.take()
        finally:
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)
        if removing is not None and not removing.complete:
            raise CodingError("the coded body is incomplete")
        if rest := cutter.end():
            yield rest

    async def _close(self, refusal: Refusal | None) -> bool:
        """The closing record; whether it is durable."""
        outcome = Outcome(self._answer.status, None, refusal=refusal)
        try:
            record = await self._stages.recorder.close(
                self._admission, outcome, totals=self._totals, elapsed=self._elapsed()
            )
        except AuditUnavailable:
            self._stages.metrics.denial(self._admission.label, Reason.audit_unavailable.value)
            return False
        self._observe(record, 0, self._admission.unmapped)
        return True

    def _observe(self, record: Record, unclassified: int, unmapped: int) -> None:
        label, seconds = self._admission.label, self._elapsed()
        metrics = self._stages.metrics
        observe(metrics, label, record, unclassified=unclassified, unmapped=unmapped, seconds=seconds, upstream=0.0)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _cut_off(self) -> None:
        transport = self._incoming.transport
        if transport is not None:
            transport.abort()
