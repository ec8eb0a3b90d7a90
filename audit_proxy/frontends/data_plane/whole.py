"""An answer that is whole before its first byte leaves: head and body in one write."""

from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_writer import _serialize_headers

_BODILESS = frozenset({204, 205, 304})


class WholeResponse(web.Response):
    """As web.Response on the wire, but for the ``Server`` header; for the usual case it skips the general way to there."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._eof_sent:
            return None
        body = self._body
        if (
            not isinstance(body, bytes)
            or self._keep_alive is False
            or not request.keep_alive
            or request.version != HttpVersion11
            or request.method == "HEAD"
            or self._status < 200
            or self._status in _BODILESS
        ):
            return await super().prepare(request)
        headers = self._headers
        headers["Content-Length"] = str(len(body))
        headers["Date"] = rfc822_formatted_time()
        head = _serialize_headers(f"HTTP/1.1 {self._status} {self._reason}", headers)
        writer: Any = request.writer
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the app's connection is closing")
        transport.write(head + body)
        writer.output_size += len(head) + len(body)
        self._keep_alive = self._eof_sent = True
        await writer.drain()
        return None
