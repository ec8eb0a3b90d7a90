"""What the log says about one person, by app: GDPR article 15 asks for exactly that.

Invariants:

- Only what a record says is counted: a disclosure names the person among its subjects. Being the holder of a token with
  which an app asked is told apart from being disclosed.
- A person is known by several pseudonyms, one for each live key epoch.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from audit_proxy.core.record import Group, Record, by_record, decode, join


@dataclass(slots=True)
class Account:
    """One app's dealings with one person. Counters count records."""

    first: dt.datetime
    last: dt.datetime
    requests: int = 0  # in which the person came up in any way
    disclosed: Counter[str] = field(default_factory=Counter)  # category -> times
    withheld: Counter[str] = field(default_factory=Counter)
    grounds: set[str] = field(default_factory=set)  # on which something was disclosed
    reasons: set[str] = field(default_factory=set)  # for which something was withheld
    as_holder: int = 0  # requests with the person's own token
    asked_for: int = 0  # requests that named exactly this person


def report(lines: Iterable[bytes], names: Collection[str]) -> dict[str, Account]:
    """Every app in whose records one of the pseudonyms stands. Raises ValueError for a line that is no record."""
    marks = [b'"' + name.encode() + b'"' for name in names]
    accounts: dict[str, Account] = {}
    for stored in by_record(enumerate(lines)):
        if any(mark in line for mark in marks for _, line in stored):
            for record in _whole([decode(line) for _, line in stored]):
                _add(accounts, record, frozenset(names))
    return accounts


def _whole(parts: list[Record]) -> list[Record]:
    """One record; of an incomplete one, of which nothing was released, the parts there are."""
    try:
        return [join(parts)]
    except ValueError:
        return parts


def _add(accounts: dict[str, Account], record: Record, names: frozenset[str]) -> None:
    if record.kind not in ("access", "denial") or record.app is None:
        return
    disclosed, withheld = _about(record.disclosed, names), _about(record.withheld, names)
    is_holder, asked = record.holder in names, not names.isdisjoint(record.asked)
    if not (disclosed or withheld or is_holder or asked):
        return
    account = accounts.setdefault(record.app, Account(record.ts, record.ts))
    account.first, account.last = min(account.first, record.ts), max(account.last, record.ts)
    account.requests += 1
    account.disclosed.update({category for group in disclosed for category in group.categories})
    account.withheld.update({category for group in withheld for category in group.categories})
    account.grounds.update(group.consent for group in disclosed)
    account.reasons.update(group.consent for group in withheld)
    account.as_holder += is_holder
    account.asked_for += asked


def _about(groups: Iterable[Group], names: frozenset[str]) -> list[Group]:
    return [group for group in groups if not names.isdisjoint(group.subjects)]
