"""The audit record: one JSON object a line, whose exact stored bytes are what is hashed (DESIGN section 7).

Invariants:

- Never a token, a query string, a body or a raw id: people are pseudonyms, places are route templates, fields are
  catalog paths.
- ``encode`` gives one line without its line break; equal records give equal bytes.
- Records of one exchange share its ``id``; the one without a ``phase`` is its outcome, written last.
- ``ts`` is UTC to the microsecond; ``id`` is a UUIDv7 (RFC 9562) made by the caller.
"""

import datetime as dt
from typing import Any, Literal

import msgspec

RECORD_VERSION = 1
ENTRY_MAX = 65_535  # bytes of one entry in a tlog-tiles entry bundle (uint16 length)

Kind = Literal["access", "denial", "admin", "consent", "finding", "gap"]
Phase = Literal["intent"]  # written before an unsafe method is forwarded: what the platform was about to be asked


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
    """In monitor mode: what enforce would have decided."""

    decision: Literal["allow", "redact", "deny"]
    reason: str | None = None
    withheld: tuple[Group, ...] = ()


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One entry of the audit log. Absent means empty or not applicable."""

    v: int  # RECORD_VERSION
    id: str
    ts: dt.datetime
    node: str
    kind: Kind
    phase: Phase | None = None
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
    counts: dict[str, int] = {}
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
    detail: dict[str, Any] | None = None  # kind gap: what is missing and why


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """The record's exact stored bytes, without a line break."""
    return _encoder.encode(record)


def decode(line: bytes) -> Record:
    """A stored line as a record. Raises ValueError when it is not one."""
    return _decoder.decode(line)


def timestamp(now: float) -> dt.datetime:
    """Seconds since the epoch as UTC, to the microsecond."""
    return dt.datetime.fromtimestamp(now, dt.UTC)


def uuid7(now: float, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) from seconds since the epoch and ten random bytes."""
    value = (
        (int(now * 1000) & 0xFFFF_FFFF_FFFF) << 80
        | 0x7000_0000_0000_0000_0000
        | (int.from_bytes(entropy[:2], "big") & 0x0FFF) << 64
        | 0x8000_0000_0000_0000
        | (int.from_bytes(entropy[2:10], "big") & 0x3FFF_FFFF_FFFF_FFFF)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
