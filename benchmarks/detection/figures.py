"""Intervals of 95 %."""

import math
import statistics
from collections.abc import Sequence

_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 14: 2.14, 19: 2.09}


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Of a share (Wilson 1927)."""
    z, p = 1.96, hits / of
    middle, width = p + z * z / 2 / of, z * math.sqrt(p * (1 - p) / of + z * z / 4 / of / of)
    return max(0.0, (middle - width) / (1 + z * z / of)), min(1.0, (middle + width) / (1 + z * z / of))


def mean(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its interval (Student); of one value the interval is infinite."""
    middle = statistics.fmean(values)
    if len(values) < 2:
        return middle, -math.inf, math.inf
    freedom = max(known for known in _T if known <= len(values) - 1)  # the next lower one is wider
    width = _T[freedom] * statistics.stdev(values) / math.sqrt(len(values))
    return middle, middle - width, middle + width


def rate(events: int, exposure: float) -> tuple[float, float, float]:
    """Events for each unit of exposure, Poisson (Byar's approximation of the exact interval)."""

    def bound(count: int, sign: float) -> float:
        return count * (1 - 1 / 9 / count + sign * 1.96 / 3 / math.sqrt(count)) ** 3 if count else 0.0

    return events / exposure, bound(events, -1) / exposure, bound(events + 1, 1) / exposure
