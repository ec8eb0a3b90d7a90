"""Runs one target under atheris: ``python -m tests.fuzz.run TARGET SECONDS [SEED]``; without arguments, names the targets.

A SEED other than 0 makes a run that can be repeated (with ``PYTHONHASHSEED`` set too). Exit code 0: nothing was found. What was found stands in ``build/fuzz/``; it belongs into ``found.py`` once it is understood.
"""

import sys
import tempfile
from pathlib import Path

FOUND = Path("build/fuzz")


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["audit_proxy"]):
        from tests.fuzz.harness import SEEDS, TARGETS
    if len(sys.argv) == 1:
        print(*TARGETS)
        return
    name, seconds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, example in enumerate(SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(example)
        options = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-verbosity=0",
        ]
        atheris.Setup(
            [sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-", corpus], TARGETS[name]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
