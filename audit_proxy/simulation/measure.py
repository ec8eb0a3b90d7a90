"""One run of a scenario, in numbers.

Invariants:

- What counts as taken is what left about people other than the token's holder, each person once, over all apps of the attack.
- When limits were crossed is found without the ledger: by exact sliding counts of who was asked for.
- An alert is a finding that is more than a warning, for attacks and for ordinary use alike.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.core.detection.budgets import Budgets, Limit, Limits, Signal
from audit_proxy.core.detection.findings import Action, Finding
from audit_proxy.core.detection.windows import WINDOWS
from audit_proxy.core.policy import App
from audit_proxy.simulation.guard import LedgerGuard, Open
from audit_proxy.simulation.people import People
from audit_proxy.simulation.scenarios import Kind, Scenario
from audit_proxy.simulation.setting import Setting, operated
from audit_proxy.simulation.traffic import DAY, Guard, Page, lead

GuardOf = Callable[[Setting], Guard]
_WORST = ("quarantined", "restricted", "active")


@dataclass(slots=True)
class Outcome:
    """Of a run. People are distinct; ``wanted``: what would have been taken with nothing in the way (None: not asked).

    ``taken_before_block``: before the first page that was refused. ``alerts``: one for each app and day with an alert.
    """

    scenario: Scenario
    seed: int
    people: int
    requests: int = 0
    released: int = 0
    wanted: int | None = None
    taken: int = 0
    taken_before_block: int = 0
    taken_before_detection: int = 0
    largest_page: int = 0
    began: float = math.nan
    crossed_at: float | None = None
    finding: Finding | None = None
    detected_at: float | None = None
    detector: str | None = None
    warnings: int = 0
    alerts: int = 0
    quarantines: int = 0
    app_days: float = 0.0
    status: str = "active"
    statuses: dict[str, str] = field(default_factory=dict)

    @property
    def seconds_to_detection(self) -> float | None:
        return None if self.detected_at is None else self.detected_at - self.began

    @property
    def seconds_after_crossing(self) -> float | None:
        """Below nought: detected before any limit of people was passed."""
        if self.detected_at is None or self.crossed_at is None:
            return None
        return self.detected_at - self.crossed_at

    def facts(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "kind": self.scenario.kind.value,
            "seed": self.seed,
            "people": self.people,
            "requests": self.requests,
            "requests_released": self.released,
            "subjects_wanted": self.wanted,
            "subjects_taken": self.taken,
            "taken_before_block": self.taken_before_block,
            "taken_before_detection": self.taken_before_detection,
            "detected": self.detected_at is not None,
            "detector": self.detector,
            "seconds_to_detection": _rounded(self.seconds_to_detection),
            "seconds_after_crossing": _rounded(self.seconds_after_crossing),
            "first_finding": None if self.finding is None else self.finding.sentence,
            "warnings": self.warnings,
            "alerts": self.alerts,
            "app_days": round(self.app_days, 2),
            "final_status": self.status,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Crossing:
    """When an app first asked for more people than one of its limits has, counted exactly and apart from the ledger."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._known: dict[str, tuple[Limits, float]] = {}
        self._seen: dict[tuple[str, Signal, str], OrderedDict[int, float]] = {}
        self.at: float | None = None

    def look(self, page: Page, *, consent: bool) -> None:
        if self.at is not None:
            return
        limits = self._limits(page)
        refused = set(page.subjects).difference(page.granted) if consent else set()
        asked = {
            Signal.third_parties: set(page.subjects) - refused,
            Signal.without_grant: refused,
            Signal.missed: {*page.missing, *refused} if page.looked_up else set(),
            Signal.owner: set(page.subjects),
        }
        for signal, found in asked.items():
            name = page.app.owner if signal is Signal.owner else page.app.id
            for limit in limits.get(signal, ()) if found else ():
                if self._count(name, limit, page.at, found) > limit.people:
                    self.at = page.at

    def _limits(self, page: Page) -> Limits:
        known = self._known.get(page.app.id)
        if known is None or page.at >= known[1]:
            known = self._known[page.app.id] = self._budgets.of(page.app, page.at)
        return known[0]

    def _count(self, name: str, limit: Limit, now: float, found: Iterable[int]) -> int:
        seen = self._seen.setdefault((name, limit.signal, limit.window), OrderedDict())
        for who in found:
            seen[who] = now
            seen.move_to_end(who)
        while seen and next(iter(seen.values())) < now - WINDOWS[limit.window]:
            seen.popitem(last=False)
        return len(seen)


def run(
    scenario: Scenario,
    seed: int,
    *,
    consent: bool = True,
    people: int | None = None,
    size: float = 1.0,
    budgets: Budgets | None = None,
    guard_of: GuardOf | None = None,
    wanted: bool = True,
) -> Outcome:
    """One run. ``consent``: third parties without a grant are withheld. ``guard_of``: another guard than the ledger."""
    count = people or scenario.people
    budgets = operated(Budgets() if budgets is None else budgets, count)
    setting = Setting(People(count, seed), seed, budgets, size)
    guard = LedgerGuard(budgets, setting.people, consent=consent) if guard_of is None else guard_of(setting)
    outcome = Outcome(scenario, seed, setting.people.count)
    _follow(outcome, setting, guard, consent=consent)
    if wanted and scenario.kind is not Kind.benign:
        outcome.wanted = _wanted(scenario, setting)
    return outcome


def _wanted(scenario: Scenario, setting: Setting) -> int:
    """Everybody whom the attack would reach with nothing in its way."""
    found: set[int] = set()
    for page, _ in lead(scenario.actors(setting), Open()):
        if page.hostile:
            found.update(page.subjects)
    return len(found)


def _follow(outcome: Outcome, setting: Setting, guard: Guard, *, consent: bool) -> None:
    benign = outcome.scenario.kind is Kind.benign
    crossing = Crossing(setting.budgets)
    taken: set[int] = set()
    apps: dict[str, App] = {}
    lives: dict[str, list[float]] = {}
    alerted: set[tuple[str, int]] = set()
    blocked = False
    for page, answer in lead(outcome.scenario.actors(setting), guard):
        outcome.requests += 1
        outcome.released += answer.refusal is None
        if page.app.id in apps:
            lives[page.app.id][1] = page.at
        else:
            lives[page.app.id] = [page.at, page.at]
        apps[page.app.id] = page.app
        for finding in answer.findings:
            if finding.action is Action.warn:
                outcome.warnings += 1
            else:
                alerted.add((page.app.id, int(page.at // DAY)))
        if not (page.hostile or benign):
            continue
        if math.isnan(outcome.began):
            outcome.began = page.at
        if outcome.detected_at is None:
            if not benign:
                crossing.look(page, consent=consent)
            _detect(outcome, page, answer.findings, len(taken))
        taken.update(answer.people)
        outcome.largest_page = max(outcome.largest_page, len(page.subjects))
        if answer.refusal is not None and not blocked:
            blocked, outcome.taken_before_block = True, len(taken)
    outcome.taken, outcome.crossed_at = len(taken), crossing.at
    if not blocked:
        outcome.taken_before_block = len(taken)
    outcome.alerts = len(alerted)
    outcome.app_days = sum(max(1.0, (last - first) / DAY) for first, last in lives.values())
    outcome.statuses = {name: guard.status(one) for name, one in apps.items()}
    outcome.quarantines = sum(status == "quarantined" for status in outcome.statuses.values())
    outcome.status = min(outcome.statuses.values(), key=_WORST.index, default="active")


def _detect(outcome: Outcome, page: Page, findings: Iterable[Finding], taken: int) -> None:
    for finding in findings:
        if finding.action is not Action.warn:
            outcome.finding, outcome.detected_at, outcome.detector = finding, page.at, finding.detector.value
            outcome.taken_before_detection = taken
            return
