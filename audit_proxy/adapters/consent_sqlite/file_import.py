"""A file on its way into the database.

Invariants:

- Lines are gathered into windows, and a window is stored in the order of its subjects: in the file's order each line
  would rewrite an index page of its own. Lines of one subject keep their order, and statements about different subjects
  do not touch one another, so what is stored is the same.
- A change by somebody else waits for one transaction, never for a window, and never for lines to be parsed.
- A window is bounded in lines and in bytes. The first is small, so that progress is soon seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from audit_proxy.core.statements import Form, Line, Refused, StatementReader

_BLOCK = 256 * 1024  # bytes parsed at once
_WINDOW_FIRST = 1_000  # lines; each window may hold twice what the one before it could
_WINDOW_LINES = 32_000
_WINDOW_BYTES = 8 * 1024 * 1024
_TRANSACTION = 1_000  # lines
_GAP_S = 0.003  # between two transactions, so that other processes get their turn


def _subject(line: Line) -> str:
    return "" if isinstance(line[1], Refused) else line[1].subject


class FileImport:
    """``take`` stores some lines in one transaction; ``stored`` is called after each."""

    def __init__(
        self, form: Form, take: Callable[[Sequence[Line]], Awaitable[None]], stored: Callable[[], None]
    ) -> None:
        self._reader = StatementReader(form)
        self._take = take
        self._stored = stored
        self._unread = bytearray()
        self._window: list[Line] = []
        self._bytes = 0
        self._bound = _WINDOW_FIRST
        self.lines = 0  # through with, stored or refused; at the end blank ones too

    async def add(self, block: bytes) -> None:
        """Takes the file's next bytes. Raises FileInvalid, and what ``take`` raises."""
        self._unread += block
        while len(self._unread) >= _BLOCK:
            part = bytes(self._unread[:_BLOCK])
            del self._unread[:_BLOCK]
            await self._read(part)
            if len(self._window) >= self._bound or self._bytes >= _WINDOW_BYTES:
                await self._store()

    async def finish(self) -> None:
        """Stores what is left at the file's end. Raises as ``add`` does."""
        await self._read(bytes(self._unread))
        self._window += self._reader.finish()
        await self._store()
        self.lines = self._reader.lines

    async def break_off(self) -> None:
        """Stores the lines that came whole before the file broke off. Raises as ``add`` does."""
        await self._read(bytes(self._unread))
        await self._store()

    async def _read(self, part: bytes) -> None:
        # Each part is sorted here, off the event loop, so that the window's sort only merges runs.
        self._window += await asyncio.to_thread(lambda: sorted(self._reader.feed(part), key=_subject))
        self._bytes += len(part)

    async def _store(self) -> None:
        window, self._window, self._bytes = self._window, [], 0
        self._bound = min(2 * self._bound, _WINDOW_LINES)
        await asyncio.to_thread(window.sort, key=_subject)
        for start in range(0, len(window), _TRANSACTION):
            part = window[start : start + _TRANSACTION]
            await self._take(part)
            self.lines += len(part)
            self._stored()
            await asyncio.sleep(_GAP_S)
