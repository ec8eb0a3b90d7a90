"""SIGKILL under load, fifty times: every acknowledged record is there, every checkpoint ever seen still holds."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from audit_proxy.core.merkle import note, tiles, tree
from tests.integration.log_writer import ORIGIN, SEED

KEY = note.verifier_key(ORIGIN, SEED)
KILLS = 50
ROOT = Path(__file__).parents[2]


def stored(directory):
    """The journal as its files say, read without the code under test."""
    paths = sorted((directory / "journal").glob("*.jsonl"))
    ends = [*(int(p.stem) for p in paths[1:]), None]
    records = []
    for path, end in zip(paths, ends, strict=True):
        assert int(path.stem) == len(records)
        whole = path.read_bytes().split(b"\n")[:-1]
        records += whole if end is None else whole[: end - len(records)]
    return records


def watch(directory, seen):
    """Adds the checkpoint that anybody can see now."""
    checkpoint = note.open_checkpoint((directory / "checkpoint").read_bytes(), KEY)
    if not seen or seen[-1] != checkpoint:
        seen.append(checkpoint)


def tile_reader(directory):
    def read(level, index, width):
        for candidate in (width, 256):
            path = directory / tiles.tile_path(level, index, candidate)
            if path.exists():
                return path.read_bytes()[: 32 * width]
        raise LookupError

    return read


async def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path):
    """A real process, killed at moments that fall on every stage of commit and publication."""
    directory = tmp_path / "log"
    rng = random.Random(4)
    seen, acknowledged = [], []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests/integration/log_writer.py"),
        str(directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    for _ in range(KILLS):
        process.stdin.write(b"start\n")
        child, wait, fresh = None, 0, []
        while (line := await process.stdout.readline()) != b"dead\n":
            word, _, rest = line.partition(b" ")
            if word == b"pid":
                child = int(rest)
            elif word == b"open":
                assert int(rest) >= len(acknowledged)
                watch(directory, seen)
                wait = rng.randint(1, 400)
            else:
                assert word == b"ack"
                index, _, record = rest.partition(b" ")
                fresh.append((int(index), record.rstrip(b"\n")))
                if len(fresh) % 20 == 0:
                    watch(directory, seen)
                if len(fresh) == wait:
                    os.kill(child, signal.SIGKILL)
        watch(directory, seen)
        records = stored(directory)
        for index, record in fresh:
            assert records[index] == record
        acknowledged += fresh
    process.stdin.close()
    assert await process.wait() == 0

    records = stored(directory)
    assert all(records[index] == record for index, record in acknowledged)
    assert len({index for index, _ in acknowledged}) == len(acknowledged) >= KILLS
    assert len(seen) > KILLS
    leaves = [tree.leaf_hash(record) for record in records]
    subtree = tree.subtrees_of(leaves)
    for checkpoint in seen:
        assert tree.root(checkpoint.size, subtree) == checkpoint.root
    last = seen[-1]
    published = tiles.subtrees_of(last.size, tile_reader(directory))
    for checkpoint in seen:
        path = tree.consistency_proof(checkpoint.size, last.size, published)
        assert tree.consistency_holds(checkpoint.size, last.size, checkpoint.root, last.root, path)
