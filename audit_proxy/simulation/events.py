"""Traffic from outside, one event a line (docs/detection.md).

Invariant: a line is an event, or it is named with the reason; it is never guessed at. The order of lines is of no matter.
"""

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.core.detection.findings import Finding
from audit_proxy.core.detection.keys import key
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.detection.uses import NOBODY
from audit_proxy.core.policy import App
from audit_proxy.simulation.guard import ask
from audit_proxy.simulation.setting import app as registered

_LATEST = 32_503_680_000.0  # the year 3000: more is no number of seconds
_SECRET = b"events from outside"  # nothing that is kept: it only has to spread ids evenly
_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Id = _Name | int


class Event(msgspec.Struct, frozen=True):
    """One page. ``ts`` in seconds since the epoch, or as RFC 3339. ``found`` False: ``subjects`` were looked up in vain."""

    ts: float | dt.datetime
    app: _Name
    subjects: list[_Id]
    owner: str = ""
    holder: _Id | None = None
    consented: list[_Id] = []
    categories: list[str] = []
    operation: str = ""
    found: bool = True

    @property
    def at(self) -> float:
        return self.ts.timestamp() if isinstance(self.ts, dt.datetime) else self.ts


@dataclass(frozen=True, slots=True)
class BadLine:
    line: int
    why: str


@dataclass(slots=True)
class Index:
    """Where the events of a file stand, in order of time. ``unknown``: fields that no event has, and how often they stand."""

    places: list[tuple[float, int]] = field(default_factory=list)  # time, offset of its line in bytes
    bad: list[BadLine] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)


_decode = msgspec.json.Decoder(Event).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse(line: bytes) -> Event:
    """ValueError: why this line is no event."""
    try:
        event = _decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    if isinstance(event.ts, dt.datetime) and event.ts.tzinfo is None:
        raise ValueError("a time without an offset from UTC - at `$.ts`")
    if not 0 <= event.at <= _LATEST:
        raise ValueError(f"{event.at:g} is no time in seconds since 1970 - at `$.ts`")
    return event


def index(lines: Iterable[bytes]) -> Index:
    """Every line is looked at once; empty ones are passed over."""
    found, offset = Index(), 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.places.append((parse(line).at, offset))
            except ValueError as error:
                found.bad.append(BadLine(number, str(error)))
            else:
                found.unknown.update(_fields(line).keys() - Event.__struct_fields__)
        offset += len(line)
    found.places.sort()
    return found


class Feed:
    """The detector, fed from outside. ``consent``: third parties without a grant are withheld (they still count as asked for);
    without it all of them leave, and count as having permitted.
    """

    def __init__(self, budgets: Budgets, *, consent: bool) -> None:
        self._ledger = Ledger(budgets)
        self._consent = consent
        self._apps: dict[str, App] = {}
        self._events: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def take(self, event: Event) -> tuple[Finding, ...]:
        """What is found when this page comes. Called in order of time."""
        one = self._apps.get(event.app)
        if one is None or one.owner != event.owner:
            one = self._apps[event.app] = dataclasses.replace(registered(event.app), owner=event.owner)
        holder = None if event.holder is None else str(event.holder)
        subjects = frozenset(str(who) for who in event.subjects) - {holder}
        leaves = withheld = missed = NOBODY
        if not event.found:
            missed = _keys(subjects)
        elif self._consent:
            granted = subjects.intersection(str(who) for who in event.consented)
            leaves, withheld = _keys(granted), _keys(subjects - granted)
        else:
            leaves = _keys(subjects)
        verdict = ask(
            self._ledger,
            event.at,
            one,
            None if holder is None else key(holder, _SECRET),
            leaves,
            withheld,
            missed,
            frozenset(event.categories),
        )
        self._events[event.app] += 1
        self._refused[event.app] += not verdict.releases
        return verdict.findings

    def facts(self) -> dict[str, dict[str, Any]]:
        """How each app stands now."""
        return {
            name: {"status": self._ledger.status(name).value, "events": many, "refused": self._refused[name]}
            for name, many in sorted(self._events.items())
        }


def _keys(subjects: Iterable[str | None]) -> frozenset[int]:
    return frozenset(key(who, _SECRET) for who in subjects if who is not None)
