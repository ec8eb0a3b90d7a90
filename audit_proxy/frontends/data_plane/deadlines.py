"""Time limits of exchanges with the platform, looked at together.

Invariant: a task is cancelled only between ``begin`` and ``end``, so ``passed`` tells a time limit from any other
cancellation. Limits are kept to within ``TICK_S`` after they pass: a timer for every request would cost the hot path more
than the exchange's own bookkeeping.
"""

import asyncio

TICK_S = 0.05


class Deadline:
    """The time at which one task is to end. ``at`` in seconds of the event loop's clock; may be moved."""

    __slots__ = ("at", "passed", "task")

    def __init__(self, task: "asyncio.Task[object]", at: float) -> None:
        self.task = task
        self.at = at
        self.passed = False


class Deadlines:
    """Belongs to the event loop it is used on. Ticks only while somebody waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time = loop.time
        self._waiting: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Deadline:
        """The current task is cancelled once ``seconds`` have passed; ``end`` must follow."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # called from a coroutine
        deadline = Deadline(task, self.time() + seconds)
        self._waiting.add(deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)
        return deadline

    def end(self, deadline: Deadline) -> None:
        self._waiting.discard(deadline)

    def _tick(self) -> None:
        now = self.time()
        for one in [one for one in self._waiting if one.at <= now]:
            self._waiting.discard(one)
            one.passed = True
            one.task.cancel()
        self._timer = self._loop.call_later(TICK_S, self._tick) if self._waiting else None
