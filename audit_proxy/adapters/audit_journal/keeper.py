"""What becomes of a log over the years: sealed segments are packed, old ones removed as retention asks.

Invariants:

- Only segments wholly under a published checkpoint are touched, never the one that is being written.
- A plain segment goes only after its packed form is durable, was read back and holds the same bytes; until then it counts.
- Nothing is removed before the record that says so is under a published checkpoint and its proof is durable
  (``core.merkle.retention``). A removal that a crash broke off is completed at the next round.
- Hash tiles are never removed.
"""

import asyncio
import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256

import msgspec

from audit_proxy.adapters.audit_journal import recovery
from audit_proxy.adapters.audit_journal.log import JournalAuditLog
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.core.merkle import note, packing, proof, retention, segments, tiles, tree
from audit_proxy.ports import Clock, Files, Pruned

SIGNED_WITHIN_S = 60.0  # how long a checkpoint may take that covers the record of a retention
_POLL_S = 0.05
_BUNDLES = "tile/entries"


class _Head(msgspec.Struct):
    ts: dt.datetime


_head = msgspec.json.Decoder(_Head)


class Keeper:
    """Works on the files beside the log that writes them. Not thread-safe: one thread keeps. All raise OSError, LogUnusable."""

    def __init__(self, files: Files, key: note.VerifierKey) -> None:
        self._files = files
        self._key = key

    def pack(self, signed: int) -> int:
        """Packs every sealed segment of a log of which ``signed`` records are under its checkpoint; how many."""
        packed = 0
        for segment in self._sealed(signed):
            if not segment.packed:
                self._pack(segment)
                packed += 1
        return packed

    def minimum(self) -> int:
        """The minimum index in force."""
        return recovery.minimum_of(self._files)

    def prunable(self, before: float, signed: int) -> int:
        """The minimum index that removes every segment whose records are all older than ``before`` (seconds since the
        epoch); the one in force when there is none. Segments are removed from the beginning only.
        """
        minimum = self.minimum()
        for segment in self._sealed(signed):
            if any(time >= before for time in self._times(segment)):
                break
            assert segment.records is not None  # sealed
            minimum = segment.first + segment.records
        return minimum

    def prove(self, told_by: int, record: bytes) -> None:
        """Puts a new minimum index in force: that of ``record``, which the log holds as number ``told_by``."""
        signed = self._files.read(recovery.CHECKPOINT)
        size = note.open_checkpoint(signed, self._key).size
        path = tree.inclusion_proof(told_by, size, recovery.subtrees(self._files, size))
        made = retention.encode_minimum(proof.InclusionProof(told_by, tuple(path), signed), record)
        retention.open_minimum(made, self._key)  # or nothing may be removed
        self._files.put(retention.MINIMUM, made)
        self._files.sync_directory("")

    def remove(self) -> int:
        """Removes what lies below the minimum index: segments, what was cut from them, entry bundles; how many files."""
        minimum = self.minimum()
        old = [*self._journal_below(minimum), *self._bundles_below(minimum // tiles.WIDTH)]
        directories: dict[str, None] = {}
        for path in old:
            self._files.remove(path)
            directories[path.rpartition("/")[0]] = None
        for directory in directories:
            self._files.sync_directory(directory)
        return len(old)

    def span(self) -> tuple[float, float] | None:
        """The times of the first records of the first and of the last segment; None in an empty log."""
        found = recovery.segments_of(self._files)
        times = [next(self._times(segment), None) for segment in (*found[:1], *found[-1:])]
        known = [time for time in times if time is not None]
        return (known[0], known[-1]) if known else None

    def _sealed(self, signed: int) -> list[segments.Segment]:
        return [
            segment
            for segment in recovery.segments_of(self._files)
            if segment.records is not None and segment.first + segment.records <= signed
        ]

    def _times(self, segment: segments.Segment) -> Iterator[float]:
        stop = 1 << 62 if segment.records is None else segment.records
        for line in recovery.whole_lines(self._files, segment, 0, stop):
            try:
                yield _head.decode(line).ts.timestamp()
            except (ValueError, RecursionError) as exc:
                raise LogUnusable(
                    f"{segment.path} holds a line that is no record; run 'audit-proxy log verify'"
                ) from exc

    def _pack(self, segment: segments.Segment) -> None:
        assert segment.records is not None  # sealed
        packer, content = packing.Packer(), sha256()
        file = self._files.create(segments.packed_path(segment.first))
        try:
            for data in self._records_of(segment, segment.records):
                content.update(data)
                file.write(packer.add(data))
            file.write(packer.end())
            file.sync()
        finally:
            file.close()
        self._files.sync_directory(segments.JOURNAL)
        self._check_packed(segments.Segment(segment.first, segment.records, packed=True), content.digest())
        self._files.remove(segment.path)
        self._files.sync_directory(segments.JOURNAL)

    def _records_of(self, segment: segments.Segment, left: int) -> Iterator[bytes]:
        """A segment's bytes up to the end of its last record, in large pieces: other threads need the interpreter too."""
        for chunk in recovery.chunks(self._files, segment):
            breaks = chunk.count(b"\n")
            if breaks < left:
                left -= breaks
                yield chunk
                continue
            end = 0
            for _ in range(left):
                end = chunk.index(b"\n", end) + 1
            yield chunk[:end]
            return
        raise LogUnusable(f"{segment.path} lacks {left} records; run 'audit-proxy log verify'")

    def _check_packed(self, segment: segments.Segment, content: bytes) -> None:
        found = sha256()
        for chunk in recovery.chunks(self._files, segment):
            found.update(chunk)
        if found.digest() != content:
            self._files.remove(segment.path)
            raise LogUnusable(
                f"{segments.segment_path(segment.first)} could not be packed: it does not read back as it was"
            )

    def _journal_below(self, minimum: int) -> Iterator[str]:
        for name in self._files.names(segments.JOURNAL):
            first = segments.first_of(name)
            if first is not None and first < minimum:
                yield f"{segments.JOURNAL}/{name}"

    def _bundles_below(self, limit: int, directory: str = _BUNDLES, group: int = 0) -> Iterator[str]:
        """Bundles numbered below ``limit``; the directories stay, since the publisher may write into them."""
        for name in self._files.names(directory):
            if name[:1] == "x" and name[1:].isdigit():
                inner = group * 1000 + int(name[1:])
                if inner * 1000 < limit:
                    yield from self._bundles_below(limit, f"{directory}/{name}", inner)
                continue
            digits = name.removesuffix(".p")
            if digits.isdigit() and group * 1000 + int(digits) < limit:
                place = f"{directory}/{name}"
                yield from [place] if digits == name else (f"{place}/{width}" for width in self._files.names(place))


class JournalRetention:
    """Implements ``ports.LogRetention`` beside the log that writes. ``on_record``: told the kind of a record it wrote."""

    def __init__(
        self,
        log: JournalAuditLog,
        files: Files,
        key: note.VerifierKey,
        clock: Clock,
        node: str,
        on_record: Callable[[str], None],
    ) -> None:
        self._log = log
        self._keeper = Keeper(files, key)
        self._clock = clock
        self._node = node
        self._on_record = on_record
        self._one_at_a_time = asyncio.Lock()

    async def pack(self) -> int:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._keeper.pack, self._log.signed_size)

    async def prunable(self, before: float) -> tuple[int, int]:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._prunable, before)

    async def prune(self, before: float, actor: str | None) -> Pruned | None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._keeper.remove)  # what an earlier life left
            minimum, former = await asyncio.to_thread(self._prunable, before)
            if minimum == former:
                return None
            record = self._record(actor, retention.target(minimum, former))
            line = audit_record.encode(record)
            index = await self._log.append(line)
            self._on_record(record.kind)
            await self._signed(index)
            await asyncio.to_thread(self._keeper.prove, index, line)
            await asyncio.to_thread(self._keeper.remove)
            return Pruned(record.id, minimum, former)

    async def span(self) -> tuple[float, float] | None:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._keeper.span)

    def _prunable(self, before: float) -> tuple[int, int]:
        return self._keeper.prunable(before, self._log.signed_size), self._keeper.minimum()

    def _record(self, actor: str | None, target: dict[str, int]) -> audit_record.Record:
        now = self._clock.now()
        return audit_record.Record(
            v=audit_record.RECORD_VERSION,
            id=audit_record.uuid7(now, os.urandom(10)),
            ts=audit_record.timestamp(now),
            node=self._node,
            kind="admin",
            decision="allow",
            actor=actor,
            action=retention.ACTION,
            target=target,
        )

    async def _signed(self, index: int) -> None:
        """Waits until a published checkpoint covers the record. Raises AuditUnavailable when none does in time."""
        until = time.monotonic() + SIGNED_WITHIN_S
        while self._log.signed_size <= index:
            if time.monotonic() >= until:
                raise AuditUnavailable("no checkpoint covers the record of the retention; nothing was removed")
            await asyncio.sleep(_POLL_S)
