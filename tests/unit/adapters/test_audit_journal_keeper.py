"""Packing and retention, at every moment at which the power can fail, and on disks that fail."""

import asyncio
import errno
import random

import pytest

from audit_proxy.adapters.audit_journal import JournalRetention, keeper
from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.audit_journal.recovery import chunks, lines, minimum_of, segments_of
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.core.merkle import note, retention, tiles, tree
from tests.simulator.files import SimulatedFiles

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)
START = 1_800_000_000.0


class Clock:
    def __init__(self, seconds=START):
        self.seconds = seconds

    def now(self):
        return self.seconds


def record(n, at=None):
    ts = START + n if at is None else at
    made = audit_record.Record(
        v=1, id=audit_record.uuid7(ts, n.to_bytes(10, "big")), ts=audit_record.timestamp(ts), node="n", kind="access"
    )
    return audit_record.encode(made)


def opened(files, clock=None, **options):
    options = {"commit_interval_ms": 0, "checkpoint_interval_s": 0, "segment_bytes": 3000, **options}
    return open_log(files, KEY.name, "n", SEED, clock or Clock(), Options(**options))


def retaining(log, files, kinds=None):
    return JournalRetention(log, files, KEY, Clock(), "n", (kinds if kinds is not None else []).append)


async def filled(files, count, start=0):
    """A log of ``count`` records; those of each segment were appended one by one."""
    log = await opened(files)
    for n in range(start, start + count):
        assert await log.append(record(n)) == n
    return log


async def signed(log):
    async with asyncio.timeout(10):
        while log.signed_size < log.size:
            await asyncio.sleep(0.002)


async def test_sealed_segments_are_packed_and_read_like_plain_ones():
    """All but the one that is written; the log goes on, and starts again from them."""
    files = SimulatedFiles()
    log = await filled(files, 100)
    await signed(log)
    plain = {s.first: b"".join(chunks(files, s)) for s in segments_of(files)}
    assert len(plain) > 3
    assert await retaining(log, files).pack() == len(plain) - 1
    assert await retaining(log, files).pack() == 0
    assert [s.packed for s in segments_of(files)] == [True] * (len(plain) - 1) + [False]
    assert {s.first: b"".join(chunks(files, s)) for s in segments_of(files)} == plain
    assert await log.append(record(100)) == 100
    await log.close()
    again = await opened(files)
    assert again.size == 101
    await again.close()
    assert list(lines(files, 0, 101)) == [record(n) for n in range(101)]


async def test_what_a_failed_commit_left_behind_a_segment_is_not_packed():
    """It is no part of the log."""
    files = SimulatedFiles()
    log = await opened(files)
    await log.append(record(0))
    files.fail["write"] = [OSError(errno.EIO, "Input/output error")]
    files.fail["truncate"] = [OSError(errno.EIO, "Input/output error")]
    with pytest.raises(AuditUnavailable):
        await log.append(record(1))
    await log.append(record(2))
    await signed(log)
    await retaining(log, files).pack()
    first = segments_of(files)[0]
    assert first.packed
    assert b"".join(chunks(files, first)) == record(0) + b"\n"
    await log.close()


async def test_a_segment_that_does_not_read_back_stays_plain(monkeypatch):
    """Nothing is removed for a packed form that is not the same."""
    files = SimulatedFiles()
    log = await filled(files, 40)
    await signed(log)
    before = set(files.names("journal"))

    class Lying(keeper.packing.Packer):
        def add(self, data):
            return super().add(data.replace(b"access", b"denial"))

    monkeypatch.setattr(keeper.packing, "Packer", Lying)
    with pytest.raises(LogUnusable, match="does not read back"):
        await retaining(log, files).pack()
    assert set(files.names("journal")) == before
    await log.close()


async def test_retention_removes_whole_segments_of_old_records_and_the_log_says_so():
    """Those alone whose records are all older; bundles below go, hash tiles stay; the record names who asked for it."""
    files, kinds = SimulatedFiles(), []
    log = await filled(files, 900)
    await signed(log)
    keep = retaining(log, files, kinds)
    await keep.pack()
    tile_files = [
        path for path in files._disk.live if path.startswith("tile/") and "entries" not in path and ".p" not in path
    ]
    bounds = [s.first for s in segments_of(files)]
    expected = max(first for first in bounds if first <= 600)
    assert await keep.prunable(START + 600) == (expected, 0)
    done = await keep.prune(START + 600, "operator")
    assert (done.minimum, done.former) == (expected, 0)
    assert segments_of(files)[0].first == expected == minimum_of(files)
    assert not [name for name in files.names("journal") if int(name[:20]) < expected]
    assert sorted(name for name in files.names("tile/entries") if ".p" not in name) == [
        f"{n:03d}" for n in range(expected // 256, 900 // 256)
    ]
    assert set(tile_files) <= set(files._disk.live)
    found = retention.open_minimum(files.read("minimum-index"), KEY)
    told = audit_record.decode(found.record)
    assert (told.id, told.actor, told.kind, told.action) == (done.record_id, "operator", "admin", "log.prune")
    assert told.target == {"minimum_index": expected, "former_minimum_index": 0}
    assert list(lines(files, found.told_by, found.told_by + 1)) == [found.record]
    assert kinds == ["admin"]
    assert await keep.prune(START + 600, None) is None
    again = await keep.prune(START + 700, None)
    assert (again.former, again.minimum > expected) == (expected, True)
    span = await keep.span()
    assert span[0] == START + again.minimum
    await log.close()
    reopened = await opened(files)
    assert await reopened.append(record(902)) == 902
    await reopened.close()


async def test_records_that_look_old_because_the_clock_was_wrong_keep_their_segment():
    """A single newer record in a segment keeps it, and all after it."""
    files = SimulatedFiles()
    log = await opened(files)
    for n in range(60):
        await log.append(record(n, START + 10**6 if n == 25 else START - 10**8))
    await signed(log)
    found = next(s for s in segments_of(files) if s.first + (s.records or 99) > 25)
    assert await retaining(log, files).prunable(START) == (found.first, 0)
    await log.close()


async def test_a_segment_ends_when_it_is_old():
    """So that retention has something to remove in a quiet log; also when the clock was set back, and after a restart."""
    files, clock = SimulatedFiles(), Clock()
    log = await opened(files, clock, segment_s=100, segment_bytes=10**6)
    for n, at in enumerate((0, 50, 99, 100, 150, -400, -350)):
        clock.seconds = START + at
        await log.append(record(n, clock.seconds))
    await log.close()
    assert [s.first for s in segments_of(files)] == [0, 3, 5]
    clock.seconds = START - 310
    log = await opened(files, clock, segment_s=100, segment_bytes=10**6)
    await log.append(record(7, clock.seconds))
    clock.seconds = START - 300
    await log.append(record(8, clock.seconds))
    await log.close()
    assert [s.first for s in segments_of(files)] == [0, 3, 5, 8]


async def test_a_log_whose_partial_bundle_was_pruned_in_part_starts_again():
    """What retention removed of the last 256 is read from the published bundle."""
    files = SimulatedFiles()
    log = await filled(files, 300)
    await signed(log)
    await retaining(log, files).prune(START + 290, None)
    assert minimum_of(files) > 256
    await log.close()
    log = await opened(files)
    assert log.size == 301
    for n in range(301, 600):
        await log.append(record(n))
    await log.close()
    bundle = tiles.decode_bundle(files.read("tile/entries/001"))
    assert bundle[:44] == [record(n) for n in range(256, 300)]
    await (await opened(files)).close()


@pytest.mark.parametrize("harm", ["tile", "minimum", "forged minimum", "no minimum", "bundle"])
async def test_a_pruned_log_that_was_tampered_with_does_not_start(harm):
    """Tiles stand in for what was removed, and a proof for the right to remove it: without either nothing is signed."""
    files = SimulatedFiles()
    log = await filled(files, 300)
    await signed(log)
    await retaining(log, files).prune(START + 290, None)
    await log.close()
    if harm == "tile":
        files.alter("tile/0/000", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
        files.alter("tile/1/000.p/1", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "minimum":
        files.alter("minimum-index", lambda data: data[:-5])
    elif harm == "forged minimum":
        files.alter("minimum-index", lambda data: data.replace(b"index 300", b"index 299"))
    elif harm == "no minimum":
        files.remove("minimum-index")
    else:
        files.alter("tile/entries/001.p/45", lambda data: data[:-3] + b"\x00" * 3)
        files.alter("tile/0/001.p/45", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LogUnusable):
        await opened(files)


async def test_a_checkpoint_that_does_not_come_removes_nothing(monkeypatch):
    """The record of the retention must be signed first."""
    monkeypatch.setattr(keeper, "SIGNED_WITHIN_S", 0.05)
    files = SimulatedFiles()
    log = await filled(files, 100)
    await signed(log)
    before = set(files.names("journal"))
    files.fail["put"] = [OSError(errno.ENOSPC, "No space left on device")] * 100_000
    with pytest.raises(AuditUnavailable, match="nothing was removed"):
        await retaining(log, files).prune(START + 90, None)
    files.fail.clear()
    assert before <= set(files.names("journal"))
    assert minimum_of(files) == 0
    await log.close()


def everything_promised(files, acknowledged, pruned):
    """After a crash: the published log holds together, and every record is there that no durable retention removed."""
    checkpoint = note.open_checkpoint(files.read("checkpoint"), KEY)
    minimum = minimum_of(files)
    assert minimum in pruned
    journal = dict(enumerate(lines(files, minimum, checkpoint.size), minimum))
    for index, line in acknowledged:
        assert index < minimum or journal[index] == line

    def read(level, index, width):
        for candidate in (width, 256):
            try:
                return files.read(tiles.tile_path(level, index, candidate))[: 32 * width]
            except FileNotFoundError:
                continue
        raise AssertionError(f"a tile is missing: {level} {index} {width}")

    assert tree.root(checkpoint.size, tiles.subtrees_of(checkpoint.size, read)) == checkpoint.root
    for first in range(minimum // 256 * 256, checkpoint.size, 256):
        hashes = read(0, first // 256, min(256, checkpoint.size - first))
        for index in range(max(first, minimum), min(first + 256, checkpoint.size)):
            assert hashes[32 * (index - first) :][:32] == tree.leaf_hash(journal[index])


@pytest.mark.parametrize("choice", ["nothing", "everything", "drawn"])
async def test_a_crash_at_any_moment_of_packing_and_retention_loses_nothing(choice):
    """Two rounds of both: whatever survives, what was not removed by right is there, and the next round completes."""
    files = SimulatedFiles()
    log = await filled(files, 560)
    await signed(log)
    acknowledged = [(n, record(n)) for n in range(560)]
    keep = retaining(log, files)
    begin = len(files.operations)
    await keep.pack()
    first = (await keep.prune(START + 250, None)).minimum
    files.mark("pruned", first)
    await keep.pack()
    second = (await keep.prune(START + 540, None)).minimum
    files.mark("pruned", second)
    end = len(files.operations)
    await log.close()
    rng = random.Random(5)
    survive = {"nothing": lambda n: 0, "everything": lambda n: n, "drawn": lambda n: rng.randint(0, n)}[choice]
    moments = sorted(rng.sample(range(begin, end + 1), min(60, end + 1 - begin)))
    for at in moments:
        after = files.crash(at, survive)
        again = await opened(after)
        await signed(again)
        told = files.marks("pruned", at)
        everything_promised(after, acknowledged, {*(told[-1:] or [0]), first, second})
        assert minimum_of(after) >= (told[-1] if told else 0)
        then = retaining(again, after)
        await then.pack()
        await then.prune(START + 540, None)
        left = [int(name[:20]) for name in after.names("journal") if name.endswith((".jsonl", ".zst"))]
        assert min(left) == second
        assert not [name for name in after.names("tile/entries") if name.isdigit() and int(name) < second // 256]
        assert all(s.packed for s in segments_of(after)[:-1])
        await again.close()
        everything_promised(after, acknowledged, {second})


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory", "put"])
@pytest.mark.parametrize("after", range(6))
async def test_a_failing_disk_breaks_off_and_the_next_round_completes(operation, after):
    """Packing or retention that failed at any step leaves the log whole."""
    files = SimulatedFiles()
    log = await filled(files, 300)
    await signed(log)
    await log.close()
    log = await opened(files, checkpoint_interval_s=0.01)
    keep = retaining(log, files)
    files.fail[operation] = [None] * after + [OSError(errno.EIO, "Input/output error")]
    for step in (keep.pack, lambda: keep.prune(START + 280, None)):
        try:
            await step()
        except (OSError, AuditUnavailable):
            await step()
    files.fail.clear()
    assert minimum_of(files) > 256
    await signed(log)
    everything_promised(files, [(n, record(n)) for n in range(300)], {minimum_of(files)})
    await log.close()
