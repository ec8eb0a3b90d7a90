"""What the log and the keys need over the years, done beside the traffic: packing, retention, key epochs.

Invariants:

- Whatever removes or changes something is a record before it happens, this module's own acts too (no ``actor``).
- Nothing is removed while the clock is in doubt: it was set by more than an hour since the start, or runs more than two days
  ahead of the segment being written. A person can still ask for it (``prune``).
- An epoch's keys are destroyed only once no record of its time is left: its end lies further back than retention reaches, and
  before the oldest record that is kept.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

from audit_proxy.core.record import RECORD_VERSION, Record, encode, timestamp, uuid7
from audit_proxy.ports import AuditLog, Clock, KeyEpochs, LogRetention, Pruned

CLOCK_STEP_S = 3600.0
CLOCK_AHEAD_S = 2 * 86_400.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be done. Times in seconds; None: never."""

    pack: bool = True
    retention_s: float | None = None
    epoch_s: float | None = None


class Upkeep:
    """``on_record`` is told the kind of each record once it is durable; ``on_failure`` what failed and with which error."""

    def __init__(
        self,
        log: AuditLog,
        retention: LogRetention,
        keys: KeyEpochs,
        clock: Clock,
        terms: Terms,
        node: str,
        on_record: Callable[[str], None],
        on_failure: Callable[[str, str], None],
    ) -> None:
        self._log = log
        self._retention = retention
        self._keys = keys
        self._clock = clock
        self._terms = terms
        self._node = node
        self._on_record = on_record
        self._on_failure = on_failure
        self._ahead: float | None = None  # of the wall clock before the monotonic one, at the first round

    @property
    def terms(self) -> Terms:
        return self._terms

    async def run(self, every_s: float) -> None:
        """Rounds until it is cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(every_s)

    async def round(self) -> None:
        """Everything that is due. Raises nothing: what failed is told and tried again at the next round."""
        steps: tuple[tuple[str, Callable[[], Awaitable[object]]], ...] = (
            ("pack", self._pack),
            ("rotate", self._rotate),
            ("prune", self._prune),
            ("expire", self._expire),
        )
        for name, step in steps:
            try:
                await step()
            except Exception as error:  # noqa: BLE001  (one step's fault must not end the others, nor the rounds)
                self._on_failure(name, type(error).__name__)

    async def prunable(self) -> tuple[int, int]:
        """The minimum index that ``prune`` would put in force, and the one that is. Raises OSError, LogUnusable."""
        assert self._terms.retention_s is not None  # the caller looked
        return await self._retention.prunable(self._clock.now() - self._terms.retention_s)

    async def prune(self, actor: str | None) -> Pruned | None:
        """Carries out retention for ``actor``, then lets epochs expire. None: there was nothing to remove. Raises OSError,
        LogUnusable, Unavailable.
        """
        assert self._terms.retention_s is not None  # the caller looked
        done = await self._retention.prune(self._clock.now() - self._terms.retention_s, actor)
        await self._expire()
        return done

    async def _pack(self) -> None:
        if self._terms.pack:
            await self._retention.pack()

    async def _rotate(self) -> None:
        if self._terms.epoch_s is None:
            return
        live = await self._keys.live()
        if self._clock.now() - live[max(live)] >= self._terms.epoch_s:
            await self._record("keys.rotate", {"epoch": max(live) + 1})
            await self._keys.rotate()

    async def _prune(self) -> None:
        if self._terms.retention_s is not None and await self._clock_is_plausible():
            await self._retention.prune(self._clock.now() - self._terms.retention_s, None)

    async def _expire(self) -> None:
        if self._terms.retention_s is None or not await self._clock_is_plausible():
            return
        live = dict(await self._keys.live())
        span = await self._retention.span()
        for (number, _), (_, ended) in pairwise(sorted(live.items())):
            gone = span is None or span[0] > ended
            if gone and ended + self._terms.retention_s < self._clock.now():
                await self._record("keys.expire", {"epoch": number})
                await self._keys.expire(number)

    async def _clock_is_plausible(self) -> bool:
        ahead = self._clock.now() - asyncio.get_running_loop().time()
        if self._ahead is None:
            self._ahead = ahead
        span = await self._retention.span()
        return abs(ahead - self._ahead) < CLOCK_STEP_S and (span is None or self._clock.now() - span[1] < CLOCK_AHEAD_S)

    async def _record(self, action: str, target: dict[str, int]) -> None:
        now = self._clock.now()
        record = Record(
            v=RECORD_VERSION,
            id=uuid7(now, os.urandom(10)),
            ts=timestamp(now),
            node=self._node,
            kind="admin",
            decision="allow",
            action=action,
            target=target,
        )
        await self._log.append(encode(record))
        self._on_record(record.kind)
