"""Asking the platform: one client session, its errors translated to reasons in one place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from audit_proxy.core.errors import Reason, Refusal

Body = bytes | aiohttp.StreamReader | AsyncIterator[bytes] | None
_URLS_MAX = 10_000


class UpstreamError(Exception):
    """The platform gave no usable answer. ``refusal`` says why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds."""

    connect_s: float
    first_byte_s: float
    total_s: float
    connections: int


class UpstreamClient:
    """The platform at one origin. Nothing is decoded, redirected, retried by us or remembered (no cookies)."""

    def __init__(self, origin: str, limits: Limits) -> None:
        self._origin = origin
        self._limits = limits
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
        self._whole_timeout = aiohttp.ClientTimeout(
            total=limits.total_s, sock_connect=limits.connect_s, sock_read=limits.first_byte_s
        )
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_s, sock_read=limits.first_byte_s
        )

    async def start(self) -> None:
        limits = self._limits
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.connections, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _url(self, target: str) -> URL:
        url = self._urls.get(target)
        if url is None:
            if len(self._urls) >= _URLS_MAX:
                self._urls.clear()
            url = self._urls[target] = URL(self._origin + target, encoded=True)
        return url

    @asynccontextmanager
    async def ask(
        self, method: str, target: str, headers: CIMultiDict[str], body: Body, *, streaming: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange. Raises UpstreamError, also for what fails while the answer is read inside the block."""
        assert self._session is not None  # started
        timeout = self._stream_timeout if streaming else self._whole_timeout
        try:
            async with self._session.request(
                method, self._url(target), headers=headers, data=body or None, allow_redirects=False, timeout=timeout
            ) as response:
                yield response
        except TimeoutError as error:
            raise UpstreamError(Reason.upstream_timeout, "the platform did not answer in time") from error
        except aiohttp.ClientConnectionError as error:
            raise UpstreamError(Reason.upstream_unreachable, "the platform cannot be reached") from error
        except (aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            raise UpstreamError(Reason.upstream_protocol_error, "the platform's answer is not valid HTTP") from error
