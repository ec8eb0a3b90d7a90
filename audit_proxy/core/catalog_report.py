"""What the catalog makes of each operation, and where traffic went beyond what it describes.

Invariants:

- A gap is named by catalog path, or by reason and status; never by a value, nor by the name of a key that nothing
  describes: such a key can be somebody's id. ``Person.?`` stands for all of those in a ``Person``.
- An exchange counts once for each gap, whatever number of records (chunks, outcome) share its id.
- What records say is told under the catalog that decided: ``current`` says whether that is the one of now.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from audit_proxy.core.catalog.marks import walk
from audit_proxy.core.catalog.model import Catalog, Operation
from audit_proxy.core.errors import Consent, Reason
from audit_proxy.core.policy import Policy, Unclassified
from audit_proxy.core.record import Group, Record, by_record, decode

_UNCLASSIFIED = Consent.unclassified.value
_ANSWERS = frozenset({Reason.response_not_described, Reason.response_not_inspectable, Reason.redirect_refused})
_REQUESTS = frozenset(
    {
        Reason.operation_not_described,
        Reason.method_not_described,
        Reason.parameter_not_described,
        Reason.field_not_described,
    }
)
_MARKS = (
    b"unclassified",
    b"_not_described",
    b"response_not_inspectable",
    b"redirect_refused",
)  # in what records say of any


# -- what the catalog says -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fields:
    """Catalog paths of the values that an operation's answers can hold."""

    categories: Mapping[str, tuple[str, ...]]  # classified: path -> categories, ("none",) for what is about nobody
    unclassified: tuple[str, ...]

    @property
    def personal(self) -> int:
        return sum(categories != ("none",) for categories in self.categories.values())


def fields_of(operation: Operation) -> Fields:
    """A path that is classified at some places and not at others is unclassified."""
    categories: dict[str, tuple[str, ...]] = {}
    unclassified: dict[str, None] = {}
    for answer in operation.responses.values():
        for media in answer.media.values():
            for place, inside in walk(media.field):
                if inside or place.item is not None:
                    continue
                if place.categories:
                    categories[place.name] = tuple(sorted({*categories.get(place.name, ()), *place.categories}))
                else:
                    unclassified[place.name] = None
    return Fields(
        {name: one for name, one in sorted(categories.items()) if name not in unclassified}, tuple(sorted(unclassified))
    )


def consequences(
    operation: Operation, fields: Fields, policy: Policy, approved: Collection[frozenset[str]]
) -> Iterator[str]:
    """What enforce refuses or drops of an operation that is used as it is described, or goes on where nothing describes it.
    ``approved``: the sets of scopes that apps are approved for, with all that they imply.
    """
    if operation.unjudged:
        yield "passes unread: the operation as a whole is 'none'"
        return
    if not operation.requirements:
        yield "refuses every request: no security is described"
    elif not any(wanted <= scopes for scopes in (frozenset[str](), *approved) for wanted in operation.requirements):
        yield "refuses every request: no app is approved for its scopes"
    if fields.unclassified:
        rule = policy.operations.get(operation.id)
        chosen = (rule.unclassified if rule is not None else None) or policy.unclassified
        yield f"{'passes' if chosen is Unclassified.unsafe_pass else 'drops'} what is unclassified"
    moved = [status for status in operation.responses if status.startswith("3")]
    if moved:
        yield f"refuses redirects ({', '.join(moved)})"
    unread = {
        kind for one in operation.responses.values() for kind, m in one.media.items() if not (m.lines or "json" in kind)
    }
    if unread:
        yield f"refuses what is not JSON ({', '.join(sorted(unread))})"
    if "default" not in operation.responses:
        yield "drops the body of answers with an undescribed status"


# -- what traffic says -----------------------------------------------------------------------------------------------------


class Effect(StrEnum):
    """What became of it. In monitor nothing is altered: then it is what enforce would have done."""

    dropped = "dropped"
    passed = "passed"
    refused = "refused"
    would_drop = "would drop"
    would_refuse = "would refuse"


@dataclass(slots=True)
class Gap:
    """Something that no category, or nothing at all, describes. ``what``: a catalog path, or reason and status."""

    operation: str | None
    what: str
    effect: Effect
    first: dt.datetime
    last: dt.datetime
    exchanges: int = 0
    apps: Counter[str] = field(default_factory=Counter)
    current: bool = False
    streams: set[str] = field(default_factory=set)  # ids of streams that are counted


Key = tuple[str | None, str, Effect]


def gaps(lines: Iterable[bytes], since: dt.datetime, catalog: Catalog) -> list[Gap]:
    """The gaps that records since then tell of, most frequent first. Raises ValueError for a line that is no record."""
    known = {one.id: frozenset(fields_of(one).unclassified) for one in catalog.operations}
    found: dict[Key, Gap] = {}
    telling = (line for line in lines if b'"parts":' in line or any(mark in line for mark in _MARKS))
    for parts in by_record(enumerate(telling)):
        records = [decode(line) for _, line in parts]
        first = records[0]
        if first.kind not in ("access", "denial") or first.ts < since:
            continue
        for key in _keys(records, known.get(first.operation or "", frozenset())):
            _count(found.setdefault(key, Gap(*key, first.ts, first.ts)), first, catalog.hash)
    return sorted(found.values(), key=lambda gap: (-gap.exchanges, gap.operation or "", gap.what))


def _count(gap: Gap, record: Record, catalog: str) -> None:
    gap.first, gap.last = min(gap.first, record.ts), max(gap.last, record.ts)
    gap.current = gap.current or record.catalog == catalog
    if record.phase == "chunk":
        if record.id in gap.streams:
            return
        gap.streams.add(record.id)
    gap.exchanges += 1
    gap.apps[record.app or ""] += 1


def _keys(parts: Sequence[Record], known: frozenset[str]) -> set[Key]:
    first = parts[0]
    keys: set[Key] = set()
    reason = first.would.reason if first.would is not None else first.reason
    if first.phase is None and reason in _ANSWERS | _REQUESTS:
        what = f"{reason} (status {first.status})" if reason in _ANSWERS else reason
        keys.add((first.operation, what, Effect.refused if first.would is None else Effect.would_refuse))
    passed = _fields((group for part in parts for group in part.disclosed), known)
    if first.would is None:
        effect, lost = Effect.dropped, _fields((group for part in parts for group in part.withheld), known)
    else:  # in monitor everything left; what enforce answers with nothing of loses all that is unclassified in it
        effect = Effect.would_drop
        lost = _fields((group for part in parts if part.would for group in part.would.withheld), known)
        if first.would.decision not in ("allow", "redact"):
            lost |= passed
    keys |= {(first.operation, name, effect) for name in lost}
    return keys | {(first.operation, name, Effect.passed) for name in passed - lost}


def _fields(groups: Iterable[Group], known: frozenset[str]) -> set[str]:
    """The unclassified fields of groups: all of those that stand there for that reason, and the ``known`` ones among what
    stands there for another (whoever refuses has their unclassified fields withheld as well).
    """
    found: set[str] = set()
    for group in groups:
        if group.consent == _UNCLASSIFIED:
            found.update(group.fields)
        elif _UNCLASSIFIED in group.categories:
            found.update(known.intersection(group.fields))
    return found
