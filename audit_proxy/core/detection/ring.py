"""Distinct people of one window beyond what is kept exactly: a ring of HyperLogLog sketches, one a bucket.

Invariants:

- ``_live`` is the union of all buckets, the open one included. It is united afresh only when a bucket turns and takes people
  out of the window, never for a request.
- ``count`` grows by the inverse of the chance that a new person had to change ``_live`` (the historic inverse probability
  estimator: Cohen 2015, Ting 2014): on average by one for each new person, and never for one whom the window holds.

Error, as one standard deviation of ``count`` with 2 ** lg_k registers: ``0.833 / sqrt(2 ** lg_k)`` while nobody has left the
window (1.3 % at lg_k = 12), ``1.04 / sqrt(2 ** lg_k)`` after (1.6 %).
"""

import math
from collections.abc import Iterable

from audit_proxy.core.detection.registers import Sighting, chances, packed, room, united
from audit_proxy.core.detection.windows import BUCKETS


def _anybody(registers: bytes | bytearray) -> bool:
    return registers.count(0) < len(registers)


class Ring:
    """The six closed buckets of a window and the open one. ``bucket``: number of the open one."""

    __slots__ = ("_chances", "_closed", "_live", "_open", "_room", "bucket", "count", "lg_k")

    def __init__(self, lg_k: int, bucket: int) -> None:
        self.lg_k = lg_k
        self._chances = chances(lg_k)
        self._empty(bucket)

    def _empty(self, bucket: int) -> None:
        self.bucket = bucket
        self.count = 0.0
        self._closed: list[bytes] = [b""] * BUCKETS
        self._open, self._live = bytearray(1 << self.lg_k), bytearray(1 << self.lg_k)
        self._room = 1 << 64

    def put(self, sightings: Iterable[Sighting], opened: float) -> None:
        """Takes people into the open bucket, which began at ``opened``; who was seen since then is in it already."""
        held, live = self._open, self._live
        for seen, register, rank in sightings:
            if rank > held[register] and seen < opened:
                held[register] = rank
                before = live[register]
                if rank > before:
                    live[register] = rank
                    self.count += (1 << 64) / self._room
                    self._room += self._chances[rank] - self._chances[before]

    def turn(self, bucket: int) -> None:
        """Closes the open bucket and those that passed without anybody; lets go of those that left the window."""
        steps = bucket - self.bucket
        if steps > BUCKETS:
            self._empty(bucket)
        elif steps:
            last = packed(self._open, self.lg_k) if _anybody(self._open) else b""
            ring = [*self._closed, last, *[b""] * (steps - 1)]
            self._closed = ring[steps:]
            self._open = bytearray(1 << self.lg_k)
            self.bucket = bucket
            if any(ring[:steps]):
                self._unite()

    def _unite(self) -> None:
        sketches = [sketch for sketch in self._closed if sketch]
        if _anybody(self._open):
            sketches.append(packed(self._open, self.lg_k))
        if sketches:
            self._live, self.count = united(sketches, self.lg_k)
            self._room = room(self._live, self.lg_k)
        else:
            self._empty(self.bucket)

    def buckets(self) -> list[bytes]:
        """The registers of each bucket, oldest first, a byte each; nothing for a bucket without anybody."""
        held = [bytes(united([sketch], self.lg_k)[0]) if sketch else b"" for sketch in self._closed]
        return [*held, bytes(self._open) if _anybody(self._open) else b""]

    @classmethod
    def of(cls, lg_k: int, bucket: int, count: float, buckets: list[bytes]) -> "Ring":
        """A ring of what ``buckets`` gave. ValueError: no ring has such registers, or such a count."""
        if any(len(held) != 1 << lg_k or max(held) > 65 - lg_k or not _anybody(held) for held in buckets if held):
            raise ValueError(f"a bucket of people has {1 << lg_k} registers, of 0 to {65 - lg_k} each, or none")
        if not 0 <= count < math.inf:
            raise ValueError(f"a ring counts people, not {count}")
        ring = cls(lg_k, bucket)
        ring._closed = [packed(held, lg_k) if held else b"" for held in buckets[:-1]]
        if buckets[-1]:
            ring._open = bytearray(buckets[-1])
        ring._unite()
        ring.count = count
        return ring

    def memory(self) -> int:
        """Bytes, an upper estimate."""
        return 600 + sum(60 + len(held) for held in (*self._closed, self._open, self._live))
