"""The port: records in, futures out; one thread commits them in groups, another publishes.

Invariants:

- A future gives an index only after its record is durable (``buffered``: after it was written).
- Futures are settled in the order of their records, on the event loop, once a batch.
- While the disk hangs past the time limit, and when too many records wait, a record is refused at once; one that was
  refused for the time limit before a batch took it is not written later.
- The log heals by itself: the next batch tries a new segment, and without one the writer does, each second.
- What was refused and not written is told in a ``gap`` record as soon as the disk takes one.
- The parts of one record are in one batch, one behind the other.
"""

import asyncio
import contextlib
import os
import threading
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from queue import Empty, SimpleQueue

from audit_proxy.adapters.audit_journal import recovery
from audit_proxy.adapters.audit_journal.journal import Journal
from audit_proxy.adapters.audit_journal.publisher import Publisher
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import AuditUnavailable, LogUnusable
from audit_proxy.core.merkle import note, segments, tree
from audit_proxy.ports import Clock, Files

BUFFERED_SYNC_S = 1.0  # durability: buffered loses at most about this much
RETRY_S = 1.0  # between attempts to tell a gap, while no records come
BACKLOG_MAX_BYTES = 64 * 1024 * 1024  # of lines kept for the publisher; past it they are read back from the journal
_TICKS = 10  # of the watchdog in one commit timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    durability: str = "fsync"
    commit_interval_ms: float = 5.0
    commit_timeout_s: float = 5.0
    checkpoint_interval_s: float = 1.0
    segment_bytes: int = 256 * 1024 * 1024
    segment_s: float = 86_400.0
    max_pending_records: int = 10_000
    on_commit: Callable[[float, int], None] | None = None  # seconds of one commit, its records; on the event loop
    on_failure: Callable[[], None] | None = None  # a refused record, a failed commit or publication; on the event loop


async def open_log(
    files: Files, origin: str, node: str, signing_key: bytes, clock: Clock, options: Options
) -> "JournalAuditLog":
    """Locks and recovers the directory, publishes what a crash left unpublished, starts the threads.

    ``signing_key``: the 32-byte Ed25519 seed. Raises LogUnusable, and OSError when the directory cannot be used.
    """
    loop = asyncio.get_running_loop()
    key = note.verifier_key(origin, signing_key)

    def gap_record(detail: dict[str, object]) -> bytes:
        now = clock.now()
        return audit_record.encode(
            audit_record.Record(
                v=audit_record.RECORD_VERSION,
                id=audit_record.uuid7(now, os.urandom(10)),
                ts=audit_record.timestamp(now),
                node=node,
                kind="gap",
                detail=detail,
            )
        )

    def start() -> JournalAuditLog:
        files.make_directory(segments.JOURNAL)
        try:
            release = files.lock("lock")
        except BlockingIOError as exc:
            raise LogUnusable(
                "another process writes to this audit log; each process needs a directory of its own"
            ) from exc
        try:
            found = recovery.recover(files, key)
            publisher = Publisher(files, key, signing_key, clock)
            publisher.resume(found)
            buffered = options.durability == "buffered"
            journal = Journal(
                files,
                found.position,
                segment_bytes=options.segment_bytes,
                segment_s=options.segment_s,
                buffered=buffered,
                gap_record=gap_record,
                clock=clock,
            )
        except BaseException:
            release()
            raise
        return JournalAuditLog(loop, journal, publisher, release, options, told=found.position.gap is not None)

    log = await loop.run_in_executor(None, start)
    log.start()
    return log


class JournalAuditLog:
    """Implements ``ports.AuditLog``. Made by ``open_log``; belongs to the event loop it was made on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        journal: Journal,
        publisher: Publisher,
        release: Callable[[], None],
        options: Options,
        *,
        told: bool = False,
    ) -> None:
        self._loop = loop
        self._create_future = loop.create_future
        self._journal = journal
        self._publisher = publisher
        self._release = release
        self._options = options
        self._max_pending = options.max_pending_records
        self._tell_gap = told
        # The loop's side: who waits, how many were ever taken on and settled, and why a record is refused at once.
        self._waiting: deque[Future[int]] = deque()
        self._appended = 0
        self._settled = 0
        self._refusing: str | None = None
        self._failing = False  # the last commit failed
        self._watchdog: asyncio.TimerHandle | None = None
        self._marks: deque[tuple[float, int]] = deque()  # (when, appended by then)
        # Between the threads.
        self._records: SimpleQueue[tuple[bytes, ...] | None] = SimpleQueue()
        self._put = self._records.put
        self._abandoned = 0  # records up to here were refused for the time limit
        self._refused = 0  # records that were refused at once, ever
        self._told_refused = 0  # of these, those that the journal knows of
        self._fresh: SimpleQueue[tuple[Sequence[bytes], Sequence[bytes]]] = SimpleQueue()  # durable lines, leaf hashes
        self._has_fresh = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write_all, name="audit-commit", daemon=True)
        self._publishing = threading.Thread(target=self._publish_all, name="audit-publish", daemon=True)
        self._ended = loop.create_future()

    @property
    def size(self) -> int:
        """Records in the log."""
        return self._journal.size

    @property
    def takes_records(self) -> bool:
        """Whether the last commit succeeded and the disk answers. A log that failed tries again by itself each second."""
        return self._refusing is None and not self._failing

    @property
    def signed_size(self) -> int:
        """Records under the last published checkpoint."""
        return self._publisher.signed_size

    @property
    def checkpoint(self) -> bytes:
        """The last published checkpoint, a signed note. It is durable."""
        return self._publisher.checkpoint

    @property
    def checkpoint_at(self) -> float:
        """When the last checkpoint was published, in seconds since the epoch."""
        return self._publisher.checkpoint_at

    def start(self) -> None:
        self._publishing.start()
        self._writer.start()

    def append(self, *lines: bytes) -> "Future[int]":
        """Takes one record, see ``ports.AuditLog``. Raises ValueError for what are not lines of at most 65,535 bytes."""
        for line in lines:
            if len(line) > audit_record.ENTRY_MAX or b"\n" in line or not line:
                raise ValueError(
                    f"an audit record is one line of 1 to {audit_record.ENTRY_MAX} bytes, or several, not {len(line)}"
                )
        future: Future[int] = self._create_future()
        if self._refusing is not None or len(self._waiting) >= self._max_pending:
            return self._refuse(future)
        self._waiting.append(future)
        self._appended += 1
        self._put(lines)
        if self._watchdog is None:
            self._watch()
        return future

    async def close(self) -> None:
        """Commits what waits, publishes the last checkpoint, releases the directory. Waits for a hanging disk at most
        twice the commit timeout.
        """
        if self._refusing == "closed":
            return
        self._refusing = "closed"
        self._put(None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._ended), 2 * self._options.commit_timeout_s)
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._fail(len(self._waiting), "the audit log was closed")

    # On the event loop

    def _refuse(self, future: "Future[int]") -> "Future[int]":
        self._refused += 1
        future.set_exception(AuditUnavailable(f"the audit log takes no records: {self._refusing or 'too many wait'}"))
        self._report_failure()
        return future

    def _settle(self, count: int, indices: Iterable[int], error: AuditUnavailable | None, seconds: float) -> None:
        """A batch of ``count`` records ended: they have these indices, or ``error``."""
        self._settled += count
        if self._refusing == "the disk does not answer":
            self._refusing = None
        popleft = self._waiting.popleft
        self._failing = error is not None
        if error is None:
            for index in indices:
                future = popleft()
                if not future.done():
                    future.set_result(index)
            if count and self._options.on_commit is not None:
                self._options.on_commit(seconds, count)
            return
        for _ in range(count):
            future = popleft()
            if not future.done():
                future.set_exception(error)
        self._report_failure()

    def _watch(self) -> None:
        """Ticks while records wait; those that waited for the whole time limit are refused."""
        now = self._loop.time()
        timeout = self._options.commit_timeout_s
        if not self._waiting:
            self._watchdog = None
            self._marks.clear()
            return
        self._marks.append((now, self._appended))
        overdue = 0
        while self._marks and self._marks[0][0] <= now - timeout:
            overdue = self._marks.popleft()[1]
        if overdue > self._settled:
            self._abandoned = overdue
            if self._refusing is None:
                self._refusing = "the disk does not answer"
            self._fail(overdue - self._settled, f"no commit within {timeout:g} s")
        self._watchdog = self._loop.call_later(timeout / _TICKS, self._watch)

    def _fail(self, count: int, why: str) -> None:
        """Refuses the oldest ``count`` that wait; they stay in line for the batch that will settle them."""
        failed = False
        for future, _ in zip(self._waiting, range(count), strict=False):
            if not future.done():
                future.set_exception(AuditUnavailable(f"the audit log did not take the record: {why}"))
                failed = True
        if failed:
            self._report_failure()

    def _report_failure(self) -> None:
        if self._options.on_failure is not None:
            self._options.on_failure()

    def _on_loop(self, call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(call, *args)

    # On the committing thread

    def _write_all(self) -> None:
        interval = self._options.commit_interval_ms / 1000
        began = buffered_since = 0.0
        taken = 0
        closing = False
        if self._tell_gap:
            self._commit([])
        while not closing:
            self._tell_refused()
            try:
                first = self._records.get(timeout=self._patience())
            except Empty:
                if self._journal.untold:
                    self._commit([])
                else:
                    self._sync()
                continue
            pause = began + interval - time.monotonic()
            if pause > 0 and first is not None:
                time.sleep(pause)
            began = time.monotonic()
            if not self._journal.unsynced:
                buffered_since = began
            batch = [first, *(self._records.get_nowait() for _ in range(self._records.qsize()))]
            closing = batch[-1] is None  # nothing is put after it
            records: list[tuple[bytes, ...]] = batch[:-1] if closing else batch  # type: ignore[assignment]  # None comes last only
            if records:
                late = min(max(self._abandoned - taken, 0), len(records))
                taken += len(records)
                if late:
                    self._journal.refused(late)
                    self._on_loop(self._settle, late, (), AuditUnavailable("the audit log did not answer in time"), 0.0)
                if late < len(records):
                    self._commit(records[late:])
            if self._journal.unsynced and (closing or time.monotonic() - buffered_since >= BUFFERED_SYNC_S):
                self._sync()
        self._tell_refused()
        if self._journal.untold:
            self._commit([])
        self._journal.close()
        self._closing.set()
        self._has_fresh.set()

    def _patience(self) -> float | None:
        """How long to wait for records before something else is to be done, in seconds."""
        if self._journal.untold:
            return RETRY_S
        return BUFFERED_SYNC_S if self._journal.unsynced else None

    def _tell_refused(self) -> None:
        """Lets the journal tell of the records that were refused at once."""
        refused = self._refused
        if refused != self._told_refused:
            self._journal.refused(refused - self._told_refused)
            self._told_refused = refused

    def _commit(self, records: list[tuple[bytes, ...]]) -> None:
        """Commits whole records: the parts of one are never in two batches."""
        began = time.perf_counter()
        lines = [line for record in records for line in record]
        count = len(records)
        try:
            first = self._journal.commit(lines, count)
        except AuditUnavailable as exc:
            self._on_loop(self._settle, count, (), exc, 0.0)
        else:
            indices: Iterable[int] = range(first, first + count)
            if len(lines) != count:
                indices = list(accumulate(map(len, records[:-1]), initial=first))
            self._on_loop(self._settle, count, indices, None, time.perf_counter() - began)
        self._pass_on()

    def _sync(self) -> None:
        try:
            self._journal.sync()
        except AuditUnavailable:
            self._on_loop(self._report_failure)
        self._pass_on()

    def _pass_on(self) -> None:
        """Hands durable records to the publisher, hashed here, after their futures were settled."""
        lines = self._journal.take_durable()
        if not lines:
            return
        leaves = [tree.leaf_hash(line) for line in lines]
        self._fresh.put((lines, leaves))
        if not self._has_fresh.is_set():
            self._has_fresh.set()

    # On the publishing thread

    def _publish_all(self) -> None:
        lines: list[bytes] = []  # durable records that the publisher has not taken over, and their hashes
        leaves: list[bytes] = []
        dropped_to = 0  # records up to here are read back from the journal: too many had piled up
        closing = False
        while not closing:
            self._has_fresh.wait()
            self._has_fresh.clear()
            closing = self._closing.wait(self._options.checkpoint_interval_s)
            for _ in range(self._fresh.qsize()):
                more_lines, more_leaves = self._fresh.get_nowait()
                lines += more_lines
                leaves += more_leaves
            try:
                self._publisher.catch_up(dropped_to)
                self._publisher.extend(lines, leaves)
                lines, leaves = [], []
                self._publisher.publish()
            except Exception:  # noqa: BLE001  (no fault may end publication: the state is unchanged, the next round tries again)
                if sum(map(len, lines)) > BACKLOG_MAX_BYTES:
                    dropped_to = max(dropped_to, self._publisher.size) + len(lines)
                    lines, leaves = [], []
                self._on_loop(self._report_failure)
                self._has_fresh.set()
        with contextlib.suppress(OSError):
            self._release()
        self._on_loop(self._ended.set_result, None)
