"""Distinct people of one signal, in every window at once.

Invariants:

- ``_recent`` holds everybody seen after ``_forgotten`` and within the longest window, in the order they were last seen in.
- A window that began after ``_forgotten`` is exact: all its people are in ``_recent``. These are the shorter windows; each
  of the others has a ring of sketches (``ring``), which is filled from ``_recent`` before anybody is forgotten.
- ``fresh`` never takes a person for known who may be new. A person whom a sketch takes for known by chance would be free to
  take: past its limit an app would try people one by one and keep those that count as nobody.
- Time does not go backwards: an earlier ``now`` counts as the latest one.
"""

import math
import struct
from bisect import bisect_left
from collections.abc import Collection, Mapping
from itertools import islice

from audit_proxy.core.detection.registers import LG_K_MAX, LG_K_MIN, Sighting, places
from audit_proxy.core.detection.ring import Ring
from audit_proxy.core.detection.windows import BUCKETS, LATEST_S, WINDOWS, ascending

_MAGIC = b"ap-distinct-1"
_HEAD = struct.Struct("<IBBddI")  # exact_max, lg_k, windows, latest now, forgotten, people
_WINDOW = struct.Struct("<Bd")  # length of the name, which follows; seconds
_PERSON = struct.Struct("<Qd")  # key, last seen
_RING = struct.Struct("<dB")  # count; one bit for each bucket with people, whose registers follow, oldest first


class Distinct:
    """One signal of one app, of an owner of apps, or of the platform.

    ``exact_max``: so many people a window counts exactly, and so many are recognised when they come again. ``lg_k``: beyond,
    ``counts`` has the error that ``ring`` states: 1.3 to 1.6 % standard deviation at 12.

    Reserving a page: allow it if ``counts + fresh`` is within the limit, then ``add``. Nobody sums ``fresh``: of people who
    were seen before more than ``exact_max`` others it cannot tell and says that all are new; ``counts`` does not grow by them.
    """

    __slots__ = (
        "_counts", "_forgotten", "_next", "_now", "_recent", "_rings", "_settled", "_windows", "exact_max", "lg_k",
    )  # fmt: skip

    def __init__(self, windows: Mapping[str, float] = WINDOWS, *, exact_max: int = 256, lg_k: int = 12) -> None:
        """ValueError: windows that do not ascend, a size out of range."""
        if not (8 <= exact_max <= 1 << 20 and LG_K_MIN <= lg_k <= LG_K_MAX):
            raise ValueError(f"exact_max is 8 to {1 << 20}, not {exact_max}; lg_k {LG_K_MIN} to {LG_K_MAX}, not {lg_k}")
        self._windows = ascending(windows)
        self.exact_max = exact_max
        self.lg_k = lg_k
        self._now = self._next = self._forgotten = self._settled = -math.inf
        self._recent: dict[int, float] = {}
        self._counts = [0] * len(self._windows)
        self._rings: list[Ring | None] = [None] * len(self._windows)

    def add(self, now: float, keys: Collection[int]) -> None:
        """Counts people, 64-bit keyed numbers (``keys``)."""
        now = self._turn(now)
        recent, settled, sightings = self._recent, self._settled, []
        for key in keys:
            seen = recent.pop(key, -math.inf)
            recent[key] = now
            if seen < settled:  # else the person is in every open bucket
                sightings.append((seen, key))
        if sightings:
            self._count(sightings)
        if len(recent) > self.exact_max:
            self._forget()

    def _count(self, sightings: list[tuple[float, int]]) -> None:
        never = [seen for seen, _ in sightings].count(-math.inf)
        again = [seen for seen, _ in sightings if seen != -math.inf] if never < len(sightings) else []
        placed: list[Sighting] = []
        for n, (window, ring) in enumerate(zip(self._windows, self._rings, strict=True)):
            if ring is None:
                self._counts[n] += never + sum(seen < window.start for seen in again) if again else never
            else:
                placed = placed or places(sightings, self.lg_k)
                ring.put(placed, window.opened)

    def _forget(self) -> None:
        """Lets go of those who were not seen for longest, an eighth at once; their windows go on with sketches."""
        gone = list(islice(self._recent.items(), len(self._recent) - self.exact_max * 7 // 8))
        self._forgotten = gone[-1][1]
        for n, window in enumerate(self._windows):
            if self._rings[n] is None and window.start <= self._forgotten:
                self._rings[n] = self._ring(n)
        for key, _ in gone:
            del self._recent[key]

    def _ring(self, n: int) -> Ring:
        """The sketches of a window all of whose people are in ``_recent``."""
        window = self._windows[n]
        ring = Ring(self.lg_k, window.bucket - BUCKETS)
        for key, seen in self._recent.items():
            if seen >= window.start:
                ring.turn(window.bucket_of(seen))
                ring.put(places([(-math.inf, key)], self.lg_k), math.inf)
        ring.turn(window.bucket)
        ring.count = float(self._counts[n])
        return ring

    def fresh(self, now: float, keys: Collection[int]) -> dict[str, float]:
        """How many of these people may be new, by window; no new person is left out. Counts nobody."""
        self._turn(now)
        recent = self._recent
        never, again = 0, []
        for key in set(keys):
            seen = recent.get(key)
            if seen is None:
                never += 1
            elif seen < self._windows[0].start:
                again.append(seen)
        if not again:
            return {window.name: float(never) for window in self._windows}
        return {window.name: float(never + sum(seen < window.start for seen in again)) for window in self._windows}

    def counts(self, now: float) -> dict[str, float]:
        """How many distinct people each window holds now."""
        self._turn(now)
        return {
            window.name: float(count) if ring is None else ring.count
            for window, count, ring in zip(self._windows, self._counts, self._rings, strict=True)
        }

    def memory(self) -> int:
        """Bytes, an upper estimate."""
        return 3_000 + 160 * len(self._recent) + sum(ring.memory() for ring in self._rings if ring is not None)

    def _turn(self, now: float) -> float:
        """The moment that counts, after every bucket that it ends has turned."""
        if not now > self._now:
            return self._now
        self._now = now
        if now >= self._next:
            self._open_buckets(now)
        return now

    def _open_buckets(self, now: float) -> None:
        times = list(self._recent.values())
        for n, window in enumerate(self._windows):
            if now < window.ends:
                continue
            window.turn(now)
            ring = self._rings[n]
            if ring is not None and window.start <= self._forgotten:
                ring.turn(window.bucket)
            else:
                self._rings[n] = None
                self._counts[n] = len(times) - bisect_left(times, window.start)
        for key in list(islice(self._recent, bisect_left(times, self._windows[-1].start))):
            del self._recent[key]
        self._settled = max(window.opened for window in self._windows)
        self._next = min(window.ends for window in self._windows)

    def snapshot(self) -> bytes:
        """What ``restore`` needs. Equal states give equal bytes; at most 210 KB at ``lg_k`` 12 and seven windows."""
        windows, recent = self._windows, self._recent
        head = (self.exact_max, self.lg_k, len(windows), self._now, self._forgotten, len(recent))
        parts = [_MAGIC, _HEAD.pack(*head)]
        for window in windows:
            name = window.name.encode()
            parts += [_WINDOW.pack(len(name), window.seconds), name]
        parts += [_PERSON.pack(key, seen) for key, seen in recent.items()]
        for ring in self._rings:
            if ring is not None:
                buckets = ring.buckets()
                parts.append(_RING.pack(ring.count, sum(1 << n for n, held in enumerate(buckets) if held)))
                parts += buckets
        return b"".join(parts)

    @classmethod
    def restore(cls, data: bytes) -> "Distinct":
        """The state that ``snapshot`` gave. ValueError: these bytes are nothing that it gives."""
        try:
            restored = cls._read(data)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"a snapshot of distinct people is damaged: {error}") from error
        if restored.snapshot() != data:
            raise ValueError("a snapshot of distinct people holds what no snapshot holds")
        return restored

    @classmethod
    def _read(cls, data: bytes) -> "Distinct":
        if not data.startswith(_MAGIC):
            raise ValueError(f"a snapshot of distinct people begins with {_MAGIC!r}, not {data[: len(_MAGIC)]!r}")
        at = len(_MAGIC)
        exact_max, lg_k, named, now, forgotten, people = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        windows: dict[str, float] = {}
        for _ in range(named):
            length, seconds = _WINDOW.unpack_from(data, at)
            at += _WINDOW.size + length
            windows[data[at - length : at].decode()] = seconds
        restored = cls(windows, exact_max=exact_max, lg_k=lg_k)
        began = -LATEST_S <= now <= LATEST_S or now == -math.inf
        if people > exact_max or not began or not forgotten <= now:
            raise ValueError(
                f"a snapshot holds {people} of {exact_max} people until {now}, forgotten until {forgotten}"
            )
        restored._forgotten = forgotten
        restored._turn(now)
        before = restored._windows[-1].start
        for _ in range(people):
            key, seen = _PERSON.unpack_from(data, at)
            at += _PERSON.size
            if not max(before, forgotten) <= seen <= now:
                raise ValueError(f"a snapshot of distinct people has one seen at {seen}, out of order")
            restored._recent[key] = before = seen
        times = list(restored._recent.values())
        restored._counts = [len(times) - bisect_left(times, window.start) for window in restored._windows]
        for n, window in enumerate(restored._windows):
            if window.start <= forgotten:
                count, mask = _RING.unpack_from(data, at)
                at += _RING.size
                buckets = []
                for bit in range(BUCKETS + 1):
                    size = (mask >> bit & 1) << lg_k
                    buckets.append(data[at : at + size])
                    at += size
                restored._rings[n] = Ring.of(lg_k, window.bucket, count, buckets)
        return restored
