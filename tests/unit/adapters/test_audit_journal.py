"""The audit log when the disk fails: nothing is acknowledged that is not durable, and it heals by itself."""

import asyncio
import errno
import json
import threading

import pytest

from audit_proxy.adapters.audit_journal import log as log_module
from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.audit_journal.recovery import lines
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.core.merkle import note, tiles, tree
from tests.simulator.files import SimulatedFiles

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)
EIO = OSError(errno.EIO, "Input/output error")
FULL = OSError(errno.ENOSPC, "No space left on device")


class Clock:
    def now(self):
        return 1_800_000_000.0


def opened(files, **options):
    return open_log(files, KEY.name, "node-1", SEED, Clock(), Options(**options))


def record(n):
    return b'{"n":%d}' % n


def stored(files):
    journal = list(lines(files, 0, checkpoint(files).size))
    root = tree.root(len(journal), tree.subtrees_of([tree.leaf_hash(line) for line in journal]))
    assert root == checkpoint(files).root
    return journal


def checkpoint(files):
    return note.open_checkpoint(files.read("checkpoint"), KEY)


def gaps(files):
    return [(n, audit_record.decode(line).detail) for n, line in enumerate(stored(files)) if b'"kind":"gap"' in line]


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("truncate_fails", [False, True])
async def test_a_failed_commit_fails_its_records_and_abandons_the_segment(operation, truncate_fails):
    """The batch is refused, nothing is retried on that segment; the next batch begins a new one with a gap record."""
    files = SimulatedFiles()
    failures = []
    log = await opened(files, on_failure=lambda: failures.append(1))
    assert await log.append(record(0)) == 0
    files.fail[operation] = [EIO]
    if truncate_fails:
        files.fail["truncate"] = [EIO]
    bad = [log.append(record(100)), log.append(record(101))]
    for future in bad:
        with pytest.raises(AuditUnavailable, match="Input/output error"):
            await future
    assert failures == [1]
    writes = [o for o in files.operations if o[0] in ("write", "sync", "create")]
    assert await log.append(record(1)) == 2
    abandoned = next(o[2] for o in files.operations if o[:2] == ("create", "journal/00000000000000000000.jsonl"))
    later = [o for o in files.operations if o[0] in ("write", "sync", "create")][len(writes) :]
    assert not any(o[0] in ("write", "sync") and o[1] == abandoned for o in later)
    await log.close()
    assert sorted(n for n in files.names("journal")) == ["00000000000000000000.jsonl", "00000000000000000001.jsonl"]
    assert [stored(files)[n] for n in (0, 2)] == [record(0), record(1)]
    ((index, detail),) = gaps(files)
    assert index == 1
    assert detail["reason"] == "commit_failed"
    assert detail["segment"] == "journal/00000000000000000000.jsonl"
    assert (detail["records"], detail["commits"], detail["bytes_kept"]) == (2, 1, 8)


async def test_a_long_outage_is_one_gap_and_ends_by_itself():
    """While the disk is full every record is refused; once there is room, the log goes on and tells what it refused."""
    files = SimulatedFiles()
    log = await opened(files)
    await log.append(record(0))
    files.fail["write"] = [FULL]
    files.fail["create"] = [FULL] * 4
    for n in range(5):
        with pytest.raises(AuditUnavailable, match="No space left"):
            await log.append(record(50 + n))
    assert await log.append(record(1)) == 2
    await log.close()
    ((_, detail),) = gaps(files)
    assert (detail["records"], detail["commits"], detail["error"]) == (5, 5, "No space left on device")


async def test_a_first_segment_that_fails_is_begun_anew():
    """A segment that never held a durable record is replaced under the same name."""
    files = SimulatedFiles()
    log = await opened(files)
    files.fail["sync"] = [EIO]
    files.fail["truncate"] = [EIO]
    with pytest.raises(AuditUnavailable):
        await log.append(record(9))
    assert await log.append(record(0)) == 1
    await log.close()
    assert stored(files)[1:] == [record(0)]
    reopened = await opened(files)
    assert reopened.size == 2
    await reopened.close()


async def test_error_texts_name_no_path():
    """What reaches an app's developer or a log line says what failed, not where files are."""
    files = SimulatedFiles()
    log = await opened(files)
    files.fail["write"] = [OSError(errno.EACCES, "Permission denied", "/srv/secret/place")]
    with pytest.raises(AuditUnavailable) as caught:
        await log.append(record(0))
    assert "/srv" not in str(caught.value)
    await log.close()


async def test_buffered_records_survive_a_failed_sync():
    """Acknowledged before they were durable, they go into the next segment under their own indices; meanwhile the next
    batch waits for a sync, so that the loss stays bounded."""
    files = SimulatedFiles()
    log = await opened(files, durability="buffered", segment_bytes=20)
    files.fail["sync"] = [EIO]
    assert await log.append(record(10)) == 0
    assert await log.append(record(11)) == 1
    assert await log.append(record(12)) == 2  # the segment is full now: the next batch must sync it first
    with pytest.raises(AuditUnavailable):
        await log.append(record(13))
    syncs = sum(o[0] == "sync" for o in files.operations)
    assert await log.append(record(14)) == 4
    assert sum(o[0] == "sync" for o in files.operations) == syncs + 1
    await log.close()
    journal = stored(files)
    assert journal[:3] + journal[4:] == [record(10), record(11), record(12), record(14)]
    assert b'"kind":"gap"' in journal[3]


async def test_buffered_records_are_synced_within_a_second(monkeypatch):
    """Without further records, and while records keep coming, what was acknowledged becomes durable."""
    monkeypatch.setattr(log_module, "BUFFERED_SYNC_S", 0.02)
    files = SimulatedFiles()
    log = await opened(files, durability="buffered", checkpoint_interval_s=0.001)
    await log.append(record(0))
    while checkpoint(files).size != 1:
        await asyncio.sleep(0.002)
    while checkpoint(files).size < 3:
        await log.append(record(1))
    await log.close()


class HangingFiles(SimulatedFiles):
    """Every sync waits while the gate is shut."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def create(self, path):
        file = super().create(path)
        sync = file.sync

        def gated():
            self.gate.wait(20)
            sync()

        file.sync = gated
        return file


async def test_a_hanging_disk_refuses_in_time_and_then_at_once():
    """Past the limit the waiting records fail, later ones at once; those no batch had taken are not written later; when
    the disk comes back, so does the log."""
    files = HangingFiles()
    failures = []
    log = await opened(files, commit_timeout_s=0.1, on_failure=lambda: failures.append(1))
    await log.append(record(0))
    files.gate.clear()
    taken = log.append(record(50))
    while not any(o[0] == "write" and b"50" in o[2] for o in files.operations):
        await asyncio.sleep(0.001)
    queued = log.append(record(51))
    for future in (taken, queued):
        with pytest.raises(AuditUnavailable, match=r"no commit within 0\.1 s"):
            await future
    at_once = log.append(record(52))
    assert at_once.done()
    with pytest.raises(AuditUnavailable, match="does not answer"):
        await at_once
    assert failures
    files.gate.set()
    while True:
        try:
            await log.append(record(1))
            break
        except AuditUnavailable:
            await asyncio.sleep(0.005)
    await log.close()
    told = {0: record(0), 1: record(50), 3: record(1)}
    journal = stored(files)
    assert {n: journal[n] for n in told} == told
    assert len(journal) == 4
    ((index, detail),) = gaps(files)
    assert (index, detail["reason"]) == (2, "records_refused")
    assert detail["records"] >= 2


async def test_close_does_not_wait_for_ever():
    """A disk that never answers does not keep the process from ending; what waited is refused."""
    files = HangingFiles()
    log = await opened(files, commit_timeout_s=0.05)
    files.gate.clear()
    waiting = log.append(record(0))
    await log.close()
    with pytest.raises(AuditUnavailable):
        await waiting
    files.gate.set()


@pytest.mark.parametrize("backlog", [10**9, 0], ids=["memory", "journal"])
async def test_failed_publication_is_made_up_for(monkeypatch, backlog):
    """Records are taken while tiles cannot be written; once they can, everything is published, out of memory or, when too
    much piled up, out of the journal."""
    monkeypatch.setattr(log_module, "BACKLOG_MAX_BYTES", backlog)
    files = SimulatedFiles()
    failures = []
    log = await opened(files, checkpoint_interval_s=0.001, on_failure=lambda: failures.append(1))
    files.fail["put"] = [EIO] * 7
    for n in range(700):
        await log.append(record(n)) if n % 50 == 0 else log.append(record(n))
    while checkpoint(files).size < 700:
        await asyncio.sleep(0.002)
    assert len(failures) == 7
    await log.append(record(700))
    await log.close()
    assert stored(files) == [record(n) for n in range(701)]
    bundle = [tiles.decode_bundle(files.read(tiles.entries_path(n))) for n in range(2)]
    assert bundle[0] + bundle[1] == [record(n) for n in range(512)]


async def test_what_is_signed_is_what_was_committed():
    """A journal altered between commit and publication is not signed: the leaf hash is that of the bytes in memory."""
    files = SimulatedFiles()
    log = await opened(files, checkpoint_interval_s=3600)
    await log.append(record(1))
    files.alter("journal/00000000000000000000.jsonl", lambda b: b.replace(b"1", b"2"))
    await log.close()
    assert checkpoint(files).root == tree.leaf_hash(record(1))


async def test_partial_tiles_go_when_the_full_one_is_there():
    """Their directories are removed after a checkpoint that no longer needs them."""
    files = SimulatedFiles()
    log = await opened(files, checkpoint_interval_s=0.001)
    for n in range(300):
        await log.append(record(n))
    await log.close()
    assert sorted(files.names("tile/entries")) == ["000", "001.p"]
    assert sorted(files.names("tile/0")) == ["000", "001.p"]
    assert "44" in files.names("tile/0/001.p")


# Starting


async def made(files, count=300, **options):
    log = await opened(files, **options)
    for n in range(count):
        log.append(record(n))
    await log.close()


async def test_a_torn_end_is_cut_kept_and_told():
    """Half a line behind the checkpoint is cut; its bytes are kept, the gap record says how many."""
    files = SimulatedFiles()
    await made(files)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b + b'{"n":30')
    await (await opened(files)).close()
    journal = stored(files)
    assert journal[:300] == [record(n) for n in range(300)]
    ((index, detail),) = gaps(files)
    assert index == 300
    assert (detail["reason"], detail["bytes_cut"]) == ("torn_end", 7)
    assert files.read("journal/00000000000000000300.cut") == b'{"n":30'
    await (await opened(files)).close()
    assert len(gaps(files)) == 1


async def test_zeros_and_what_follows_them_are_cut():
    """Pages reach the disk in any order: a blank where a record was to stand ends the log, when nothing signed follows."""
    files = SimulatedFiles()
    await made(files, 3)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b + bytes(9) + b'}\n{"n":4}\n')
    await (await opened(files)).close()
    assert stored(files)[:3] == [record(n) for n in range(3)]
    assert len(stored(files)) == 4
    assert gaps(files)[0][1]["bytes_cut"] == 19


async def test_a_cut_that_was_not_told_yet_is_told_by_the_next_start():
    """A start that died between the cut and its gap record leaves the cut to the next one."""
    files = SimulatedFiles()
    await made(files, 3)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b + b"{torn")
    files.fail["write"] = [EIO] * 3
    await (await opened(files)).close()
    assert len(stored(files)) == 3
    files.fail.clear()
    await (await opened(files)).close()
    assert gaps(files) == [(3, gaps(files)[0][1])]
    assert gaps(files)[0][1]["bytes_cut"] == 5


async def test_records_that_no_checkpoint_covers_yet_are_kept_and_signed():
    """What a killed process committed but did not publish is in the log after the next start."""
    files = SimulatedFiles()
    await made(files, 3)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b + b"".join(record(n) + b"\n" for n in range(3, 600)))
    log = await opened(files)
    assert log.size == checkpoint(files).size == 600
    await log.close()
    assert stored(files) == [record(n) for n in range(600)]


async def test_lost_or_altered_tiles_are_made_again_from_a_sound_journal():
    """Tiles are derived: without them the journal must give the signed root, then they are back."""
    for damage in ("tile/0/000", "tile/1/000.p/1", "tile/0/001.p/44"):
        files = SimulatedFiles()
        await made(files)
        good = files.read(damage)
        files.alter(damage, lambda b: bytes(len(b)))
        await (await opened(files)).close()
        if damage != "tile/0/000":  # an inner full tile is not needed to go on; verify tells of it
            assert files.read(damage) == good
        assert stored(files) == [record(n) for n in range(300)]


@pytest.mark.parametrize("at", [0, 5, 255, 256, 299])
async def test_a_journal_that_contradicts_its_checkpoint_stops_the_start(at):
    """An altered record in the open bundle, or any record once tiles are gone, is never signed over."""
    files = SimulatedFiles()
    await made(files)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b.replace(record(at) + b"\n", b'{"m":%d}\n' % at))
    if at < 256:
        for path in ("tile/0/000", "tile/1/000.p/1"):
            files.alter(path, lambda _: b"")
    before = files.read("checkpoint")
    with pytest.raises(LogUnusable, match="altered"):
        await opened(files)
    assert files.read("checkpoint") == before


@pytest.mark.parametrize("keep", [0, 299])
async def test_a_journal_cut_back_behind_its_checkpoint_stops_the_start(keep):
    """Fewer records than were signed is not a crash; nothing is changed."""
    files = SimulatedFiles()
    await made(files)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b"".join(b.splitlines(keepends=True)[:keep]))
    before = len(files.operations)
    with pytest.raises(LogUnusable, match="records are missing"):
        await opened(files)
    assert {o[0] for o in files.operations[before:]} <= {"syncdir"}


@pytest.mark.parametrize("gone", ["checkpoint", "checkpoint and tiles", "checkpoint and journal"])
async def test_records_without_their_checkpoint_are_never_signed_anew(gone):
    """Who alters a record and removes every signature over it does not get a new one at the next start; the directory
    stays as it was found, and the checkpoint put back makes the alteration known."""
    files = SimulatedFiles()
    await made(files)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b.replace(record(5), b'{"m":5}'))
    taken = files.read("checkpoint")
    files.remove("checkpoint")
    if gone == "checkpoint and tiles":
        for path in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"):
            files.remove(path)
    if gone == "checkpoint and journal":
        files.remove("journal/00000000000000000000.jsonl")
    before = len(files.operations)
    with pytest.raises(LogUnusable, match="checkpoint is gone"):
        await opened(files)
    assert {o[0] for o in files.operations[before:]} <= {"syncdir"}
    files.put("checkpoint", taken)
    if gone == "checkpoint and tiles":
        with pytest.raises(LogUnusable, match="altered"):
            await opened(files)


async def test_a_missing_segment_stops_the_start():
    """The first segment gone is told as what it is."""
    files = SimulatedFiles()
    await made(files, 300, segment_bytes=100, commit_interval_ms=0)
    await made(files, 5, segment_bytes=100)
    files.remove("journal/00000000000000000000.jsonl")
    with pytest.raises(LogUnusable, match="missing"):
        await opened(files)


async def test_the_checkpoint_of_another_log_or_key_stops_the_start():
    """A log is not continued under another name or key."""
    files = SimulatedFiles()
    await made(files)
    with pytest.raises(LogUnusable, match="not this log's"):
        await open_log(files, KEY.name, "n", b"o" * 32, Clock(), Options())
    with pytest.raises(LogUnusable, match="not this log's"):
        await open_log(files, "example.com/other", "n", SEED, Clock(), Options())
    await (await opened(files)).close()  # and the lock was given back


async def test_gap_records_are_records():
    """They decode, re-encode to the same bytes and name the node."""
    files = SimulatedFiles()
    await made(files, 1)
    files.alter("journal/00000000000000000000.jsonl", lambda b: b + b"{")
    await (await opened(files)).close()
    line = stored(files)[1]
    read = audit_record.decode(line)
    assert audit_record.encode(read) == line
    assert (read.kind, read.node) == ("gap", "node-1")
    assert json.loads(line)["ts"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("torn", [b"", b'{"id":"r","pa'])
async def test_a_record_whose_last_parts_a_crash_took_is_told_once(torn):
    """The parts there are stay, the gap names the record and how much of it there is; a start that dies before it could
    tell leaves that to the next."""
    files = SimulatedFiles()
    await made(files, 3)
    parts = [b'{"id":"r","part":%d,"parts":3}' % n for n in (1, 2)]
    files.alter("journal/00000000000000000000.jsonl", lambda data: data + b"\n".join([*parts, torn]))
    files.fail["write"] = [EIO]
    log = await opened(files)  # it cannot tell
    files.crash(len(files.operations), lambda total: 0)
    await log.append(record(9))
    await log.close()
    await made(files, 1)
    journal = stored(files)
    assert journal[3:5] == parts
    ((index, detail),) = gaps(files)
    assert index == 5
    while "record" not in detail:
        detail = detail["earlier"]
    assert detail["reason"] == ("torn_end" if torn else "incomplete_record")
    assert (detail["record"], detail["parts_kept"], detail["parts"]) == ("r", 2, 3)


async def test_a_gap_is_told_without_traffic():
    """The writer tries again by itself, and the log says when it takes records."""
    files = SimulatedFiles()
    log = await opened(files)
    files.fail["sync"] = [EIO, EIO]
    with pytest.raises(AuditUnavailable):
        await log.append(record(0))
    assert not log.takes_records
    while not log.takes_records:
        await asyncio.sleep(0.02)
    assert log.size == 1
    await log.close()
    ((_, detail),) = gaps(files)
    assert (detail["records"], detail["commits"]) == (1, 2)


async def test_a_gap_is_told_at_the_latest_when_the_log_is_closed():
    """A stop right behind a failure does not forget it."""
    files = SimulatedFiles()
    log = await opened(files)
    files.fail["sync"] = [EIO]
    with pytest.raises(AuditUnavailable):
        await log.append(record(0))
    await log.close()
    assert [detail["records"] for _, detail in gaps(files)] == [1]
