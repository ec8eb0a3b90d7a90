"""``budgets.yaml``: how many people an app may reach, by tier, by declared class, by app.

Invariants:

- Without the file the defaults hold: no budget at all is no choice that one makes by forgetting a file.
- A class is given to an app with the day it ends.
"""

import datetime as dt
import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from audit_proxy.core.detection.budgets import DAY_S, DEFAULTS, AppBudget, Budgets, Limit, Limits, Signal
from audit_proxy.core.policy import App
from audit_proxy.settings.apps import ClientId, Tier
from audit_proxy.settings.files import ConfigProblems, Document, Problem
from audit_proxy.settings.shapes import Model
from audit_proxy.settings.validate import unknown_names, validated

Window = Literal["1m", "5m", "1h", "24h", "7d", "30d", "90d"]
HolderWindow = Literal["1h", "24h"]
LongWindow = Literal["1h", "24h", "7d", "30d"]
People = Annotated[int, Field(gt=0, le=2**53)]
Share = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=1, le=100)]


class FanOut(Model):
    """Third parties for each of the app's holders; not judged below ``floor`` people."""

    per_holder: Annotated[float, Field(gt=0, le=1e6)]
    floor: People


class Coverage(Model):
    """A share of everyone known; not judged below ``floor`` people."""

    share: Share
    floor: People


class LimitsEntry(Model):
    """People by window. What is left out keeps the limit it has; ``{}`` takes it away."""

    third_parties: dict[Window, People] | None = Field(
        default=None, description="People other than the token's holder whose data the app received."
    )
    without_grant: dict[LongWindow, People] | None = Field(
        default=None, description="People who gave the app no grant, asked for or received."
    )
    missed: dict[LongWindow, People] | None = Field(
        default=None, description="Ids that were looked up and not given, unknown or withheld."
    )
    per_holder: dict[HolderWindow, People] | None = Field(
        default=None, description="Third parties asked for or received with one holder's tokens for the app."
    )
    owner: dict[LongWindow, People] | None = Field(
        default=None, description="Third parties asked for or received by all apps of one owner together."
    )
    fan_out: dict[LongWindow, FanOut] | None = Field(default=None, description="Third parties received, by holders.")
    coverage: dict[Window, Coverage] | None = Field(default=None, description="Third parties received, of everyone.")

    def limits(self) -> Limits:
        """As the core knows them: the signals that are named."""
        named: dict[Signal, tuple[Limit, ...]] = {}
        for name in ("third_parties", "without_grant", "missed", "per_holder", "owner"):
            windows: Mapping[str, int] | None = getattr(self, name)
            if windows is not None:
                signal = Signal(name)
                named[signal] = tuple(Limit(signal, window, people) for window, people in windows.items())
        if self.fan_out is not None:
            named[Signal.fan_out] = tuple(
                Limit(Signal.fan_out, window, one.floor, one.per_holder) for window, one in self.fan_out.items()
            )
        if self.coverage is not None:
            named[Signal.coverage] = tuple(
                Limit(Signal.coverage, window, one.floor, one.share) for window, one in self.coverage.items()
            )
        return named


class AppEntry(Model):
    """One app's own budget."""

    declared: str | None = Field(default=None, alias="class", description="A class of 'classes'.")
    until: dt.date | None = Field(default=None, description="The last day of the class, in UTC.")
    protected: bool = Field(default=False, description="Never quarantined by a machine.")
    limits: LimitsEntry = LimitsEntry()

    @model_validator(mode="after")
    def _ends(self) -> "AppEntry":
        if (self.declared is None) != (self.until is None):
            raise ValueError("'class' and 'until' (the last day of the class) go together")
        return self

    def budget(self) -> AppBudget:
        until = 0.0
        if self.until is not None:
            until = dt.datetime.combine(self.until, dt.time(), dt.UTC).timestamp() + DAY_S
        return AppBudget(self.limits.limits(), self.declared, until, self.protected)


class BudgetsFile(Model):
    """``budgets.yaml``."""

    warn_at: Share = Field(default=0.8, description="The share of a limit at which a finding warns.")
    restrict_at: Factor = Field(default=1.25, description="Times a limit, of what was asked for: own users' data only.")
    quarantine_at: Factor = Field(default=1.5, description="Times a limit, of what was asked for: the app is stopped.")
    several_holders: int = Field(
        default=5,
        ge=2,
        le=1_000,
        description="As many holders must be behind an excess before the app is taken further.",
    )
    holder_block_hours: float = Field(default=24.0, gt=0, le=24 * 90)
    trust_reset_days: float = Field(
        default=14.0, ge=0, le=365, description="How long limits are tightened after an app's facts changed."
    )
    trust_factor: Share = Field(default=0.5, description="Of the limits, in that time.")
    population: People | None = Field(
        default=None, description="Everyone the platform knows; left out: whom the proxy saw in 90 days."
    )
    default: LimitsEntry = LimitsEntry()
    tiers: dict[Tier, LimitsEntry] = Field(default={}, description="By the tier of apps.yaml.")
    classes: dict[Tier, LimitsEntry] = Field(default={}, description="Declared purposes with limits of their own.")
    apps: dict[ClientId, AppEntry] = Field(default={}, description="By client id.")

    @model_validator(mode="after")
    def _steps(self) -> "BudgetsFile":
        if self.restrict_at > self.quarantine_at:
            raise ValueError("'restrict_at' must not be above 'quarantine_at': an app is restricted first")
        return self


def parse_budgets(document: Document) -> Budgets:
    """The budgets. Raises ConfigProblems."""
    file = validated(BudgetsFile, document)
    problems = [
        document.problem(("apps", name, "class"), f"apps.{name}.class: 'classes' has no such class{_hint(one, file)}")
        for name, one in file.apps.items()
        if one.declared is not None and one.declared not in file.classes
    ]
    if problems:
        raise ConfigProblems(problems)
    return Budgets(
        warn_at=file.warn_at,
        restrict_at=file.restrict_at,
        quarantine_at=file.quarantine_at,
        several_holders=file.several_holders,
        holder_block_s=file.holder_block_hours * 3600,
        trust_reset_s=file.trust_reset_days * DAY_S,
        trust_factor=file.trust_factor,
        population=file.population,
        default={**DEFAULTS, **file.default.limits()},
        tiers={name: one.limits() for name, one in file.tiers.items()},
        classes={name: one.limits() for name, one in file.classes.items()},
        apps={name: one.budget() for name, one in file.apps.items()},
    )


def unknown_apps(document: Document, known: Collection[str]) -> list[Problem]:
    """A problem for each app that ``apps.yaml`` does not hold: its protection or its limits would never apply."""
    names = validated(BudgetsFile, document).apps
    return unknown_names(document, "apps", names, known, "no app '{}' is registered in apps.yaml")


def budget_doubts(budgets: Budgets, apps: Mapping[str, App], unknown: App | None, now: float) -> Iterator[str]:
    """Classes that have ended, and tiers that no app is of."""
    for name, one in budgets.apps.items():
        if one.declared is not None and one.until <= now:
            yield f"budgets: the class '{one.declared}' of the app '{name}' has ended; the limits of its tier hold"
    used = {app.tier for app in apps.values()} | ({unknown.tier} if unknown is not None else set())
    for tier in budgets.tiers:
        if tier not in used and apps:
            yield f"budgets: no app is of the tier '{tier}'"


def _hint(entry: AppEntry, file: BudgetsFile) -> str:
    close = difflib.get_close_matches(entry.declared or "", file.classes, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
