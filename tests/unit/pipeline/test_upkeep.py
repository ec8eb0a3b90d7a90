"""Upkeep: what is due is done and recorded, what is in doubt is left, and one fault ends nothing else."""

import asyncio

import pytest

from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.pipeline.upkeep import Terms, Upkeep
from tests.simulator.admin import MemoryLog, MemoryRetention

DAY = 86_400.0
NOW = 1_800_000_000.0


class Clock:
    def __init__(self):
        self.seconds = NOW

    def now(self):
        return self.seconds


class Keys:
    """Port KeyEpochs, in memory."""

    def __init__(self, **began):
        self.began = {1: NOW - 400 * DAY, 2: NOW - 100 * DAY, 3: NOW - DAY}

    async def live(self):
        return dict(self.began)

    async def rotate(self):
        number = max(self.began) + 1
        self.began[number] = NOW
        return number

    async def expire(self, number):
        del self.began[number]


class Stage:
    def __init__(self, **terms):
        self.log, self.clock, self.keys = MemoryLog(), Clock(), Keys()
        self.retention = MemoryRetention(self.log)
        self.retention.times = (NOW - 20 * DAY, NOW - DAY / 2)
        self.failures, self.kinds = [], []
        self.upkeep = Upkeep(
            self.log,
            self.retention,
            self.keys,
            self.clock,
            Terms(**terms),
            "n",
            self.kinds.append,
            lambda step, error: self.failures.append((step, error)),
        )

    @property
    def done(self):
        return [(each.action, each.target) for each in self.log.records]


async def test_without_terms_segments_are_packed_and_nothing_is_removed_or_changed():
    """Retention and rotation are the operator's choice."""
    stage = Stage()
    stage.retention.would = 100
    await stage.upkeep.round()
    assert (stage.retention.packed, stage.retention.minimum, stage.done, stage.failures) == (1, 0, [], [])
    assert set(stage.keys.began) == {1, 2, 3}


async def test_packing_can_be_off():
    """By a setting."""
    stage = Stage(pack=False)
    await stage.upkeep.round()
    assert stage.retention.packed == 0


async def test_retention_removes_what_is_older_and_lets_epochs_expire_behind_it():
    """An epoch goes once it ended before retention's reach and before the oldest record kept; the record comes first."""
    stage = Stage(retention_s=30 * DAY)
    stage.retention.would = 100
    await stage.upkeep.round()
    assert stage.retention.minimum == 100
    assert stage.retention.asked == [NOW - 30 * DAY]
    assert set(stage.keys.began) == {2, 3}
    assert stage.done == [("log.prune", None), ("keys.expire", {"epoch": 1})]
    assert stage.kinds == ["admin"]
    await stage.upkeep.round()
    assert set(stage.keys.began) == {2, 3}  # epoch 2 ended yesterday


@pytest.mark.parametrize(
    ("oldest", "left"), [(NOW - 100 * DAY, {1, 2, 3}), (NOW - 100 * DAY + 1, {2, 3}), (None, {2, 3})]
)
async def test_an_epoch_stays_while_a_record_of_its_time_is_there(oldest, left):
    """However long ago it ended: its people could still be found in that record. An empty log needs none."""
    stage = Stage(retention_s=30 * DAY)
    stage.retention.times = None if oldest is None else (oldest, NOW)
    await stage.upkeep.round()
    assert set(stage.keys.began) == left


async def test_an_epoch_stays_within_retention_though_no_record_is_left():
    """Another log on the same keys may still have some."""
    stage = Stage(retention_s=101 * DAY)
    stage.retention.times = (NOW - DAY, NOW)
    await stage.upkeep.round()
    assert set(stage.keys.began) == {1, 2, 3}


async def test_keys_are_rotated_when_the_epoch_is_old_enough():
    """Recorded before; not earlier than set."""
    stage = Stage(epoch_s=2 * DAY)
    await stage.upkeep.round()
    assert set(stage.keys.began) == {1, 2, 3}
    stage.clock.seconds += DAY
    await stage.upkeep.round()
    assert set(stage.keys.began) == {1, 2, 3, 4}
    assert stage.done == [("keys.rotate", {"epoch": 4})]


async def test_what_cannot_be_recorded_is_not_done():
    """No epoch begins or ends without the log."""
    stage = Stage(retention_s=30 * DAY, epoch_s=DAY / 2)
    stage.log.down = True
    await stage.upkeep.round()
    assert set(stage.keys.began) == {1, 2, 3}
    assert stage.failures == [("rotate", "AuditUnavailable"), ("expire", "AuditUnavailable")]


@pytest.mark.parametrize("step", [7200, -7200])
async def test_after_the_clock_was_set_nothing_is_removed_until_a_restart(step):
    """A clock that jumps years ahead must not empty the log."""
    stage = Stage(retention_s=30 * DAY)
    await stage.upkeep.round()
    stage.clock.seconds += step
    stage.retention.would = 100
    stage.retention.times = (NOW + step - DAY, NOW + step)
    await stage.upkeep.round()
    assert stage.retention.minimum == 0


async def test_at_a_start_with_a_clock_far_ahead_of_the_log_nothing_is_removed():
    """Nor keys. A person who knows better can ask for it."""
    stage = Stage(retention_s=30 * DAY)
    stage.retention.times = (NOW - 200 * DAY, NOW - 3 * DAY)
    stage.retention.would = 100
    await stage.upkeep.round()
    assert (stage.retention.minimum, set(stage.keys.began)) == (0, {1, 2, 3})
    done = await stage.upkeep.prune("operator")
    assert (done.minimum, stage.log.records[-1].actor) == (100, "operator")


async def test_one_fault_ends_neither_the_round_nor_the_rounds():
    """Each is told, by step and type."""
    stage = Stage(retention_s=30 * DAY, epoch_s=DAY / 2)
    stage.retention.error = LogUnusable("SECRET")
    await stage.upkeep.round()
    assert stage.failures == [(step, "LogUnusable") for step in ("pack", "prune", "expire")]
    assert 4 in stage.keys.began
    stage.retention.error = AuditUnavailable("SECRET")
    task = asyncio.create_task(stage.upkeep.run(0.001))
    async with asyncio.timeout(5):
        while len(stage.failures) < 12:
            await asyncio.sleep(0.001)
    stage.retention.error = None
    async with asyncio.timeout(5):
        while not stage.retention.packed:
            await asyncio.sleep(0.001)
    task.cancel()
