"""Monitor: the app gets what the platform sent, and the record says what enforce would have done.

Invariants:

- Status, headers and body are the platform's (``passed``), whatever is judged and whatever fails. Only where the platform
  gives no answer the app gets one of ours. The platform gets what the app sent, but for sealed cursors, which are opened.
- A request and its answer are held back for at most ``monitor.max_delay_ms`` together, beside the time in which the app
  sends its body: for the token, ids, consent, the body's end and the record. What is not decided by then passes undecided.
- Every failure and every delay that was too long counts in ``fail_open_total{where}``. What is not recorded is told in a
  ``gap``.
- A record is durable before the answer begins, if the log takes it in time. Where the length of what passes uninspected is
  not known by then, a second one says it at the end.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, nullcontext

import msgspec
import structlog
from aiohttp import ClientResponse, web

from audit_proxy.core.errors import AuditUnavailable, Consent, Reason, Refusal
from audit_proxy.core.exchange import Response
from audit_proxy.core.policy import Mode
from audit_proxy.core.record import Record
from audit_proxy.frontends.data_plane.coding import ACCEPTED
from audit_proxy.frontends.data_plane.connections import AppGone
from audit_proxy.frontends.data_plane.deadlines import Deadline, Deadlines
from audit_proxy.frontends.data_plane.exchange import Exchange
from audit_proxy.frontends.data_plane.passed import PassedAnswer, bodiless
from audit_proxy.frontends.data_plane.relay import all_that_came, app_ends, ask_for_body, joined
from audit_proxy.frontends.data_plane.upstream import FAILURES, UpstreamError, translated
from audit_proxy.pipeline.admit import Admission
from audit_proxy.pipeline.review import Outcome, stream_plan

_logger = structlog.get_logger("audit_proxy.data_plane")
_OUTAGES: dict[str, str] = {  # reasons and grounds that mean that a dependency failed, and which
    Reason.keys_unavailable: "keys",
    Reason.introspection_unavailable: "introspection",
    Reason.holder_unavailable: "subject_ids",
    Consent.subjects_unavailable: "subject_ids",
    Consent.consent_unavailable: "consent",
}
# what enforce does not ask for: the answers, and the headers of requests that lead to them
_OTHER_ANSWERS = frozenset({206, 304, 412, 416})
_CONDITIONS = ("Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")


class Late(Exception):  # noqa: N818  (a condition, not a bug of ours)
    """What was waited for did not come in time."""


def _unseen(turned_away: Outcome | None) -> Outcome:
    """The outcome of an answer that passes uninspected."""
    if turned_away is None:
        return Outcome(0, None, uninspected=True, undecided=True)
    turned_away.uninspected = True
    return turned_away


class Delay:
    """How long one request may still be held back."""

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._left = seconds
        self._deadline: Deadline | None = None

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """What is awaited within the block ends with Late once the request was held back for too long."""
        deadline = self._deadline = self._deadlines.begin(self._left)
        try:
            yield
        except asyncio.CancelledError:
            if not deadline.passed or deadline.task.uncancel():
                raise  # the cancellation of somebody else
            raise Late from None
        finally:
            self._deadline = None
            self._deadlines.end(deadline)
            self._left = max(0.0, deadline.at - self._deadlines.time())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is awaited within the block is not our delay."""
        deadline = self._deadline
        if deadline is None:
            yield
            return
        left, deadline.at = deadline.at - self._deadlines.time(), float("inf")
        try:
            yield
        finally:
            deadline.at = self._deadlines.time() + left


class ModalExchange(Exchange):
    """One request in the mode that policy says."""

    __slots__ = ("_delay",)

    async def run(self) -> web.StreamResponse:
        stages = self._stages
        admitter = stages.admitter
        now = stages.clock.now()
        self._delay: Delay | None = None
        request = self._request()
        admission = admitter.begin(request, stages.recorder.new_id(now), now)
        decided = True
        if admission.mode is Mode.enforce:  # for all that is known before the app is
            await admitter.identify(request, admission)
        else:
            decided = await self._in_time(admission, admitter.identify(request, admission))
        if admission.mode is Mode.enforce:
            await admitter.judge(request, admission, self._read_body)
            return await self._enforce(admission)
        if decided:
            decided = await self._in_time(admission, admitter.judge(request, admission, self._read_body))
        return await self._monitor(admission, decided)

    async def _read_body(self) -> bytes | Refusal:
        with self._delay.paused() if self._delay is not None else nullcontext():
            return await super()._read_body()

    def _bounded(self) -> Delay:
        if self._delay is None:
            self._delay = Delay(self._stages.upstream.deadlines, self._wire.monitor_delay_s)
        return self._delay

    async def _in_time(self, admission: Admission, step: Awaitable[None]) -> bool:
        """Whether a step of admission came to an end."""
        try:
            with self._bounded().bounded():
                await step
        except Late:
            self._stages.metrics.fail_open("delay")
            return False
        except Exception as error:  # noqa: BLE001  (monitor passes under every fault, and counts it)
            self._fault("admission", error)
            admission.refusal = Refusal(Reason.internal_error)
        return True

    def _fault(self, where: str, error: Exception) -> None:
        _logger.error("fault", error=type(error).__name__)
        self._stages.metrics.fail_open(where)

    # -- the platform's answer ---------------------------------------------------------------------------------------

    async def _monitor(self, admission: Admission, decided: bool) -> web.StreamResponse:
        operation = admission.operation
        # also of a request that was refused, where enough is known of it: to record what left
        judged = decided and admission.asked is not None and operation is not None and not operation.unjudged
        asked_at = time.perf_counter()
        try:
            async with AsyncExitStack() as stack:
                with nullcontext() if judged else app_ends(self._incoming):
                    await ask_for_body(self._incoming)
                    answer = await stack.enter_async_context(self._ask(admission, self._whole_body(admission)))
                self._upstream_s = time.perf_counter() - asked_at
                if judged:
                    return await self._look(admission, answer)
                return await self._pass(admission, answer, Outcome(0, None, uninspected=True, undecided=not decided))
        except UpstreamError as error:
            refusal = error.refusal
        except AppGone:
            refusal = Refusal(Reason.app_gone)
        response = self._problem(refusal, None)
        outcome = await self._would_not_answer(admission, refusal)
        outcome.status, outcome.left = response.status, ()
        await self._tell(admission, outcome, 0)
        return response

    def _whole_body(self, admission: Admission) -> bytes | AsyncIterator[bytes] | None:
        """The app's body as it came: what was read to be judged, and what may still follow. With a sealed cursor, the body
        as it was judged.
        """
        incoming = self._incoming
        if admission.opened and admission.asked is not None:
            return admission.asked.body
        if not incoming.body_exists:
            return None
        if incoming.content.at_eof():
            return self._body
        return joined(self._body, incoming.content)

    async def _look(self, admission: Admission, answer: ClientResponse) -> web.StreamResponse:
        """Judges the answer if it comes to its end in time, and passes it."""
        parts: list[bytes] = []
        ended = broken = False
        try:
            with self._bounded().bounded():
                turned_away = None
                if admission.refusal is None:
                    turned_away = await self._stages.reviewer.turn_away(admission, answer.status)
                if answer.content_length is None and self._is_stream(admission, answer):
                    outcome = _unseen(turned_away)  # it may have no end
                else:
                    ended = await self._read(answer, parts)
                    outcome = await self._would(admission, answer, b"".join(parts) if ended else None, turned_away)
        except Late:
            self._stages.metrics.fail_open("delay")
            outcome = _unseen(None)
        except FAILURES as error:
            broken = True
            outcome = await self._would_not_answer(admission, translated(error, answer).refusal)
            outcome.uninspected = True
        except Exception as error:  # noqa: BLE001  (monitor passes under every fault, and counts it)
            self._fault("review", error)
            outcome = Outcome(0, None, refusal=Refusal(Reason.internal_error), uninspected=True)
        return await self._pass(admission, answer, outcome, b"".join(parts), ended=ended, broken=broken)

    async def _would_not_answer(self, admission: Admission, refusal: Refusal) -> Outcome:
        """What enforce would do where the platform gives no whole answer."""
        outcome = Outcome(0, None, refusal=refusal)
        if admission.refusal is not None:
            return outcome
        try:
            with self._bounded().bounded():
                outcome = await self._unanswered(admission, refusal)
        except Late:
            self._stages.metrics.fail_open("delay")
        except Exception as error:  # noqa: BLE001  (monitor passes under every fault, and counts it)
            self._fault("review", error)
        return outcome

    async def _read(self, answer: ClientResponse, parts: list[bytes]) -> bool:
        """Reads the body into ``parts``; whether to its end, or past the size limit."""
        size = 0
        async with aclosing(all_that_came(answer)) as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > self._wire.response_body:
                    return False
        return True

    @staticmethod
    def _is_stream(admission: Admission, answer: ClientResponse) -> bool:
        assert admission.operation is not None  # admitted
        kinds = answer.headers.getall("Content-Type", ())
        head = Response(answer.status, {"content-type": kinds[0] if len(kinds) == 1 else ""}, b"")
        return stream_plan(admission.operation, head) is not None

    async def _would(
        self, admission: Admission, answer: ClientResponse, raw: bytes | None, turned_away: Outcome | None
    ) -> Outcome:
        """What enforce would do with an answer, and what left with it. ``raw`` None: it is over the size limit."""
        if raw is None:
            return await self._too_large(admission, answer.status)
        seen = await self._look_into(admission, answer.status, answer.headers, raw)
        seen.withheld += self._stages.passing(admission, answer.status, answer.headers)[1]
        if admission.refusal is None and turned_away is None:
            return _unseen(None) if self._asked_for_something_else(answer, seen) else seen
        # enforce would not have looked into it
        seen.left = (*seen.disclosed, *seen.withheld)
        seen.disclosed, seen.withheld, seen.refusal = (), (), None
        if turned_away is not None:
            seen.withheld, seen.refusal = turned_away.withheld, turned_away.refusal
            seen.people = {**turned_away.people, **seen.people}
        return seen

    def _asked_for_something_else(self, answer: ClientResponse, outcome: Outcome) -> bool:
        """Whether the answer is one that enforce would not have asked for, so that it says nothing of what would be."""
        headers = self._incoming.headers
        if self._incoming.method == "HEAD":
            return True  # enforce judges what GET answers
        if answer.status in _OTHER_ANSWERS:
            return any(name in headers for name in _CONDITIONS)
        if outcome.refusal is None or outcome.refusal.reason is not Reason.response_not_inspectable:
            return False
        coding = ",".join(answer.headers.getall("Content-Encoding", ())).strip().lower()
        asked = ",".join(headers.getall("Accept-Encoding", ())).lower()
        return bool(coding) and coding not in ACCEPTED and (coding in asked or "*" in asked)

    def _count_outages(self, admission: Admission, outcome: Outcome) -> None:
        whole = admission.refusal or outcome.refusal
        why = {group.ground for group in outcome.withheld} | ({whole.reason} if whole is not None else set())
        for where in {_OUTAGES[one] for one in why if one in _OUTAGES}:
            self._stages.metrics.fail_open(where)

    async def _pass(
        self,
        admission: Admission,
        answer: ClientResponse,
        outcome: Outcome,
        first: bytes = b"",
        *,
        ended: bool = False,
        broken: bool = False,
    ) -> web.StreamResponse:
        """Records and sends the answer, of whose body ``first`` was read, up to where it ``ended`` or was ``broken`` off."""
        outcome.status = answer.status
        if outcome.uninspected:
            outcome.left = ()  # nobody knows
        else:
            self._count_people(admission, outcome)
        self._count_outages(admission, outcome)
        response = PassedAnswer(answer, first)
        response.broken = broken
        if ended or broken or bodiless(self._incoming.method, answer.status):
            await self._tell(admission, outcome, len(first))
            return response
        length = answer.content_length
        if length is not None:
            await self._tell(admission, outcome, length)
            await self._relay(answer, response)
            return response
        await self._begin_to_tell(admission, outcome)
        await self._relay(answer, response)
        await self._tell(admission, outcome, response.sent, {"chunks": 1, "bytes": response.sent})
        return response

    def _count_people(self, admission: Admission, outcome: Outcome) -> None:
        """Counts whom the answer is about, and what enforce would do about the app's budget."""
        if outcome.left is None:
            outcome.left = (*outcome.disclosed, *outcome.withheld)
        try:
            self._stages.reserver.reserve(admission, outcome)
        except Exception as error:  # noqa: BLE001  (monitor passes under every fault, and counts it)
            self._fault("detection", error)

    async def _relay(self, answer: ClientResponse, response: PassedAnswer) -> None:
        try:
            with app_ends(self._incoming):
                await response.prepare(self._incoming)
                async with aclosing(all_that_came(answer)) as chunks:
                    async for chunk in chunks:
                        await response.write(chunk)
        except (*FAILURES, AppGone, ConnectionError):
            response.broken = True

    # -- the record --------------------------------------------------------------------------------------------------

    async def _tell(
        self, admission: Admission, outcome: Outcome, size: int, totals: dict[str, int] | None = None
    ) -> None:
        """Records the outcome. Counts and logs the request."""
        record = self._made(admission, outcome, size)
        if record is not None and totals is not None:
            record = msgspec.structs.replace(record, counts={**record.counts, **totals})
        if await self._written(admission, record) and record is not None:
            self._count(admission, outcome, record)

    async def _begin_to_tell(self, admission: Admission, outcome: Outcome) -> None:
        """Records that an answer of unknown length is about to pass."""
        record = self._made(admission, outcome, None)
        if record is not None:
            record = msgspec.structs.replace(record, phase="chunk", seq=1, counts={})
        if await self._written(admission, record) and record is not None:
            self._stages.metrics.record(record.kind)

    def _made(self, admission: Admission, outcome: Outcome, size: int | None) -> Record | None:
        elapsed = time.perf_counter() - self._began
        try:
            return self._stages.recorder.build(admission, outcome, size=size, elapsed=elapsed)
        except Exception as error:  # noqa: BLE001  (monitor passes under every fault, and counts it)
            self._fault("audit", error)
            return None

    async def _written(self, admission: Admission, record: Record | None) -> bool:
        """Whether the log took the record, durably or not yet. Without one, or with one that cannot be stored, a gap is told."""
        recorder = self._stages.recorder
        try:
            if record is not None:
                try:
                    durable = recorder.append(record)
                except AuditUnavailable:  # too long to be stored; else the future says so, and the log tells of it
                    self._stages.metrics.fail_open("audit")
                    record = None
            if record is None:
                durable = recorder.append(recorder.gap(admission))
            with self._bounded().bounded():
                await durable
        except Late:
            self._stages.metrics.fail_open("delay")
        except AuditUnavailable:
            self._stages.metrics.fail_open("audit")
            return False
        return record is not None
