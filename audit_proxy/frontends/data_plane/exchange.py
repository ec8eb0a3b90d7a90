"""One request's way over the wire.

Invariants of enforce (``monitor`` states its own):

- Nothing of an answer is released before its record is durable; without a record the answer is 503.
- Only operations marked ``none`` as a whole pass unjudged; every other answer is judged and sent anew, whole or in the
  chunks of ``streams``.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import structlog
from aiohttp import ClientResponse, web
from multidict import CIMultiDict

from audit_proxy.core.bearer import PARAMETER
from audit_proxy.core.catalog.target import without_raw_parameter
from audit_proxy.core.errors import AuditUnavailable, Reason, Refusal
from audit_proxy.core.exchange import Request, Response
from audit_proxy.core.policy import Mode
from audit_proxy.core.record import Record
from audit_proxy.frontends.data_plane.coding import CodingError, TooLarge, decode
from audit_proxy.frontends.data_plane.connections import AppGone
from audit_proxy.frontends.data_plane.fields import Fields
from audit_proxy.frontends.data_plane.headers import (
    Headers,
    add_forwarding,
    as_spelled,
    to_upstream,
    whole_response,
)
from audit_proxy.frontends.data_plane.peer import peer_of
from audit_proxy.frontends.data_plane.problems import STATUS, proxy_status
from audit_proxy.frontends.data_plane.relay import app_ends, ask_for_body, relay
from audit_proxy.frontends.data_plane.stages import Stages, problem_response
from audit_proxy.frontends.data_plane.streams import JudgedStream
from audit_proxy.frontends.data_plane.upstream import Answer, Body, UpstreamError, read_limited
from audit_proxy.frontends.data_plane.whole import WholeResponse
from audit_proxy.frontends.data_plane.writes import is_write, withheld_response
from audit_proxy.pipeline.admit import Admission
from audit_proxy.pipeline.observe import observe
from audit_proxy.pipeline.review import Outcome

_logger = structlog.get_logger("audit_proxy.data_plane")


class Exchange:
    """One request and its answer: the state that the steps share, and the way of an admitted or refused request in enforce."""

    __slots__ = ("_began", "_body", "_fields", "_incoming", "_stages", "_upstream_s", "_wire")

    def __init__(self, stages: Stages, request: web.BaseRequest, fields: Fields) -> None:
        self._stages = stages
        self._wire = stages.wire
        self._incoming = request
        self._fields = fields
        self._began = time.perf_counter()
        self._upstream_s = 0.0
        self._body = b""

    def _request(self) -> Request:
        incoming, gateway = self._incoming, self._wire.gateway_headers
        return Request(
            incoming.method,
            incoming.raw_path,
            self._fields.single,
            None,
            peer_of(incoming.transport) if gateway else None,
        )

    async def _read_body(self) -> bytes | Refusal:
        incoming = self._incoming
        if not incoming.body_exists:
            return b""
        if incoming.headers.get("Content-Encoding", "identity") != "identity":
            return Refusal(Reason.request_not_inspectable, "a request body with a content coding cannot be inspected")
        limit = self._wire.request_body
        if (incoming.content_length or 0) > limit:
            return Refusal(Reason.request_too_large, f"the request body is larger than {limit} bytes")
        parts: list[bytes] = []
        size = 0
        await ask_for_body(self._incoming)
        try:
            async for chunk in incoming.content.iter_any():
                size += len(chunk)
                parts.append(chunk)
                if size > limit:
                    self._body = b"".join(parts)
                    return Refusal(Reason.request_too_large, f"the request body is larger than {limit} bytes")
        except ConnectionError:
            return Refusal(Reason.app_gone)
        except web.RequestPayloadError:
            return Refusal(Reason.request_malformed, "the request body is not framed as its headers say")
        self._body = b"".join(parts)
        return self._body

    async def _enforce(self, admission: Admission) -> web.StreamResponse:
        if admission.refusal is not None:
            return await self._deny(admission, admission.refusal)
        assert admission.operation is not None  # admitted
        try:
            if is_write(admission.method) and not await self._intend(admission):
                return self._problem(Refusal(Reason.audit_unavailable), None)
            if admission.operation.unjudged:
                return await self._stream(admission)
            if admission.operation.streams:
                return await self._judge_as_it_comes(admission)
            return await self._judge(admission)
        except UpstreamError as error:
            refusal, received = error.refusal, error.received
        except AppGone:
            refusal, received = Refusal(Reason.app_gone), None
        return await self._answer(admission, await self._unanswered(admission, refusal), None, received)

    async def _unanswered(self, admission: Admission, refusal: Refusal) -> Outcome:
        """The outcome where the platform gave no whole answer."""
        outcome = Outcome(STATUS[refusal.reason], None, refusal=refusal)
        if is_write(admission.method):  # of a write it has to be said that nobody knows whether it was done
            return outcome
        return await self._stages.reviewer.conceal(admission, outcome)

    async def _deny(self, admission: Admission, refusal: Refusal) -> web.Response:
        outcome = Outcome(STATUS[refusal.reason], None)
        if (
            refusal.reason is Reason.not_found
        ):  # whoever was looked up counts, also where the platform need not be asked
            outcome.refusal = refusal
            if not self._reserved(admission, outcome):
                return self._problem(Refusal(Reason.audit_unavailable), None)
            admission.refusal = outcome.refusal
        return await self._answer(admission, outcome, None, None)

    def _reserved(self, admission: Admission, outcome: Outcome) -> bool:
        """Whether the page is counted; the outcome is a refusal then, where it passes the app's budget."""
        try:
            self._stages.reserver.reserve(admission, outcome)
        except AuditUnavailable:
            self._stages.metrics.denial(admission.label, Reason.audit_unavailable.value)
            return False
        return True

    async def _intend(self, admission: Admission) -> bool:
        """Whether it is durable that this write is about to be forwarded."""
        try:
            record = await self._stages.recorder.intend(admission, elapsed=time.perf_counter() - self._began)
        except AuditUnavailable:
            self._stages.metrics.denial(admission.label, Reason.audit_unavailable.value)
            return False
        self._stages.metrics.record(record.kind)
        return True

    async def _judge(self, admission: Admission) -> web.Response:
        assert admission.operation is not None  # admitted
        assert admission.asked is not None  # admitted
        body = admission.asked.body
        limit = self._wire.response_body
        asked_at = time.perf_counter()
        target, headers = self._for_upstream(admission)
        # HEAD is judged by what GET answers: a status alone would tell a withheld person from an unknown one
        answer = await self._stages.upstream.fetch(admission.operation.method, target, headers, body, limit)
        self._upstream_s = time.perf_counter() - asked_at
        return await self._judge_whole(admission, answer)

    async def _judge_as_it_comes(self, admission: Admission) -> web.StreamResponse:
        assert admission.operation is not None  # admitted
        assert admission.asked is not None  # admitted
        asked_at = time.perf_counter()
        async with self._ask(admission, admission.asked.body) as answer:
            self._upstream_s = time.perf_counter() - asked_at
            status = answer.status
            turned_away = await self._stages.reviewer.turn_away(admission, status)
            if turned_away is not None:
                answer.close()
                if not self._reserved(admission, turned_away):
                    return self._unrecorded(admission, status)
                return await self._answer(admission, turned_away, None, status)
            stream = JudgedStream(self._stages, admission, self._incoming, answer, self._began)
            if not stream.applies:
                async with asyncio.timeout(self._stages.upstream.limits.total_s):
                    raw, complete = await read_limited(answer, self._wire.response_body)
                return await self._judge_whole(admission, Answer(status, answer.headers, raw, complete))
            passing, lost = self._stages.passing(admission, status, answer.headers)
            try:
                result = await stream.run(passing, lost)
            except AuditUnavailable:
                return self._unrecorded(admission, status)
            if isinstance(result, Outcome):
                if result.status == 502:
                    result = await self._stages.reviewer.conceal(admission, result, status)
                return await self._answer(admission, result, passing, status)
            return result

    async def _judge_whole(self, admission: Admission, answer: Answer) -> web.Response:
        status = answer.status
        if not answer.complete:
            return await self._answer(admission, await self._too_large(admission, status), None, status)
        try:
            outcome = await self._review(admission, status, answer.headers, answer.body)
        except Exception as error:
            if not is_write(admission.method):
                raise
            _logger.error("fault", error=type(error).__name__)  # noqa: TRY400  (a traceback can quote a body)
            outcome = Outcome(500, None, refusal=Refusal(Reason.internal_error), uninspected=True)
        if admission.method == "HEAD":
            outcome.body = outcome.content_type = None
            outcome.disclosed = ()
        passing, lost = self._stages.passing(admission, status, answer.headers)
        outcome.withheld += lost
        if not self._reserved(admission, outcome):
            return self._unrecorded(admission, status)
        return await self._answer(admission, outcome, passing, status)

    async def _review(self, admission: Admission, status: int, headers: Headers, raw: bytes) -> Outcome:
        turned_away = await self._stages.reviewer.turn_away(admission, status)
        if turned_away is not None:
            return turned_away
        return await self._look_into(admission, status, headers, raw)

    async def _look_into(self, admission: Admission, status: int, headers: Headers, raw: bytes) -> Outcome:
        kinds = headers.getall("Content-Type", ())
        kind = kinds[0] if len(kinds) == 1 else ""
        try:
            body = decode(raw, ",".join(headers.getall("Content-Encoding", ())), self._wire.response_body)
        except CodingError as error:
            refusal = Refusal(Reason.response_not_inspectable, str(error))
            return await self._uninspectable(admission, refusal, status)
        except TooLarge:
            return await self._too_large(admission, status)
        return await self._stages.reviewer.review(admission, Response(status, {"content-type": kind}, body))

    async def _too_large(self, admission: Admission, received: int) -> Outcome:
        refusal = Refusal(Reason.response_too_large, "the platform's answer is over the size limit")
        return await self._uninspectable(admission, refusal, received)

    async def _uninspectable(self, admission: Admission, refusal: Refusal, received: int) -> Outcome:
        outcome = Outcome(502, None, refusal=refusal, uninspected=True)
        return await self._stages.reviewer.conceal(admission, outcome, received)

    async def _answer(
        self, admission: Admission, outcome: Outcome, passing: CIMultiDict[str] | None, received: int | None
    ) -> web.Response:
        """Records, then releases."""
        refusal = admission.refusal or outcome.refusal
        acted = received if is_write(admission.method) else None
        if refusal is not None and acted is not None and acted != STATUS[refusal.reason]:
            response = withheld_response(self._wire.via, refusal, admission.id, acted)
            outcome.status = acted
        elif refusal is not None and refusal.reason is not Reason.response_not_described:
            response = self._problem(refusal, admission.id, None if refusal.reason is Reason.not_found else received)
            outcome.status = response.status
        else:
            headers = passing if passing is not None else CIMultiDict()
            headers["X-Audit-Id"] = admission.id
            headers["Proxy-Status"] = proxy_status(self._wire.via, refusal, received)
            if outcome.content_type is not None:
                headers["Content-Type"] = outcome.content_type
            headers.setdefault("Cache-Control", "no-store")
            response = WholeResponse(status=outcome.status, headers=headers, body=outcome.body)
        size = len(response.body) if isinstance(response.body, bytes) else 0
        if await self._record(admission, outcome, size):
            return response
        return self._unrecorded(admission, received)

    def _unrecorded(self, admission: Admission, received: int | None) -> web.Response:
        """The answer where the outcome's record is not durable. The intent's is, so a write's answer keeps the id."""
        refusal = Refusal(Reason.audit_unavailable)
        if received is None or not is_write(admission.method):
            return self._problem(refusal, None)
        return withheld_response(self._wire.via, refusal, admission.id, received)

    async def _record(self, admission: Admission, outcome: Outcome, size: int | None) -> bool:
        """Whether the record is durable. Counts and logs the request."""
        elapsed = time.perf_counter() - self._began
        try:
            record = await self._stages.recorder.commit(admission, outcome, size=size, elapsed=elapsed)
        except AuditUnavailable:
            self._stages.metrics.denial(admission.label, Reason.audit_unavailable.value)
            return False
        self._count(admission, outcome, record)
        return True

    def _count(self, admission: Admission, outcome: Outcome, record: Record) -> None:
        seconds = time.perf_counter() - self._began
        observe(
            self._stages.metrics,
            admission.label,
            record,
            unclassified=outcome.unclassified,
            unmapped=admission.unmapped + outcome.unmapped,
            seconds=seconds,
            upstream=self._upstream_s,
        )
        if self._wire.debug:
            _logger.debug(
                "request",
                id=record.id,
                app=admission.label,
                operation=record.operation,
                decision=record.decision,
                reason=record.reason,
                status=record.status,
                ms=round(seconds * 1000, 2),
            )

    # -- unjudged operations stream ----------------------------------------------------------------------------------

    async def _stream(self, admission: Admission) -> web.StreamResponse:
        asked_at = time.perf_counter()
        body = self._incoming.content if self._incoming.body_exists else None
        async with AsyncExitStack() as stack:
            with app_ends(self._incoming):
                await ask_for_body(self._incoming)
                answer = await stack.enter_async_context(self._ask(admission, body))
            self._upstream_s = time.perf_counter() - asked_at
            outcome = Outcome(answer.status, None, uninspected=True)
            if not await self._record(admission, outcome, answer.content_length):
                return self._unrecorded(admission, answer.status)
            headers = whole_response(answer.headers)
            headers["X-Audit-Id"] = admission.id
            headers["Proxy-Status"] = proxy_status(self._wire.via, None, answer.status)
            return await relay(self._incoming, answer, headers)

    # -- the platform ------------------------------------------------------------------------------------------------

    def _ask(self, admission: Admission, body: Body) -> AbstractAsyncContextManager[ClientResponse]:
        """The platform's answer, to be read as it comes."""
        target, headers = self._for_upstream(admission)
        length = self._incoming.content_length
        if body is not None and not isinstance(body, bytes) and length is not None:
            headers["Content-Length"] = str(length)
        return self._stages.upstream.ask(admission.method, target, headers, body)

    def _for_upstream(self, admission: Admission) -> tuple[str, CIMultiDict[str]]:
        """The request target and the headers that the platform gets."""
        incoming, wire, operation = self._incoming, self._wire, admission.operation
        enforce = admission.mode is Mode.enforce
        judged = enforce and operation is not None and not operation.unjudged
        described = operation.header_names if judged and operation is not None else frozenset()
        unbelieved: frozenset[str] = frozenset()
        if enforce and wire.gateway_headers:
            if admission.by_gateway and wire.forward_token:
                described |= wire.gateway_headers
            else:
                unbelieved = wire.gateway_headers
        credential = wire.credential
        if (enforce or admission.sent) and wire.forward_token and admission.moved_token is not None:
            credential = f"Bearer {admission.moved_token}"

        def made() -> CIMultiDict[str]:
            headers = to_upstream(
                incoming.headers if enforce else as_spelled(incoming),
                judged=judged,
                described=described,
                credential=credential,
                forward_token=wire.forward_token,
                unbelieved=unbelieved,
                overrides=not enforce,
            )
            trusted = incoming.remote in wire.trusted
            add_forwarding(
                headers, incoming.headers, incoming.remote, trusted=trusted, via=wire.via, scheme=incoming.scheme
            )
            return headers

        headers = self._fields.forwarded((judged, enforce, described, credential, unbelieved), made)
        # enforce sends the form that was judged; monitor sends what came, save sealed cursors and a token not to go on
        if enforce and admission.target is not None:
            target = admission.target.text
        elif admission.sent is not None:
            target = admission.sent
        else:
            target = incoming.raw_path if wire.forward_token else without_raw_parameter(incoming.raw_path, PARAMETER)
        return target, headers

    def _problem(self, refusal: Refusal, audit_id: str | None, received: int | None = None) -> web.Response:
        return problem_response(self._wire, refusal, audit_id, received)
