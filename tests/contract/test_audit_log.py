"""What every audit log promises (port AuditLog), run on the journal over a POSIX and over the simulated file system."""

import asyncio
import json

import pytest

from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.audit_journal.recovery import lines
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.core.merkle import note, tree
from tests.simulator.files import SimulatedFiles

SEED = b"s" * 32
ORIGIN = "example.com/log"


class Clock:
    def now(self):
        return 1_800_000_000.25


@pytest.fixture(params=["posix", "simulated"])
def files(request, tmp_path):
    return PosixFiles(tmp_path / "log") if request.param == "posix" else SimulatedFiles()


@pytest.fixture(params=["fsync", "buffered"])
def opened(request, files):
    async def open_it(**options):
        options.setdefault("durability", request.param)
        return await open_log(files, ORIGIN, "node-1", SEED, Clock(), Options(**options))

    return open_it


def record(n, size=0):
    return json.dumps({"n": n, "pad": "x" * size}).encode()


def stored(files, size):
    return list(lines(files, 0, size))


async def test_indices_count_up_in_the_order_of_the_appends(opened, files):
    """Each record gets the next index, and stands in the journal at that place, byte for byte."""
    log = await opened()
    records = [record(n, n % 50) for n in range(600)]
    futures = [log.append(r) for r in records]
    assert await asyncio.gather(*futures) == list(range(600))
    assert log.size == 600
    await log.close()
    assert stored(files, 600) == records


async def test_concurrent_tasks_share_commits(opened):
    """Many records in flight take few commits, and the hook tells their number and time."""
    commits = []
    log = await opened(on_commit=lambda seconds, count: commits.append((seconds, count)))

    async def task(n):
        for i in range(20):
            await log.append(record(n * 20 + i))

    await asyncio.gather(*(task(n) for n in range(32)))
    await log.close()
    assert sum(count for _, count in commits) == 640
    assert len(commits) < 320
    assert all(seconds >= 0 for seconds, _ in commits)


async def test_close_commits_what_waits_and_signs_it(opened, files):
    """Nothing appended before close is lost, and the last checkpoint covers everything."""
    log = await opened(checkpoint_interval_s=3600)
    futures = [log.append(record(n)) for n in range(300)]
    await log.close()
    assert [f.result() for f in futures] == list(range(300))
    checkpoint = note.open_checkpoint(files.read("checkpoint"), note.verifier_key(ORIGIN, SEED))
    leaves = [tree.leaf_hash(record(n)) for n in range(300)]
    assert (checkpoint.size, checkpoint.root) == (300, tree.root(300, tree.subtrees_of(leaves)))
    assert log.checkpoint_at == 1_800_000_000.25


async def test_a_closed_log_refuses(opened):
    """After close a record is refused, never silently dropped; closing twice is harmless."""
    log = await opened()
    await log.close()
    await log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.append(record(1))


async def test_an_empty_log_is_signed_too(opened, files):
    """A log has a checkpoint from its first moment, so that its removal can be told from youth."""
    log = await opened()
    assert note.open_checkpoint(files.read("checkpoint"), note.verifier_key(ORIGIN, SEED)).size == 0
    await log.close()


async def test_a_log_goes_on_where_it_ended(opened, files):
    """Reopened, indices continue and the old records are there, across many segments."""
    total = 0
    for turn in range(4):
        log = await opened(segment_bytes=2000, commit_interval_ms=0)
        assert log.size == total
        for n in range(70):
            assert await log.append(record(total + n, 30)) == total + n
        total += 70 + turn * 0
        await log.close()
    assert stored(files, total) == [record(n, 30) for n in range(total)]
    assert len([n for n in files.names("journal") if n.endswith(".jsonl")]) > 4


@pytest.mark.parametrize("bad", [b"", b'{"a":\n1}', b"{" + b"x" * 65_534 + b"}"], ids=["empty", "break", "large"])
async def test_what_is_no_record_is_refused_at_once(opened, bad):
    """A line break would forge a record; an entry has at most 65,535 bytes."""
    log = await opened()
    with pytest.raises(ValueError, match="one line"):
        log.append(bad)
    assert await log.append(b"{" + b"x" * 65_533 + b"}") == 0
    await log.close()


async def test_too_many_waiting_records_are_refused_at_once(opened):
    """The bound holds, the refused future fails without waiting, the others succeed."""
    failures = []
    log = await opened(max_pending_records=10, on_failure=lambda: failures.append(1))
    futures = [log.append(record(n)) for n in range(15)]
    assert all(f.done() for f in futures[10:])
    for future in futures[10:]:
        with pytest.raises(AuditUnavailable, match="too many"):
            await future
    assert await asyncio.gather(*futures[:10]) == list(range(10))
    assert len(failures) == 5
    await log.close()


async def test_a_caller_that_gives_up_harms_nobody(opened, files):
    """A cancelled future's record stays where it was; the others get their own indices."""
    log = await opened()
    futures = [log.append(record(n)) for n in range(9)]
    for future in futures[::3]:
        future.cancel()
    kept = [f for f in futures if not f.cancelled()]
    assert await asyncio.gather(*kept) == [1, 2, 4, 5, 7, 8]
    await log.close()
    assert stored(files, 9) == [record(n) for n in range(9)]


async def test_a_second_writer_is_refused(opened):
    """One directory, one writer; after close the next may have it."""
    log = await opened()
    with pytest.raises(LogUnusable, match="another process"):
        await opened()
    await log.close()
    await (await opened()).close()


async def test_checkpoints_follow_the_log(opened, files):
    """While records come, checkpoints are published without anybody asking."""
    log = await opened(checkpoint_interval_s=0.01, durability="fsync")
    key = note.verifier_key(ORIGIN, SEED)
    for n in range(3):
        await log.append(record(n))
        while note.open_checkpoint(files.read("checkpoint"), key).size != n + 1:
            await asyncio.sleep(0.005)
    await log.close()


async def test_the_parts_of_a_record_stand_one_behind_the_other(opened, files):
    """The future gives the first one's index, once all are in the log; other records keep theirs."""
    log = await opened()
    parts = [record(n, 60_000) for n in range(4)]
    futures = [log.append(record(9)), log.append(*parts), log.append(record(10)), log.append(*parts[:2])]
    assert await asyncio.gather(*futures) == [0, 1, 5, 6]
    assert log.size == 8
    await log.close()
    assert stored(files, 8) == [record(9), *parts, record(10), *parts[:2]]
