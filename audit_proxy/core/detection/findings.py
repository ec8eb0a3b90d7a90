"""What a detector saw: a finding, in numbers and as one sentence.

Invariant: a finding names signal, value, limit, window and the records behind it, and no person.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from audit_proxy.core.detection.budgets import Signal

Severity = Literal["warning", "serious", "critical"]


class Action(StrEnum):
    """What follows for the page at hand, from mild to severe."""

    allow = "allow"
    warn = "warn"  # the page leaves
    throttle = "throttle"
    block_holder = "block_holder"
    restrict = "restrict"
    quarantine = "quarantine"


SEVERITY: dict[Action, Severity] = {
    Action.allow: "warning",
    Action.warn: "warning",
    Action.throttle: "serious",
    Action.block_holder: "serious",
    Action.restrict: "critical",
    Action.quarantine: "critical",
}

_WINDOWS = {
    "1m": "a minute",
    "5m": "five minutes",
    "1h": "an hour",
    "24h": "24 hours",
    "7d": "seven days",
    "30d": "30 days",
    "90d": "90 days",
}
_SEEN = {
    Signal.third_parties: "reached for {value} people other than its users within {window}",
    Signal.without_grant: "asked for {value} people who gave it no grant within {window}",
    Signal.missed: "looked up {value} ids in vain within {window}",
    Signal.fan_out: "reached for {value} people other than its users within {window}, far more than its users explain",
    Signal.coverage: "reached for {value} people within {window}, a share of everyone known",
    Signal.per_holder: "reached for {value} people with one user's tokens within {window}",
    Signal.owner: "and its owner's other apps reached for {value} people within {window}",
}
_DONE = {
    Action.allow: "nothing was done",
    Action.warn: "nothing is stopped yet",
    Action.throttle: "it gets no new people until the window has room",
    Action.block_holder: "that user's tokens are blocked in this app",
    Action.restrict: "it gets the data of its own users only",
    Action.quarantine: "it is quarantined until a person releases it",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``value`` and ``limit`` in people; the value with the page at hand, and with what was refused before. ``since``: when the app's present excess or approach began, seconds since the epoch.
    ``records``: ids of the last audit records behind it.
    """

    app: str
    detector: Signal
    action: Action
    value: int
    limit: int
    window: str
    at: float
    since: float
    records: tuple[str, ...] = ()
    enforced: bool = True  # False in monitor mode: the action was not taken
    owner: str = ""

    @property
    def severity(self) -> Severity:
        return SEVERITY[self.action]

    @property
    def sentence(self) -> str:
        seen = _SEEN[self.detector].format(value=f"{self.value:,}", window=_WINDOWS.get(self.window, self.window))
        done = _DONE[self.action] if self.enforced else "in monitor mode nothing is stopped"
        return f"App {self.app} {seen} (limit {self.limit:,}): {done}."

    def detail(self) -> dict[str, Any]:
        """The ``detail`` of its record."""
        return {
            "detector": self.detector.value,
            "severity": self.severity,
            "action": self.action.value,
            "enforced": self.enforced,
            "value": self.value,
            "limit": self.limit,
            "window": self.window,
            "since": round(self.since, 3),
            "records": list(self.records),
            "owner": self.owner,
            "sentence": self.sentence,
        }


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a page. ``retry_after_s``: a length of the window's, never of the app's use."""

    action: Action
    findings: tuple[Finding, ...] = ()
    retry_after_s: int = 0

    @property
    def releases(self) -> bool:
        return self.action is Action.allow or self.action is Action.warn


ALLOWED = Verdict(Action.allow)
