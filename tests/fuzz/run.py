"""Runs one target under atheris: ``python -m tests.fuzz.run TARGET SECONDS``; without arguments, names the targets.

Exit code 0: nothing was found. What was found stands in ``build/fuzz/``; it belongs into ``found.py`` once it is understood.
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
    name, seconds = sys.argv[1], int(sys.argv[2])
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-verbosity=0"]
        atheris.Setup(
            [sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-", corpus], TARGETS[name]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
