"""Cached facts: standings by app and subject, in memory, bounded.

Invariants:

- A fact that changed while it was being looked up never enters the cache: each eviction during a look-up taints it.
- Nothing known is a fact and cached too.
- Equal standings are the same object.
- At most ``bound`` entries. What comes first goes first, in the batches it came in, so one ``settle`` evicts at most one
  batch more than it adds.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit_proxy.core.consent import NOTHING_KNOWN, Standing
from audit_proxy.core.statements import ALL_APPS

_INTERNED_MAX = 65_536
_EVICT_ALL_AT = 1_000_000  # subjects times apps of one eviction, past which emptying everything is cheaper


@dataclass(frozen=True, slots=True)
class Lookup:
    """A look-up in flight: evictions numbered after ``began`` may concern what it read."""

    app: str
    began: int


class FactCache:
    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._facts: dict[str, dict[str, Standing]] = {}
        self._batches: deque[tuple[str, Sequence[str]]] = deque()  # in the order of their coming, for eviction
        self._held = 0  # subjects in batches: at least the entries in facts
        self._interned: dict[Standing, Standing] = {NOTHING_KNOWN: NOTHING_KNOWN}
        self._evictions: deque[tuple[int, str, frozenset[str] | None]] = deque()  # kept while look-ups are in flight
        self._number = 0
        self._in_flight = 0

    def __len__(self) -> int:
        return sum(map(len, self._facts.values()))

    def of(self, app: str) -> Mapping[str, Standing]:
        """The app's cached facts by subject."""
        return self._facts.get(app) or {}

    def begin(self, app: str) -> Lookup:
        """To be called before the store is asked; ``end`` must follow."""
        self._in_flight += 1
        return Lookup(app, self._number)

    def settle(self, lookup: Lookup, found: Mapping[str, Standing]) -> dict[str, Standing]:
        """The found facts interned, and cached but for the tainted ones."""
        facts = {subject: self._intern(standing) for subject, standing in found.items()}
        fresh = facts
        for number, app, subjects in self._evictions:
            if number > lookup.began and app in (lookup.app, ALL_APPS):
                if subjects is None:
                    return facts
                fresh = {subject: standing for subject, standing in fresh.items() if subject not in subjects}
        if fresh:
            self._facts.setdefault(lookup.app, {}).update(fresh)
            self._batches.append((lookup.app, tuple(fresh)))
            self._held += len(fresh)
            while self._held > self._bound:
                app, oldest = self._batches.popleft()
                self._held -= len(oldest)
                self._drop(app, oldest)
        return facts

    def end(self, _lookup: Lookup) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._evictions.clear()

    def evict(self, app: str, subjects: Sequence[str]) -> None:
        """Forgets these subjects towards the app, or towards all (``ALL_APPS``)."""
        if app == ALL_APPS and len(subjects) * len(self._facts) > _EVICT_ALL_AT:
            self.clear()
            return
        self._taint(app, frozenset(subjects) if self._in_flight else None)
        for each in tuple(self._facts) if app == ALL_APPS else (app,):
            self._drop(each, subjects)

    def clear(self) -> None:
        self._taint(ALL_APPS, None)
        self._facts, self._held = {}, 0
        self._batches.clear()

    def _taint(self, app: str, subjects: frozenset[str] | None) -> None:
        self._number += 1
        if self._in_flight:
            self._evictions.append((self._number, app, subjects))

    def _drop(self, app: str, subjects: Sequence[str]) -> None:
        facts = self._facts.get(app)
        if facts is None:
            return
        for subject in subjects:
            facts.pop(subject, None)
        if not facts:
            del self._facts[app]

    def _intern(self, standing: Standing) -> Standing:
        known = self._interned.get(standing)
        if known is None:
            if len(self._interned) >= _INTERNED_MAX:
                self._interned = {NOTHING_KNOWN: NOTHING_KNOWN}
            self._interned[standing] = known = standing
        return known
