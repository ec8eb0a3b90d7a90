"""Pushes the log's checkpoints off this machine, beside the traffic.

Invariants:

- Each target has a task of its own: what lags or hangs holds up neither the log, nor requests, nor another target.
- What is pushed is what the log has published durably. A checkpoint that a target has is not pushed again.
- A failed push is tried again, ever later up to the interval, with jitter. What waits meanwhile is bounded: the newest
  ``backlog`` checkpoints, one of each interval in which the log grew. Any one of them vouches for all records before it.
- ``ages`` says for each target how long ago it was known to have what the log had published: small for an idle log too,
  and growing from the first moment of an outage.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from audit_proxy.core.errors import PushFailed
from audit_proxy.ports import CheckpointTarget

FIRST_RETRY_S = 1.0
_DOUBLINGS_MAX = 16
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Target:
    """``name``: as metrics and log lines have it; ``backlog``: how many checkpoints may wait for it."""

    name: str
    keeps: CheckpointTarget
    backlog: int = 1


class CheckpointPusher:
    """``counted`` is called after each push with the target's name and whether it took it; ``told`` with what a target
    fails from, whenever that changes, and with None once it is well again.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        every_s: float,
        timeout_s: float,
        counted: Callable[[str, bool], None],
        told: Callable[[str, str | None], None],
    ) -> None:
        self._lanes = [_Lane(target, deque(maxlen=target.backlog)) for target in targets]
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._counted = counted
        self._told = told
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, published: Callable[[], bytes]) -> None:
        """Begins to push what ``published`` gives: the newest signed checkpoint that is durable."""
        for lane in self._lanes:
            lane.known_at = _now()
            self._tasks.append(asyncio.create_task(self._run(lane, published)))

    async def close(self) -> None:
        """Pushes what is newest now, once, and ends; waits at most twice the time limit."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    def ages(self) -> Mapping[str, float]:
        """Seconds by target, from the start where it never had one."""
        return {lane.target.name: _now() - lane.known_at for lane in self._lanes if self._tasks}

    async def _run(self, lane: "_Lane", published: Callable[[], bytes]) -> None:
        due = _now()
        while not self._stopping.is_set():
            if _now() >= due:
                due = _now() + self._every_s
                lane.offer(published())
            wait = due - _now()
            if not await self._push(lane):
                wait = min(due - _now(), self._pause(lane.failures))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(0.0, wait))
        lane.offer(published())
        await self._push(lane)

    def _pause(self, failures: int) -> float:
        longest = FIRST_RETRY_S * 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
        return min(self._every_s, longest) * _random.uniform(0.5, 1.0)

    async def _push(self, lane: "_Lane") -> bool:
        """Whether the target has all that was offered."""
        if not lane.waiting:
            return True
        name = lane.target.name
        try:
            async with asyncio.timeout(self._timeout_s):
                await lane.target.keeps.put(list(lane.waiting))
        except PushFailed as error:
            trouble = str(error)
        except TimeoutError:
            trouble = f"no answer within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001  (one target's fault must not end its task)
            trouble = type(error).__name__
        else:
            lane.waiting.clear()
            lane.known_at = lane.offered_at
            lane.failures = 0
            self._counted(name, True)
            if lane.trouble is not None:
                lane.trouble = None
                self._told(name, None)
            return True
        lane.failures += 1
        self._counted(name, False)
        if trouble != lane.trouble:
            lane.trouble = trouble
            self._told(name, trouble)
        return False


@dataclass(slots=True)
class _Lane:
    """One target and what waits for it."""

    target: Target
    waiting: deque[bytes] = field(default_factory=deque)
    newest: bytes = b""  # that was offered
    offered_at: float = 0.0
    known_at: float = 0.0  # when the target was known to have what was newest
    failures: int = 0  # in a row
    trouble: str | None = None

    def offer(self, signed: bytes) -> None:
        self.offered_at = _now()
        if signed != self.newest:
            self.newest = signed
            self.waiting.append(signed)
        if not self.waiting:
            self.known_at = self.offered_at


def _now() -> float:
    return asyncio.get_running_loop().time()
