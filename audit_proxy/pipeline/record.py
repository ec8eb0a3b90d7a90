"""From an outcome to its audit record, durable before release.

Invariants:

- ``commit`` returns only when the record is durable; AuditUnavailable means nothing may be released.
- ``intend`` returns only when it is durable that the platform is about to be asked; AuditUnavailable means it must not be.
- People appear as pseudonyms only; fields by catalog path; the route is the template, never the path asked.
"""

import os
from asyncio import Future
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from audit_proxy.core.catalog.model import Catalog
from audit_proxy.core.catalog.reviews import ReviewState
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import Mode, Policy
from audit_proxy.core.record import RECORD_VERSION, Group, Kind, Record, Scopes, Would, lines, timestamp, uuid7
from audit_proxy.core.redaction import Group as People
from audit_proxy.pipeline.admit import NO_SCOPES, Admission
from audit_proxy.pipeline.review import Outcome
from audit_proxy.ports import AuditLog, Pseudonymizer

_ENTROPY = 10
_POOL = 409 * _ENTROPY
_SCOPE_LISTS_MAX = 1024
PEOPLE_REMEMBERED = 16_384  # of one stream, about 2 MB


class StreamTotals:
    """What a stream's chunks add up to. People are counted once each while they are few enough to remember, in bounded
    memory; past that a person who comes again may count again, and the count is called ``people_at_most``.
    """

    def __init__(self, unmapped: int) -> None:
        """``unmapped``: ids of the request that mean nobody."""
        self.chunks = 0
        self.bytes = 0
        self.redacted = False
        self._unmapped = unmapped
        self._people: set[str] = set()
        self._further = 0

    def add(self, outcome: Outcome, size: int) -> None:
        """One chunk, recorded, of ``size`` bytes."""
        self.chunks += 1
        self.bytes += size
        self.redacted = self.redacted or bool(outcome.withheld)
        self._unmapped += outcome.unmapped
        new = _found(outcome) - self._people
        if len(self._people) + len(new) <= PEOPLE_REMEMBERED:
            self._people |= new
        else:
            self._further += len(new)

    def counts(self) -> dict[str, int]:
        people = "people_at_most" if self._further else "people"
        found = {people: len(self._people) + self._further, "chunks": self.chunks, "bytes": self.bytes}
        return {**found, "unmapped": self._unmapped} if self._unmapped else found


class Recorder:
    """Builds and commits the records of requests; one instance serves all."""

    def __init__(self, log: AuditLog, pseudonyms: Pseudonymizer, catalog: Catalog, policy: Policy, node: str) -> None:
        self._log = log
        self._pseudonyms = pseudonyms
        self._catalog = catalog.hash
        self._policy = policy.hash
        self._node = node
        self._unreviewed = frozenset(
            one.id for one in catalog.operations if one.review_state is not ReviewState.reviewed
        )
        self._pool = b""
        self._at = 0
        self._scope_lists: dict[tuple[tuple[frozenset[str], ...], frozenset[str], frozenset[str]], Scopes] = {}

    @property
    def node(self) -> str:
        """What records call this process."""
        return self._node

    def name(self, subject: str) -> str:
        """The subject's pseudonym."""
        return self._pseudonyms.pseudonyms((subject,))[0]

    def new_id(self, now: float) -> str:
        """A fresh record id (UUIDv7)."""
        if self._at >= len(self._pool):
            self._pool, self._at = os.urandom(_POOL), 0  # one system call for many ids
        entropy = self._pool[self._at : self._at + _ENTROPY]
        self._at += _ENTROPY
        return uuid7(now, entropy)

    async def commit(self, admission: Admission, outcome: Outcome, *, size: int | None, elapsed: float) -> Record:
        """The record of one request, once it is durable. ``size`` in bytes, ``elapsed`` in seconds. Raises AuditUnavailable."""
        record = self.build(admission, outcome, size=size, elapsed=elapsed)
        await self.append(record)
        return record

    def append(self, record: Record) -> "Future[int]":
        """Hands a record to the log; the future ends once it is durable, or with AuditUnavailable. Raises AuditUnavailable
        where it cannot be stored at all.
        """
        return self._log.append(*lines(record))

    async def chunk(self, admission: Admission, outcome: Outcome, *, seq: int, size: int, elapsed: float) -> Record:
        """The record of one chunk of a stream, once it is durable. Raises AuditUnavailable."""
        built = self.build(admission, outcome, size=size, elapsed=elapsed)
        # what the request itself named is counted once, in the closing record
        record = msgspec.structs.replace(built, phase="chunk", seq=seq, counts=_counts(outcome, outcome.unmapped))
        await self.append(record)
        return record

    async def close(self, admission: Admission, outcome: Outcome, *, totals: "StreamTotals", elapsed: float) -> Record:
        """The record of a stream's outcome, once it is durable. Raises AuditUnavailable."""
        built = self.build(admission, outcome, size=totals.bytes, elapsed=elapsed)
        decision: Any = "redact" if totals.redacted and built.decision == "allow" else built.decision
        record = msgspec.structs.replace(built, counts=self._marked(totals.counts(), admission), decision=decision)
        await self.append(record)
        return record

    async def intend(self, admission: Admission, *, elapsed: float) -> Record:
        """The record that an admitted write is about to be forwarded, once it is durable. Raises AuditUnavailable."""
        built = self.build(admission, Outcome(0, None), size=None, elapsed=elapsed)
        record = msgspec.structs.replace(built, phase="intent", status=None)
        await self.append(record)
        return record

    def gap(self, admission: Admission) -> Record:
        """The record that a request's own could not be made, for where it passes all the same."""
        return Record(
            v=RECORD_VERSION,
            id=self.new_id(admission.now),
            ts=timestamp(admission.now),
            node=self._node,
            kind="gap",
            detail={"reason": "record_not_made", "records": 1},
        )

    def build(self, admission: Admission, outcome: Outcome, *, size: int | None, elapsed: float) -> Record:
        """The record, not yet written."""
        refused = admission.refusal
        whole = refused or outcome.refusal
        decision: str = "deny" if whole is not None else "redact" if outcome.withheld else "allow"
        operation, identity, asked = admission.operation, admission.identity, admission.asked
        monitor = admission.mode is Mode.monitor
        holder = identity.holder if identity is not None else None
        names = self._names(outcome, admission)
        holder_name = self._pseudonyms.pseudonyms((holder,))[0] if holder is not None else None
        disclosed = _groups(outcome.disclosed, outcome.holder, holder_name, names)
        withheld = _groups(outcome.withheld, outcome.holder, holder_name, names)
        reason = whole.reason if whole is not None else None
        would = None
        if monitor:
            if outcome.undecided and whole is None:
                decision = "unknown"
            would = Would(decision=decision, reason=reason, withheld=withheld)  # type: ignore[arg-type]  # one of its literals
            left = (*disclosed, *withheld)
            if outcome.left is not None:
                left = _groups(outcome.left, outcome.holder, holder_name, names)
            disclosed, withheld, decision, reason = left, (), "allow", None
        kind: Kind = "denial" if refused is not None and not monitor else "access"
        asked_names: tuple[str, ...] = ()
        found_names: tuple[str, ...] = ()
        if asked is not None and asked.people:
            people = dict.fromkeys(asked.people)
            asked_names = tuple(names[one] for one in people if one in names)
            found = _found(outcome)
            found_names = tuple(names[one] for one in people if admission.people.get(one) in found)
        return Record(
            v=RECORD_VERSION,
            id=admission.id,
            ts=timestamp(admission.now),
            node=self._node,
            kind=kind,
            app=identity.app if identity is not None else None,
            holder=holder_name,
            operation=operation.id if operation is not None else None,
            route=operation.route if operation is not None else None,
            method=admission.method if operation is not None else None,
            mode=admission.mode.value,
            decision=decision,  # type: ignore[arg-type]  # one of its literals
            reason=reason,
            scopes=self._scopes(admission),
            disclosed=disclosed,
            withheld=withheld,
            would=would,
            uninspected=outcome.uninspected or (operation is not None and operation.unjudged),
            counts=self._marked(_counts(outcome, admission.unmapped + outcome.unmapped), admission),
            asked=asked_names,
            found=found_names,
            status=outcome.status,
            bytes=size,
            duration_ms=round(elapsed * 1000, 3),
            policy=self._policy,
            catalog=self._catalog,
            trace=admission.trace,
        )

    def _names(self, outcome: Outcome, admission: Admission) -> dict[RawId, str]:
        """Raw ids to pseudonyms, asked for in one call."""
        raw: Mapping[RawId, str] = {**admission.people, **outcome.people} if admission.people else outcome.people
        return dict(zip(raw, self._pseudonyms.pseudonyms(list(raw.values())), strict=True)) if raw else {}

    def _marked(self, counts: dict[str, int], admission: Admission) -> dict[str, int]:
        """With ``unreviewed`` where enforce decided by a description that nobody has reviewed as it is."""
        operation = admission.operation if self._unreviewed and admission.mode is Mode.enforce else None
        if operation is not None and operation.id in self._unreviewed:
            counts["unreviewed"] = 1
        return counts

    def _scopes(self, admission: Admission) -> Scopes | None:
        if admission.operation is None:
            return None
        granted = admission.identity.scopes if admission.identity is not None else NO_SCOPES
        key = (admission.requirements or admission.operation.requirements, granted, frozenset(admission.missing))
        found = self._scope_lists.get(key)
        if found is None:
            if len(self._scope_lists) >= _SCOPE_LISTS_MAX:
                self._scope_lists.clear()
            required = min(key[0], key=len, default=NO_SCOPES)
            found = Scopes(tuple(sorted(required)), tuple(sorted(granted)), tuple(sorted(admission.missing)))
            self._scope_lists[key] = found
        return found


def _groups(
    groups: Iterable[People], mine: Collection[RawId], holder_name: str | None, names: Mapping[RawId, str]
) -> tuple[Group, ...]:
    """People's groups with pseudonyms, the holder (whose raw ids are ``mine``) apart from third parties. Whoever is not
    mapped to a subject has no pseudonym; ``counts`` says how many they are.
    """
    made: list[Group] = []
    for group in groups:
        ground = group.ground
        others = group.subjects
        if not others:
            made.append(Group(group.fields, group.categories, "none", ground, ()))
            continue
        if holder_name is not None:
            for one in mine:
                if one in others:
                    others = tuple([other for other in others if other not in mine])
                    made.append(Group(group.fields, group.categories, "holder", ground, (holder_name,)))
                    break
        if others:
            people = dict.fromkeys(map(names.get, others))  # "7" and 7 are one person
            people.pop(None, None)
            consent = Consent.grant if ground is Consent.token else ground
            made.append(Group(group.fields, group.categories, "third_party", consent, tuple(people)))  # type: ignore[arg-type]  # None is popped
    return tuple(made)


def _found(outcome: Outcome) -> set[str]:
    """Everyone the answer named and who is mapped, each once: "7" and 7 are one person."""
    found = set(map(outcome.people.get, outcome.found))
    found.discard(None)
    return found  # type: ignore[return-value]  # None is gone


def _counts(outcome: Outcome, unmapped: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    if outcome.found:
        counts["people"] = len(_found(outcome))
    if outcome.unclassified:
        counts["unclassified"] = outcome.unclassified
    if unmapped:
        counts["unmapped"] = unmapped
    return counts
