"""The listener: keeps count of what is in flight, drains on stop, and turns faults into answers.

Invariants:

- A request is in flight until its answer is written, not only until it is made.
- Once an answer has begun nothing else is said on its connection: a fault after that ends the connection.
"""

import asyncio
import ssl
from typing import cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.frontends.data_plane.connections import Connection, Listener
from audit_proxy.frontends.data_plane.fields import Fields
from audit_proxy.frontends.data_plane.framing import unacceptable
from audit_proxy.frontends.data_plane.monitor import ModalExchange
from audit_proxy.frontends.data_plane.stages import Stages, problem_response

_logger = structlog.get_logger("audit_proxy.data_plane")
_DRAIN_POLL_S = 0.02
_CANCEL_S = 1.0  # for exchanges that the drain's end cancels


class DataPlane:
    """The proxy's server. ``start`` binds, ``stop`` drains: no request in flight is lost."""

    def __init__(
        self,
        stages: Stages,
        *,
        max_connections: int,
        keepalive_s: float,
        app_timeout_s: float,
        header_bytes: int,
        target_bytes: int,
        backlog: int = 1024,
    ) -> None:
        self._stages = stages
        self._wire = stages.wire
        self._max_connections = max_connections
        self._options = {
            "access_log": None,
            "auto_decompress": False,  # a body is judged as it is forwarded
            "keepalive_timeout": keepalive_s,
            "max_line_size": target_bytes,
            "max_field_size": header_bytes,
            "period_s": app_timeout_s,
            "head_bytes": target_bytes + header_bytes,
            "on_cut": lambda reason: stages.metrics.denial("other", reason.value),
        }
        self._header_bytes = header_bytes
        self._backlog = backlog
        self._listener: Listener | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self.in_flight = 0
        self._draining = False

    @property
    def connections(self) -> int:
        """Connections of apps that are open."""
        return 0 if self._listener is None else self._listener.open

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Binds and serves, plain HTTP without ``tls``; the port bound. Raises OSError."""
        full = problem_response(self._wire, Refusal(Reason.overloaded, "too many connections are open"), None)
        self._listener = Listener(
            self.handle,
            limit=self._max_connections,
            refusal=_whole(full),
            refuse_malformed=self._malformed,
            on_refused=lambda: self._stages.metrics.denial("other", Reason.overloaded.value),
            options=self._options,
        )
        self._runner = web.ServerRunner(self._listener, shutdown_timeout=_CANCEL_S)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port, ssl_context=tls, backlog=self._backlog)
        await self._site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self, drain_s: float) -> bool:
        """Takes no new connections, waits at most ``drain_s`` seconds for requests in flight; whether all ended."""
        self._draining = True
        if self._site is not None:
            await self._site.stop()
        deadline = asyncio.get_running_loop().time() + drain_s
        while self.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  (an event set per request would cost the hot path)
            await asyncio.sleep(_DRAIN_POLL_S)
        drained = self.in_flight == 0
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listener is not None:
            self._listener.tell_now()
        return drained

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. A fault of ours is a 500 with reason ``internal_error``; its text says nothing of the exchange."""
        if self.in_flight >= self._wire.in_flight:
            self._stages.metrics.denial("other", Reason.overloaded.value)
            return problem_response(self._wire, Refusal(Reason.overloaded, "too many requests are in flight"), None)
        listener, connection = self._listener, cast("Connection", request.protocol)
        assert listener is not None  # started
        fields = connection.fields
        known = fields is not None and fields.same_as(request)
        refusal = unacceptable(request, None if known else self._header_bytes)
        if refusal is not None:
            return self._refuse(refusal)
        if fields is None or not known:
            fields = Fields(request, self._wire.gateway_headers)
            connection.fields = fields if fields.kept else None
        self.in_flight += 1
        listener.busy(connection)
        try:
            response = await ModalExchange(self._stages, request, fields).run()
            if self._draining:
                response.force_close()
            await response.prepare(request)
            await response.write_eof()
        except Exception as error:  # noqa: BLE001  (the last line of defence keeps serving)
            response = self._fault(request, error)
        finally:
            self.in_flight -= 1
            listener.idle(connection)
        return response

    def _malformed(self, error: BaseException | None) -> web.Response:
        return self._refuse(
            Refusal(Reason.request_too_large, "the request's target or a header is over the size limit")
            if isinstance(error, LineTooLong)
            else Refusal(Reason.request_malformed, "this is not a request in HTTP/1.1")
        )

    def _refuse(self, refusal: Refusal) -> web.Response:
        """The answer to what is no request of ours; the connection ends, since what follows has no certain beginning."""
        self._stages.metrics.denial("other", refusal.reason.value)
        response = problem_response(self._wire, refusal, None)
        response.force_close()
        return response

    def _fault(self, request: web.BaseRequest, error: Exception) -> web.Response:
        transport = request.transport
        if transport is None or transport.is_closing():
            return web.Response()  # the app is gone, nobody is left to tell
        _logger.error("fault", error=type(error).__name__)
        self._stages.metrics.denial("other", Reason.internal_error.value)
        if request.writer.output_size:
            transport.abort()
        return problem_response(self._wire, Refusal(Reason.internal_error), None)


def _whole(response: web.Response) -> bytes:
    """An answer as the bytes of a whole message, after which the connection ends."""
    body = response.body
    assert isinstance(body, bytes)  # a refusal's
    fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
