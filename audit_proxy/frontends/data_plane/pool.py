"""Connections to the platform that are kept from one exchange to the next.

Invariants:

- On a connection that is used again the platform has said nothing since its last answer: what it says unasked (408 before it
  hangs up, a body where none may be, an answer too many) would be taken for the answer to somebody else's request.
- A connection on which part of a request is still to be sent is not kept: an answer may come before its request was read.
- A connection that nobody reads from, since what came was not taken, is not kept.

Not seen is what comes unasked in the very moment in which the next request is sent.
"""

from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError


class Pool(aiohttp.TCPConnector):
    """aiohttp's, which looks only whether a kept connection is still open."""

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if kept.protocol is not None and _was_silent(kept.protocol):
                return kept
            kept.close()
        return None

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        transport = protocol.transport
        busy = transport is None or transport.get_write_buffer_size() > 0 or protocol._reading_paused  # noqa: SLF001
        super()._release(key, protocol, should_close=should_close or busy)


def _was_silent(protocol: ResponseHandler) -> bool:
    """Whether nothing came after the last answer's end: no message, and not the beginning of one."""
    if protocol.should_close:
        return False
    parser = protocol._parser  # noqa: SLF001
    try:
        return parser is None or parser.feed_eof() is None  # it has served: the next answer gets a new one
    except HttpProcessingError:
        return False
