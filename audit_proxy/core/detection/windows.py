"""Sliding windows, cut into buckets.

Invariants:

- A window of ``seconds`` is the open bucket and the six before it, each ``seconds / 6`` long and aligned to the epoch. So it
  never holds less than its seconds, and at most a sixth more.
- Of two windows the longer one begins first at every moment: each is at least 7/6 of the one before it.
"""

import itertools
import math
from collections.abc import Mapping

BUCKETS = 6  # closed ones; the open one comes on top
LATEST_S = float(
    1 << 40
)  # no clock and no window is beyond it: 34,000 years, in which a float tells milliseconds apart

MINUTE_S = 60.0
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S

WINDOWS: dict[str, float] = {
    "1m": MINUTE_S,
    "5m": 5 * MINUTE_S,
    "1h": HOUR_S,
    "24h": DAY_S,
    "7d": 7 * DAY_S,
    "30d": 30 * DAY_S,
    "90d": 90 * DAY_S,
}


class Window:
    """Where one window stands. ``bucket``: number of the open one. ``start``, ``opened``, ``ends`` in seconds since the epoch:
    when the window, and when its open bucket, began, and when that bucket turns.
    """

    __slots__ = ("_step", "bucket", "ends", "name", "opened", "seconds", "start")

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self._step = seconds / BUCKETS
        self.bucket = 0
        self.start, self.opened, self.ends = math.inf, -math.inf, -math.inf

    def turn(self, now: float) -> None:
        """Opens the bucket that ``now`` (finite, seconds since the epoch) lies in."""
        self.bucket = math.floor(now / self._step)
        self.start = (self.bucket - BUCKETS) * self._step
        self.opened = self.bucket * self._step
        self.ends = (self.bucket + 1) * self._step

    def bucket_of(self, moment: float) -> int:
        """The bucket of a moment within the window."""
        return min(self.bucket, max(self.bucket - BUCKETS, math.floor(moment / self._step)))


def ascending(windows: Mapping[str, float]) -> tuple[Window, ...]:
    """The windows, shortest first. ValueError: there is none, or two lie too near to each other, or one is no length."""
    lengths = list(windows.values())
    if not lengths or not all(BUCKETS <= seconds <= LATEST_S for seconds in lengths):
        raise ValueError(f"windows need one length or more, each of {BUCKETS} to {LATEST_S} s, not {lengths}")
    if any(after < before * (BUCKETS + 1) / BUCKETS for before, after in itertools.pairwise(lengths)):
        raise ValueError(f"windows ascend, each at least a sixth longer than the one before, not {lengths}")
    return tuple(Window(name, float(seconds)) for name, seconds in windows.items())
