"""What changes the database. Every function runs in a Lane's thread, in one transaction that also writes the feed.

Invariants:

- A grant is in effect while no withdrawal of its pair, or of its subject from all apps, is as late or later.
- Live changes are stamped past everything stored (``latest``), so a clock set back cannot void a withdrawal.
- A statement from a file that does not say when it was given never lifts a withdrawal; one that does is ordered by its
  time. Nothing given in the future: it is given now.
- Storing again what is stored changes nothing and feeds nothing.
- A single change is durable when it is committed. The transactions of an import are consistent then (WAL), and durable
  with ``sync`` or the next single change: one wait for the disk in place of hundreds.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from audit_proxy.adapters.consent_sqlite.schema import begin
from audit_proxy.core.statements import GrantStatement, Line, Refused, WithdrawalStatement

MICRO = 1_000_000
FEED_KEPT_US = 3_600 * MICRO  # a process that was stopped for longer starts with an empty cache
PROBLEMS_MAX = 1_000  # refused lines of one import that are told one by one

_PUT = """
INSERT INTO grants (subject, app, purpose, scopes, expires_at, granted_at, source, evidence, recorded_at)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
WHERE NOT EXISTS (SELECT 1 FROM withdrawals WHERE subject = ?1 AND app IN (?2, '*') AND withdrawn_at >= ?6)
ON CONFLICT (subject, app, purpose) DO UPDATE SET scopes = excluded.scopes, expires_at = excluded.expires_at,
  granted_at = excluded.granted_at, source = excluded.source, evidence = excluded.evidence,
  recorded_at = excluded.recorded_at
WHERE (excluded.granted_at = 0 OR excluded.granted_at >= granted_at)
  AND (scopes <> excluded.scopes OR expires_at IS NOT excluded.expires_at OR source <> excluded.source
       OR evidence <> excluded.evidence OR (excluded.granted_at > granted_at))
"""
# Why _PUT wrote nothing: a withdrawal or a newer grant stands against the line, or it is stored already.
_STANDS_AGAINST = """
SELECT EXISTS (SELECT 1 FROM withdrawals WHERE subject = ?1 AND app IN (?2, '*') AND withdrawn_at >= ?4)
  OR EXISTS (SELECT 1 FROM grants WHERE subject = ?1 AND app = ?2 AND purpose = ?3 AND ?4 > 0 AND granted_at > ?4)
"""
_WITHDRAW = """
INSERT INTO withdrawals (subject, app, withdrawn_at, source, evidence) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (subject, app) DO UPDATE SET withdrawn_at = excluded.withdrawn_at, source = excluded.source,
  evidence = excluded.evidence
WHERE excluded.withdrawn_at > withdrawn_at
"""
# An undated withdrawal says nothing new while the stored one still stands against every grant.
_STILL_WITHDRAWN = """
SELECT 1 FROM withdrawals AS w WHERE w.subject = ?1 AND w.app = ?2 AND NOT EXISTS (
  SELECT 1 FROM grants AS g WHERE g.subject = ?1 AND ?2 IN (g.app, '*') AND g.granted_at > w.withdrawn_at)
"""
_FEED = "INSERT INTO changes (at, subjects, withdrawn) VALUES (?, ?, ?)"

_encode = msgspec.json.encode


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    begin(connection)
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def meta(connection: sqlite3.Connection, key: str) -> int:
    value: int = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
    return value


def _set_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    connection.execute("UPDATE meta SET value = ?2 WHERE key = ?1", (key, value))


def _stamp(connection: sqlite3.Connection, now_us: int) -> int:
    stamp = max(now_us, meta(connection, "latest") + 1)
    _set_meta(connection, "latest", stamp)
    return stamp


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * MICRO)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the feed: who changed towards which app (or ``ALL_APPS``). ``at``: seconds since the epoch."""

    seq: int
    at: float
    subjects: Mapping[str, Sequence[str]]  # by app
    withdrawn: bool


def _feed(
    connection: sqlite3.Connection, at_us: int, subjects: Mapping[str, Sequence[str]], *, withdrawn: bool
) -> Change:
    seq = connection.execute(_FEED, (at_us, _encode(subjects).decode(), withdrawn)).lastrowid
    assert seq is not None
    return Change(seq, at_us / MICRO, subjects, withdrawn)


def put(connection: sqlite3.Connection, grant: GrantStatement, now_us: int) -> Change | None:
    """Stores a grant given now, or when it says. None: a withdrawal or a newer grant stands against it."""
    with transaction(connection):
        stamp = _stamp(connection, now_us)
        at = stamp if grant.granted_at is None else min(stamp, round(grant.granted_at * MICRO))
        if not _put(connection, grant, at, stamp) and _stands_against(connection, grant, at):
            return None
        return _feed(connection, stamp, {grant.app: (grant.subject,)}, withdrawn=False)


def withdraw(connection: sqlite3.Connection, withdrawal: WithdrawalStatement, now_us: int) -> Change:
    """Withdraws as of now."""
    with transaction(connection):
        stamp = _stamp(connection, now_us)
        row = (withdrawal.subject, withdrawal.app, stamp, withdrawal.source, withdrawal.evidence)
        connection.execute(_WITHDRAW, row)
        return _feed(connection, stamp, {withdrawal.app: (withdrawal.subject,)}, withdrawn=True)


def sync(connection: sqlite3.Connection, now_us: int) -> None:
    """Makes everything committed before durable: the sync of one synced transaction covers the whole WAL."""
    with transaction(connection):
        _stamp(connection, now_us)


def mark_loaded(connection: sqlite3.Connection, now_us: int) -> None:
    with transaction(connection):
        if not meta(connection, "loaded_at"):
            _set_meta(connection, "loaded_at", now_us)


def prune(connection: sqlite3.Connection, now_us: int) -> None:
    """Shortens the feed to what a follower may still need."""
    with transaction(connection):
        last = connection.execute("SELECT max(seq) FROM changes WHERE at < ?", (now_us - FEED_KEPT_US,)).fetchone()[0]
        if last is not None:
            connection.execute("DELETE FROM changes WHERE seq <= ?", (last,))
            _set_meta(connection, "pruned_through", last)


def _put(connection: sqlite3.Connection, grant: GrantStatement, at_us: int, stamp: int) -> bool:
    row = (
        grant.subject,
        grant.app,
        grant.purpose,
        grant.scopes,
        _us(grant.expires_at),
        at_us,
        grant.source,
        grant.evidence,
        stamp,
    )
    return connection.execute(_PUT, row).rowcount > 0


def _stands_against(connection: sqlite3.Connection, grant: GrantStatement, at_us: int) -> bool:
    row = (grant.subject, grant.app, grant.purpose, at_us)
    return bool(connection.execute(_STANDS_AGAINST, row).fetchone()[0])


@dataclass(slots=True)
class Tally:
    """The counts of one import so far; see ports.Loaded."""

    taken: int = 0
    unchanged: int = 0
    superseded: int = 0
    refused: int = 0
    withdrawals_refused: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)


def take(connection: sqlite3.Connection, lines: Iterable[Line], now_us: int, tally: Tally) -> list[Change]:
    """Stores some lines in one transaction, not synced yet, and counts them when it has committed."""
    part = Tally()
    given: dict[str, set[str]] = {}
    gone: dict[str, set[str]] = {}
    with _unsynced(connection), transaction(connection):
        stamp = _stamp(connection, now_us)
        for number, line in lines:
            if isinstance(line, Refused):
                part.refused += 1
                part.withdrawals_refused += line.maybe_withdrawal
                part.problems.append((number, line.reason))
            elif isinstance(line, GrantStatement):
                at = 0 if line.granted_at is None else min(stamp, round(line.granted_at * MICRO))
                if _put(connection, line, at, stamp):
                    part.taken += 1
                    given.setdefault(line.app, set()).add(line.subject)
                elif _stands_against(connection, line, at):
                    part.superseded += 1
                else:
                    part.unchanged += 1
            elif _take_withdrawal(connection, line, stamp):
                part.taken += 1
                gone.setdefault(line.app, set()).add(line.subject)
            else:
                part.unchanged += 1
        changes = [
            _feed(connection, stamp, {app: sorted(subjects) for app, subjects in changed.items()}, withdrawn=withdrawn)
            for changed, withdrawn in ((given, False), (gone, True))
            if changed
        ]
    _add(tally, part)
    return changes


def _take_withdrawal(connection: sqlite3.Connection, line: WithdrawalStatement, stamp: int) -> bool:
    if line.withdrawn_at is not None:
        at = min(stamp, round(line.withdrawn_at * MICRO))
    elif connection.execute(_STILL_WITHDRAWN, (line.subject, line.app)).fetchone() is not None:
        return False
    else:
        at = stamp
    return connection.execute(_WITHDRAW, (line.subject, line.app, at, line.source, line.evidence)).rowcount > 0


def _add(tally: Tally, part: Tally) -> None:
    tally.taken += part.taken
    tally.unchanged += part.unchanged
    tally.superseded += part.superseded
    tally.refused += part.refused
    tally.withdrawals_refused += part.withdrawals_refused
    tally.problems += part.problems[: PROBLEMS_MAX - len(tally.problems)]
