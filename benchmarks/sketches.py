"""``python -m benchmarks.sketches``: what counting distinct people costs, in time, memory and error.

Prints one JSON object. ``page_us``: microseconds of ``fresh``, of ``add`` and of both for a page of 25 people, the least of
many turns (of a machine that others use too), exactly and in the worst case of sketches, where every window is sketched;
``key`` is what the caller pays for 25 people whom its cache does not hold. ``turn_us``: one bucket turning, and all windows'
at once. ``app_bytes``: an app's signals over ninety days of a crowd, every window full, as ``tracemalloc`` sees them.
``error_percent``: of ``counts`` over crowds, to be held against ``stated``.
"""

import argparse
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

from audit_proxy.core.detection.distinct import Distinct
from audit_proxy.core.detection.keys import key
from audit_proxy.core.detection.windows import DAY_S, WINDOWS

PAGE = 25
SIGNALS = ("disclosed", "without a grant", "asked for", "holders", "missed")
NOW_S = 1.8e9
BOUNDARY_S = 105 * DAY_S * 200  # here a bucket of every window turns


def _page(numbers: random.Random) -> list[int]:
    return [numbers.getrandbits(64) for _ in range(PAGE)]


def _least(turns: int, call: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(turns):
        began = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - began)
    return round(least * 1e6, 1)


def _page_us(distinct: Distinct, pages: Iterator[list[int]], turns: int) -> dict[str, float]:
    fresh = add = both = float("inf")
    for page in (next(pages) for _ in range(turns)):
        began = time.perf_counter()
        distinct.fresh(NOW_S, page)
        between = time.perf_counter()
        distinct.add(NOW_S, page)
        ended = time.perf_counter()
        fresh, add, both = min(fresh, between - began), min(add, ended - between), min(both, ended - began)
    return {"fresh": round(fresh * 1e6, 1), "add": round(add * 1e6, 1), "both": round(both * 1e6, 1)}


def _times(numbers: random.Random, turns: int) -> dict[str, object]:
    told: dict[str, object] = {}
    sketched = Distinct()
    for _ in range(400):
        sketched.add(NOW_S, _page(numbers))
    exact = Distinct(exact_max=1 << 20)
    exact.add(NOW_S, _page(numbers))
    for name, distinct in (("exact", exact), ("sketches", sketched)):
        known = _page(numbers)
        distinct.add(NOW_S, known)
        told[name] = {
            "known": _page_us(distinct, iter(lambda page=known: page, None), turns),
            "new": _page_us(distinct, iter(lambda: _page(numbers), None), turns),
        }
    names = [f"demo:{n}" for n in range(PAGE)]
    told["key"] = _least(turns, lambda: [key(name, b"detection secret") for name in names])
    return told


def _turn_us(numbers: random.Random) -> dict[str, float]:
    told = {"shortest window": float("inf"), "all windows": float("inf")}
    for _ in range(5):
        full = _full(numbers, BOUNDARY_S - 20)
        for name, later in (("shortest window", BOUNDARY_S - 10), ("all windows", BOUNDARY_S)):
            began = time.perf_counter()
            full.counts(later)
            told[name] = min(told[name], round((time.perf_counter() - began) * 1e6, 1))
    return told


def _full(numbers: random.Random, now: float) -> Distinct:
    """People in every bucket of every window, the sketches of each beyond what is exact."""
    distinct = Distinct()
    for seconds in reversed(WINDOWS.values()):
        for n in range(100):
            moment = now - seconds * (100 - n) / 100
            for _ in range(4):
                distinct.add(moment, _page(numbers))
    return distinct


def _app_bytes(numbers: random.Random) -> dict[str, object]:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [_full(numbers, NOW_S) for _ in SIGNALS]
    measured = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {
        "signals": SIGNALS,
        "measured": measured,
        "estimate": sum(one.memory() for one in held),
        "snapshot": sum(len(one.snapshot()) for one in held),
        "bound": 1_000_000,
    }


def _error_percent(numbers: random.Random, crowds: int) -> dict[str, object]:
    staying, leaving = [], []
    for _ in range(crowds):
        stay, leave = Distinct({"1h": 3600.0}), Distinct({"1m": 60.0})
        for n in range(800):
            page = _page(numbers)
            stay.add(NOW_S, page)
            leave.add(NOW_S + n // 80 * 10, page)
        staying.append(stay.counts(NOW_S)["1h"] / (800 * PAGE) - 1)
        leaving.append(leave.counts(NOW_S + 90)["1m"] / (560 * PAGE) - 1)
    return {
        name: {
            "bias": round(statistics.mean(errors) * 100, 2),
            "rms": round(statistics.mean(error**2 for error in errors) ** 0.5 * 100, 2),
            "worst": round(max(map(abs, errors)) * 100, 2),
            "stated": {"rms": stated, "3 sigma": round(3 * stated, 1)},
        }
        for name, errors, stated in (("nobody left", staying, 1.3), ("people left", leaving, 1.63))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2_000)
    parser.add_argument("--crowds", type=int, default=60, help="of 20,000 people")
    arguments = parser.parse_args()
    numbers = random.Random(1)
    told = {
        "page_us": _times(numbers, arguments.turns),
        "turn_us": _turn_us(numbers),
        "app_bytes": _app_bytes(numbers),
        "error_percent": _error_percent(numbers, arguments.crowds),
    }
    json.dump(told, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
