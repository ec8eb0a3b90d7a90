"""What everything that keeps checkpoints promises (port CheckpointTarget), on each adapter."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from audit_proxy.adapters.checkpoints_file import CheckpointFile
from audit_proxy.adapters.checkpoints_http import CheckpointHttp
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.core.errors import CallFailed, PushFailed
from audit_proxy.core.exchange import Answer, Call
from audit_proxy.core.merkle import kept, note
from audit_proxy.ports import CheckpointTarget

SEED = b"s" * 32
NOTES = [note.sign_checkpoint(note.Checkpoint("example.com/log", n, bytes(32)), SEED) for n in range(5)]


@dataclass
class Archive:
    """An ``HttpClient`` behind which a service keeps what is posted, or is out."""

    kept: list[bytes] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    out: bool = False
    status: int = 201

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        self.calls.append(call)
        await asyncio.sleep(0)
        if self.out:
            raise CallFailed("ClientConnectorError")
        assert call.body is not None
        if 200 <= self.status < 300:
            self.kept.append(call.body)
        return Answer(self.status, b"")


@dataclass
class Case:
    target: CheckpointTarget
    keeps: Callable[[], list[bytes]]
    break_it: Callable[[], object]
    mend_it: Callable[[], object]


def http() -> Case:
    archive = Archive()
    target = CheckpointHttp("https://archive.example/", archive, secret=None, timeout_s=1)
    return Case(
        target, lambda: archive.kept, lambda: setattr(archive, "out", True), lambda: setattr(archive, "out", False)
    )


def file(folder: Path) -> Case:
    path, away = folder / "kept", folder / "away"
    path.touch()

    def keeps() -> list[bytes]:
        return [one.data for one in kept.entries(path.read_bytes().splitlines(keepends=True))]

    return Case(CheckpointFile(PosixFiles(folder), "kept"), keeps, lambda: path.rename(away), lambda: away.rename(path))


@pytest.fixture(params=["file", "http"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return file(tmp_path) if request.param == "file" else http()


async def test_everything_is_kept_in_order(case: Case) -> None:
    """Byte for byte, one or several at a time."""
    await case.target.put(NOTES[:1])
    await case.target.put(NOTES[1:4])
    await case.target.put([])
    assert case.keeps() == NOTES[:4]


async def test_a_target_that_fails_says_so_and_works_again(case: Case) -> None:
    """The failure quotes neither place nor content; what was kept before is there still."""
    await case.target.put(NOTES[:1])
    case.break_it()
    with pytest.raises(PushFailed) as caught:
        await case.target.put(NOTES[1:2])
    assert "example" not in str(caught.value)
    assert "/" not in str(caught.value)
    case.mend_it()
    await case.target.put(NOTES[1:3])
    assert case.keeps() == NOTES[:3]


async def test_a_call_that_is_given_up_harms_nothing(case: Case) -> None:
    """The target takes the next; the one given up may be there or not."""
    task = asyncio.create_task(case.target.put(NOTES[:1]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while True:
            try:
                await case.target.put(NOTES[1:2])
                break
            except PushFailed:
                await asyncio.sleep(0.01)
    assert case.keeps()[-1] == NOTES[1]


@pytest.mark.parametrize("status", [199, 302, 404, 500])
async def test_a_service_that_does_not_say_it_kept_it_has_failed(status: int) -> None:
    """Redirects too: nothing but the configured address is asked."""
    archive = Archive(status=status)
    target = CheckpointHttp("https://archive.example/", archive, secret="s3cret", timeout_s=1)
    with pytest.raises(PushFailed, match=str(status)):
        await target.put(NOTES[:1])
    (call,) = archive.calls
    assert (call.method, call.url) == ("POST", "https://archive.example/")
    assert call.headers == {"Content-Type": "text/plain; charset=utf-8", "Authorization": "Bearer s3cret"}


def test_a_secret_that_is_no_header_s_value_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="one line"):
        CheckpointHttp("https://archive.example/", Archive(), secret="a\nb", timeout_s=1)
