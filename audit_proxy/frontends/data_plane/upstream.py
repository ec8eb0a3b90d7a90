"""Asking the platform: one client session, its errors translated to reasons in one place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.frontends.data_plane.asking import FIELDS_MAX, HEAD_MAX, Asking, Head
from audit_proxy.frontends.data_plane.deadlines import Deadlines
from audit_proxy.frontends.data_plane.pool import Pool

Body = bytes | aiohttp.StreamReader | AsyncIterator[bytes] | None
_URLS_MAX = 10_000


class UpstreamError(Exception):
    """The platform gave no usable answer. ``refusal`` says why; ``received``: its status, where that much came."""

    def __init__(self, reason: Reason, detail: str, received: int | None) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)
        self.received = received


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds."""

    connect_s: float
    first_byte_s: float
    total_s: float
    connections: int


class Answer(msgspec.Struct, eq=False):
    """A platform's answer. ``complete``: the body was read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    complete: bool


class UpstreamClient:
    """The platform at one origin. Nothing is decoded, redirected, retried by us or remembered (no cookies)."""

    def __init__(self, origin: str, limits: Limits) -> None:
        self._origin = URL(origin)
        self.limits = limits
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
        self._asking: Asking | None = None
        self._deadlines: Deadlines | None = None
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, connect=limits.total_s, sock_connect=limits.connect_s, sock_read=limits.first_byte_s
        )

    @property
    def deadlines(self) -> Deadlines:
        """Time limits on the loop that the client was started on."""
        assert self._deadlines is not None  # started
        return self._deadlines

    async def start(self) -> None:
        limits = self.limits
        self._deadlines = Deadlines(asyncio.get_running_loop())
        connector = Pool(limit=limits.connections, keepalive_timeout=30)
        self._asking = Asking(connector, self._origin, limits.connect_s)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s),  # the rest: Deadlines
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=HEAD_MAX,
            max_field_size=HEAD_MAX,
            max_headers=FIELDS_MAX,
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _url(self, target: str) -> URL:
        url = self._urls.get(target)
        if url is None:
            if len(self._urls) >= _URLS_MAX:
                self._urls.clear()
            # all of it as the path: taken apart, a query that is empty would be lost
            origin = self._origin
            url = URL.build(scheme=origin.scheme, authority=origin.raw_authority, path=target, encoded=True)
            self._urls[target] = url
        return url

    async def fetch(
        self, method: str, target: str, headers: CIMultiDict[str], body: bytes | None, limit: int
    ) -> Answer:
        """One whole answer; reading ends past ``limit`` bytes. Raises UpstreamError."""
        assert self._asking is not None and self._deadlines is not None  # started  # noqa: PT018
        limits = self.limits
        deadlines = self._deadlines
        deadline = deadlines.begin(limits.connect_s + limits.first_byte_s)
        began = deadline.at - limits.connect_s - limits.first_byte_s
        head: Head | None = None
        try:
            head, payload = await self._asking.ask(method, target, headers, body)
            deadline.at = began + limits.total_s
            raw, complete = await _read(payload, limit)
            return Answer(head.status, head.headers, raw, complete)
        except asyncio.CancelledError as error:
            if not deadline.passed or deadline.task.uncancel():
                raise  # the cancellation of somebody else
            raise translated(TimeoutError(), head) from error
        except FAILURES as error:
            raise translated(error, head) from error
        finally:
            deadlines.end(deadline)
            if head is not None:
                head.done()

    @asynccontextmanager
    async def ask(
        self, method: str, target: str, headers: CIMultiDict[str], body: Body
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange whose answer is read as it comes. Raises UpstreamError, also for what fails inside the block."""
        assert self._session is not None  # started
        response: aiohttp.ClientResponse | None = None
        try:
            async with self._session.request(
                method,
                self._url(target),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                timeout=self._stream_timeout,
            ) as response:
                yield response
        except FAILURES as error:
            raise translated(error, response) from error


FAILURES = (TimeoutError, aiohttp.ClientError, asyncio.IncompleteReadError)


def translated(error: Exception, response: aiohttp.ClientResponse | Head | None) -> UpstreamError:
    """What one of FAILURES means."""
    received = response.status if response is not None else None
    if isinstance(error, TimeoutError):
        return UpstreamError(Reason.upstream_timeout, "the platform did not answer in time", received)
    if isinstance(error, aiohttp.ClientConnectionError):
        return UpstreamError(Reason.upstream_unreachable, "the platform cannot be reached", received)
    return UpstreamError(Reason.upstream_protocol_error, "the platform's answer is not valid HTTP", received)


async def read_limited(answer: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The answer's body as it came, and whether it is whole; reading ends past ``limit`` bytes."""
    if answer.content_length is not None and answer.content_length <= limit:
        return await answer.read(), True
    return await _read(answer.content, limit)


async def _read(content: aiohttp.StreamReader, limit: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(parts), False
    return b"".join(parts), True
