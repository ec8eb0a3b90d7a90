"""How slow an app may be: in sending what it has begun to send, and in taking its answer.

Invariants:

- A head that has begun is whole within ``period_s``, and never larger than ``head_bytes``.
- A body, and an answer that does not fit the system's buffers, moves by ``LEAST`` bytes at least in every ``period_s``.
  Nobody waits for an app that does less: its connection is cut.
- Time in which this side does not read, because the platform is slow, is not the app's.

A connection that owes nothing has no timer: a request that comes in one piece costs two comparisons.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import StreamReader, web

from audit_proxy.core.errors import Reason

LEAST = 16 * 1024  # bytes


class PacedHandler(web.RequestHandler):
    """A connection that is cut where its app is too slow. ``on_cut`` is told why."""

    __slots__ = ("_body", "_head_bytes", "_moved", "_on_cut", "_period_s", "_receiving", "_sending")

    def __init__(
        self,
        manager: web.Server,
        *,
        period_s: float,
        head_bytes: int,
        on_cut: Callable[[Reason], None],
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._period_s = period_s
        self._head_bytes = head_bytes
        self._on_cut = on_cut
        self._body: StreamReader | None = None  # of the request that came last
        self._moved = 0  # bytes since the period began
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    def _in_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def data_received(self, data: bytes) -> None:
        count, in_body = self._request_count, self._in_body()
        super().data_received(data)
        if self._request_count != count and self._messages:
            self._body = self._messages[-1][1]
            owing = in_body = self._in_body()
        else:
            owing = self._in_body() if in_body else True
        if not owing:
            if self._receiving is not None:
                self._receiving.cancel()
                self._receiving = None
            return
        if self._receiving is None:
            self._moved = 0
            self._receiving = self._loop.call_later(self._period_s, self._look_at_received)
        self._moved += len(data)
        if not in_body and self._moved > self._head_bytes:
            self._cut(Reason.request_too_large)

    def _look_at_received(self) -> None:
        self._receiving = None
        if self._in_body() and (self._moved >= LEAST or self._reading_paused):
            self._moved = 0
            self._receiving = self._loop.call_later(self._period_s, self._look_at_received)
        else:
            self._cut(Reason.app_too_slow)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None and self._sending is None:
            self._watch_sending(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _watch_sending(self, transport: asyncio.Transport) -> None:
        size = transport.get_write_buffer_size()
        self._sending = self._loop.call_later(self._period_s, self._look_at_sent, transport, size)

    def _look_at_sent(self, transport: asyncio.Transport, before: int) -> None:
        self._sending = None
        if before - transport.get_write_buffer_size() >= LEAST:
            self._watch_sending(transport)
        else:
            self._on_cut(Reason.app_too_slow)
            transport.abort()

    def force_close(self) -> None:
        """Closes; what the app does not take within the period is not kept for it."""
        transport = self.transport
        super().force_close()
        if transport is not None and self._sending is None and transport.get_write_buffer_size():
            self._watch_sending(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        for timer in (self._receiving, self._sending):
            if timer is not None:
                timer.cancel()
        self._receiving = self._sending = None

    def _cut(self, reason: Reason) -> None:
        if self.transport is not None:
            self._on_cut(reason)
            self.transport.abort()
