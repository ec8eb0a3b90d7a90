"""``python -m benchmarks.detection``: what leaked before it was stopped, and what was alarmed for nothing.

Every attack is played with third-party consent enforced and without it, every ordinary use with it, over seeds that nothing was
tuned on; beside it a plain limit of requests an hour, whose limit is chosen on other seeds. Prints Markdown; ``--docs FOLDER`` puts
it into ``detection.md`` there, with the plot beside it. Synthetic throughout.
"""

import argparse
import os
import time
from pathlib import Path

from audit_proxy.simulation.scenarios import Kind
from benchmarks.detection import report
from benchmarks.detection.runs import (
    FACTORS,
    FULL,
    LADDER,
    MEDIUM,
    REPORT_SEEDS,
    SMALL,
    Extent,
    played,
    shares,
    tasks,
    tuned_limit,
)

_MARK = "<!-- python -m benchmarks.detection -->"


def measure(extent: Extent, jobs: int, *, sweep: bool) -> tuple[str, str]:
    """The tables, and the plot (empty without ``sweep``)."""
    began = time.monotonic()
    limit = tuned_limit(extent, jobs)
    ours = tasks(extent, REPORT_SEEDS[: extent.seeds])
    outcomes = played(ours, jobs)
    peer = played(tasks(extent, REPORT_SEEDS[: extent.seeds], limit=limit), jobs)
    pairs = list(zip(ours, outcomes, strict=True))
    free = [one for task, one in pairs if not task.consent]
    withheld = [one for task, one in pairs if task.consent]
    plot = ""
    if sweep:
        wanted = {(one.scenario.name, one.seed): one.wanted or 0 for one in free}
        seeds = REPORT_SEEDS[: extent.sweep]
        series: dict[str, list[report.Point]] = {
            "the ledger, its limits times …": [],
            "requests an hour, at most …": [],
        }
        ledger, limiter = series.values()
        for factor in FACTORS:
            every = [
                task
                for task in tasks(extent, seeds, factor=factor)
                if not task.consent
                or task.name in {one.scenario.name for one in withheld if one.scenario.kind is Kind.benign}
            ]
            ledger.append((f"×{factor:g}", *shares(played(every, jobs), wanted)))
        for hourly in LADDER:
            every = tasks(extent, seeds, limit=hourly)
            limiter.append((f"{hourly:,}", *shares(played(every, jobs), wanted)))
        plot = report.plot(series)
    head = (
        f"{extent.seeds} seeds for each scenario, at {extent.size:g} of its size; `ordinary-apps`: {extent.apps:,} apps for "
        f"{extent.days} days. Intervals: 95 %. The rate limiter lets an app make {limit:,} requests an hour."
    )
    lines = [head, "", *report.targets(free, withheld), "", *report.attacks(free, withheld, peer), ""]
    lines += report.benign(withheld, peer)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return "\n".join(lines) + "\n", plot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--small", action="store_true", help="seconds: whether all of it runs")
    extent.add_argument("--medium", action="store_true", help="minutes, also on a slow machine")
    parser.add_argument("--no-sweep", action="store_true", help="no plot")
    parser.add_argument("--docs", type=Path, help="the folder of detection.md, to put tables and plot into")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    chosen = SMALL if arguments.small else MEDIUM if arguments.medium else FULL
    text, plot = measure(chosen, arguments.jobs, sweep=not arguments.no_sweep)
    print(text)
    if arguments.docs is not None:
        file = arguments.docs / "detection.md"
        before, _, after = file.read_text().split(_MARK)
        file.write_text(f"{before}{_MARK}\n\n{text}\n{_MARK}{after}")
        if plot:
            (arguments.docs / "detection.svg").write_text(plot)


if __name__ == "__main__":
    main()
