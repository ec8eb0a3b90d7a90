"""Which scenarios are played, with which seeds, against which guard.

Invariants:

- Nothing of the ledger is tuned here: it has the defaults of ``config/budgets.yaml`` and what an operator declares
  (``simulation.setting.operated``), both fixed before any reporting seed was played.
- The rate limiter's limit is chosen on the tuning seeds and families only.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from msgspec import structs

from audit_proxy.core.detection.budgets import Budgets, Limits
from audit_proxy.simulation import benign
from audit_proxy.simulation.guard import LedgerGuard
from audit_proxy.simulation.measure import Outcome, run
from audit_proxy.simulation.scenarios import SCENARIOS, Kind, Scenario
from audit_proxy.simulation.setting import Setting
from audit_proxy.simulation.traffic import Guard
from benchmarks.detection.limiter import RateLimiter

TUNING_SEEDS = range(1, 100)
TUNING_FAMILIES = ("ordinary-apps", "support-tool")
REPORT_SEEDS = range(1_001, 2_000)
LADDER = (100, 300, 1_000, 3_000, 10_000, 30_000)  # requests an hour
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of every limit


class Extent(NamedTuple):
    """``sweep``: seeds for each point of the plot."""

    seeds: int
    sweep: int
    apps: int
    days: int
    size: float


FULL = Extent(seeds=10, sweep=3, apps=1_000, days=90, size=1.0)
MEDIUM = Extent(seeds=3, sweep=1, apps=100, days=30, size=1.0)
SMALL = Extent(seeds=2, sweep=1, apps=10, days=5, size=0.05)


class Task(NamedTuple):
    """``limit``: requests an hour of the limiter; None: the ledger, its limits times ``factor``."""

    name: str
    seed: int
    consent: bool
    extent: Extent
    limit: int | None = None
    factor: float = 1.0


def scenario_of(task: Task) -> Scenario:
    one = SCENARIOS[task.name]
    if task.name == "ordinary-apps":
        return one._replace(actors=partial(benign.ordinary, apps=task.extent.apps, days=task.extent.days))
    return one


def play(task: Task) -> Outcome:
    def guard(setting: Setting) -> Guard:
        if task.limit is not None:
            return RateLimiter(task.limit)
        return LedgerGuard(scaled(setting.budgets, task.factor), setting.people, consent=task.consent)

    size = 1.0 if task.name == "ordinary-apps" else task.extent.size
    scenario = scenario_of(task)
    wanted = not task.consent and task.limit is None and task.factor == 1.0
    outcome = run(scenario, task.seed, consent=task.consent, size=size, guard_of=guard, wanted=wanted)
    outcome.scenario = SCENARIOS[task.name]  # what a process can send to another
    return outcome


def scaled(budgets: Budgets, factor: float) -> Budgets:
    """Every limit of an app times a factor."""
    if factor == 1.0:
        return budgets

    def times(limits: Limits) -> Limits:
        return {signal: tuple(one.times(factor) for one in every) for signal, every in limits.items()}

    return structs.replace(
        budgets,
        default=times(budgets.default),
        tiers={name: times(limits) for name, limits in budgets.tiers.items()},
        classes={name: times(limits) for name, limits in budgets.classes.items()},
        apps={name: structs.replace(one, limits=times(one.limits)) for name, one in budgets.apps.items()},
    )


def tasks(extent: Extent, seeds: Iterable[int], *, limit: int | None = None, factor: float = 1.0) -> list[Task]:
    """Attacks with and without third-party consent (the limiter knows no consent); ordinary use with it."""
    found = []
    for seed in seeds:
        for one in SCENARIOS.values():
            ways = [True] if one.kind is Kind.benign else [False, True]
            if limit is not None:
                ways = [False]
            found += [Task(one.name, seed, consent, extent, limit, factor) for consent in ways]
    return found


def played(every: list[Task], jobs: int) -> list[Outcome]:
    if jobs == 1:
        return [play(task) for task in every]
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(play, every))


def tuned_limit(extent: Extent, jobs: int) -> int:
    """The lowest limit of the ladder that raises at most one alert in 1,000 app-days of the tuning families, else the highest."""
    for limit in LADDER:
        seeds = TUNING_SEEDS[: extent.sweep]
        every = [
            Task(name, seed, consent=False, extent=extent, limit=limit) for name in TUNING_FAMILIES for seed in seeds
        ]
        outcomes = played(every, jobs)
        if sum(one.alerts for one in outcomes) <= sum(one.app_days for one in outcomes) / 1_000:
            return limit
    return LADDER[-1]


def shares(outcomes: list[Outcome], wanted: dict[tuple[str, int], int]) -> tuple[float, float]:
    """Of blatant and divided attacks without consent: the mean share of what they wanted; false alerts in 1,000 app-days."""
    leaks = [
        one.taken / max(1, wanted[one.scenario.name, one.seed]) for one in outcomes if one.scenario.kind is Kind.attack
    ]
    ordinary = [one for one in outcomes if one.scenario.kind is Kind.benign]
    alerts, days = sum(one.alerts for one in ordinary), sum(one.app_days for one in ordinary)
    return sum(leaks) / len(leaks), alerts / days * 1_000
