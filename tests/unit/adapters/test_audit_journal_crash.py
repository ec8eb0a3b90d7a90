"""A power cut at any moment: every acknowledged record is there, every checkpoint ever published still holds.

The real log runs, threads and all, on a file system that writes down what was done (tests/simulator/files.py). Then, for
each moment of that history, the disk is made as a crash there may leave it, recovered, examined, and run on.
"""

import asyncio
import errno
import itertools
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.audit_journal.recovery import lines
from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.merkle import note, tiles, tree
from audit_proxy.core.record import by_record, part_of
from tests.simulator.files import SimulatedFiles

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)


class Clock:
    def now(self):
        return 1_800_000_000.0


def opened(files, **options):
    return open_log(
        files, KEY.name, "n", SEED, Clock(), Options(commit_interval_ms=0, checkpoint_interval_s=0, **options)
    )


def lines_of(name, parts):
    """A record of one line, or one in parts."""
    if parts == 1:
        return (b'{"r":"%s"}' % name,)
    return tuple(b'{"id":"%s","part":%d,"parts":%d}' % (name, n, parts) for n in range(1, parts + 1))


def incomplete_records_are_told(journal):
    """Where the parts of a record end before the last, a gap record that names it follows at once."""
    records = list(by_record(enumerate(journal)))
    for record, following in itertools.zip_longest(records, records[1:]):
        mark = part_of(record[-1][1])
        if mark is not None and len(record) < mark[2]:
            (_, line), *_ = following
            gap = json.loads(line)
            assert gap["kind"] == "gap"
            detail = gap["detail"]
            while detail.get("record") != mark[0]:
                detail = detail["earlier"]
            assert (detail["parts_kept"], detail["parts"]) == (len(record), mark[2])


async def run(files, batches, name, segment_bytes=400, faults=()):
    """Appends batches, waits for each, and marks in the history what was acknowledged."""
    log = await opened(files, segment_bytes=segment_bytes)
    for operation, after in faults:
        files.fail.setdefault(operation, []).extend([None] * after + [OSError(errno.EIO, "Input/output error")])
    files.mark("size", log.size)
    for number, count in enumerate(batches):
        records = [lines_of(b"%s.%d.%d" % (name, number, n), 1 + (n % 3)) for n in range(count)]
        futures = [log.append(*record) for record in records]
        for record, future in zip(records, futures, strict=True):
            try:
                first = await future
                for at, line in enumerate(record):
                    files.mark("acknowledged", (first + at, line))
            except AuditUnavailable:
                for line in record:
                    files.mark("refused", line)
    await log.close()


def checkpoints(files, until):
    """Every checkpoint that anybody can have seen before that moment."""
    written, names, seen = {}, {}, []
    for operation in files.operations[:until]:
        match operation:
            case ("create", path, number):
                names[path] = number
            case ("write", number, data):
                written[number] = written.get(number, b"") + data
            case ("rename", source, "checkpoint"):
                seen.append(note.open_checkpoint(written[names[source]], KEY))
    return seen


def check(files, acknowledged, seen):
    """A recovered directory keeps every promise that was made before the crash."""
    signed = note.open_checkpoint(files.read("checkpoint"), KEY)
    journal = list(lines(files, 0, signed.size))
    leaves = [tree.leaf_hash(line) for line in journal]
    for index, record in acknowledged:
        assert journal[index] == record
    for checkpoint in [*seen, signed]:
        assert checkpoint.size <= len(leaves)
        assert tree.root(checkpoint.size, tree.subtrees_of(leaves[: checkpoint.size])) == checkpoint.root
    needed_tiles_are_there(files, signed)


def needed_tiles_are_there(files, signed):
    def read(level, index, width):
        for candidate in (width, 256):
            try:
                return files.read(tiles.tile_path(level, index, candidate))[: 32 * width]
            except FileNotFoundError:
                continue
        raise AssertionError(f"a tile that the checkpoint of {signed.size} needs is missing: {level} {index} {width}")

    subtree = tiles.subtrees_of(signed.size, read)
    assert tree.root(signed.size, subtree) == signed.root
    for first in range(0, signed.size, 256):
        width = min(256, signed.size - first)
        try:
            bundle = tiles.decode_bundle(files.read(tiles.entries_path(first // 256, width)))
        except FileNotFoundError:
            bundle = tiles.decode_bundle(files.read(tiles.entries_path(first // 256)))[:width]
        hashes = read(0, first // 256, width)
        assert [tree.leaf_hash(entry) for entry in bundle] == [hashes[i : i + 32] for i in range(0, len(hashes), 32)]


async def survive_every_crash(files, moments, choose, then=None, fresh=True):
    """Crashes at each of those moments and examines what recovery makes of it."""
    for at in moments:
        after = files.crash(at, choose)
        found = after.names("")
        if "checkpoint" in found:  # what is on the disk without any recovery holds already
            on_disk = note.open_checkpoint(after.read("checkpoint"), KEY)
            needed_tiles_are_there(after, on_disk)
        acknowledged = files.marks("acknowledged", at)
        seen = checkpoints(files, at)
        log = await opened(after)
        check(after, acknowledged, seen)
        assert await log.append(b'{"r":"after"}') == log.size - 1
        await log.close()
        check(after, acknowledged, [*seen, *checkpoints(after, None)])
        incomplete_records_are_told(list(lines(after, 0, log.size)))


def moments(files, rng, count):
    everything = range(len(files.operations) + 1)
    return everything if len(everything) <= count else sorted(rng.sample(everything, count))


@pytest.mark.parametrize("choice", ["nothing", "everything", "drawn"])
async def test_a_crash_at_each_single_moment_of_a_short_life(choice):
    """Every moment of a log's first records, with nothing, everything and some of the unsynced bytes surviving."""
    files = SimulatedFiles()
    rng = random.Random(7)
    await run(files, [1, 2, 5, 1], b"a", segment_bytes=60)
    survive = {"nothing": lambda n: 0, "everything": lambda n: n, "drawn": lambda n: rng.randint(0, n)}[choice]
    await survive_every_crash(files, range(len(files.operations) + 1), survive)


faults = st.lists(
    st.tuples(st.sampled_from(["write", "sync", "truncate", "create", "put", "sync_directory"]), st.integers(0, 8)),
    max_size=4,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    more=st.lists(st.integers(1, 300), max_size=2),
    faults=faults,
    segment_bytes=st.sampled_from([100, 1500, 10**6]),
    seed=st.integers(0, 2**32),
)
def test_crashes_at_drawn_moments_with_drawn_survivors_and_failing_disks(batches, more, faults, segment_bytes, seed):
    """Disks that fail on the way, a crash, a second life, a second crash: the promises of both lives hold."""

    async def scenario():
        rng = random.Random(seed)
        survive = lambda n: rng.choice((0, n, rng.randint(0, n)))  # noqa: E731
        files = SimulatedFiles()
        await run(files, batches, b"a", segment_bytes, faults)
        await survive_every_crash(files, moments(files, rng, 12), survive)
        second = files.crash(rng.randint(0, len(files.operations)), survive)
        await run(second, more, b"b", segment_bytes)
        await survive_every_crash(second, moments(second, rng, 6), survive)

    asyncio.run(scenario())
