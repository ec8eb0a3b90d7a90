"""The journal's writer: batches of records into segments, durable or refused.

Invariants:

- ``size`` never covers a record that a reader of the files would not find; records have the indices they were given.
- After a failed write or ``fdatasync`` nothing more is written to that segment: what it holds past the last durable
  record is unknown. The next batch begins a new segment, whose name says where the log continues, with a ``gap`` record.
- Buffered records (acknowledged, not yet synced) are kept until they are durable, and go first into a new segment. After
  a sync that failed, the next batch is acknowledged only once a sync succeeded, so that what can be lost stays bounded.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.merkle import segments
from audit_proxy.ports import AppendFile, Clock, Files

GapRecord = Callable[[dict[str, object]], bytes]


@dataclass(slots=True)
class Position:
    """Where the journal ends. ``segment``: the file to continue, None: begin a new one; ``offset``: its bytes; ``begun``: the
    time of its first record, in seconds since the epoch.
    """

    size: int = 0
    segment: str | None = None
    offset: int = 0
    gap: dict[str, object] | None = None  # told in the next batch
    begun: float | None = None


class Journal:
    """Not thread-safe: one thread commits."""

    def __init__(
        self,
        files: Files,
        start: Position,
        *,
        segment_bytes: int,
        segment_s: float,
        buffered: bool,
        gap_record: GapRecord,
        clock: Clock,
    ) -> None:
        self._files = files
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._clock = clock
        self._buffered = buffered
        self._gap_record = gap_record
        self._durable_size = start.size
        self._unsynced: list[bytes] = []  # written and acknowledged, durability: buffered
        self._durable: list[bytes] = []  # durable, and not yet taken
        self._distrusted = False  # the last batch or sync failed
        self._gap = start.gap
        self._file: AppendFile | None = None
        self._segment = start.segment or ""
        self._offset = start.offset  # bytes of the segment that were written
        self._durable_offset = start.offset
        self._begun = clock.now() if start.begun is None else start.begun
        if start.segment is not None:
            self._file = files.open_append(start.segment)

    @property
    def size(self) -> int:
        """Records that were acknowledged."""
        return self._durable_size + len(self._unsynced)

    @property
    def unsynced(self) -> bool:
        return bool(self._unsynced)

    @property
    def untold(self) -> bool:
        """Whether a gap waits to be told in the next batch."""
        return self._gap is not None

    def refused(self, records: int) -> None:
        """Records that were refused before they came here: the next batch tells."""
        if self._gap is None or "records" not in self._gap:
            earlier = {} if self._gap is None else {"earlier": self._gap}
            self._gap = {"reason": "records_refused", "records": 0, **earlier}
        self._gap["records"] += records  # type: ignore[operator]  # an int, made above

    def take_durable(self) -> list[bytes]:
        """The lines that became durable since this was last asked, in order."""
        taken, self._durable = self._durable, []
        return taken

    def commit(self, lines: Sequence[bytes], records: int) -> int:
        """Writes a batch, the lines of so many records, and, unless buffered, makes it durable; the index of its first line.
        Raises AuditUnavailable: none of the batch counts.
        """
        try:
            if self._file is not None and self._is_due():
                self._end_segment()
            fresh = [*self._told(), *lines]
            self._write(fresh)
            if not self._buffered or self._distrusted:
                self._sync(fresh)
            else:
                self._unsynced += fresh
        except Exception as exc:  # whatever went wrong, the batch must fail and the segment be given up
            self._abandon(exc, records)
            raise AuditUnavailable(f"the audit log could not be written: {_what(exc)}") from exc
        self._gap = None
        self._distrusted = False
        return self.size - len(lines)

    def sync(self) -> None:
        """Makes buffered records durable. Raises AuditUnavailable: they are kept, for a new segment."""
        try:
            if self._unsynced:
                self._write(())
                self._sync(())
        except Exception as exc:
            self._abandon(exc, 0)
            raise AuditUnavailable(f"the audit log could not be synced: {_what(exc)}") from exc
        self._distrusted = False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _told(self) -> Sequence[bytes]:
        return () if self._gap is None else (self._gap_record(self._gap),)

    def _write(self, fresh: Sequence[bytes]) -> None:
        lines = fresh
        if self._file is None:
            self._file = self._begin_segment()
            lines = [*self._unsynced, *fresh]
        if lines:
            data = b"\n".join(lines) + b"\n"
            self._file.write(data)
            self._offset += len(data)

    def _sync(self, fresh: Sequence[bytes]) -> None:
        assert self._file is not None
        self._file.sync()
        self._durable += self._unsynced
        self._durable += fresh
        self._durable_size += len(self._unsynced) + len(fresh)
        self._durable_offset = self._offset
        self._unsynced = []

    def _is_due(self) -> bool:
        """Whether the segment is to end: too long, or begun too long ago (a clock that was set does not keep it open)."""
        return self._offset >= self._segment_bytes or abs(self._clock.now() - self._begun) >= self._segment_s

    def _end_segment(self) -> None:
        assert self._file is not None
        if self._unsynced:
            self._sync(())
        self._file.close()
        self._file = None

    def _begin_segment(self) -> AppendFile:
        self._segment = segments.segment_path(self._durable_size)
        self._offset = self._durable_offset = 0
        self._begun = self._clock.now()
        file = self._files.create(self._segment)
        self._files.sync_directory(segments.JOURNAL)
        return file

    def _abandon(self, why: Exception, records: int) -> None:
        self._distrusted = True
        if self._file is not None:
            # Without this, a restart before the next batch could take for durable what only the page cache holds.
            with contextlib.suppress(OSError):
                self._files.truncate(self._segment, self._durable_offset)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        if self._gap is None or self._gap.get("reason") != "commit_failed":
            earlier = {} if self._gap is None else {"earlier": self._gap}
            self._gap = {"reason": "commit_failed", "segment": self._segment, "records": 0, "commits": 0, **earlier}
            self._gap["bytes_kept"] = self._durable_offset
        self._gap["error"] = _what(why)
        self._gap["records"] += records  # type: ignore[operator]  # an int, made above
        self._gap["commits"] += 1  # type: ignore[operator]  # an int, made above


def _what(exc: Exception) -> str:
    """A fault without its file name: error texts reach people who need not know paths."""
    return (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else type(exc).__name__
