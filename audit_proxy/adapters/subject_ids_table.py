"""Ids mapped by a table with the columns app, id and subject (port ``SubjectIds``): CSV, NDJSON, or SQLite's table
``subject_ids``.

Invariants:

- Memory is bounded whatever the table's size: a text file is read into a private database on disk, which goes with the
  process. A SQLite file is only read.
- A file with a line that cannot be meant (a column missing, no id, an id twice for one app) is not used at all: half a
  mapping would name the wrong people, or none. The last good one stays.
"""

import asyncio
import contextlib
import csv
import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from audit_proxy.core.errors import SubjectIdsUnavailable
from audit_proxy.core.identity import SUBJECT_ID_MAX, holder_subject
from audit_proxy.core.inspection import RawId
from audit_proxy.core.jose import NotStrict, strict_object

COLUMNS = ("app", "id", "subject")
_ROWS = 10_000  # of one transaction while a file is read
_SELECT = "SELECT id, subject FROM subject_ids WHERE app = ? AND id IN (SELECT value FROM json_each(?))"
_Signature = tuple[int, int, int]
_log = structlog.get_logger()


class TableUnusable(ValueError):  # noqa: N818  (a fact about the file, not a fault of ours)
    """The file holds no mapping. The text says where, and quotes nothing."""


class TableIds:
    """Read at ``start``, and again when the file was changed, which is looked for every ``reload_s`` seconds."""

    def __init__(self, path: Path, namespace: str, *, reload_s: float) -> None:
        self._path = path
        self._namespace = namespace
        self._reload_s = reload_s
        self._table: sqlite3.Connection | None = None
        self._mutex = threading.Lock()  # one look-up at a time: the connection is shared by the pool's threads
        self._closed = False
        self._signature: _Signature | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the file. Raises TableUnusable, OSError."""
        await asyncio.to_thread(self._load)
        self._watching = asyncio.create_task(self._watch(), name="subject-ids-table")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        with self._mutex:
            self._closed = True
            if self._table is not None:
                self._table.close()
            self._table = None

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        """The port's method."""
        try:
            rows = await asyncio.to_thread(self._select, app, [str(one) for one in ids])
        except (sqlite3.Error, OSError) as error:
            raise SubjectIdsUnavailable({}) from error
        named = {text: holder_subject(self._namespace, subject) for text, subject in rows}
        return {one: subject for one in ids if (subject := named.get(str(one))) is not None}

    def _select(self, app: str, texts: list[str]) -> list[tuple[str, Any]]:
        with self._mutex:
            if self._table is None:
                raise sqlite3.ProgrammingError("closed")
            return self._table.execute(_SELECT, (app, json.dumps(texts))).fetchall()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._reload_s)
            try:
                await asyncio.to_thread(self._load)
            except (TableUnusable, OSError) as error:
                why = str(error) if isinstance(error, TableUnusable) else type(error).__name__
                _log.error("subject_ids_table_unusable", file=str(self._path), why=why)

    def _load(self) -> None:
        status = self._path.stat()
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if signature == self._signature:
            return
        self._signature = signature  # also of a file that is unusable: it is told once, not at every look
        table = open_table(self._path)
        with self._mutex:
            before, self._table = (table, None) if self._closed else (self._table, table)
        if before is not None:
            before.close()
        _log.info("subject_ids_table_read", file=str(self._path))


def open_table(path: Path) -> sqlite3.Connection:
    """A connection whose table ``subject_ids`` holds the file's rows. Raises TableUnusable, OSError."""
    if path.suffix in (".csv", ".ndjson"):
        with path.open(encoding="utf-8", newline="") as file:
            return _filled(_csv(file) if path.suffix == ".csv" else _ndjson(file))
    if path.suffix not in (".sqlite", ".sqlite3", ".db"):
        raise TableUnusable("the file's name must end in .csv, .ndjson or .sqlite3")
    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)
        connection.execute(_SELECT, ("", "[]"))
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise TableUnusable("it has no table 'subject_ids' with the columns app, id and subject") from error
    return connection


def _filled(rows: Iterator[tuple[int, str, str, str]]) -> sqlite3.Connection:
    """A private database of these rows: a file of SQLite's own that nobody else sees."""
    connection = sqlite3.connect("", check_same_thread=False)
    try:
        connection.execute(
            "CREATE TABLE subject_ids (app TEXT, id TEXT, subject TEXT, PRIMARY KEY (app, id)) WITHOUT ROWID, STRICT"
        )
        while block := list(islice(rows, _ROWS)):
            with connection:
                for line, *row in block:
                    try:
                        connection.execute("INSERT INTO subject_ids VALUES (?, ?, ?)", row)
                    except sqlite3.IntegrityError as error:
                        raise TableUnusable(f"line {line}: the app's id stands in an earlier line already") from error
    except UnicodeDecodeError as error:
        connection.close()
        raise TableUnusable("it is not UTF-8") from error
    except (TableUnusable, sqlite3.Error, csv.Error) as error:
        connection.close()
        if isinstance(error, TableUnusable):
            raise
        raise TableUnusable(type(error).__name__) from error
    return connection


def _csv(file: Any) -> Iterator[tuple[int, str, str, str]]:
    reader = csv.reader(file, strict=True)
    if next(reader, None) != list(COLUMNS):
        raise TableUnusable("the first line must be: app,id,subject")
    for row in reader:
        if row:
            yield _row(reader.line_num, row)


def _ndjson(file: Any) -> Iterator[tuple[int, str, str, str]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                members = strict_object(line.encode())
            except NotStrict as error:
                raise TableUnusable(f"line {number}: {error}") from error
            if set(members) != set(COLUMNS):
                raise TableUnusable(f"line {number}: must have the members app, id and subject, and no other")
            yield _row(number, [members[name] for name in COLUMNS])


def _row(line: int, row: list[Any]) -> tuple[int, str, str, str]:
    texts = [str(one) if one.__class__ is int else one for one in row]
    if len(texts) != len(COLUMNS) or not all(
        isinstance(one, str) and 0 < len(one) <= SUBJECT_ID_MAX and one.isprintable() for one in texts
    ):
        raise TableUnusable(
            f"line {line}: app, id and subject must be texts of 1 to {SUBJECT_ID_MAX} printable characters"
        )
    return line, texts[0], texts[1], texts[2]
