"""Calls to the operator's services over HTTP (port ``HttpClient``).

Invariants:

- Nothing but the given URL is asked: no redirect is followed, no proxy of the environment is used, no cookie is kept.
- An answer is read to its limit, and no further. A content coding is refused, so that no few bytes become many.
- No error's text holds an address, a header or a body.
"""

import ssl
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from audit_proxy.core.errors import CallFailed
from audit_proxy.core.exchange import Answer, Call


class AiohttpClient:
    """One session for all such services; use as an async context manager. ``connections`` bounds those to one host;
    ``tls`` says whose certificates are believed, the system's authorities unless given.
    """

    def __init__(self, *, connections: int = 32, tls: ssl.SSLContext | None = None) -> None:
        self._connections = connections
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=self._connections, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        """The port's method."""
        assert self._session is not None  # entered
        try:
            async with self._session.request(
                call.method,
                URL(call.url, encoded=True),
                headers={**call.headers, "Accept-Encoding": "identity"},
                data=call.body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise CallFailed("the answer has a content coding")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise CallFailed(f"the answer is longer than {limit} bytes")
                return Answer(response.status, bytes(body))
        except TimeoutError as error:
            raise CallFailed("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallFailed(type(error).__name__) from error
