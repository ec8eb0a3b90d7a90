"""The pusher: each target gets what the log published, late rather than never, and holds up nobody."""

import asyncio

import pytest

from audit_proxy.core.errors import PushFailed
from audit_proxy.pipeline.checkpoints import CheckpointPusher, Target


class Shelf:
    """Port CheckpointTarget, in memory. ``error``: what each put raises; ``gate``: what it waits for first."""

    def __init__(self):
        self.kept, self.tries = [], 0
        self.error = None
        self.gate = None

    async def put(self, notes):
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.kept += notes


class Stage:
    def __init__(self, every_s=0.005, timeout_s=5.0, backlogs=(1,)):
        self.now = b"0"
        self.shelves = [Shelf() for _ in backlogs]
        self.counts, self.told = [], []
        self.pusher = CheckpointPusher(
            [Target(f"t{n}", shelf, backlogs[n]) for n, shelf in enumerate(self.shelves)],
            every_s=every_s,
            timeout_s=timeout_s,
            counted=lambda name, taken: self.counts.append((name, taken)),
            told=lambda name, trouble: self.told.append((name, trouble)),
        )

    def start(self):
        self.pusher.start(lambda: self.now)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_each_target_gets_each_new_checkpoint_once():
    """An idle log pushes nothing; its targets are known to be up to date all the same."""
    stage = Stage(backlogs=(1, 1440))
    assert stage.pusher.ages() == {}
    stage.start()
    for now in (b"0", b"1", b"2"):
        stage.now = now
        await until(lambda now=now: all(shelf.kept[-1:] == [now] for shelf in stage.shelves))
    known = [lane.known_at for lane in stage.pusher._lanes]
    await until(lambda: all(lane.known_at > at for lane, at in zip(stage.pusher._lanes, known, strict=True)))
    await stage.pusher.close()
    assert [shelf.kept for shelf in stage.shelves] == [[b"0", b"1", b"2"]] * 2
    assert stage.told == []
    assert sorted(stage.counts) == [("t0", True)] * 3 + [("t1", True)] * 3
    assert set(stage.pusher.ages()) == {"t0", "t1"}


async def test_behind_an_outage_the_newest_comes_and_as_many_as_may_wait():
    """The trouble is told once, and its end; the age does not start anew in between."""
    stage = Stage(backlogs=(1, 3))
    for shelf in stage.shelves:
        shelf.error = PushFailed("out")
    stage.start()
    begun = [lane.known_at for lane in stage.pusher._lanes]
    for n in range(1, 6):
        stage.now = b"%d" % n
        await until(lambda: all(lane.newest == stage.now for lane in stage.pusher._lanes))
    await until(lambda: len(stage.counts) > 10)
    assert [lane.known_at for lane in stage.pusher._lanes] == begun
    for shelf in stage.shelves:
        shelf.error = None
    await until(lambda: all(shelf.kept for shelf in stage.shelves))
    await stage.pusher.close()
    assert [shelf.kept for shelf in stage.shelves] == [[b"5"], [b"3", b"4", b"5"]]
    assert sorted(stage.told, key=lambda one: one[0]) == [("t0", "out"), ("t0", None), ("t1", "out"), ("t1", None)]
    assert (stage.counts.count(("t0", True)), stage.counts.count(("t1", True))) == (1, 1)


@pytest.mark.parametrize(
    ("error", "told"), [(PushFailed("status 500"), "status 500"), (RuntimeError("/secret"), "RuntimeError")]
)
async def test_a_fault_of_a_target_ends_nothing(error, told):
    """One that is not foreseen is named by its type."""
    stage = Stage(backlogs=(1, 1))
    stage.shelves[0].error = error
    stage.start()
    await until(lambda: stage.shelves[0].tries > 2)
    stage.now = b"1"
    await until(lambda: stage.shelves[1].kept == [b"0", b"1"])
    await stage.pusher.close()
    assert stage.told == [("t0", told)]


async def test_a_target_that_hangs_is_given_up_and_tried_again():
    """Within the time limit of one push; the other target notices nothing."""
    stage = Stage(timeout_s=0.02, backlogs=(1, 1))
    stage.shelves[0].gate = asyncio.Event()
    stage.start()
    await until(lambda: stage.counts.count(("t0", False)) > 1)
    stage.now = b"1"
    await until(lambda: stage.shelves[1].kept == [b"0", b"1"])
    assert stage.told == [("t0", "no answer within 0.02 s")]
    stage.shelves[0].gate.set()
    await until(lambda: stage.shelves[0].kept[-1:] == [b"1"])
    await stage.pusher.close()


async def test_the_last_checkpoint_is_pushed_at_the_end():
    """Whatever the interval; a push that is under way ends first, and a target that hangs is waited for no longer than twice."""
    stage = Stage(every_s=3600, timeout_s=0.05, backlogs=(1, 1))
    stage.start()
    await until(lambda: all(shelf.kept for shelf in stage.shelves))
    stage.shelves[1].gate = asyncio.Event()
    stage.now = b"last"
    await stage.pusher.close()
    assert stage.shelves[0].kept == [b"0", b"last"]
    assert stage.shelves[1].kept == [b"0"]
    assert stage.told == [("t1", "no answer within 0.05 s")]


async def test_one_that_never_started_can_be_closed():
    """Where the log could not be opened."""
    await Stage().pusher.close()


async def test_pauses_grow_up_to_the_interval():
    """1 s, 2 s, 4 s …, each by half at most shorter, so that not everybody comes at once."""
    pusher = Stage(every_s=60.0).pusher
    for failures, longest in ((1, 1.0), (3, 4.0), (6, 32.0), (7, 60.0), (10_000, 60.0)):
        pauses = [pusher._pause(failures) for _ in range(200)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(set(pauses)) > 100
