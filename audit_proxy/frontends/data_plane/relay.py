"""Bodies that pass while they come.

Invariants:

- An answer that breaks off ends the app's connection: no end that looks like one, and nothing said after it.
- An app that leaves ends the platform's part: nothing is fetched or awaited for nobody.
- What one side does not take is not read from the other: memory is bounded by a few buffers.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager
from typing import cast

from aiohttp import ClientError, ClientResponse, StreamReader, web
from multidict import CIMultiDict

from audit_proxy.frontends.data_plane.connections import AppGone, Connection
from audit_proxy.frontends.data_plane.upstream import FAILURES

_CHUNK = 64 * 1024


def app_ends(request: web.BaseRequest) -> AbstractContextManager[None]:
    """Within the block, the end of the app's connection ends whatever is awaited with AppGone."""
    return cast("Connection", request.protocol).ends()


async def ask_for_body(request: web.BaseRequest) -> None:
    """Asks for the body, where the app waits to be asked (RFC 9110 section 10.1.1) and was not yet."""
    waits = request.headers.get("Expect", "").lower() == "100-continue"
    if waits and request.body_exists and not request.content.total_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


async def joined(first: bytes, rest: StreamReader) -> AsyncIterator[bytes]:
    """A body of which ``first`` was already read."""
    if first:
        yield first
    async for chunk in rest.iter_chunked(_CHUNK):
        yield chunk


async def all_that_came(answer: ClientResponse) -> AsyncGenerator[bytes, None]:
    """The platform's body as it comes. Of one that breaks off all that came, before one of FAILURES is raised."""
    content = answer.content
    try:
        async for chunk in content.iter_any():
            yield chunk
    except FAILURES as error:
        content.set_exception(None)  # type: ignore[arg-type]  # it keeps what was not read behind the error
        rest = content.read_nowait()
        content.set_exception(error)
        if rest:
            yield rest
        raise


async def relay(request: web.BaseRequest, answer: ClientResponse, headers: CIMultiDict[str]) -> web.StreamResponse:
    """Sends the platform's answer as it comes. The caller writes its end."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    try:
        with app_ends(request):
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK):
                await response.write(chunk)
    except (AppGone, ConnectionError, ClientError, TimeoutError):  # either side: the app, or the platform
        transport = request.transport
        if transport is not None:
            transport.abort()
    return response
