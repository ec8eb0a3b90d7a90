"""What the log says about one person, by app: GDPR article 15 asks for exactly that.

Invariants:

- Only what a record says is counted: a disclosure names the person among its subjects. Being the holder of a token with
  which an app asked is told apart from being disclosed.
- A request is counted once, whatever number of records (intent, chunks, outcome) share its id.
- A person is known by several pseudonyms, one for each live key epoch.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from audit_proxy.core.record import Group, Record, by_record, decode


@dataclass(slots=True)
class Account:
    """One app's dealings with one person."""

    first: dt.datetime
    last: dt.datetime
    ids: set[str] = field(default_factory=set)  # of the requests in which the person came up in any way
    disclosed: Counter[str] = field(default_factory=Counter)  # category -> records
    withheld: Counter[str] = field(default_factory=Counter)
    grounds: set[str] = field(default_factory=set)  # on which something was disclosed
    reasons: set[str] = field(default_factory=set)  # for which something was withheld
    as_holder: int = 0  # requests with the person's own token
    asked_for: int = 0  # requests that named exactly this person

    @property
    def requests(self) -> int:
        return len(self.ids)


def report(lines: Iterable[bytes], names: Collection[str]) -> dict[str, Account]:
    """Every app in whose records one of the pseudonyms stands. Raises ValueError for a line that is no record."""
    marks = [b'"' + name.encode() + b'"' for name in names]
    accounts: dict[str, Account] = {}
    for parts in by_record(enumerate(lines)):
        if any(mark in line for _, line in parts for mark in marks):
            _add(accounts, [decode(line) for _, line in parts], frozenset(names))
    return accounts


def _add(accounts: dict[str, Account], parts: Sequence[Record], names: frozenset[str]) -> None:
    first = parts[0]
    if first.kind not in ("access", "denial") or first.app is None:
        return
    disclosed = _about((group for part in parts for group in part.disclosed), names)
    withheld = _about((group for part in parts for group in part.withheld), names)
    asked = any(not names.isdisjoint(part.asked) for part in parts)
    is_holder = first.holder in names
    if not (disclosed or withheld or is_holder or asked):
        return
    account = accounts.setdefault(first.app, Account(first.ts, first.ts))
    account.first, account.last = min(account.first, first.ts), max(account.last, first.ts)
    if first.id not in account.ids:
        account.ids.add(first.id)
        account.as_holder += is_holder
        account.asked_for += asked
    account.disclosed.update({category for group in disclosed for category in group.categories})
    account.withheld.update({category for group in withheld for category in group.categories})
    account.grounds.update(group.consent for group in disclosed)
    account.reasons.update(group.consent for group in withheld)


def _about(groups: Iterable[Group], names: frozenset[str]) -> list[Group]:
    return [group for group in groups if not names.isdisjoint(group.subjects)]
