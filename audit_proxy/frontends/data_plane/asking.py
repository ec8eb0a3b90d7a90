"""One whole exchange with the platform, below aiohttp's ClientSession: its connections, serializer and parser, and no more.

A session prepares each request for what never happens here (redirects, cookies, proxies, traces, middlewares), which cost
as much as everything else about the request (ADR 0010).

Invariants:

- A request that can be repeated (RFC 9110 section 9.2.2) is asked once more where its connection was lost before an answer
  began, as a platform may close one that it kept alive at any moment; no other request is.
- A connection is used again only after its answer was read to the end.
"""

import asyncio
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict
from yarl import URL

HEAD_MAX = 64 * 1024  # bytes of one line of an answer's head
FIELDS_MAX = 1_000  # of an answer
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})  # a length of 0 would say nothing


class Asking:
    """Asks one origin over a connector's connections."""

    def __init__(self, connector: aiohttp.TCPConnector, origin: URL, connect_s: float) -> None:
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        # names the origin to the connector; it is never sent
        self._origin = aiohttp.ClientRequest("GET", origin, loop=asyncio.get_running_loop())
        self._host = self._origin.headers["Host"]

    async def ask(
        self, method: str, target: str, headers: CIMultiDict[str], body: bytes | None
    ) -> tuple["Head", aiohttp.StreamReader]:
        """The head of the answer, and its body to be read; ``done`` must follow. ``headers`` gain Host and Content-Length.

        Raises aiohttp.ClientError, TimeoutError.
        """
        headers["Host"] = self._host
        if body or method not in _WITHOUT_BODY:
            headers["Content-Length"] = str(len(body or b""))
        request = _serialize_headers(f"{method} {target} HTTP/1.1", headers)
        if body:
            request += body
        try:
            return await self._once(method, request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if method not in _REPEATABLE or isinstance(error, aiohttp.ClientConnectorError):
                raise
        return await self._once(method, request)

    async def _once(self, method: str, request: bytes) -> tuple["Head", aiohttp.StreamReader]:
        connection = await self._connector.connect(self._origin, [], self._timeout)
        try:
            protocol = cast("ResponseHandler", connection.protocol)
            protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=HEAD_MAX,
                max_field_size=HEAD_MAX,
                max_headers=FIELDS_MAX,
            )
            _send(protocol, request)
            message, payload = await _final(protocol)
            return Head(message, connection, payload), payload
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientPayloadError("not an answer in HTTP") from error
        except BaseException:
            connection.close()
            raise


def _send(protocol: ResponseHandler, request: bytes) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    transport.write(request)


async def _final(protocol: ResponseHandler) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """The answer that interim ones precede (RFC 9110 section 15.2). Raises HttpProcessingError."""
    while True:
        message, payload = await protocol.read()
        if message.code == 101:
            raise HttpProcessingError(message="another protocol, which nobody asked for")
        if message.code > 199:
            return message, payload


class Head:
    """An answer's head, and the connection on which its body comes."""

    __slots__ = ("_connection", "_payload", "headers", "status")

    def __init__(
        self, message: RawResponseMessage, connection: "aiohttp.connector.Connection", payload: aiohttp.StreamReader
    ) -> None:
        self.status = message.code
        self.headers = message.headers
        self._connection = connection
        self._payload = payload

    def done(self) -> None:
        """Gives the connection back where the answer was read to its end, and closes it otherwise."""
        if self._payload.is_eof():
            self._connection.release()
        else:
            self._connection.close()
