"""The database file: its tables, its version, and connections to it.

``changes`` is the feed other processes follow, in the order of commit: a row has the subjects that a transaction changed,
as a JSON object of arrays by app, the withdrawn in a row of their own. AUTOINCREMENT keeps
``seq`` without gaps and never reused, and a row is pruned only after ``pruned_through`` in ``meta`` says so.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from audit_proxy.core.errors import ConsentUnavailable

# Times are integer microseconds since the epoch. granted_at 0: an imported statement that did not say when.
# Rows in the order of their coming and a narrow index: an import in random order dirties a quarter of the pages.
_VERSION_1 = """
CREATE TABLE grants (
  subject TEXT NOT NULL, app TEXT NOT NULL, purpose TEXT NOT NULL, scopes TEXT NOT NULL, expires_at INTEGER,
  granted_at INTEGER NOT NULL, source TEXT NOT NULL, evidence TEXT NOT NULL, recorded_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX grants_by_subject ON grants (subject, app, purpose);
CREATE TABLE withdrawals (
  subject TEXT NOT NULL, app TEXT NOT NULL, withdrawn_at INTEGER NOT NULL, source TEXT NOT NULL, evidence TEXT NOT NULL,
  PRIMARY KEY (subject, app)
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, subjects TEXT NOT NULL, withdrawn INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('loaded_at', 0), ('latest', 0), ('pruned_through', 0);
"""
MIGRATIONS = (_VERSION_1,)  # the script at index n brings a database from version n to n + 1

_BUSY_S = 5.0  # how long a writer waits for another process's transaction
_T = TypeVar("_T")


def connect(path: Path, *, cache_kib: int, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from the one thread at a time that a Lane gives it."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S, cached_statements=64
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a withdrawal that was answered survives a power cut
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(
            "PRAGMA wal_autocheckpoint = 8000"
        )  # pages: an import rewrites the same ones many times over
        connection.execute("PRAGMA trusted_schema = OFF")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:  # what is no database says so at the first command
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Begins a write. Polls each millisecond: SQLite's own wait backs off past the gaps a running import leaves."""
    deadline = time.monotonic() + _BUSY_S
    connection.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


def prepare(path: Path) -> None:
    """Makes the database (mode 0600) or brings it to this version. Raises ConsentUnavailable, sqlite3.Error, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = connect(path, cache_kib=2048, read_only=False)
    try:
        begin(connection)
        try:
            _migrate(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.close()


def _migrate(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ConsentUnavailable(f"the consent database has version {version}; this program knows {len(MIGRATIONS)}")
    for script in MIGRATIONS[version:]:
        for command in script.split(";"):  # executescript would commit first
            connection.execute(command)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


class Lane:
    """One thread with one connection: what is asked here runs in order, off the event loop.

    The one place where SQLite's exceptions become ConsentUnavailable.
    """

    def __init__(self, path: Path, name: str, *, cache_kib: int, read_only: bool) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"consent-{name}")
        try:
            self._file = self._identity()
            self._connection = connect(path, cache_kib=cache_kib, read_only=read_only)
        except BaseException:
            self._thread.shutdown()
            raise

    def _identity(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_dev, stat.st_ino

    async def ask(self, work: Callable[[sqlite3.Connection], _T], within_s: float) -> _T:
        """What ``work`` returns. Raises ConsentUnavailable, also when it takes longer than ``within_s``."""
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)
        except TimeoutError as error:
            raise ConsentUnavailable(f"the consent store did not answer within {within_s} s") from error

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._identity() != self._file:  # replaced under us: what we could read is no longer the truth
                raise ConsentUnavailable("the consent database is another file now")
            return work(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise ConsentUnavailable(f"the consent store failed: {type(error).__name__}") from error

    def close(self) -> None:
        """Blocks until running work has ended."""
        self._thread.shutdown(cancel_futures=True)
        self._connection.close()
