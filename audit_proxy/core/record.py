"""The audit record: one JSON object a line, whose exact stored bytes are what is hashed (DESIGN section 7).

Invariants:

- Never a token, a query string, a body or a raw id: people are pseudonyms, places are route templates, fields are
  catalog paths.
- ``encode`` gives one line without its line break; equal records give equal bytes.
- Records of one exchange share its ``id``; the one without a ``phase`` is its outcome, written last.
- A record longer than an entry is several lines, its parts: each is a record by itself, of the same ``id`` and with some of
  its people, or of its fields. What readers add up (``counts``, ``bytes``) stands in the first alone.
- ``ts`` is UTC to the microsecond; ``id`` is a UUIDv7 (RFC 9562) made by the caller.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from audit_proxy.core.errors import AuditUnavailable

RECORD_VERSION = 1
ENTRY_MAX = 65_535  # bytes of one entry in a tlog-tiles entry bundle (uint16 length)

Kind = Literal["access", "denial", "admin", "consent", "finding", "gap"]
# chunk: one of the pieces in which a stream was released, numbered by ``seq`` from 1; the outcome totals them in ``counts``
# intent: written before an unsafe method is forwarded: what the platform was about to be asked
Phase = Literal["intent", "chunk"]


class Scopes(msgspec.Struct, frozen=True, omit_defaults=True):
    required: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """What left (or did not) about some subjects on one ground. ``subjects`` are pseudonyms."""

    fields: tuple[str, ...]
    categories: tuple[str, ...]
    relation: Literal["holder", "third_party", "none"]  # none: about nobody the catalog names
    consent: str
    subjects: tuple[str, ...]


class Would(msgspec.Struct, frozen=True, omit_defaults=True):
    """In monitor mode: what enforce would have decided. ``unknown``: that was not found out in time, or not at all."""

    decision: Literal["allow", "redact", "deny", "unknown"]
    reason: str | None = None
    withheld: tuple[Group, ...] = ()


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One entry of the audit log. Absent means empty or not applicable."""

    v: int  # RECORD_VERSION
    id: str
    part: int | None = None  # from 1, where the record is longer than an entry
    parts: int | None = None
    ts: dt.datetime
    node: str
    kind: Kind
    phase: Phase | None = None
    seq: int | None = None
    app: str | None = None
    holder: str | None = None  # pseudonym
    operation: str | None = None
    route: str | None = None
    method: str | None = None
    mode: Literal["enforce", "monitor"] | None = None
    decision: Literal["allow", "redact", "deny"] | None = None
    reason: str | None = None
    scopes: Scopes | None = None
    disclosed: tuple[Group, ...] = ()
    withheld: tuple[Group, ...] = ()
    would: Would | None = None
    uninspected: bool = False
    counts: dict[
        str, int
    ] = {}  # people (each once), unclassified, unmapped; of a stream's outcome chunks and bytes too
    asked: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    status: int | None = None
    bytes: int | None = None
    duration_ms: float | None = None
    policy: str | None = None
    catalog: str | None = None
    trace: str | None = None  # trace-id of a W3C traceparent
    actor: str | None = None  # kinds admin and consent: the admin token's name
    action: str | None = None  # kinds admin and consent, e.g. "consent.put"
    target: dict[str, Any] | None = None  # kinds admin and consent: what was acted on, people as pseudonyms
    detail: dict[str, Any] | None = None  # kind gap: what is missing and why; kind finding: its numbers, in words too


class _Head(msgspec.Struct, frozen=True):
    id: str
    part: int | None = None
    parts: int | None = None


Numbered = tuple[int, bytes]  # a line's number in the log, and its bytes
_Piece = tuple[str, Any]  # one of the record's lists, and one of its items

_PARTS_MAX = 999_999
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)
_head_decoder = msgspec.json.Decoder(_Head)


def encode(record: Record) -> bytes:
    """The record's exact stored bytes, without a line break."""
    return _encoder.encode(record)


def decode(line: bytes) -> Record:
    """A stored line as a record. Raises ValueError when it is not one."""
    return _decoder.decode(line)


def lines(record: Record) -> tuple[bytes, ...]:
    """What is stored of the record: one line, or its parts where it is longer than an entry. Raises AuditUnavailable when it
    cannot be divided: not its people and fields make it long.
    """
    line = _encoder.encode(record)
    if len(line) <= ENTRY_MAX:
        return (line,)
    frame = msgspec.structs.replace(record, part=_PARTS_MAX, parts=_PARTS_MAX)
    parts = list(_fitting(frame, _pieces(record)))
    return tuple(
        _encoder.encode(
            msgspec.structs.replace(
                one,
                part=number,
                parts=len(parts),
                counts=record.counts if number == 1 else {},
                bytes=record.bytes if number == 1 else None,
            )
        )
        for number, one in enumerate(parts, 1)
    )


def join(parts: Sequence[Record]) -> Record:
    """The record that is stored in these lines. Raises ValueError unless they are all of one record's, in their order."""
    first = parts[0]
    if first.parts is None and len(parts) == 1:
        return first
    if [(one.id, one.part, one.parts) for one in parts] != [
        (first.id, n, first.parts) for n in range(1, len(parts) + 1)
    ]:
        raise ValueError("these are not the parts of one record in their order")
    if len(parts) != first.parts:
        raise ValueError(f"of a record in {first.parts} parts {len(parts)} are there")
    would = first.would
    if would is not None:
        would = msgspec.structs.replace(would, withheld=_together(one.would.withheld for one in parts if one.would))
    return msgspec.structs.replace(
        first,
        part=None,
        parts=None,
        disclosed=_together(one.disclosed for one in parts),
        withheld=_together(one.withheld for one in parts),
        would=would,
        asked=tuple(name for one in parts for name in one.asked),
        found=tuple(name for one in parts for name in one.found),
    )


def part_of(line: bytes) -> tuple[str, int, int] | None:
    """The record's id, the part's number from 1 and how many there are; None for a line that is a whole record, or none."""
    try:
        head = _head_decoder.decode(line)
    except (ValueError, RecursionError):
        return None
    return None if head.part is None or head.parts is None else (head.id, head.part, head.parts)


def by_record(numbered: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """A log's lines, the parts of one record together as soon as the last is there; of an incomplete one those there are."""
    begun: list[Numbered] = []
    expected: tuple[str, int, int] | None = None
    for number, line in numbered:
        mark = part_of(line)
        if begun and mark != expected:
            yield begun
            begun = []
        begun.append((number, line))
        if mark is None or mark[1] >= mark[2]:
            yield begun
            begun = []
        else:
            expected = (mark[0], mark[1] + 1, mark[2])
    if begun:
        yield begun


def _fitting(frame: Record, pieces: Sequence[_Piece]) -> Iterator[Record]:
    """Records of one entry at most that hold the pieces, in their order."""
    made = _holding(frame, pieces)
    if len(_encoder.encode(made)) <= ENTRY_MAX:
        yield made
        return
    for half in _halves(pieces):
        yield from _fitting(frame, half)


def _pieces(record: Record) -> list[_Piece]:
    lists: dict[str, Iterable[Any]] = {
        "disclosed": record.disclosed,
        "withheld": record.withheld,
        "would": record.would.withheld if record.would is not None else (),
        "asked": record.asked,
        "found": record.found,
    }
    return [(name, item) for name, items in lists.items() for item in items]


def _holding(frame: Record, pieces: Iterable[_Piece]) -> Record:
    lists: dict[str, list[Any]] = {name: [] for name in ("disclosed", "withheld", "would", "asked", "found")}
    for name, item in pieces:
        lists[name].append(item)
    held = {name: tuple(items) for name, items in lists.items()}
    withheld = held.pop("would")
    would = None if frame.would is None else msgspec.structs.replace(frame.would, withheld=withheld)
    return msgspec.structs.replace(frame, would=would, **held)


def _halves(pieces: Sequence[_Piece]) -> tuple[Sequence[_Piece], Sequence[_Piece]]:
    """By items, one item by its people, one person by fields."""
    if len(pieces) > 1:
        return pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]
    for name, item in pieces:
        for field in ("subjects", "fields") if isinstance(item, Group) else ():
            many = getattr(item, field)
            if len(many) > 1:
                first, rest = many[: len(many) // 2], many[len(many) // 2 :]
                return (
                    [(name, msgspec.structs.replace(item, **{field: first}))],
                    [(name, msgspec.structs.replace(item, **{field: rest}))],
                )
    raise AuditUnavailable(
        f"an audit record is over {ENTRY_MAX} bytes long without the people and fields that it lists"
    )


def _together(divided: Iterable[Sequence[Group]]) -> tuple[Group, ...]:
    """The groups of all parts; one that was divided by its people is one again."""
    made: list[Group] = []
    for groups in divided:
        for at, group in enumerate(groups):
            if made and at == 0 and _same_but_people(made[-1], group):
                made[-1] = msgspec.structs.replace(group, subjects=made[-1].subjects + group.subjects)
            else:
                made.append(group)
    return tuple(made)


def _same_but_people(one: Group, other: Group) -> bool:
    return msgspec.structs.replace(one, subjects=()) == msgspec.structs.replace(other, subjects=())


def timestamp(now: float) -> dt.datetime:
    """Seconds since the epoch as UTC, to the microsecond."""
    return dt.datetime.fromtimestamp(now, dt.UTC)


def uuid7(now: float, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) from seconds since the epoch and ten random bytes."""
    text = entropy.hex()
    variant = "89ab"[entropy[2] >> 6]
    when = f"{int(now * 1000) & 0xFFFF_FFFF_FFFF:012x}"
    return f"{when[:8]}-{when[8:]}-7{text[1:4]}-{variant}{text[5:8]}-{text[8:20]}"
