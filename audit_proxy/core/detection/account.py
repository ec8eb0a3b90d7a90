"""What is held of one app: whom it reached, its status, and why.

Invariants:

- What was counted is never taken back. A person who releases an app gives it a new allowance on top of what was counted.
- An app's memory is bounded: of its holders those who reached for people most recently are watched one by one.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum

import msgspec

from audit_proxy.core.detection.budgets import Limit, Limits, Signal
from audit_proxy.core.detection.distinct import Distinct
from audit_proxy.core.detection.findings import Finding
from audit_proxy.core.detection.windows import WINDOWS
from audit_proxy.core.policy import App

HOLDERS_WATCHED = 128  # of one app
RECORDS_KEPT = 20  # the evidence of a finding
FINDINGS_KEPT = 50
_MOMENT_S = 1.0  # within it nobody is counted twice: the shortest window is a minute
HOLDER_WINDOWS = {name: WINDOWS[name] for name in ("1h", "24h")}
ATTEMPT_WINDOWS = {name: WINDOWS[name] for name in ("1h", "24h", "7d", "30d")}
_DAY = {"24h": WINDOWS["24h"]}


class Status(StrEnum):
    active = "active"
    restricted = "restricted"  # data of the token's holder only
    quarantined = "quarantined"


class Counter:
    """Distinct people of one signal, and those counted within the last moment, who need no second look."""

    __slots__ = ("_recent", "_until", "distinct")

    def __init__(self, distinct: Distinct) -> None:
        self.distinct = distinct
        self._recent: set[int] = set()
        self._until = float("-inf")

    def unseen(self, now: float, keys: AbstractSet[int]) -> AbstractSet[int]:
        """Those who were not counted within the last moment."""
        if now >= self._until:
            self._recent = set()
            self._until = now + _MOMENT_S
            return keys
        return keys - self._recent

    def add(self, now: float, keys: AbstractSet[int]) -> None:
        self.distinct.add(now, keys)
        self._recent |= keys


class Allowance(msgspec.Struct, frozen=True):
    """What a person's release adds to a limit: whom the app had reached then, until the window is past."""

    signal: Signal
    window: str
    people: float
    until: float


class OpenFinding(msgspec.Struct, frozen=True):
    """A finding that nobody has closed. ``id``: of its audit record."""

    id: str
    finding: Finding


class Kept(msgspec.Struct, kw_only=True):
    """An account as it is stored. Times in seconds since the epoch."""

    app: str
    fingerprint: str
    status: Status = Status.active
    since: float = 0.0
    by: str = ""  # the admin token's name; empty: a machine
    why: str = ""
    changed_at: float | None = None  # when name, owner, redirect domains or scopes were last seen to be others
    last_at: float = 0.0
    blocked: dict[int, float] = {}  # holder -> until when
    behind: dict[int, float] = {}  # holders behind the present excess -> when
    app_only_at: float | None = None  # when an app-only token last was
    allowances: list[Allowance] = []
    findings: list[OpenFinding] = []
    records: list[str] = []
    categories: dict[str, float] = {}  # -> when last taken


def fingerprint(app: App) -> str:
    """What an app's trust rests on, as one value."""
    facts = (app.name, app.owner, sorted(app.redirect_domains), sorted(app.approved_scopes))
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


class Account:
    """One app's state in memory. ``kept`` is what survives a restart besides the counters."""

    __slots__ = (
        "app",
        "attempts",
        "by_holder",
        "excess",
        "holders",
        "kept",
        "limits",
        "limits_until",
        "missed",
        "records",
        "taken",
        "told",
    )

    def __init__(self, app: App, kept: Kept, counters: Mapping[str, bytes]) -> None:
        self.app = app
        self.kept = kept
        self.taken = Counter(_restored(counters.get("taken")))
        self.attempts = Counter(_restored(counters.get("attempts"), ATTEMPT_WINDOWS))
        self.missed = Counter(_restored(counters.get("missed"), ATTEMPT_WINDOWS))
        self.holders = Counter(_restored(counters.get("holders")))
        self.excess = _restored(counters.get("excess"), _DAY)
        self.by_holder: OrderedDict[int, Counter] = OrderedDict()
        for name, data in counters.items():
            if name.startswith("holder:"):
                self.by_holder[int(name[7:])] = Counter(Distinct.restore(data))
        self.records: deque[str] = deque(kept.records, RECORDS_KEPT)
        self.told: dict[tuple[Signal, str, str, bool], float] = {}
        self.limits: Limits = {}
        self.limits_until = float("-inf")

    def watched(self, holder: int) -> Counter:
        """The counter of one holder; the one not seen for longest makes room."""
        found = self.by_holder.get(holder)
        if found is None:
            if len(self.by_holder) >= HOLDERS_WATCHED:
                self.by_holder.popitem(last=False)
            found = self.by_holder[holder] = Counter(Distinct(HOLDER_WINDOWS, exact_max=256, lg_k=9))
        else:
            self.by_holder.move_to_end(holder)
        return found

    def blocks(self, holder: int, now: float) -> bool:
        until = self.kept.blocked.get(holder)
        return until is not None and now < until

    def allowance(self, limit: Limit, now: float) -> float:
        """What releases add to a limit."""
        return sum(
            one.people
            for one in self.kept.allowances
            if one.signal is limit.signal and one.window == limit.window and now < one.until
        )

    def set_status(self, status: Status, now: float, by: str, why: str) -> None:
        kept = self.kept
        kept.status, kept.since, kept.by, kept.why = status, now, by, why

    def release(self, now: float, by: str, why: str, reached: Iterable[tuple[Limit, float]]) -> None:
        """Active again, with a new allowance on top of what was ``reached`` of each limit."""
        self.set_status(Status.active, now, by, why)
        kept = self.kept
        kept.blocked, kept.behind, kept.app_only_at, kept.findings = {}, {}, None, []
        kept.allowances = [
            Allowance(limit.signal, limit.window, people, now + WINDOWS[limit.window] * 7 / 6)
            for limit, people in reached
            if people
        ]
        self.excess = Distinct(_DAY)
        self.told = {}
        self.by_holder.clear()

    def counters(self) -> dict[str, bytes]:
        """What the counters hold, by name."""
        named = {
            "taken": self.taken.distinct,
            "attempts": self.attempts.distinct,
            "missed": self.missed.distinct,
            "holders": self.holders.distinct,
            "excess": self.excess,
            **{f"holder:{key}": counter.distinct for key, counter in self.by_holder.items()},
        }
        return {name: distinct.snapshot() for name, distinct in named.items()}

    def memory(self) -> int:
        """Bytes of its counters, an upper estimate."""
        counters = (self.taken, self.attempts, self.missed, self.holders, *self.by_holder.values())
        return self.excess.memory() + sum(one.distinct.memory() for one in counters)


def _restored(data: bytes | None, windows: Mapping[str, float] = WINDOWS) -> Distinct:
    return Distinct(windows) if data is None else Distinct.restore(data)
