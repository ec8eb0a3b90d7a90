"""The platform's answer as it came: what monitor gives an app.

Invariants:

- Status, reason phrase, fields (names, their case and order, values, repetitions) and body are the platform's bytes. Nothing
  is added or taken but what belongs to one connection (RFC 9110 section 7.6.1): the version, ``Connection`` and what it names,
  ``Keep-Alive``, ``Transfer-Encoding`` and the like, trailers, and white space around values.
- A body has the length that the platform said; where it said none it is chunked, or ends with the connection of an app that
  speaks HTTP/1.0.
- An answer that broke off ends the app's connection after the bytes that came: no end that looks like one.
"""

from aiohttp import ClientResponse, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from audit_proxy.frontends.data_plane.headers import HOP_BY_HOP, named_by_connection

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_TOGETHER = 64 * 1024  # bytes of a body that are copied to save a system call
_BODILESS = frozenset({204, 304})


def bodiless(method: str, status: int) -> bool:
    """Whether an answer has no body whatever its fields say (RFC 9112 section 6.3)."""
    return method == "HEAD" or status in _BODILESS


class PassedAnswer(web.StreamResponse):
    """Written by itself, where the library's would add fields of its own. ``first`` is sent together with the head."""

    def __init__(self, answer: ClientResponse, first: bytes = b"") -> None:
        super().__init__(status=answer.status)
        self._answer = answer
        self._first = first
        self._writer: AbstractStreamWriter | None = None
        self._ended = False
        self._stays = False
        self._framed = True  # the end of the body shows in the body's framing
        self.broken = False
        self.sent = 0  # bytes of the body so far

    @property
    def prepared(self) -> bool:
        return self._writer is not None

    @property
    def keep_alive(self) -> bool | None:
        return self._stays and super().keep_alive is not False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Sends the head. Raises ConnectionError where the app has gone."""
        if self._writer is None:
            writer = self._writer = request.writer
            answer, modern = self._answer, request.version == HttpVersion11
            coded = "Transfer-Encoding" in answer.headers
            measured = bodiless(request.method, answer.status) or (not coded and "Content-Length" in answer.headers)
            chunked = not measured and modern
            self._framed = measured or chunked
            self._stays = self._framed and request.keep_alive and super().keep_alive is not False
            head = _head(answer, request, chunked=chunked, stays=self._stays)
            together = not chunked and len(self._first) <= _TOGETHER
            await writer.write(head + self._first if together else head)
            if chunked:
                writer.enable_chunking()
            if self._first and not together:
                await writer.write(self._first)
            self.sent += len(self._first)
            self._first = b""
        return self._writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self._writer is not None  # prepared
        await self._writer.write(data)
        self.sent += len(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """Ends the body, or the connection where it broke off."""
        assert self._writer is not None  # prepared
        if self._ended:
            return
        self._ended = True
        if not self.broken:
            await self._writer.write_eof(data)
            return
        self.force_close()
        transport = self._writer.transport
        if transport is not None and not self._framed:
            transport.abort()  # an orderly end would look like the body's


def _head(answer: ClientResponse, request: web.BaseRequest, *, chunked: bool, stays: bool) -> bytes:
    modern = request.version == HttpVersion11
    dropped = named_by_connection(answer.headers) | HOP_BY_HOP
    if "Transfer-Encoding" in answer.headers:
        dropped |= {"content-length"}  # RFC 9112 section 6.3
    reason = (answer.reason or "").encode("utf-8", "surrogateescape")
    lines = [b"HTTP/1.%d %d %s\r\n" % (modern, answer.status, reason)]
    lines += [
        b"%s: %s\r\n" % (name, value)
        for name, value in answer.raw_headers
        if name.decode("latin-1").lower() not in dropped
    ]
    if chunked:
        lines.append(_CHUNKED)
    if stays != modern:  # what the version implies is not said
        lines.append(b"Connection: keep-alive\r\n" if stays else b"Connection: close\r\n")
    return b"".join([*lines, b"\r\n"])
