"""Distinct people of one signal, in every window at once.

Invariants:

- ``_recent`` holds everybody seen after ``_forgotten``, in the order in which they were last seen.
- Time does not go backwards: an earlier ``now`` counts as the latest one.
"""

import math
import struct
from bisect import bisect_left
from collections.abc import Collection, Mapping

from audit_proxy.core.detection.windows import WINDOWS, ascending

_MAGIC = b"apd1"
_KEYS = 1 << 64


class Distinct:
    """One signal of one app, of an owner of apps, or of the platform."""

    __slots__ = ("_counts", "_next", "_now", "_recent", "_windows", "exact_max", "lg_k")

    def __init__(self, windows: Mapping[str, float] = WINDOWS, *, exact_max: int = 256, lg_k: int = 12) -> None:
        self._windows = ascending(windows)
        self.exact_max = exact_max
        self.lg_k = lg_k
        self._now = self._next = -math.inf
        self._recent: dict[int, float] = {}
        self._counts = [0] * len(self._windows)

    def add(self, now: float, keys: Collection[int]) -> None:
        """Counts the people of a page that leaves, 64-bit keyed numbers."""
        now = self._turn(now)
        recent, counts = self._recent, self._counts
        for key in keys:
            seen = recent.pop(key, -math.inf)
            recent[key] = now
            for n, window in enumerate(self._windows):
                if seen >= window.start:
                    break  # and so in every longer window
                counts[n] += 1

    def fresh(self, now: float, keys: Collection[int]) -> dict[str, float]:
        """How many of these people are new, by window; changes nothing."""
        self._turn(now)
        fresh = [0.0] * len(self._windows)
        for key in set(keys):
            seen = self._recent.get(key, -math.inf)
            for n, window in enumerate(self._windows):
                if seen >= window.start:
                    break
                fresh[n] += 1.0
        return {window.name: new for window, new in zip(self._windows, fresh, strict=True)}

    def counts(self, now: float) -> dict[str, float]:
        """How many distinct people each window holds now."""
        self._turn(now)
        return {window.name: float(count) for window, count in zip(self._windows, self._counts, strict=True)}

    def memory(self) -> int:
        """Bytes, an upper estimate."""
        return 2_000 + 160 * len(self._recent)

    def _turn(self, now: float) -> float:
        """The moment that counts, after every bucket that it ends has turned."""
        if not now > self._now:
            return self._now
        self._now = now
        if now >= self._next:
            for window in self._windows:
                if now >= window.ends:
                    window.turn(now)
            times = list(self._recent.values())
            gone = bisect_left(times, self._windows[-1].start)
            for key in list(self._recent)[:gone]:
                del self._recent[key]
            self._counts = [len(times) - bisect_left(times, window.start) for window in self._windows]
            self._next = min(window.ends for window in self._windows)
        return now

    def snapshot(self) -> bytes:
        """Everything that ``restore`` needs, canonical: equal states give equal bytes."""
        parts = [_MAGIC, struct.pack("<IBBd", self.exact_max, self.lg_k, len(self._windows), self._now)]
        for window in self._windows:
            name = window.name.encode()
            parts.append(struct.pack("<Bd", len(name), window.seconds) + name)
        parts.append(struct.pack("<I", len(self._recent)))
        parts += [struct.pack("<Qd", key, seen) for key, seen in self._recent.items()]
        return b"".join(parts)

    @classmethod
    def restore(cls, data: bytes) -> "Distinct":
        """What ``snapshot`` gave. ValueError: these bytes are nothing that it gives."""
        try:
            restored = cls._read(data)
        except (struct.error, UnicodeDecodeError, OverflowError) as error:
            raise ValueError("a snapshot of distinct people is cut off or damaged") from error
        if restored.snapshot() != data:
            raise ValueError("a snapshot of distinct people is not in the form that snapshots have")
        return restored

    @classmethod
    def _read(cls, data: bytes) -> "Distinct":
        if data[:4] != _MAGIC:
            raise ValueError("these bytes are no snapshot of distinct people")
        exact_max, lg_k, named, now = struct.unpack_from("<IBBd", data, 4)
        at = 4 + struct.calcsize("<IBBd")
        windows = {}
        for _ in range(named):
            length, seconds = struct.unpack_from("<Bd", data, at)
            at += 9 + length
            windows[data[at - length : at].decode()] = seconds
        restored = cls(windows, exact_max=exact_max, lg_k=lg_k)
        (people,) = struct.unpack_from("<I", data, at)
        at += 4
        if people * 16 != len(data) - at:
            raise ValueError("a snapshot of distinct people does not hold as many people as it says")
        before = -math.inf
        for key, seen in struct.iter_unpack("<Qd", data[at:]):
            if not (math.isfinite(seen) and before <= seen <= now):
                raise ValueError("a snapshot of distinct people has them in no order of time")
            restored._recent[key] = before = seen
        restored._turn(now)
        return restored
