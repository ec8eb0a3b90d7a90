"""Streams of JSON values: cut at whole lines (NDJSON) or whole events (``text/event-stream``), and events as values.

Invariants:

- A chunk holds whole lines or events and at most ``CHUNK_MAX`` bytes; a longer line or event is refused, so that no more
  is ever held than one chunk.
- An event becomes an object ``{data, event, id, retry}``, judged like any other by the plan made for it; what is sent is
  made anew from what the judgement leaves. Comments and unknown fields go, and so does an event without data.

Source: WHATWG HTML section 9.2 (server-sent events).
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

CHUNK_MAX = 256 * 1024  # bytes
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LONGEST_END = 4  # bytes


class UnitTooLong(Exception):  # noqa: N818  (a verdict on the body, turned into a refusal)
    """One line or event is longer than a chunk may be."""


class Cutter:
    """Takes a body as it comes, gives it back in chunks."""

    def __init__(self, *, events: bool) -> None:
        self._events = events
        self._held = bytearray()
        self._whole = 0  # how much of what is held are whole lines or events

    @property
    def waiting(self) -> bool:
        """Whether a whole line or event is held."""
        return self._whole > 0

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a line or event is held."""
        return len(self._held) > self._whole

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes the body's next part; gives the chunks that are full. Raises UnitTooLong."""
        at = 0
        while at < len(data):
            room = CHUNK_MAX - len(self._held)
            seen = max(self._whole, len(self._held) - _LONGEST_END)
            self._held += data[at : at + room]
            at += room
            self._look(seen)
            if len(self._held) == CHUNK_MAX:
                if not self._whole:
                    raise UnitTooLong(f"a line or event is longer than {CHUNK_MAX} bytes")
                yield self.take()

    def take(self) -> bytes:
        """All whole lines or events that are held."""
        taken = bytes(self._held[: self._whole])
        del self._held[: self._whole]
        self._whole = 0
        return taken

    def end(self) -> bytes:
        """What is held when the body has ended: a last line needs no line break; an event without its end is none."""
        if not self._events:
            self._whole = len(self._held)
        return self.take()

    def _look(self, seen: int) -> None:
        if self._events:
            for found in _EVENT_END.finditer(self._held, seen):
                self._whole = found.end()
        else:
            self._whole = max(self._whole, self._held.rfind(b"\n", seen) + 1)


def parse_events(body: bytes, decode: Callable[[bytes], Any]) -> list[dict[str, Any]]:
    """The events of a stream that have data. ``decode`` reads the data. Raises ValueError, and what ``decode`` raises."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    data: list[bytes] = []
    for line in _LINE_END.split(body.removeprefix(_BOM))[:-1]:  # what follows the last line break is no line
        if not line:
            if data:
                found.append({"data": decode(b"\n".join(data)), **event})
            event, data = {}, []
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                data.append(value)
            case b"event" | b"id" if b"\0" not in value:
                event[name.decode()] = value.decode()
            case b"retry" if value.isdigit() and len(value) < 10:
                event["retry"] = int(value)
            case _:
                pass  # a comment, or what no client may act upon
    return found


def render_events(values: list[Any], encode: Callable[[Any], bytes]) -> bytes:
    """Events as they are sent; those that have lost their data are left out."""
    made: list[bytes] = []
    for value in values:
        if "data" not in value:
            continue
        for name in ("event", "id", "retry"):
            field = value.get(name)
            if field is not None and not _LINE_END.search(text := str(field).encode()):
                made.append(b"%s: %s\n" % (name.encode(), text))
        made.append(b"data: %s\n\n" % encode(value["data"]))
    return b"".join(made)
