"""Connections of apps: how many there may be, which one makes room, and how an exchange learns that its app has gone.

Invariants:

- Never more than ``limit`` connections are open. For one more, the one that has been idle longest makes room; where none
  is idle, the new one is refused with a 503. Idle ones can therefore not starve anybody.
- A connection whose request is being answered is never closed to make room.
- What is no HTTP is refused in our own words: the library's would quote it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from aiohttp import web

from audit_proxy.frontends.data_plane.fields import Fields
from audit_proxy.frontends.data_plane.pace import PacedHandler

_logger = structlog.get_logger("audit_proxy.data_plane")
_TELL_S = 1.0  # what happened within this time is one log line

RefuseMalformed = Callable[[BaseException | None], web.Response]


class AppGone(Exception):  # noqa: N818  (a condition of the other side, not a bug of ours)
    """The app ended its connection."""


class Connection(PacedHandler):
    """One connection of an app. ``fields``: of its last request, where they are kept."""

    __slots__ = ("_bound", "_refuse", "fields")

    def __init__(self, manager: "Listener", refuse: RefuseMalformed, **options: Any) -> None:
        super().__init__(manager, **options)
        self._refuse = refuse
        self._bound: asyncio.Task[Any] | None = None
        self.fields: Fields | None = None

    @contextlib.contextmanager
    def ends(self) -> Iterator[None]:
        """Within the block, the end of the connection ends whatever is awaited with AppGone."""
        if self.transport is None or self.transport.is_closing():
            raise AppGone
        task = self._bound = asyncio.current_task()
        assert task is not None  # requests are tasks
        try:
            yield
        except asyncio.CancelledError:
            if self._bound is not None or task.uncancel():
                raise  # the cancellation of somebody else
            raise AppGone from None
        finally:
            self._bound = None

    def connection_lost(self, exc: BaseException | None) -> None:
        task, self._bound = self._bound, None
        if task is not None:
            task.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  (the library's choice; ours is made from the exception)
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes what was sent)
    ) -> web.StreamResponse:
        """The answer to what cannot be read as HTTP."""
        if request.writer.output_size:
            raise ConnectionError("an answer has begun on this connection")
        return self._refuse(exc)


class Listener(web.Server):
    """The server's side of all connections. ``refusal``: the whole answer, head included, for those over the limit;
    ``on_refused`` is called for each.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        *,
        limit: int,
        refusal: bytes,
        refuse_malformed: RefuseMalformed,
        on_refused: Callable[[], None],
        options: dict[str, Any],
    ) -> None:
        super().__init__(handler)
        self._limit = limit
        self._refusal = refusal
        self._refuse_malformed = refuse_malformed
        self._on_refused = on_refused
        self._options = options
        self._open: set[web.RequestHandler] = set()
        self._idle: dict[web.RequestHandler, None] = {}  # the one that has been idle longest comes first
        self._made_room = self._refused = 0
        self._telling: asyncio.TimerHandle | None = None

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._refuse_malformed, loop=asyncio.get_running_loop(), **self._options)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)

    def busy(self, connection: web.RequestHandler) -> None:
        """A request has come on the connection."""
        self._idle.pop(connection, None)

    def idle(self, connection: web.RequestHandler) -> None:
        """The request's answer has been written."""
        if connection in self._open:
            self._idle[connection] = None

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._open) >= self._limit and not self._make_room():
            self._refused += 1
            self._on_refused()
            self._tell()
            transport.write(self._refusal)
            handler.force_close()
            return
        self._open.add(handler)
        self._idle[handler] = None

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._open.discard(handler)
        self._idle.pop(handler, None)

    def _make_room(self) -> bool:
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        del self._idle[oldest]
        self._open.discard(oldest)
        oldest.force_close()
        self._made_room += 1
        self._tell()
        return True

    def _tell(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_S, self.tell_now)

    def tell_now(self) -> None:
        """Logs what happened at the limit since the last time."""
        if self._telling is None:
            return
        self._telling.cancel()
        self._telling = None
        _logger.warning("connections_full", limit=self._limit, made_room=self._made_room, refused=self._refused)
        self._made_room = self._refused = 0
