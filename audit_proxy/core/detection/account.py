"""What is held of one app: whom it reached, its status, and why.

Invariants:

- What was counted is never taken back. A person who releases an app gives it a new allowance on top of what was counted.
- An app's memory is bounded (1 MB): of its holders those who reached for people most recently are watched one by one.
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
from audit_proxy.core.detection.windows import BUCKETS, WINDOWS
from audit_proxy.core.policy import App

HOLDERS_WATCHED = 16  # of one app, one by one
HOLDERS_SUMMED = 1_024  # of one app, in each of two days, by a sum that is never too low
RECORDS_KEPT = 20  # the evidence of a finding
FINDINGS_KEPT = 50
_REMEMBERED = 10_000  # of those counted in the open bucket; past that some are counted again, which changes nothing
HOLDER_WINDOWS = {name: WINDOWS[name] for name in ("1h", "24h")}
LONG_WINDOWS = {name: WINDOWS[name] for name in ("1h", "24h", "7d", "30d")}

_NOTHING = (0, float("-inf"))


class Status(StrEnum):
    active = "active"
    restricted = "restricted"  # data of the token's holder only
    quarantined = "quarantined"


class Counter:
    """Distinct people of one signal, and those who are in the shortest window's open bucket, and so in every one: to count them
    once more would change nothing.
    """

    __slots__ = ("_bucket_s", "_recent", "_until", "distinct")

    def __init__(self, distinct: Distinct, windows: Mapping[str, float] = WINDOWS) -> None:
        self.distinct = distinct
        self._bucket_s = min(windows.values()) / BUCKETS
        self._recent: set[int] = set()
        self._until = float("-inf")

    def unseen(self, now: float, keys: AbstractSet[int]) -> AbstractSet[int]:
        """Those who are not known to be in every open bucket."""
        if now >= self._until or len(self._recent) > _REMEMBERED:
            self._recent = set()
            self._until = (now // self._bucket_s + 1) * self._bucket_s
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
        "_generation_ends",
        "_reach",
        "_reach_before",
        "app",
        "attempts",
        "by_holder",
        "carried",
        "holders",
        "kept",
        "limits",
        "limits_until",
        "missed",
        "records",
        "taken",
        "told",
        "wanted",
        "watch_from",
    )

    def __init__(self, app: App, kept: Kept, counters: Mapping[str, bytes]) -> None:
        self.app = app
        self.kept = kept
        self.taken = _counter(counters.get("taken"), WINDOWS, 12)
        self.attempts = _counter(counters.get("attempts"), LONG_WINDOWS, 11)
        self.missed = _counter(counters.get("missed"), LONG_WINDOWS, 10)
        self.holders = _counter(counters.get("holders"), LONG_WINDOWS, 11)
        # whom it took and whom it was refused, while it asks for more than it may
        self.wanted = Distinct.restore(counters["wanted"]) if "wanted" in counters else None
        self.by_holder: OrderedDict[int, Counter] = OrderedDict()
        self.carried: dict[int, tuple[int, float]] = {}  # holder -> people, until when they count
        for name, data in counters.items():
            if name.startswith("holder:"):
                holder, people, until = name[7:].split(":")
                self.by_holder[int(holder)] = _counter(data, HOLDER_WINDOWS, 9)
                self.carried[int(holder)] = (int(people), float(until))
        self.records: deque[str] = deque(kept.records, RECORDS_KEPT)
        self.told: dict[tuple[Signal, str, str, bool], float] = {}
        self.limits: Limits = {}
        self.limits_until = float("-inf")
        self.watch_from = 0.0
        self._reach: dict[int, int] = {}
        self._reach_before: dict[int, int] = {}
        self._generation_ends = float("-inf")

    def watched(self, now: float, holder: int, people: int) -> Counter | None:
        """The counter of one holder who may be near a limit, None for the many who cannot be: those whose pages since yesterday
        hold no more than half as many ``people`` together. Of those watched the one not seen for longest makes room.
        """
        found = self.by_holder.get(holder)
        if found is not None:
            self.by_holder.move_to_end(holder)
            return found
        if now >= self._generation_ends or len(self._reach) >= HOLDERS_SUMMED:
            self._reach_before, self._reach = self._reach, {}
            self._generation_ends = now + HOLDER_WINDOWS["24h"]
        reach = self._reach[holder] = self._reach.get(holder, 0) + people
        if reach + self._reach_before.get(holder, 0) <= self.watch_from:
            return None
        if len(self.by_holder) >= HOLDERS_WATCHED:
            self.carried.pop(self.by_holder.popitem(last=False)[0], None)
        found = self.by_holder[holder] = _counter(None, HOLDER_WINDOWS, 9, exact_max=64)
        self.carried[holder] = (reach - people + self._reach_before.get(holder, 0), now + HOLDER_WINDOWS["24h"])
        return found

    def carries(self, now: float, holder: int | None) -> int:
        """How many people at most one holder's pages held before that holder was watched."""
        people, until = self.carried.get(holder, _NOTHING) if holder is not None else _NOTHING
        return people if now < until else 0

    def wants(self, now: float, keys: AbstractSet[int]) -> dict[str, float]:
        """How many people the app took or was refused, by window, once these were refused it."""
        if self.wanted is None:
            self.wanted = Distinct.restore(self.taken.distinct.snapshot())
        self.wanted.add(now, keys)
        return self.wanted.counts(now)

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
        self.wanted = None
        self.told = {}
        self.by_holder.clear()
        self.carried.clear()
        self._reach, self._reach_before = {}, {}

    def counters(self) -> dict[str, bytes]:
        """What the counters hold, by name."""
        named = {
            "taken": self.taken.distinct,
            "attempts": self.attempts.distinct,
            "missed": self.missed.distinct,
            "holders": self.holders.distinct,
            **{
                f"holder:{holder}:{self.carried[holder][0]}:{self.carried[holder][1]!r}": counter.distinct
                for holder, counter in self.by_holder.items()
            },
        }
        if self.wanted is not None:
            named["wanted"] = self.wanted
        return {name: distinct.snapshot() for name, distinct in named.items()}

    def memory(self) -> int:
        """Bytes of its counters, an upper estimate."""
        counters = (self.taken, self.attempts, self.missed, self.holders, *self.by_holder.values())
        wanted = 0 if self.wanted is None else self.wanted.memory()
        return wanted + sum(one.distinct.memory() for one in counters)


def _counter(data: bytes | None, windows: Mapping[str, float], lg_k: int, *, exact_max: int = 256) -> Counter:
    distinct = Distinct(windows, exact_max=exact_max, lg_k=lg_k) if data is None else Distinct.restore(data)
    return Counter(distinct, windows)
