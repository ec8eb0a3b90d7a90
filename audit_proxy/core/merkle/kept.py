"""Files of checkpoints that left the machine: signed notes one behind the other, and what a crash may have left between.

Invariants:

- One damaged entry never hides the next. A checkpoint's text holds no empty line, so whatever lies before it, an entry
  written behind ``SEPARATOR`` is found.
- Nothing is passed over: every line that is not empty belongs to an entry, and every entry has a standing.
- An entry is a log's own only once its signature was verified.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from audit_proxy.core.merkle.note import SIGNED_BY, Checkpoint, NoteInvalid, VerifierKey, open_checkpoint, parse_note

SEPARATOR = b"\n\n"  # between a torn end and the next entry
_LINES_MAX = 128  # of one entry
_LINE_MAX = 64 * 1024  # bytes; a longer line is taken in pieces, and is no checkpoint's
_SIGNED_BY = SIGNED_BY.encode()
_SIGNATURE_BYTES = 4 + 64  # key id and Ed25519 signature

Standing = Literal[
    "own",  # signed by the log's key
    "altered",  # carries the key's signature, which does not fit
    "unknown_key",  # names the log and is signed by another key
    "other",  # of another log
    "damaged",  # no checkpoint at all: torn, or something else
]


@dataclass(frozen=True, slots=True)
class Entry:
    """``line``: number of its first line, from 1."""

    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """``checkpoint``: of an ``own`` entry; ``origin``: the log that an entry names, None where it is damaged."""

    standing: Standing
    origin: str | None = None
    checkpoint: Checkpoint | None = None


def lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """A file's lines with their breaks, as ``readline(most bytes)`` gives them."""
    while line := readline(_LINE_MAX):
        yield line


def entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a file, given as its lines with their breaks; damaged ones too."""
    held: list[bytes] = []
    begun, text_ended, signed = 1, False, False  # signed: the line before was a signature's
    for number, line in enumerate(lines, 1):
        empty, signature = line == b"\n", line.startswith(_SIGNED_BY)
        ends = signed and not signature  # behind the last signature
        torn = text_ended and not signed and not signature  # a text without one
        if held and (ends or torn or len(held) == _LINES_MAX):
            yield Entry(begun, b"".join(held))
            held, text_ended, signed = [], False, False
        if empty and not held:
            continue
        if not held:
            begun = number
        held.append(line)
        text_ended = text_ended or empty
        signed = signature
    if held:
        yield Entry(begun, b"".join(held))


def judge(entry: Entry, key: VerifierKey) -> Judged:
    """What an entry is to the log of ``key``."""
    try:
        text, signatures = parse_note(entry.data)
    except NoteInvalid:
        return Judged("damaged")
    origin = text.partition("\n")[0]
    if any(name == key.name and s[:4] == key.key_id and len(s) == _SIGNATURE_BYTES for name, s in signatures):
        try:
            return Judged("own", origin, open_checkpoint(entry.data, key))
        except NoteInvalid:
            return Judged("altered", origin)
    if any(len(signature) != _SIGNATURE_BYTES for _, signature in signatures):
        return Judged("damaged")
    return Judged("unknown_key" if origin == key.name else "other", origin)


def ends_whole(end: bytes) -> bool:
    """Whether a file that ends so ends behind an entry, so that the next one needs no separator."""
    return not end or (end.endswith(b"\n") and end[:-1].rpartition(b"\n")[2].startswith(_SIGNED_BY))
