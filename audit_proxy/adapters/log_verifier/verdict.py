"""What a verification finds, as values."""

import re
from dataclasses import dataclass

_ID = re.compile(rb'"id":"([0-9a-f-]{36})"')


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``index``: the record's number; ``place``: file and line; ``record_id``: when readable."""

    kind: str
    text: str
    index: int | None = None
    place: str | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The log has ``records``, of which retention removed those below ``first``; ``signed`` of them are under the checkpoint
    (None: there is no valid one).
    """

    first: int
    records: int
    signed: int | None
    root: bytes | None
    problems: tuple[Problem, ...]
    problems_unshown: int
    notes: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.problems

    @property
    def first_bad(self) -> Problem | None:
        """The problem with the lowest record, if any names one."""
        named = [p for p in self.problems if p.index is not None]
        return min(named, key=lambda p: p.index or 0, default=None)


@dataclass(slots=True)
class Line:
    index: int
    place: str
    data: bytes | None  # None: the record is not there
    pruned: bool = False  # by right: retention removed it

    @property
    def record_id(self) -> str | None:
        found = _ID.search(self.data or b"")
        return found[1].decode() if found else None


def id_of(entry: bytes) -> str | None:
    """The record's id, as far as it can be read."""
    found = _ID.search(entry)
    return found[1].decode() if found else None
