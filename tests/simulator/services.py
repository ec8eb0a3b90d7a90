"""A service of the operator's for tests (issuer's keys, introspection, subject ids): a real server on loopback that can be
changed, stopped and started again while the proxy runs, and that remembers what it was asked.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

Answering = Callable[["Asked"], "web.StreamResponse | Awaitable[web.StreamResponse]"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came. ``body`` whole; ``request`` is aiohttp's."""

    request: web.BaseRequest
    body: bytes

    @property
    def target(self) -> str:
        return self.request.raw_path


@dataclass
class Service:
    """Answers with what ``answer`` gives. The port stays the same through ``stop`` and ``start``."""

    answer: Answering = lambda _: web.Response()
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    _runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked(request, await request.read())
        self.asked.append(asked)
        answer = self.answer(asked)
        return answer if isinstance(answer, web.StreamResponse) else await answer


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come; the bound is only there to fail instead of hanging."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
