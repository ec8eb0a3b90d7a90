"""A file that keeps checkpoints: appended to and nothing else, whatever was broken off or taken away."""

import asyncio
import errno
import random
import threading

import pytest

from audit_proxy.adapters.checkpoints_file import CheckpointFile
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.core.errors import PushFailed
from audit_proxy.core.merkle import kept, note
from tests.simulator.files import SimulatedFiles

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)
NOTES = [note.sign_checkpoint(note.Checkpoint(KEY.name, n, bytes(32)), SEED) for n in range(6)]
NAME = "node-1.checkpoints"


def touched(files):
    """The file as its owner makes it: there, and empty."""
    files.make_directory("")
    file = files.create(NAME)
    file.sync()
    file.close()
    files.sync_directory("")
    return files


@pytest.fixture(params=["posix", "simulated"])
def files(request, tmp_path):
    return touched(PosixFiles(tmp_path / "vault") if request.param == "posix" else SimulatedFiles())


def append(files, data):
    file = files.open_append(NAME)
    file.write(data)
    file.sync()
    file.close()


def own(files):
    """Sizes of the checkpoints that a reader finds."""
    found = kept.entries(files.read(NAME).splitlines(keepends=True))
    return [j.checkpoint.size for j in (kept.judge(one, KEY) for one in found) if j.checkpoint is not None]


async def test_checkpoints_are_appended(files):
    """Several at once too; a later process goes on behind what is there."""
    target = CheckpointFile(files, NAME)
    await target.put(NOTES[:1])
    await target.put(NOTES[1:3])
    await CheckpointFile(files, NAME).put(NOTES[3:4])
    assert files.read(NAME) == b"".join(NOTES[:4])


@pytest.mark.parametrize("torn", [NOTES[1][:-1], NOTES[1][:10], b"\x00" * 7, NOTES[1] + b"x", b"\n", NOTES[1][:-95]])
async def test_a_torn_end_stays_and_hides_nothing(files, torn):
    """Not a byte of what is there is changed; the next checkpoint is found behind it."""
    append(files, NOTES[0] + torn)
    await CheckpointFile(files, NAME).put(NOTES[2:3])
    assert files.read(NAME).startswith(NOTES[0] + torn)
    assert (own(files)[0], own(files)[-1]) == (0, 2)


@pytest.mark.parametrize("choice", ["nothing", "everything", "drawn"])
async def test_what_was_taken_survives_a_crash_at_each_moment(choice):
    """And the next process can go on."""
    files = touched(SimulatedFiles())
    begun = len(files.operations)
    target = CheckpointFile(files, NAME)
    for size, one in enumerate(NOTES[:4]):
        await target.put([one])
        files.mark("kept", size)
    rng = random.Random(2)
    survive = {"nothing": lambda n: 0, "everything": lambda n: n, "drawn": lambda n: rng.randint(0, n)}[choice]
    for at in range(begun, len(files.operations) + 1):
        after = files.crash(at, survive)
        taken = files.marks("kept", at)
        await CheckpointFile(after, NAME).put([NOTES[5]])
        assert own(after)[: len(taken)] == taken
        assert own(after)[-1] == 5


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_failing_disk_is_told_and_got_over(operation):
    """The failed one is written again, and what it left is not in the way."""
    files = touched(SimulatedFiles())
    target = CheckpointFile(files, NAME)
    await target.put(NOTES[:1])
    files.fail[operation] = [OSError(errno.ENOSPC, "No space left on device", "/secret/place")]
    with pytest.raises(PushFailed) as caught:
        await target.put(NOTES[1:2])
    assert str(caught.value) == "No space left on device"
    await target.put(NOTES[1:3])
    assert (own(files)[0], own(files)[-2:]) == (0, [1, 2])


async def test_a_file_made_shorter_is_told_once_and_gone_on_with(files):
    """Whoever cut it leaves a failed push behind; later checkpoints are kept all the same."""
    target = CheckpointFile(files, NAME)
    await target.put(NOTES[:3])
    files.truncate(NAME, len(NOTES[0]) + 5)
    with pytest.raises(PushFailed, match="made the file shorter"):
        await target.put(NOTES[3:4])
    await target.put(NOTES[3:4])
    assert own(files) == [0, 3]


async def test_a_file_that_is_not_there_is_not_made(files):
    """Its disk may not be mounted: a file below the empty mount point would be on this machine."""
    files.remove(NAME)
    target = CheckpointFile(files, NAME)
    for _ in range(2):
        with pytest.raises(PushFailed, match="no such file"):
            await target.put(NOTES[:1])
    assert files.names("") == []


class Hanging(SimulatedFiles):
    """The disk answers nothing until ``go``."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def size(self, path):
        assert self.go.wait(30)
        return super().size(path)


async def test_a_mount_that_hangs_holds_up_nobody():
    """The call can be given up; the next fails at once while the first hangs, and succeeds when it is over."""
    files = touched(Hanging())
    target = CheckpointFile(files, NAME)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(target.put(NOTES[:1]), 0.05)
    with pytest.raises(PushFailed, match="does not answer"):
        await target.put(NOTES[1:2])
    files.go.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await target.put(NOTES[1:2])
                break
            except PushFailed:
                await asyncio.sleep(0.01)
    assert own(files) == [0, 1]
