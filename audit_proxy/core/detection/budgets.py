"""Data budgets: how many people an app may reach in a window, by tier, by declared class, by app.

Invariants:

- What an app's own entry names beats its class's, that beats its tier's, that beats the default; signal by signal, so that
  one limit can be changed without repeating the others. A signal named without a window has no limit.
- A class holds until its expiry only; from that moment on the tier holds again.
- Limits are of people, never of requests.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from audit_proxy.core.policy import App

DAY_S = 86_400.0


class Signal(StrEnum):
    """What is counted, in people, over a window."""

    __hash__ = str.__hash__  # Enum's own is a Python function, and dictionaries on the hot path ask for it

    third_parties = "third_parties"  # others than the token's holder whose data left
    without_grant = "without_grant"  # those of them without a grant of their own, asked for or received
    missed = "missed"  # ids that were looked up and not given, unknown or withheld
    fan_out = "fan_out"  # third parties, where the limit grows with the app's holders
    coverage = "coverage"  # third parties, where the limit is a share of everyone known
    per_holder = "per_holder"  # third parties asked for or received with one holder's tokens
    owner = "owner"  # third parties asked for or received by all apps of one owner


class Limit(msgspec.Struct, frozen=True):
    """At most ``people``, or ``per`` times what the signal grows with where that is more, in one window."""

    signal: Signal
    window: str  # a key of ``windows.WINDOWS``
    people: int
    per: float = 0.0  # fan_out: of the app's holders; coverage: of everyone known

    def times(self, factor: float) -> "Limit":
        return Limit(self.signal, self.window, max(1, int(self.people * factor)), self.per * factor)


Limits = Mapping[Signal, tuple[Limit, ...]]


def _of(signal: Signal, **windows: int) -> tuple[Limit, ...]:
    return tuple(Limit(signal, name.removeprefix("w"), people) for name, people in windows.items())


# For a platform that has set nothing: what an ordinary app never reaches. The quiz of 2014 would have been stopped before
# 0.01% of those whom it reached.
DEFAULTS: Limits = MappingProxyType(
    {
        Signal.third_parties: _of(Signal.third_parties, w1h=2_000, w24h=5_000, w30d=50_000),
        Signal.without_grant: _of(Signal.without_grant, w1h=2_000, w24h=5_000, w30d=50_000),
        Signal.missed: _of(Signal.missed, w1h=500, w24h=2_000),
        Signal.fan_out: (Limit(Signal.fan_out, "24h", 1_000, 50.0),),
        Signal.coverage: (Limit(Signal.coverage, "90d", 5_000, 0.001),),
        Signal.per_holder: _of(Signal.per_holder, w1h=1_000, w24h=2_000),
        Signal.owner: _of(Signal.owner, w24h=10_000, w30d=100_000),
    }
)


class AppBudget(msgspec.Struct, frozen=True):
    """What ``budgets.yaml`` says of one app. ``until``: seconds since the epoch, when its class ends."""

    limits: Limits = {}
    declared: str | None = None  # the class
    until: float = 0.0
    protected: bool = False  # never quarantined by a machine


class Budgets(msgspec.Struct, frozen=True):
    """``config/budgets.yaml`` as a value. Shares are of a limit; times in seconds."""

    warn_at: float = 0.8
    restrict_at: float = 1.25  # of what an app asked for, what it was refused included
    quarantine_at: float = 1.5
    several_holders: int = 5  # as many must be behind an excess before the app is restricted or quarantined for it
    holder_block_s: float = DAY_S
    trust_reset_s: float = 14 * DAY_S
    trust_factor: float = 0.5  # of its limits, while an app's trust is reset
    population: int | None = None  # everyone known; None: whom the proxy has seen in 90 days
    default: Limits = DEFAULTS
    tiers: Mapping[str, Limits] = {}
    classes: Mapping[str, Limits] = {}
    apps: Mapping[str, AppBudget] = {}

    def of(self, app: App, now: float) -> tuple[Limits, float]:
        """The app's limits, and until when they hold (seconds since the epoch)."""
        own = self.apps.get(app.id, _NOTHING)
        layers = [self.default, self.tiers.get(app.tier, {})]
        until = float("inf")
        if own.declared is not None and now < own.until:
            layers.append(self.classes.get(own.declared, {}))
            until = own.until
        layers.append(own.limits)
        merged: dict[Signal, tuple[Limit, ...]] = {}
        for layer in layers:
            merged.update(layer)
        return merged, until

    def protects(self, app: str) -> bool:
        return self.apps.get(app, _NOTHING).protected


_NOTHING = AppBudget()
