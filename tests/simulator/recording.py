"""A platform for tests that answers exactly the bytes it was told to and remembers exactly what reached it.

It speaks HTTP/1.1 over bare asyncio streams, so that it can say what no server library would let it say: wrong lengths,
stacked codings, two ``Content-Length``, a body that stops half-way. It judges nothing and normalises nothing::

    async with RecordingUpstream() as up:
        up.reply("/people/1", body={"id": "1"})                      # JSON, by path; any query
        up.reply("/people/2?fields=id", body={"id": "2"})            # by the exact raw target
        up.reply(lambda r: r.method == "POST", 201, body=b"")        # by anything in the request
        up.reply("/slow", pieces=[b"HTTP/1.1 200 OK\\r\\n", 0.2, CLOSE])  # raw bytes, pauses in seconds, an early end
        ...                                                          # talk to up.url
        assert [r.target for r in up.requests] == ["/people/1"]

The latest reply that fits wins; what nothing fits gets 404 with an empty JSON object.
"""

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

CLOSE = object()  # in ``pieces``: end the connection here, in the middle of whatever was being said
ABORT = object()  # in ``pieces``: end it with a reset instead of an orderly close
UNTIL_GONE = object()  # in ``pieces``: say nothing more until the other side ends the connection

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

HeaderPairs = Mapping[str, str] | Sequence[tuple[str, str]]
Piece = Any  # bytes to send, float seconds to wait, CLOSE, ABORT or UNTIL_GONE


@dataclass(slots=True)
class Recorded:
    """One request as it arrived. ``target`` is the raw request target; ``headers`` in order, names as sent."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    body_bytes: int = 0  # counted even where the body is not kept
    raw_head: bytes = b""  # request line and headers, byte for byte
    connection: int = 0  # which connection it came on, from 1
    complete: bool = False  # whether the whole body arrived

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The one value of a header, None when absent. Raises AssertionError when it was sent twice."""
        values = self.header_values(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class _Reply:
    fits: Callable[[Recorded], bool]
    make: Callable[[Recorded], Iterable[Piece] | AsyncGenerator[Piece, None]]
    closes: bool


@dataclass(slots=True)
class RecordingUpstream:
    """See the module. ``keep_bodies=False`` counts request bodies without keeping them (for uploads of a gigabyte)."""

    keep_bodies: bool = True
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0  # accepted so far
    port: int = 0
    sent_bytes: int = 0  # of all answers, heads included
    reads: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: no more of a request's body is read
    early: bytes | None = None  # said as soon as a request's head has come, before its body is read
    _replies: list[_Reply] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _open: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_open(self, request: Recorded) -> bool:
        """Whether the connection that the request came on is still open."""
        return request.connection in self._open

    def reply(
        self,
        where: str | Callable[[Recorded], bool],
        status: int = 200,
        headers: HeaderPairs | None = None,
        body: Any = b"",
        *,
        coding: str | None = None,
        chunks: Iterable[bytes] | Callable[[], Iterable[bytes]] | None = None,
        length: int | None = None,
        pieces: Iterable[Piece] | Callable[[Recorded], Iterable[Piece] | AsyncGenerator[Piece, None]] | None = None,
        delay: float = 0.0,
        close: bool = False,
        method: str | None = None,
    ) -> None:
        """Sets the answer for requests that fit ``where``: a path, an exact raw target (with ``?``), or a predicate.

        ``body``: bytes as they are; anything else is sent as JSON with its content type unless ``headers`` names one.
        ``coding``: gzip or deflate: the body is encoded and the header set. ``chunks``: chunked transfer of these
        chunks instead of ``body`` (a callable makes them afresh for each request). ``length``: a Content-Length to
        claim, true or not; -1 for none at all (the body then ends with the connection). ``pieces``: the raw answer,
        head included, instead of all of these. ``delay``: seconds before the first byte. ``close``: end the
        connection after the answer.
        """
        fits = self._fitting(where, method)
        if pieces is not None:
            given = pieces
            make = given if callable(given) else (lambda _: list(given))
            self._replies.append(_Reply(fits, make, closes=close))
            return
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        names = {name.lower() for name, _ in pairs}
        if not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
            if "content-type" not in names:
                pairs.append(("Content-Type", "application/json"))
        if coding is not None:
            body = encode(body, coding)
            pairs.append(("Content-Encoding", coding))
        if chunks is not None:
            pairs.append(("Transfer-Encoding", "chunked"))
        elif length is None and "content-length" not in names and "transfer-encoding" not in names:
            pairs.append(("Content-Length", str(len(body))))
        elif length is not None and length >= 0:
            pairs.append(("Content-Length", str(length)))
        closes = close or (length is not None and length != len(body))
        if closes and "connection" not in names:
            pairs.append(("Connection", "close"))
        head = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}\r\n".encode()
        head += b"".join(f"{name}: {value}\r\n".encode("utf-8", "surrogateescape") for name, value in pairs) + b"\r\n"

        def make_reply(request: Recorded) -> Iterable[Piece]:
            if delay:
                yield delay
            if chunks is not None:
                yield head
                if request.method != "HEAD":
                    for chunk in chunks() if callable(chunks) else chunks:
                        if chunk:
                            yield b"%x\r\n%s\r\n" % (len(chunk), chunk)
                    yield b"0\r\n\r\n"
            else:
                yield head if request.method == "HEAD" else head + body

        self._replies.append(_Reply(fits, make_reply, closes))

    @staticmethod
    def _fitting(where: str | Callable[[Recorded], bool], method: str | None) -> Callable[[Recorded], bool]:
        if callable(where):
            return lambda request: (method is None or request.method == method) and where(request)
        if "?" in where:
            return lambda request: (method is None or request.method == method) and request.target == where
        return lambda request: (method is None or request.method == method) and request.path == where

    def clear(self) -> None:
        """Forgets the requests so far; replies stay."""
        self.requests.clear()
        self.sent_bytes = 0

    def reset(self) -> None:
        """Forgets the requests and the replies."""
        self.clear()
        self._replies.clear()
        self.early = None
        self.reads.set()

    async def drop_connections(self) -> None:
        """Closes every open connection, as a platform does that restarts."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self.reads.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop_connections()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._open[number] = task
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side went, or the test is over
        finally:
            del self._open[number]
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """One request and its answer; whether the connection stays."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        request = _head(head, number)
        self.requests.append(request)
        if (request.header_values("expect") or [""])[0].lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.early is not None:
            writer.write(self.early)
        await self._body(reader, request)
        request.complete = True
        chosen = next((one for one in reversed(self._replies) if one.fits(request)), None)
        made = chosen.make(request) if chosen is not None else [_NOT_FOUND]
        if isinstance(made, AsyncGenerator):
            async with contextlib.aclosing(made) as pieces:
                async for piece in pieces:
                    if not await self._say(reader, writer, piece):
                        return False
        else:
            for piece in made:
                if not await self._say(reader, writer, piece):
                    return False
        asked_to_close = "close" in ",".join(request.header_values("connection")).lower()
        return not (chosen is not None and chosen.closes) and not asked_to_close

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: Piece) -> bool:
        """Sends one piece; False where the connection is to end."""
        if piece is CLOSE:
            return False
        if piece is ABORT:
            writer.transport.abort()
            return False
        if piece is UNTIL_GONE:
            await reader.read()
            return False
        if isinstance(piece, bytes):
            writer.write(piece)
            self.sent_bytes += len(piece)
            await writer.drain()
        else:
            await asyncio.sleep(piece)
        return True

    async def _body(self, reader: asyncio.StreamReader, request: Recorded) -> None:
        kept: list[bytes] = []

        def take(data: bytes) -> None:
            request.body_bytes += len(data)
            if self.keep_bodies:
                kept.append(data)

        try:
            if "chunked" in ",".join(request.header_values("transfer-encoding")).lower():
                while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    take(await reader.readexactly(size))
                    await reader.readexactly(2)
                while (await reader.readuntil(b"\r\n")) != b"\r\n":
                    pass  # trailers
            else:
                left = int((request.header_values("content-length") or ["0"])[0])
                while left:
                    await self.reads.wait()
                    data = await reader.read(min(left, 256 * 1024))
                    if not data:
                        raise asyncio.IncompleteReadError(b"", left)
                    take(data)
                    left -= len(data)
        finally:
            request.body = b"".join(kept)


def encode(body: bytes, coding: str) -> bytes:
    """``gzip``, ``deflate`` (zlib, RFC 9110 section 8.4.1.2) or ``raw-deflate``; several, comma-separated, in order."""
    for one in coding.split(","):
        name = one.strip().lower()
        if name in ("gzip", "x-gzip"):
            body = gzip.compress(body, mtime=0)
        elif name == "deflate":
            body = zlib.compress(body)
        elif name == "raw-deflate":
            squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = squeezer.compress(body) + squeezer.flush()
        elif name != "identity":
            raise ValueError(f"cannot encode {name}; pass the bytes and the header yourself")
    return body


def _head(head: bytes, number: int) -> Recorded:
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
    return Recorded(method, target, version, headers, raw_head=head, connection=number)


_PHRASES = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently",
    302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 410: "Gone",
    418: "I'm a teapot", 422: "Unprocessable Content", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
