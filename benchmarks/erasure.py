"""``python -m benchmarks.erasure``: what erased people cost the hot path, side by side with none.

Two pseudonymizers over the same keys, one of them with 10,000 people erased, answer in turns for the same pages of 25
people: warm (seen before) and cold (never seen), and the question whether anybody was erased. Prints one JSON object:
microseconds a person (medians), ``ratio`` erased to none over turns, what an erasure takes, memory and disk.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.pseudonyms_keyed import KeyedPseudonymizer, KeyStore

PAGE = 25
Call = Callable[[Sequence[str]], object]


def _per_person(call: Call, pages: list[list[str]]) -> float:
    began = time.process_time()
    for page in pages:
        call(page)
    return (time.process_time() - began) / (len(pages) * PAGE) * 1e6


def _measure(none: KeyedPseudonymizer, erased: KeyedPseudonymizer, turns: int, pages: int) -> dict[str, object]:
    numbers = iter(range(10**9, 2 * 10**9))
    told: dict[str, object] = {}
    warm = [[f"person:{10**8 + n * PAGE + i}" for i in range(PAGE)] for n in range(pages)]
    for name in ("warm", "cold", "erased?"):
        times: dict[str, list[float]] = {"none": [], "erased": []}
        for turn in range(turns + 1):
            asked = [[f"person:{next(numbers)}" for _ in range(PAGE)] for _ in range(pages)] if name == "cold" else warm
            order = (("none", none), ("erased", erased))
            for which, keyed in order if turn % 2 else reversed(order):
                taken = _per_person(keyed.erased if name == "erased?" else keyed.pseudonyms, asked)
                if turn:  # the first warms up
                    times[which].append(taken)
        ratios = [b / a for a, b in zip(times["none"], times["erased"], strict=True)]
        told[name] = {
            "none_us": round(statistics.median(times["none"]), 3),
            "erased_us": round(statistics.median(times["erased"]), 3),
            "ratio": round(statistics.median(ratios), 3),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--erasures", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--pages", type=int, default=1_000, help="of 25 people, a turn")
    arguments = parser.parse_args()
    master = random.Random(1).randbytes(32)
    with tempfile.TemporaryDirectory(prefix="audit-proxy-bench-") as folder:
        directory = Path(folder) / "keys"
        plain, punctured = (KeyStore(PosixFiles(directory, private=True), master) for _ in range(2))
        plain.open(0.0, create=True)
        punctured.open(0.0, create=False)
        began = time.perf_counter()
        for n in range(arguments.erasures):
            punctured.erase(f"person:{n}")
        erase_ms = (time.perf_counter() - began) / arguments.erasures * 1e3
        blocks = punctured.current.blocks
        memory = sys.getsizeof(blocks) + sum(sys.getsizeof(at) + sys.getsizeof(block) for at, block in blocks.items())
        disk = sum(file.stat().st_size for file in directory.iterdir())
        began = time.perf_counter()
        KeyStore(PosixFiles(directory, private=True), master).open(0.0, create=False)
        start_s = time.perf_counter() - began
        told = _measure(
            KeyedPseudonymizer(plain.current), KeyedPseudonymizer(punctured.current), arguments.turns, arguments.pages
        )
    told |= {
        "erasures": arguments.erasures,
        "ms_an_erasure": round(erase_ms, 2),
        "memory_mb": round(memory / 1e6, 1),
        "disk_mb": round(disk / 1e6, 1),
        "s_to_read_at_start": round(start_s, 2),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
