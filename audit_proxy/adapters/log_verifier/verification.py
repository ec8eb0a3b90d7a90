"""Re-derives a log from its files and says whether it is whole: an independent reader, which shares no state or code with
the writer but the pure definitions of the formats, and needs no private key.

Invariants:

- The signed checkpoint decides. Where journal and tiles disagree, the one whose root was signed is the sound one.
- What was published is read before the journal, so that a log that grows meanwhile is never taken for one that was cut.
- Records are gone by right below the minimum index that a signed record tells; there the published tiles stand in for them.
- Checkpoints that were kept elsewhere decide against the log, see ``against``.
- A file is never trusted for a size: what is read and compared is bounded by the journal that is there.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit_proxy.adapters.log_verifier.against import Kept, compare
from audit_proxy.adapters.log_verifier.files import (
    leaves_of,
    number_path,
    published_records,
    read_published,
    versions,
)
from audit_proxy.adapters.log_verifier.lines import JournalLines, PrunedMeanwhile
from audit_proxy.adapters.log_verifier.peaks import Peaks, Roots
from audit_proxy.adapters.log_verifier.pruned import read_minimum
from audit_proxy.adapters.log_verifier.verdict import Line, Problem, Verdict, id_of
from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, segments, tiles, tree

PROBLEMS_SHOWN = 20
_CLOCK_STEP_S = 5.0  # how far an append may lie before the one before it: clocks are nudged
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NO_LEAF = bytes(tree.HASH_BYTES)


def verify_log(
    directory: Path,
    key: note.VerifierKey,
    progress: Callable[[int, int], None] | None = None,
    against: Kept | None = None,
) -> Verdict:
    """Reads everything. ``progress(bytes read, bytes in all)``; ``against``: checkpoints kept elsewhere, read before. Raises
    OSError when files cannot be read.
    """
    while True:
        try:
            return _Verification(directory, key, progress or (lambda _done, _total: None), against).run()
        except PrunedMeanwhile:
            continue  # retention removed what was to be read: the log begins elsewhere now


class _Verification:
    def __init__(
        self, directory: Path, key: note.VerifierKey, progress: Callable[[int, int], None], against: Kept | None
    ) -> None:
        self._directory = directory
        self._key = key
        self._progress = progress
        self._against = against
        self._problems: list[Problem] = []
        self._unshown = 0
        self._notes: list[str] = []
        self._explained: set[str] = set()  # segments that a gap record speaks of
        self._backwards: list[tuple[int, float]] = []  # records appended before the one before them, and seconds
        self._last_append: float | None = None  # seconds since the epoch
        self._begun: Line | None = None  # the part whose next part must follow
        self._incomplete: dict[str, Line] = {}  # id -> the last part there is, of records whose other parts are not
        self._told_incomplete: set[str] = set()  # ids that a gap record speaks of
        self._minimum = 0  # records below were removed by right
        self._lines = JournalLines(directory, key, 0, self._problem, progress)
        self._count = 0
        self._roots = Roots(())  # of the journal, and of the tiles
        self._differ: dict[
            int, tuple[Line, str | None]
        ] = {}  # records unlike their tile; the id their bundle still has
        self._bundles: list[tuple[str, Line]] = []  # bundles unlike the journal, and the first record that differs
        self._tiles: list[Problem] = []  # tiles above level 0, and files that are missing or malformed

    def run(self) -> Verdict:
        checkpoint = self._checkpoint()
        self._minimum, problem = read_minimum(self._directory, self._key)
        if problem is not None:
            self._problem(problem)
        self._lines = JournalLines(self._directory, self._key, self._minimum, self._problem, self._progress)
        published = published_records(self._directory)
        signed = checkpoint.size if checkpoint else 0
        kept_sizes = [size for size, _ in self._against.places] if self._against is not None else []
        self._roots = Roots([signed, *kept_sizes])
        self._read_everything(signed)
        self._judge(checkpoint, max(signed, published))
        if self._against is not None:
            self._problems[:0] = compare(self._against, self._count, self._roots.found)
            self._notes += self._against.notes
        self._notes += self._lines.notes
        self._tell_gaps_and_times()
        if checkpoint is not None and self._count > signed:
            self._notes.append(
                f"{self._count - signed} records are not under a checkpoint yet: no signature covers them"
            )
        return Verdict(
            self._minimum,
            self._count,
            checkpoint.size if checkpoint else None,
            checkpoint.root if checkpoint else None,
            tuple(self._problems),
            self._unshown,
            tuple(self._notes),
        )

    def _problem(self, problem: Problem) -> None:
        if len(self._problems) < PROBLEMS_SHOWN:
            self._problems.append(problem)
        else:
            self._unshown += 1

    def _checkpoint(self) -> note.Checkpoint | None:
        try:
            return note.open_checkpoint((self._directory / "checkpoint").read_bytes(), self._key)
        except FileNotFoundError:
            self._problem(Problem("checkpoint_missing", "there is no checkpoint: nothing in this log is signed"))
        except note.NoteInvalid as exc:
            self._problem(Problem("checkpoint_invalid", f"the checkpoint does not hold: {exc}"))
        return None

    # Reading

    def _read_everything(self, signed: int) -> None:
        """Goes through the journal in blocks of 256, against the bundles and tiles of every level."""
        levels: list[list[bytes]] = []  # above level 0: hashes of the tile that is being filled
        ours, theirs = Peaks(), Peaks()
        block: list[Line] = []
        leaves: list[bytes] = []

        def finish_block() -> None:
            number = (self._count - len(leaves)) // tiles.WIDTH
            first = number * tiles.WIDTH
            needed = min(max(signed - first, 0), tiles.WIDTH)
            published = self._check_leaves(number, block, leaves, needed) if block else leaves
            self._roots.pass_block(first, (ours, leaves), (theirs, published))
            if len(leaves) == tiles.WIDTH:
                folded = tree.fold(b"".join(leaves))
                ours.push(8, folded)
                theirs.push(8, tree.fold(b"".join(published)) if len(published) == tiles.WIDTH else _NO_LEAF)
                self._grow(levels, 0, folded, number, signed)

        for first in range(0, self._minimum, tiles.WIDTH):
            leaves = self._pruned_leaves(first, min(tiles.WIDTH, self._minimum - first))
            self._count = first + len(leaves)
            if len(leaves) == tiles.WIDTH:
                finish_block()
                leaves = []
        block = [Line(self._count - len(leaves) + n, "", None, pruned=True) for n in range(len(leaves))]
        for line in self._lines:
            self._check_record(line)
            block.append(line)
            leaves.append(_NO_LEAF if line.data is None else tree.leaf_hash(line.data))
            self._count = line.index + 1
            if len(leaves) == tiles.WIDTH:
                finish_block()
                block, leaves = [], []
        finish_block()
        for level, hashes in enumerate(levels, 1):
            number = self._count >> 8 * (level + 1)
            needed = min(max((signed >> 8 * level) - number * tiles.WIDTH, 0), len(hashes))
            self._check_tile(level, number, hashes, needed)

    def _pruned_leaves(self, first: int, count: int) -> list[bytes]:
        """The hashes of records that retention removed, out of the tile that has to hold them."""
        found = leaves_of(self._directory, first // tiles.WIDTH, count)
        if found is None:
            path = f"tile/0/{number_path(first // tiles.WIDTH)}"
            text = f"{path} is missing or malformed, which stands in for records that retention removed"
            self._problem(Problem("tile_missing", text))
        return found or [_NO_LEAF] * count

    def _grow(self, levels: list[list[bytes]], below: int, value: bytes, number: int, signed: int) -> None:
        level = below + 1
        if len(levels) < level:
            levels.append([])
        hashes = levels[level - 1]
        hashes.append(value)
        if len(hashes) == tiles.WIDTH:
            above = number // tiles.WIDTH
            needed = min(max((signed >> 8 * level) - above * tiles.WIDTH, 0), tiles.WIDTH)
            self._check_tile(level, above, hashes, needed)
            levels[level - 1] = []
            self._grow(levels, level, tree.fold(b"".join(hashes)), above, signed)

    def _check_record(self, line: Line) -> None:
        """Every record is one that this program writes: it decodes, and encodes to the same bytes."""
        self._follow_parts(line)
        if line.data is None:
            return
        try:
            decoded = audit_record.decode(line.data)
            same = audit_record.encode(decoded) == line.data and len(line.data) <= audit_record.ENTRY_MAX
        except (ValueError, RecursionError) as exc:
            self._problem(
                Problem(
                    "record_malformed", f"the line is no audit record: {exc}", line.index, line.place, line.record_id
                )
            )
            return
        if not same:
            text = "the line is not in the exact form in which records are written"
            self._problem(Problem("record_malformed", text, line.index, line.place, line.record_id))
        # requests begin in another order than they end; each record's append is what follows the one before
        appended = (decoded.ts.replace(tzinfo=dt.UTC) - _EPOCH).total_seconds() + (decoded.duration_ms or 0.0) / 1000
        if self._last_append is not None and appended < self._last_append - _CLOCK_STEP_S:
            self._backwards.append((line.index, self._last_append - appended))
        self._last_append = appended
        if decoded.kind == "gap" and decoded.detail is not None:
            earlier: Any = decoded.detail
            while isinstance(earlier, dict):
                self._explained.add(str(earlier.get("segment")))
                self._told_incomplete.add(str(earlier.get("record")))
                earlier = earlier.get("earlier")
            reason = decoded.detail.get("reason", "unknown")
            self._notes.append(f"record {line.index} tells of a gap: {reason}, {_gap_size(decoded.detail)}")

    def _follow_parts(self, line: Line) -> None:
        """Parts stand one behind the other, from the first to the last."""
        before = None if self._begun is None else audit_record.part_of(self._begun.data or b"")
        mark = audit_record.part_of(line.data or b"")
        expected = None if before is None else (before[0], before[1] + 1, before[2])
        if expected is not None and mark != expected and self._begun is not None:
            self._incomplete[expected[0]] = self._begun
        if mark is not None and mark != expected and mark[1] != 1:
            text = f"it is part {mark[1]} of a record, and part {mark[1] - 1} does not stand before it"
            self._problem(Problem("record_incomplete", text, line.index, line.place, mark[0]))
        self._begun = line if mark is not None and mark[1] < mark[2] else None

    # Comparing

    def _check_leaves(self, number: int, block: list[Line], leaves: list[bytes], needed: int) -> list[bytes]:
        """A block against its bundle and level 0 tile, full and partial. Gives the tile's hashes, ours where it has none."""
        bundle: list[bytes] = []
        for path, width in versions(self._directory, f"tile/entries/{number_path(number)}"):
            data = read_published(self._directory / path)
            if data is None:
                continue
            try:
                entries = tiles.decode_bundle(data)
            except ValueError:
                entries = []
            if len(entries) != width:
                self._tiles.append(Problem("bundle_altered", f"{path} is no bundle of {width} entries"))
                continue
            bundle = max(bundle, entries, key=len)
            differing = next(
                (line for line, entry in zip(block, entries, strict=False) if line.data != entry and not line.pruned),
                None,
            )
            if differing is not None:
                self._bundles.append((path, differing))
        self._require("bundle_missing", f"tile/entries/{number_path(number)}", needed)

        published: list[bytes] | None = None
        found = versions(self._directory, f"tile/0/{number_path(number)}")
        for path, width in sorted(found, key=lambda v: (v[1] != needed, -v[1])):  # first the one that was signed
            data = read_published(self._directory / path)
            if data is None:
                continue
            if len(data) != width * tree.HASH_BYTES:
                self._tiles.append(Problem("tile_altered", f"{path} is no tile of {width} hashes"))
                continue
            hashes = [data[i : i + tree.HASH_BYTES] for i in range(0, len(data), tree.HASH_BYTES)]
            shared = min(width, len(leaves))
            if hashes[:shared] != leaves[:shared]:
                at = next(i for i in range(shared) if hashes[i] != leaves[i])
                was = id_of(bundle[at]) if at < len(bundle) and tree.leaf_hash(bundle[at]) == hashes[at] else None
                self._differ.setdefault(block[at].index, (block[at], was))
                self._tiles.append(
                    Problem("tile_altered", f"{path} does not hold the hash of record {block[at].index}")
                )
            if published is None and width >= needed:
                published = hashes[:shared] + leaves[shared:]
        self._require("tile_missing", f"tile/0/{number_path(number)}", needed)
        return leaves if published is None else published

    def _check_tile(self, level: int, number: int, hashes: list[bytes], needed: int) -> None:
        """A tile above level 0, full and partial, against the hashes of the level below."""
        expected = b"".join(hashes)
        for path, width in versions(self._directory, f"tile/{level}/{number_path(number)}"):
            data = read_published(self._directory / path)
            if data is None:
                continue
            shared = min(width * tree.HASH_BYTES, len(expected))
            if len(data) != width * tree.HASH_BYTES or data[:shared] != expected[:shared]:
                self._tiles.append(Problem("tile_altered", f"{path} does not hold the hashes of the tiles below it"))
        self._require("tile_missing", f"tile/{level}/{number_path(number)}", needed)

    def _require(self, kind: str, path: str, width: int) -> None:
        """The tile that the checkpoint needs is there, partial or full."""
        if not width:
            return
        full = self._directory / path
        if not full.is_file() and (width == tiles.WIDTH or not Path(f"{full}.p/{width}").is_file()):
            shown = path if width == tiles.WIDTH else f"{path}.p/{width}"
            self._tiles.append(Problem(kind, f"{shown} is missing, which the checkpoint needs"))

    # Judging

    def _judge(self, checkpoint: note.Checkpoint | None, expected: int) -> None:
        if self._count < expected and not self._lines.stopped:
            lost = expected - self._count
            by = "its checkpoint was signed over" if checkpoint and expected == checkpoint.size else "its tiles hold"
            text = f"the journal ends after {self._count} records, but {by} {expected}: {lost} records are missing at the end"
            self._problem(Problem("records_missing", text, index=self._count, place=segments.JOURNAL))
        journal_root, tiles_root = self._roots.found.get(checkpoint.size if checkpoint else 0, (None, None))
        sound_journal = checkpoint is not None and journal_root == checkpoint.root
        sound_tiles = checkpoint is not None and tiles_root == checkpoint.root
        if sound_journal or (checkpoint is None and not self._differ):
            for problem in self._tiles:
                self._problem(problem)
            for path, line in self._bundles:
                self._problem(
                    Problem(
                        "bundle_altered", f"{path} does not hold record {line.index} as the journal has it", line.index
                    )
                )
            return
        for line, was in self._differ.values():
            certain = (
                "it is not the record that was signed"
                if sound_tiles
                else "it is not the record whose hash is in the tile"
            )
            text = certain + (f"; that one had the id {was}" if was else "")
            self._problem(Problem("record_altered", text, line.index, line.place, line.record_id))
        if not self._differ:
            for path, line in self._bundles:
                text = f"it is not the record that {path} holds"
                self._problem(Problem("record_altered", text, line.index, line.place, line.record_id))
        for problem in self._tiles:
            if problem.kind != "tile_altered" or not sound_tiles:
                self._problem(problem)
        if checkpoint is not None and journal_root is not None:
            text = f"the first {checkpoint.size} records do not give the root hash that the checkpoint signs"
            self._problem(Problem("root_differs", text))

    def _tell_gaps_and_times(self) -> None:
        for path, behind in self._lines.unexplained:
            if path in self._explained:
                self._notes.append(f"{path} ends in {behind} bytes of a commit that failed; a gap record says so")
            else:
                text = f"{path} holds {behind} bytes behind its last record, of which no gap record tells"
                self._problem(Problem("bytes_unexplained", text, place=path))
        for record_id, line in self._incomplete.items():
            if record_id not in self._told_incomplete:
                text = "the record's next part does not follow, and no gap record tells of it"
                self._problem(Problem("record_incomplete", text, line.index, line.place, record_id))
        if self._begun is not None:
            self._notes.append(
                f"record {self._begun.index} is a part; the next one is being written, or was lost in a crash"
            )
        if self._backwards:
            more = f", and {len(self._backwards) - 1} more" if len(self._backwards) > 1 else ""
            index, seconds = self._backwards[0]
            self._notes.append(f"the clock was set back by {seconds:.6g} s before record {index}{more}")


def _gap_size(detail: dict[str, object]) -> str:
    if "parts_kept" in detail:
        return f"of record {detail.get('record')} {detail['parts_kept']} of {detail.get('parts')} parts are there"
    if "bytes_cut" in detail:
        return f"{detail['bytes_cut']} bytes were cut"
    return f"{detail.get('records', 0)} records were refused"
