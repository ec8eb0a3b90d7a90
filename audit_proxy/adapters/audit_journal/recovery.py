"""What a start finds in the log's directory, and how it goes on from there.

Invariants:

- Nothing is signed that contradicts the checkpoint found: the journal must hold at least its records, with its root.
- Nothing is signed anew where the checkpoint is gone: a log has one, durably, before it has its first record.
- Before anything is built on the journal's last segment it is synced: a killed process may have left it in the page cache.
- What retention removed is gone by right only if a signed record says so; then the published tiles stand in for it.
- Only what lies behind the checkpoint is ever cut, only a torn or blank end of the journal, and it is told in a ``gap``
  record; the bytes are kept beside the journal.
- A record in parts whose last are not there was never acknowledged. The parts there are stay, and the gap names the record.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audit_proxy.adapters.audit_journal.journal import Position
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import LogUnusable
from audit_proxy.core.merkle import note, packing, retention, segments, tiles, tree
from audit_proxy.ports import Files

CHECKPOINT = "checkpoint"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recovered:
    """``position``: where the journal goes on. ``edge``: the published tree, empty when it has to be built anew from the
    journal. ``checkpoint``: the one found.
    """

    position: Position
    edge: tiles.Edge
    checkpoint: note.Checkpoint | None


def recover(files: Files, key: note.VerifierKey) -> Recovered:
    """Reads the directory, cuts a torn end, checks the rest against the checkpoint. Raises LogUnusable, OSError."""
    checkpoint = _read_checkpoint(files, key)
    if checkpoint is None and (segments_of(files) or files.names("tile")):
        raise LogUnusable(
            "the log holds records, but its signed checkpoint is gone: signing these records anew could sign altered ones; "
            "put a copy of the checkpoint back and run 'audit-proxy log verify', and do not start on this directory"
        )
    minimum = _proved_minimum(files, key)
    position = _end_of_journal(files, checkpoint.size if checkpoint else 0)
    if checkpoint is not None and position.size < checkpoint.size:
        raise LogUnusable(
            f"the journal ends after {position.size} records, but the log signed a checkpoint of {checkpoint.size}: "
            "records are missing; run 'audit-proxy log verify', and do not start on this directory"
        )
    edge = _published_edge(files, checkpoint) if checkpoint is not None else None
    if edge is None and minimum:
        raise LogUnusable(
            "published tiles are missing or do not give the root that the log signed, and retention has removed records that "
            "they stand in for; put back a copy of the directory 'tile' and run 'audit-proxy log verify'"
        )
    return Recovered(position, edge or tiles.Edge(), checkpoint)


def lines(files: Files, start: int, stop: int) -> Iterator[bytes]:
    """Records ``start`` to ``stop`` of the journal, as far as retention has kept them. Raises LogUnusable when a segment holds
    fewer than its name says.
    """
    for segment in segments_of(files):
        start = max(start, segment.first)
        end = stop if segment.records is None else min(stop, segment.first + segment.records)
        if start >= end:
            continue
        for line in whole_lines(files, segment, start - segment.first, end - segment.first):
            yield line
            start += 1
        if start < end:
            raise LogUnusable(f"{segment.path} ends before record {start}; run 'audit-proxy log verify'")


def held_entries(files: Files, size: int) -> list[bytes]:
    """The records of the partial bundle of a tree of ``size``. What retention removed of them is read from the bundle.
    Raises LogUnusable, and LookupError or ValueError when the bundle is not there.
    """
    width = tiles.partial_width(size, 0)
    kept = list(lines(files, size - width, size))
    if len(kept) < width:
        kept = [*_bundle(files, size // tiles.WIDTH, width)[: width - len(kept)], *kept]
    return kept


def chunks(files: Files, segment: segments.Segment) -> Iterator[bytes]:
    """A segment's content. Raises OSError, LogUnusable."""
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        data = files.read(segment.path, at, count if count >= 0 else _CHUNK_BYTES)
        at += len(data)
        return data

    if segment.packed:
        try:
            yield from packing.unpacked(read)
        except packing.PackingInvalid as exc:
            raise LogUnusable(f"{segment.path}: {exc}; run 'audit-proxy log verify'") from exc
    else:
        while chunk := read(_CHUNK_BYTES):
            yield chunk


def minimum_of(files: Files) -> int:
    """The minimum index that the directory claims, 0 without any."""
    try:
        return retention.claimed_minimum(files.read(retention.MINIMUM))
    except FileNotFoundError:
        return 0


def _proved_minimum(files: Files, key: note.VerifierKey) -> int:
    try:
        return retention.open_minimum(files.read(retention.MINIMUM), key).index
    except FileNotFoundError:
        return 0
    except note.NoteInvalid as exc:
        raise LogUnusable(
            f"the directory's file {retention.MINIMUM!r} is not this log's: {exc}; put back a copy"
        ) from exc


def segments_of(files: Files) -> list[segments.Segment]:
    """The log's segments. Raises LogUnusable."""
    try:
        return segments.segments(files.names(segments.JOURNAL), minimum_of(files))
    except ValueError as exc:
        raise LogUnusable(str(exc)) from exc


def whole_lines(files: Files, segment: segments.Segment, skip: int, stop: int) -> Iterator[bytes]:
    """Lines ``skip`` to ``stop`` of a segment, in chunks; whole chunks before ``skip`` are only counted."""
    number = 0
    rest = b""
    for chunk in chunks(files, segment):
        breaks = chunk.count(b"\n")
        if number + breaks < skip:
            number += breaks
            rest = chunk[chunk.rfind(b"\n") + 1 :] if breaks else rest + chunk
            continue
        *found, rest = (rest + chunk).split(b"\n")
        for line in found[: stop - number]:
            if number >= skip:
                yield line
            number += 1
        if number >= stop:
            return


def _read_checkpoint(files: Files, key: note.VerifierKey) -> note.Checkpoint | None:
    try:
        signed = files.read(CHECKPOINT)
    except FileNotFoundError:
        return None
    try:
        return note.open_checkpoint(signed, key)
    except note.NoteInvalid as exc:
        raise LogUnusable(f"the directory's checkpoint is not this log's: {exc}") from exc


def _end_of_journal(files: Files, signed: int) -> Position:
    found = segments_of(files)
    if not found:
        return Position()
    last = found[-1]
    records, good = 0, 0  # whole lines, and the bytes they take
    for line in whole_lines(files, last, 0, 1 << 62):
        # A blank or broken line behind the checkpoint was never acknowledged, nor was anything after it in its batch.
        if last.first + records >= signed and not segments.looks_whole(line):
            break
        records += 1
        good += len(line) + 1
    if last.first + records < signed or last.packed:
        return Position(last.first + records)
    size = last.first + records
    gap = _cut(files, last.path, size, good)
    incomplete = _incomplete(files, size)
    if incomplete:
        gap = {**(gap or {"reason": "incomplete_record", "segment": last.path, "bytes_kept": good}), **incomplete}
    files.truncate(last.path, good)
    files.sync_directory(segments.JOURNAL)
    return Position(size, last.path, good, gap, _begun(files, last))


def _incomplete(files: Files, size: int) -> dict[str, object]:
    """The record of whose parts the journal's last line is one, and not the last."""
    mark = None if size == 0 else audit_record.part_of(next(lines(files, size - 1, size)))
    if mark is None or mark[1] == mark[2]:
        return {}
    return {"record": mark[0], "parts_kept": mark[1], "parts": mark[2]}


def _begun(files: Files, segment: segments.Segment) -> float | None:
    """The time of a segment's first record, in seconds since the epoch; None without one."""
    for line in whole_lines(files, segment, 0, 1):
        with contextlib.suppress(ValueError, RecursionError):
            return audit_record.decode(line).ts.timestamp()
    return None


def _cut(files: Files, path: str, size: int, good: int) -> dict[str, object] | None:
    """Keeps what lies behind ``good`` bytes of a segment under a name of its own, before it is cut; the gap to tell.

    What an earlier start kept at the same place was not told yet, or the log would be longer: it died before.
    """
    kept_path = segments.cut_path(size)
    try:
        kept = files.read(kept_path)
    except FileNotFoundError:
        kept = b""
    torn = files.read(path, good)
    if torn:
        files.put(kept_path, kept + torn)
        files.sync_directory(segments.JOURNAL)
    if not torn and not kept:
        return None
    return {"reason": "torn_end", "segment": path, "bytes_kept": good, "bytes_cut": len(kept) + len(torn)}


def _published_edge(files: Files, checkpoint: note.Checkpoint) -> tiles.Edge | None:
    """The edge out of published tiles, None when they do not give the signed root or lag behind the journal's lines."""
    try:
        edge = tiles.read_edge(checkpoint.size, _tiles_in(files))
    except LookupError:
        return None
    if tiles.edge_root(edge) != checkpoint.root:
        return None
    held = tiles.partial_width(checkpoint.size, 0)
    try:
        leaves = b"".join(map(tree.leaf_hash, held_entries(files, checkpoint.size)))
    except (LookupError, ValueError):
        return None
    return edge if not held or leaves == edge.levels[0] else None


def subtrees(files: Files, size: int) -> tree.Subtree:
    """``subtree`` for proofs in the published tree of ``size`` leaves. It raises LogUnusable for a tile that is not there."""
    read = _tiles_in(files)

    def checked(level: int, index: int, width: int) -> bytes:
        try:
            return read(level, index, width)
        except LookupError as exc:
            path = tiles.tile_path(level, index, width)
            raise LogUnusable(f"{path} is missing or malformed; run 'audit-proxy log verify'") from exc

    return tiles.subtrees_of(size, checked)


def _tiles_in(files: Files) -> Callable[[int, int, int], bytes]:
    def read(level: int, index: int, width: int) -> bytes:
        for candidate in (width, tiles.WIDTH):
            try:
                data = files.read(tiles.tile_path(level, index, candidate))
            except FileNotFoundError:
                continue
            if len(data) == candidate * tree.HASH_BYTES:
                return data[: width * tree.HASH_BYTES]
        raise LookupError

    return read


def _bundle(files: Files, number: int, width: int) -> list[bytes]:
    """A published bundle's first ``width`` entries. Raises LookupError, ValueError."""
    for candidate in (width, tiles.WIDTH):
        with contextlib.suppress(FileNotFoundError):
            return tiles.decode_bundle(files.read(tiles.entries_path(number, candidate)))[:width]
    raise LookupError
