"""The journal's files: ``journal/<index of the first record, 20 digits>.jsonl``, one record a line.

Invariants:

- A segment's name says where the one before it truly ends: of a segment that is not the last, the log holds exactly
  ``next.first - first`` lines. What follows them is the remainder of a commit that failed and belongs to nobody.
- Of the last segment the log holds every whole line. A line is whole when its line break is there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

JOURNAL = "journal"
_NAME = re.compile(r"([0-9]{20})\.jsonl\Z")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal. ``records``: how many lines are the log's; None in the last segment: all that are whole."""

    first: int
    records: int | None

    @property
    def path(self) -> str:
        return segment_path(self.first)


def segment_path(first: int) -> str:
    return f"{JOURNAL}/{first:020d}.jsonl"


def cut_path(size: int) -> str:
    """Where recovery keeps the torn bytes it cut from behind record ``size - 1``; no part of the log."""
    return f"{JOURNAL}/{size:020d}.cut"


def segments(names: Iterable[str]) -> list[Segment]:
    """The segments among a directory's file names, in order. Raises ValueError when the log's beginning is not there."""
    firsts = sorted(int(match[1]) for match in map(_NAME.match, names) if match)
    if not firsts:
        return []
    if firsts[0] != 0:
        raise ValueError(f"the journal begins with record {firsts[0]}; the segments before it are missing")
    ends: list[int | None] = [*firsts[1:], None]
    return [Segment(first, None if end is None else end - first) for first, end in zip(firsts, ends, strict=True)]


def looks_whole(line: bytes) -> bool:
    """Whether a line can be one that was written: a crash may leave zeros or a torn line where a record was to stand."""
    return line[:1] == b"{" and line[-1:] == b"}" and b"\x00" not in line
