"""What is kept of apps over a restart, in one SQLite file: status, findings, and whom they reached (port ``BudgetStore``).

Invariants:

- A status is durable when ``put`` returns. Counts are stored now and then; what they lack the audit log tells again.
- The file holds the secret that people's keys are made with: it is private (mode 0600), and without it the counts are of nobody.
- A file that cannot be read is an error, never an empty one.
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from audit_proxy.core.detection.account import Kept
from audit_proxy.core.errors import DetectionUnavailable, DetectionUnusable

_VERSION = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE apps (app TEXT PRIMARY KEY, kept BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counts (app TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (app, name)) STRICT, WITHOUT ROWID;
"""
_SHARED = ""  # no app's id: the counts of owners and of the platform
_BUSY_S = 5.0
_decoder = msgspec.json.Decoder(Kept)


class SqliteBudgetStore:
    """``fresh``: the file was made just now. Usable from any thread."""

    def __init__(self, connection: sqlite3.Connection, *, fresh: bool) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.fresh = fresh

    @property
    def secret(self) -> bytes:
        """What people's keys are made with."""
        return self._meta("secret") or b""

    @property
    def stored_at(self) -> float | None:
        """Up to when, in seconds since the epoch, all counts are stored; None: never."""
        found = self._meta("stored_at")
        return None if found is None else float(found)

    def put(self, kept: Kept) -> None:
        """Stores an app's status and findings, durably on return. Raises DetectionUnavailable."""
        self._write([("INSERT OR REPLACE INTO apps VALUES (?, ?)", [(kept.app, msgspec.json.encode(kept))])])

    def put_counts(
        self, apps: Iterable[tuple[bytes, str, Mapping[str, bytes]]], shared: Mapping[str, bytes], at: float | None
    ) -> None:
        """Stores apps (as ``encoded``) with their counts, and the counts that several share. ``at``: with these everything
        up to then is stored. Raises DetectionUnavailable.
        """
        many = list(apps)
        rows = [(app, name, data) for _, app, counts in many for name, data in counts.items()]
        rows += [(_SHARED, name, data) for name, data in shared.items()]
        self._write(
            [
                ("INSERT OR REPLACE INTO apps VALUES (?, ?)", [(app, kept) for kept, app, _ in many]),
                ("DELETE FROM counts WHERE app = ?", [(app,) for _, app, _ in many]),
                ("INSERT OR REPLACE INTO counts VALUES (?, ?, ?)", rows),
                (
                    "INSERT OR REPLACE INTO meta VALUES ('stored_at', ?)",
                    [] if at is None else [(repr(at).encode(),)],
                ),
            ]
        )

    @staticmethod
    def encoded(kept: Kept) -> bytes:
        """As ``put_counts`` takes it, so that it can be made where nothing else changes it."""
        return msgspec.json.encode(kept)

    def load(self) -> Iterator[tuple[Kept, dict[str, bytes]]]:
        """Every app that is stored. Raises DetectionUnusable."""
        for (data,) in self._read("SELECT kept FROM apps"):
            try:
                kept = _decoder.decode(data)
            except (ValueError, TypeError) as error:
                raise DetectionUnusable("what is stored of an app cannot be read") from error
            yield kept, self._counts(kept.app)

    def load_shared(self) -> dict[str, bytes]:
        """The counts that several apps share. Raises DetectionUnusable."""
        return self._counts(_SHARED)

    def close(self) -> None:
        self._connection.close()

    def _counts(self, app: str) -> dict[str, bytes]:
        return dict(self._read("SELECT name, data FROM counts WHERE app = ?", app))

    def _meta(self, name: str) -> bytes | None:
        rows = self._read("SELECT value FROM meta WHERE name = ?", name)
        return bytes(rows[0][0]) if rows else None

    def _read(self, query: str, *values: str) -> list[tuple]:  # type: ignore[type-arg]  # of whatever the query asks for
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise DetectionUnusable(f"the file cannot be read: {error}") from error

    def _write(self, steps: Iterable[tuple[str, list]]) -> None:  # type: ignore[type-arg]  # rows
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, rows in steps:
                    self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise DetectionUnavailable(f"the file cannot be written: {error}") from error


def open_budget_store(path: Path) -> SqliteBudgetStore:
    """The file, made where there is none. Raises DetectionUnusable, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    try:
        fresh = _prepared(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise DetectionUnusable(
            f"{path} cannot be read ({error}): put back a copy, or remove it to count anew from the audit log"
        ) from error
    except BaseException:
        connection.close()
        raise
    return SqliteBudgetStore(connection, fresh=fresh)


def _prepared(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables were made just now. Raises DetectionUnusable, sqlite3.Error."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        connection.execute("INSERT INTO meta VALUES ('secret', ?)", (secrets.token_bytes(32),))
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    elif version != _VERSION:
        raise DetectionUnusable(f"{path} is of version {version}, this program knows {_VERSION}")
    elif connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise DetectionUnusable(f"{path} is damaged: put back a copy, or remove it to count anew from the audit log")
    return bool(version == 0)
