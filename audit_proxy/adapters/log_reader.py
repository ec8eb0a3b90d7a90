"""Reads a log's directory for people: the last records, one record by number or id, proofs out of the published tiles."""

import datetime as dt
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, packing, proof, retention, segments, tiles, tree

_READ_BYTES = 1024 * 1024
_POLL_S = 0.2
Numbered = audit_record.Numbered


class RecordNotFound(LookupError):  # noqa: N818  (an answer to a question, not a bug of ours)
    """The log has no such record, or none of that number is under the checkpoint."""


class LogReader:
    """Reads without any lock while the log is written, packed and pruned: lines as they stand, of which several can be the
    parts of one record.

    Raises OSError, and ValueError when segments are missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def records(self, start: int = 0) -> Iterator[Numbered]:
        """Every line from ``start`` on, up to the last whole one."""
        for segment in self._segments():
            if segment.records is None or segment.first + segment.records > start:
                yield from self._from(segment, start, _Cursor())

    def since(self, moment: dt.datetime) -> Iterator[Numbered]:
        """Every line of the segments that can hold records from ``moment`` on: older ones come as well."""
        start = 0
        for segment in self._segments():
            for _, line in self._from(segment, 0, _Cursor()):
                first = _record(line)
                if first is not None and first.ts <= moment:
                    start = segment.first
                break
        return self.records(start)

    def last(self, count: int) -> list[Numbered]:
        """The lines of the last ``count`` records, oldest first."""
        found: list[list[Numbered]] = []
        for segment in reversed(self._segments()):
            if len(found) >= count:
                break
            # the parts of one record are in one batch, and so in one segment
            records = audit_record.by_record(self._from(segment, 0, _Cursor()))
            found = [*deque(records, maxlen=count - len(found)), *found]
        return [line for record in found for line in record]

    def follow(self, start: int) -> Iterator[Numbered]:
        """Every line from ``start`` on, and then those that come; never ends."""
        first, cursor = -1, _Cursor()
        while True:
            for segment in self._segments():
                if segment.first < first or (segment.records is not None and segment.first + segment.records <= start):
                    continue
                if segment.first != first:
                    first, cursor = segment.first, _Cursor()
                for number, line in self._from(segment, start, cursor):
                    yield number, line
                    start = number + 1
            time.sleep(_POLL_S)

    def record(self, index: int) -> bytes:
        """Record number ``index``. Raises RecordNotFound."""
        minimum = self.minimum
        if index < minimum:
            raise RecordNotFound(f"record {index} was removed by retention: the log begins with record {minimum}")
        for _, line in self.records(index):
            return line
        raise RecordNotFound(f"the log has no record {index}")

    def find(self, record_id: str) -> Numbered:
        """The record with that id: of an exchange with several, its outcome where there is one. Raises RecordNotFound;
        ValueError for one in parts, which is proved part by part.
        """
        mark = b'"id":"' + record_id.encode() + b'"'
        earlier: Numbered | None = None
        for number, line in self.records():
            record = _record(line) if mark in line else None
            if record is not None and record.id == record_id:  # another record may speak of that id
                if record.parts is not None:
                    raise ValueError(
                        f"the record is in {record.parts} parts, from number {number} on: name one by its number"
                    )
                if record.phase is None:
                    return number, line
                earlier = number, line
        if earlier is None:
            raise RecordNotFound(f"the log has no record with the id {record_id}")
        return earlier

    def inclusion(self, index: int, record: bytes, key: note.VerifierKey) -> proof.InclusionProof:
        """The proof that the log holds ``record`` at ``index``, checked. Raises RecordNotFound, note.NoteInvalid."""
        signed, checkpoint = self._checkpoint(key)
        if index >= checkpoint.size:
            raise RecordNotFound(
                f"record {index} is not under the checkpoint yet, which covers {checkpoint.size} records"
            )
        path = tree.inclusion_proof(index, checkpoint.size, self._subtree(checkpoint.size))
        made = proof.InclusionProof(index, tuple(path), signed)
        proof.check_inclusion(made, record, key)
        return made

    def consistency(self, old: int, key: note.VerifierKey) -> proof.ConsistencyProof:
        """The proof that the log of ``old`` records begins the log of now, checked. Raises RecordNotFound, NoteInvalid."""
        signed, checkpoint = self._checkpoint(key)
        if old > checkpoint.size:
            raise RecordNotFound(f"the checkpoint covers {checkpoint.size} records, not {old}")
        subtree = self._subtree(checkpoint.size)
        made = proof.ConsistencyProof(old, tuple(tree.consistency_proof(old, checkpoint.size, subtree)), signed)
        proof.check_consistency(made, tree.root(old, subtree), key)
        return made

    def _checkpoint(self, key: note.VerifierKey) -> tuple[bytes, note.Checkpoint]:
        try:
            signed = (self._directory / "checkpoint").read_bytes()
        except FileNotFoundError as exc:
            raise RecordNotFound("the log has no checkpoint yet") from exc
        return signed, note.open_checkpoint(signed, key)

    def _subtree(self, size: int) -> tree.Subtree:
        def read(level: int, index: int, width: int) -> bytes:
            for candidate in (width, tiles.WIDTH):
                path = self._directory / tiles.tile_path(level, index, candidate)
                if path.is_file():
                    data = path.read_bytes()
                    if len(data) == candidate * tree.HASH_BYTES:
                        return data[: width * tree.HASH_BYTES]
            raise note.NoteInvalid(f"{tiles.tile_path(level, index, width)} is missing or malformed")

        return tiles.subtrees_of(size, read)

    @property
    def minimum(self) -> int:
        """The index of the first record that retention has kept, as the log's directory claims (``log verify`` proves it)."""
        try:
            return retention.claimed_minimum((self._directory / retention.MINIMUM).read_bytes())
        except FileNotFoundError:
            return 0

    def _segments(self) -> list[segments.Segment]:
        minimum = self.minimum  # first: what is removed meanwhile is then no part of what is expected
        return segments.segments([p.name for p in (self._directory / segments.JOURNAL).glob("*")], minimum)

    def _from(self, segment: segments.Segment, start: int, cursor: "_Cursor") -> Iterator[Numbered]:
        """The segment's records numbered ``start`` or more, from the cursor on, which stands behind each as it is given."""
        rest = b""
        for chunk in self._chunks(segment, cursor.offset):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if segment.records is not None and cursor.lines >= segment.records:
                    return
                number = segment.first + cursor.lines
                cursor.lines += 1
                cursor.offset += len(line) + 1
                if number >= start:
                    yield number, line

    def _chunks(self, segment: segments.Segment, offset: int) -> Iterator[bytes]:
        """The segment's content from ``offset`` on, whichever form it has by now; nothing once it was pruned."""
        if not segment.packed:
            try:
                with (self._directory / segment.path).open("rb") as file:
                    file.seek(offset)
                    while chunk := file.read(_READ_BYTES):
                        yield chunk
            except FileNotFoundError:
                pass  # packed meanwhile, or pruned
            else:
                return
        try:
            with (self._directory / segments.packed_path(segment.first)).open("rb") as file:
                for chunk in packing.unpacked(file.read):
                    if offset < len(chunk):
                        yield chunk[offset:]
                    offset = max(0, offset - len(chunk))
        except FileNotFoundError:
            if segment.first >= self.minimum:
                raise


def _record(line: bytes) -> audit_record.Record | None:
    try:
        return audit_record.decode(line)
    except (ValueError, RecursionError):
        return None


@dataclass(slots=True)
class _Cursor:
    """Where reading a segment has come to: behind so many lines and bytes."""

    lines: int = 0
    offset: int = 0
