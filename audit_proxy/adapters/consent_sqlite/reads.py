"""What is asked of the database. Every function runs in a Lane's thread, in one read transaction."""

import functools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from audit_proxy.adapters.consent_sqlite.writes import MICRO, Change
from audit_proxy.core.consent import NOTHING_KNOWN, Grant, Standing
from audit_proxy.core.statements import GrantStatement, WithdrawalStatement
from audit_proxy.ports import Held, HeldGrant

CHUNK = 500  # subjects of one query
_SIZES = (1, 8, 32, 128, CHUNK)  # few different statements, so that SQLite compiles each once; the rest is NULL
_FEED_ROWS = 64

_subjects = msgspec.json.Decoder(dict[str, tuple[str, ...]]).decode


def _query(size: int) -> str:
    asked = ", ".join(f"?{n}" for n in range(2, size + 2))
    return f"""
        SELECT subject, purpose, scopes, expires_at, granted_at FROM grants WHERE subject IN ({asked}) AND app = ?1
        UNION ALL
        SELECT subject, NULL, NULL, NULL, withdrawn_at FROM withdrawals
        WHERE subject IN ({asked}) AND app IN (?1, '*')
    """  # noqa: S608  (placeholders only)


_QUERIES = {size: _query(size) for size in _SIZES}


@functools.lru_cache(maxsize=4096)
def _scopes(text: str) -> frozenset[str]:
    return frozenset(text.split(" "))


def standings(connection: sqlite3.Connection, app: str, subjects: Sequence[str]) -> dict[str, Standing]:
    """The standings of at most CHUNK subjects, in one query."""
    size = next(size for size in _SIZES if size >= len(subjects))
    asked = [app, *map(_storable, subjects), *([None] * (size - len(subjects)))]
    grants: dict[str, list[tuple[str, str, int | None, int]]] = {}
    withdrawn: dict[str, int] = {}
    for subject, purpose, scopes, expires_at, at in connection.execute(_QUERIES[size], asked).fetchall():
        if purpose is None:
            withdrawn[subject] = max(at, withdrawn.get(subject, 0))
        else:
            grants.setdefault(subject, []).append((purpose, scopes, expires_at, at))
    found = dict.fromkeys(subjects, NOTHING_KNOWN)
    for subject in grants.keys() | withdrawn.keys():
        found[subject] = _standing(grants.get(subject, ()), withdrawn.get(subject))
    return found


def _storable(subject: str) -> str | None:
    """None for what no statement can be about: a lone surrogate cannot be stored, so nothing is known of it."""
    try:
        subject.encode()
    except UnicodeEncodeError:
        return None
    return subject


def _standing(rows: Iterable[tuple[str, str, int | None, int]], withdrawn_at: int | None) -> Standing:
    grants = tuple(
        Grant(_scopes(scopes), purpose, None if expires_at is None else expires_at / MICRO)
        for purpose, scopes, expires_at, granted_at in sorted(rows)
        if withdrawn_at is None or granted_at > withdrawn_at
    )
    return Standing(grants, withdrawn_at is not None and not grants)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def held(connection: sqlite3.Connection, app: str, subject: str) -> Held:
    """Everything stored about one pair."""
    with _snapshot(connection):
        withdrawals = connection.execute(
            "SELECT app, withdrawn_at, source, evidence FROM withdrawals WHERE subject = ? AND app IN (?, '*') ORDER BY app",
            (subject, app),
        ).fetchall()
        grants = connection.execute(
            "SELECT scopes, purpose, expires_at, granted_at, source, evidence, recorded_at FROM grants"
            " WHERE subject = ? AND app = ? ORDER BY purpose",
            (subject, app),
        ).fetchall()
    latest = max((row[1] for row in withdrawals), default=-1)
    return Held(
        tuple(
            HeldGrant(
                GrantStatement(
                    app,
                    subject,
                    scopes,
                    purpose,
                    None if expires_at is None else expires_at / MICRO,
                    granted_at / MICRO if granted_at else None,
                    source,
                    evidence,
                ),
                recorded_at / MICRO,
                granted_at > latest,
            )
            for scopes, purpose, expires_at, granted_at, source, evidence, recorded_at in grants
        ),
        tuple(WithdrawalStatement(row[0], subject, row[1] / MICRO, row[2], row[3]) for row in withdrawals),
        bool(withdrawals) and not any(row[3] > latest for row in grants),
    )


@dataclass(frozen=True, slots=True)
class FeedState:
    """The feed past a sequence number. ``whole``: there is nothing after ``changes`` yet. ``broken``: rows are missing
    between, or cannot be read.
    """

    changes: tuple[Change, ...]
    last: int
    whole: bool
    broken: bool
    loaded: bool


def feed(connection: sqlite3.Connection, after: int) -> FeedState:
    """The next changes after ``after``, as of now."""
    with _snapshot(connection):
        facts = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        rows = connection.execute(
            "SELECT seq, at, subjects, withdrawn FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, _FEED_ROWS),
        ).fetchall()
    newest = last[0] if last else 0
    broken = after < facts["pruned_through"] or after > newest
    try:
        changes = tuple(Change(seq, at / MICRO, _subjects(subjects), bool(gone)) for seq, at, subjects, gone in rows)
    except msgspec.DecodeError:  # somebody else's hand: whom it is about is unknown, so it is about everybody
        changes, broken = (), True
    return FeedState(changes, newest, len(rows) < _FEED_ROWS, broken, bool(facts["loaded_at"]))
