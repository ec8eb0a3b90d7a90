"""The journal's files: ``journal/<index of the first record, 20 digits>.jsonl``, one record a line.

Invariants:

- A segment's name says where the one before it truly ends: of a segment that is not the last, the log holds exactly
  ``next.first - first`` lines. What follows them is the remainder of a commit that failed and belongs to nobody.
- Of the last segment the log holds every whole line. A line is whole when its line break is there.
- A sealed segment may stand there packed, as ``.jsonl.zst``. Where both forms are present the plain one counts: packing is
  over only when that is gone.
- After retention the log begins with the segment named by its minimum index (``retention``); what lies before is no part
  of it, present or not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

JOURNAL = "journal"
_NAME = re.compile(r"([0-9]{20})\.jsonl(\.zst)?\Z")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal. ``records``: how many lines are the log's; None in the last segment: all that are whole."""

    first: int
    records: int | None
    packed: bool = False

    @property
    def path(self) -> str:
        return packed_path(self.first) if self.packed else segment_path(self.first)


def segment_path(first: int) -> str:
    return f"{JOURNAL}/{first:020d}.jsonl"


def packed_path(first: int) -> str:
    return f"{JOURNAL}/{first:020d}.jsonl.zst"


def cut_path(size: int) -> str:
    """Where recovery keeps the torn bytes it cut from behind record ``size - 1``; no part of the log."""
    return f"{JOURNAL}/{size:020d}.cut"


def first_of(name: str) -> int | None:
    """The index in the name of a journal's file, of any kind; None for a name that is none of its."""
    digits, _, kind = name.partition(".")
    is_one = kind in ("jsonl", "jsonl.zst", "cut") and len(digits) == 20 and digits.isascii() and digits.isdigit()
    return int(digits) if is_one else None


def segments(names: Iterable[str], minimum: int = 0) -> list[Segment]:
    """The log's segments among a directory's file names, in order. Raises ValueError when the log's beginning is not there."""
    plain: dict[int, bool] = {}  # the first record's index -> whether the plain form is there
    for match in filter(None, map(_NAME.match, names)):
        plain[int(match[1])] = plain.get(int(match[1]), False) or match[2] is None
    firsts = sorted(first for first in plain if first >= minimum)
    if not firsts and not minimum:
        return []
    if not firsts or firsts[0] != minimum:
        begins = f"begins with record {firsts[0]}" if firsts else "is empty"
        removed = f"; retention removed what lies before record {minimum} only" if minimum else ""
        raise ValueError(f"the journal {begins}; the segments before it are missing{removed}")
    ends: list[int | None] = [*firsts[1:], None]
    return [
        Segment(first, None if end is None else end - first, not plain[first])
        for first, end in zip(firsts, ends, strict=True)
    ]


def looks_whole(line: bytes) -> bool:
    """Whether a line can be one that was written: a crash may leave zeros or a torn line where a record was to stand."""
    return line[:1] == b"{" and line[-1:] == b"}" and b"\x00" not in line
