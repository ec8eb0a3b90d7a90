"""Where a scenario plays: its people, its seed, the operator's budgets, and the apps that are registered."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from msgspec import structs

from audit_proxy.core.detection.budgets import AppBudget, Budgets, Limit, Signal
from audit_proxy.core.policy import App
from audit_proxy.simulation.people import People
from audit_proxy.simulation.traffic import DAY, START


@dataclass(frozen=True, slots=True)
class Setting:
    """``size`` multiplies what a family takes as its own size."""

    people: People
    seed: int
    budgets: Budgets
    size: float = 1.0

    def draw(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}:{what}")

    def scaled(self, many: float) -> int:
        return max(1, round(many * self.size))

    @property
    def begin(self) -> float:
        """Anywhere within a week, so that windows turn at other moments with every seed."""
        return START + self.draw("begin").random() * 7 * DAY


def app(name: str, owner: str = "", tier: str = "standard") -> App:
    """A registered app."""
    return App(
        id=name,
        name=name,
        owner=owner or f"owner of {name}",
        contact="",
        tier=tier,
        purpose="simulated",
        approved_scopes=frozenset({"friends"}),
        redirect_domains=frozenset({f"{name}.example"}),
    )


def renamed(one: App, name: str) -> App:
    return replace(one, name=name)


def _limits(signal: Signal, **windows: int) -> tuple[Limit, ...]:
    return tuple(Limit(signal, window.removeprefix("w"), people) for window, people in windows.items())


def operated(budgets: Budgets, population: int) -> Budgets:
    """What an operator adds who looks at an app before it is let in: tiers for apps that have many users already, and a class
    for a purpose that was declared, each sized by what was declared and ending with it; and how many people there are.
    """
    medium = {
        Signal.third_parties: _limits(Signal.third_parties, w1h=20_000, w24h=50_000, w30d=200_000),
        Signal.without_grant: _limits(Signal.without_grant, w1h=5_000, w24h=20_000, w30d=100_000),
        Signal.missed: _limits(Signal.missed, w1h=2_000, w24h=10_000),
        Signal.owner: _limits(Signal.owner, w24h=100_000, w30d=500_000),
        Signal.coverage: (),
    }
    support = {
        Signal.third_parties: _limits(Signal.third_parties, w1h=500, w24h=3_000, w30d=30_000),
        Signal.per_holder: _limits(Signal.per_holder, w1h=300, w24h=1_000),
        Signal.fan_out: (),
        Signal.coverage: (),
    }
    backfill = {
        Signal.third_parties: _limits(Signal.third_parties, w24h=500_000),
        Signal.without_grant: _limits(Signal.without_grant, w24h=50_000),
        Signal.owner: _limits(Signal.owner, w24h=500_000),
        Signal.fan_out: (),
        Signal.coverage: (),
    }
    contacts = {
        Signal.third_parties: _limits(Signal.third_parties, w1h=5_000, w24h=20_000, w30d=200_000),
        Signal.without_grant: _limits(Signal.without_grant, w1h=5_000, w24h=20_000, w30d=200_000),
        Signal.missed: _limits(Signal.missed, w1h=10_000, w24h=40_000),
        Signal.owner: _limits(Signal.owner, w24h=40_000, w30d=400_000),
        Signal.fan_out: (),
        Signal.coverage: (),
    }
    end = START + 400 * DAY
    declared = {
        "help-desk": AppBudget(declared="support_tool", until=end),
        "archive": AppBudget(declared="backfill", until=START + 30 * DAY),
        "address-book": AppBudget(declared="contact_finder", until=end),
    }
    return structs.replace(
        budgets,
        population=population if budgets.population is None else budgets.population,
        tiers={"medium": medium, **budgets.tiers},
        classes={"support_tool": support, "backfill": backfill, "contact_finder": contacts, **budgets.classes},
        apps={**declared, **budgets.apps},
    )


def arrivals(draw: random.Random, begin: float, rates: list[float]) -> Iterator[float]:
    """Moments of a Poisson process; ``rates`` a day, one for each day, and within it most of them in the evening."""
    for day, rate in enumerate(rates):
        moments = []
        for _ in range(poisson(draw, rate)):
            while True:
                moment = draw.random()
                if draw.random() * 1.8 < 1 - 0.8 * math.cos(2 * math.pi * (moment - 0.17)):
                    break
            moments.append(begin + (day + moment) * DAY)
        yield from sorted(moments)


def poisson(draw: random.Random, mean: float) -> int:
    """A Poisson number; by the normal approximation above 60."""
    if mean > 60:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    count, left = 0, draw.expovariate(1.0)
    while left < mean:
        count += 1
        left += draw.expovariate(1.0)
    return count
