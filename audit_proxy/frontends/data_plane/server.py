"""The listener: keeps count of what is in flight, drains on stop, and turns faults into answers."""

import asyncio
import ssl

import structlog
from aiohttp import web

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.frontends.data_plane.exchange import Exchange
from audit_proxy.frontends.data_plane.framing import unacceptable
from audit_proxy.frontends.data_plane.stages import Stages, problem_response

_logger = structlog.get_logger("audit_proxy.data_plane")
_DRAIN_POLL_S = 0.02


class DataPlane:
    """The proxy's server. ``start`` binds, ``stop`` drains: no request in flight is lost."""

    def __init__(
        self, stages: Stages, *, keepalive_s: float, header_bytes: int, target_bytes: int, backlog: int = 1024
    ) -> None:
        self._stages = stages
        self._wire = stages.wire
        self._options = {
            "keepalive_timeout": keepalive_s,
            "max_line_size": target_bytes,
            "max_field_size": header_bytes,
        }
        self._header_bytes = header_bytes
        self._backlog = backlog
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self.in_flight = 0
        self._draining = False

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Binds and serves, plain HTTP without ``tls``; the port bound. Raises OSError."""
        # auto_decompress off: a body is judged as it is forwarded
        server = web.Server(self.handle, access_log=None, auto_decompress=False, **self._options)  # type: ignore[arg-type]  # mixed option types
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
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
        return drained

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. A fault of ours is a 500 with reason ``internal_error``; its text says nothing of the exchange."""
        metrics = self._stages.metrics
        if self.in_flight >= self._wire.in_flight:
            metrics.denial("other", Reason.overloaded.value)
            return problem_response(self._wire, Refusal(Reason.overloaded, "too many requests are in flight"), None)
        refusal = unacceptable(request, self._header_bytes)
        if refusal is not None:
            return self._refuse(refusal)
        self.in_flight += 1
        try:
            response = await Exchange(self._stages, request).run()
        except Exception as error:  # noqa: BLE001  (the last line of defence keeps serving)
            _logger.error("fault", error=type(error).__name__)  # noqa: TRY400  (a traceback can quote a body)
            metrics.denial("other", Reason.internal_error.value)
            response = problem_response(self._wire, Refusal(Reason.internal_error), None)
        finally:
            self.in_flight -= 1
        if self._draining:
            response.force_close()
        return response

    def _refuse(self, refusal: Refusal) -> web.Response:
        """The answer to what is no request of ours; the connection ends, since what follows has no certain beginning."""
        self._stages.metrics.denial("other", refusal.reason.value)
        response = problem_response(self._wire, refusal, None)
        response.force_close()
        return response
