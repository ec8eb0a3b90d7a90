"""The consent store of one process.

Invariants:

- A cached fact is used only while the feed's heartbeat is at most ``HEARTBEAT_MAX_S`` old. The heartbeat is the time at
  which a poll of the feed *began* that was applied whole, so a change by any process is in force here that much later
  at the latest. Otherwise the database is asked; where it cannot be asked within a second: ConsentUnavailable.
- A change by this process is out of the cache before the call that made it returns.
- A fact that changed while it was looked up is answered, never cached (``facts``).
- ``loaded`` never goes back.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import structlog

from audit_proxy.adapters.consent_sqlite import reads, writes
from audit_proxy.adapters.consent_sqlite.facts import FactCache
from audit_proxy.adapters.consent_sqlite.file_import import FileImport
from audit_proxy.adapters.consent_sqlite.schema import Lane, prepare
from audit_proxy.core.consent import Standing
from audit_proxy.core.errors import ConsentUnavailable
from audit_proxy.core.statements import FileInvalid, Form, GrantStatement, Line, WithdrawalStatement
from audit_proxy.ports import Clock, Held, Loaded

HEARTBEAT_MAX_S = 1.0
LOOKUP_MAX_S = 1.0  # a look-up that takes longer is older than a withdrawal may be
WRITE_MAX_S = 15.0
_PRUNE_S = 600.0

OnWithdrawal = Callable[[str, str, float, float], None]  # app, subject, withdrawn_at, applied_at

_log = structlog.get_logger("audit_proxy.consent")


async def open_consent_store(
    path: Path,
    *,
    cache_entries: int,
    feed_interval_s: float,
    clock: Clock,
    on_withdrawal: OnWithdrawal | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> "SqliteConsentStore":
    """Opens the database, making or migrating it first. ``feed_interval_s``: seconds between two polls of the feed.

    ``on_withdrawal`` is called on the event loop for each withdrawal that comes into force in this process. Raises
    ConsentUnavailable.
    """

    def lanes() -> tuple[Lane, Lane, Lane]:
        prepare(path)
        opened: list[Lane] = []
        try:
            for name, cache_kib in (("reads", 32_768), ("feed", 1024), ("writes", 65_536)):
                opened.append(Lane(path, name, cache_kib=cache_kib, read_only=name != "writes"))
        except BaseException:
            for lane in opened:
                lane.close()
            raise
        return opened[0], opened[1], opened[2]

    try:
        reading, feeding, writing = await asyncio.to_thread(lanes)
    except (sqlite3.Error, OSError) as error:
        raise ConsentUnavailable(f"the consent database cannot be opened: {type(error).__name__}") from error
    store = SqliteConsentStore(reading, feeding, writing, FactCache(cache_entries), clock, on_withdrawal, monotonic)
    try:
        await store.follow(feed_interval_s)
    except BaseException:
        await store.close()
        raise
    return store


class SqliteConsentStore:
    def __init__(
        self,
        reading: Lane,
        feeding: Lane,
        writing: Lane,
        facts: FactCache,
        clock: Clock,
        on_withdrawal: OnWithdrawal | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._reading, self._feeding, self._writing = reading, feeding, writing
        self._facts = facts
        self._clock = clock
        self._on_withdrawal = on_withdrawal
        self._monotonic = monotonic
        self._applied = 0  # the feed's last applied change
        self._own: set[int] = set()  # changes of this process, applied before the feed brings them
        self._heartbeat = float("-inf")
        self._loaded = False
        self._follower: asyncio.Task[None] | None = None

    # -- ports.ConsentStore

    @property
    def loaded(self) -> bool:
        return self._loaded

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the feed was last known to be applied whole."""
        return self._monotonic() - self._heartbeat

    async def standings(self, app: str, subjects: Sequence[str]) -> Mapping[str, Standing]:
        if self._monotonic() - self._heartbeat > HEARTBEAT_MAX_S:
            return await self._ask(app, subjects)
        facts = self._facts.of(app)
        try:
            return dict(zip(subjects, map(facts.__getitem__, subjects), strict=True))
        except KeyError:
            pass
        known = {subject: facts[subject] for subject in subjects if subject in facts}
        return known | await self._ask(app, [subject for subject in subjects if subject not in known])

    async def _ask(self, app: str, subjects: Sequence[str]) -> dict[str, Standing]:
        asked = list(dict.fromkeys(subjects))
        if not asked:
            return {}
        chunks = [asked[start : start + reads.CHUNK] for start in range(0, len(asked), reads.CHUNK)]
        lookup = self._facts.begin(app)
        try:
            parts = await self._reading.ask(
                lambda connection: [reads.standings(connection, app, chunk) for chunk in chunks], LOOKUP_MAX_S
            )
            found: dict[str, Standing] = {}
            for part in parts:
                found |= self._facts.settle(lookup, part)
            return found
        finally:
            self._facts.end(lookup)

    # -- ports.ConsentAdmin

    async def put(self, grant: GrantStatement) -> Literal["taken", "superseded"]:
        now = self._now_us()
        change = await self._writing.ask(lambda connection: writes.put(connection, grant, now), WRITE_MAX_S)
        if change is None:
            return "superseded"
        self._apply_own((change,))
        return "taken"

    async def withdraw(self, withdrawal: WithdrawalStatement) -> float:
        now = self._now_us()
        change = await self._writing.ask(lambda connection: writes.withdraw(connection, withdrawal, now), WRITE_MAX_S)
        self._apply_own((change,))
        return change.at

    async def held(self, app: str, subject: str) -> Held:
        return await self._reading.ask(lambda connection: reads.held(connection, app, subject), LOOKUP_MAX_S)

    # -- ports.ConsentLoad

    async def load(self, blocks: AsyncIterable[bytes], form: Form, progress: Callable[[Loaded], None]) -> Loaded:
        tally = writes.Tally()

        async def take(lines: Sequence[Line]) -> None:
            now = self._now_us()
            self._apply_own(
                await self._writing.ask(lambda connection: writes.take(connection, lines, now, tally), WRITE_MAX_S)
            )

        file = FileImport(form, take, lambda: progress(self._progress(file.lines, tally)))
        try:
            try:
                async for block in blocks:
                    await file.add(block)
            except (ConsentUnavailable, FileInvalid):
                raise
            except Exception:
                await file.break_off()
                raise
            await file.finish()
        finally:
            now = self._now_us()
            await self._writing.ask(lambda connection: writes.sync(connection, now), WRITE_MAX_S)
        if not tally.withdrawals_refused and (not tally.refused or tally.taken + tally.unchanged + tally.superseded):
            await self.mark_loaded()
        return self._progress(file.lines, tally, done=True)

    def _progress(self, lines: int, tally: writes.Tally, *, done: bool = False) -> Loaded:
        return Loaded(
            lines,
            tally.taken,
            tally.unchanged,
            tally.superseded,
            tally.refused,
            tally.withdrawals_refused,
            tuple(tally.problems),
            done,
            self._loaded,
        )

    async def mark_loaded(self) -> None:
        now = self._now_us()
        await self._writing.ask(lambda connection: writes.mark_loaded(connection, now), WRITE_MAX_S)
        self._loaded = True

    # -- the change feed

    async def follow(self, interval_s: float) -> None:
        """Reads where the feed stands, and follows it from there until ``close``."""
        began = self._monotonic()
        state = await self._feeding.ask(lambda connection: reads.feed(connection, 0), WRITE_MAX_S)
        self._applied, self._loaded, self._heartbeat = state.last, state.loaded, began
        self._follower = asyncio.create_task(self._follow(interval_s), name="consent-feed")

    async def _follow(self, interval_s: float) -> None:
        failing = False
        next_prune = self._monotonic() + _PRUNE_S
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.poll()
                if self._monotonic() >= next_prune:
                    next_prune = self._monotonic() + _PRUNE_S
                    now = self._now_us()
                    await self._writing.ask(lambda connection, now=now: writes.prune(connection, now), WRITE_MAX_S)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                if failing:
                    _log.info("consent_feed_recovered")
                failing = False
            except Exception as error:  # noqa: BLE001  (the feed is followed for as long as the store is open)
                if not failing:
                    _log.error("consent_feed_failing", error=type(error).__name__)
                failing = True

    async def poll(self) -> None:
        """Applies what the feed holds. Raises ConsentUnavailable."""
        while True:
            began = self._monotonic()
            after = self._applied
            state = await self._feeding.ask(lambda connection, after=after: reads.feed(connection, after), LOOKUP_MAX_S)  # type: ignore[misc]  # as above
            self._loaded = self._loaded or state.loaded
            if state.broken:
                self._facts.clear()
                self._own.clear()
                self._applied = state.last
            else:
                for change in state.changes:
                    if change.seq not in self._own:
                        self._apply(change)
                    self._own.discard(change.seq)
                    self._applied = change.seq
                    await asyncio.sleep(0)  # a change may hold some thousand subjects: requests go on between two
            if state.whole or state.broken:
                self._heartbeat = began
                return

    def _apply_own(self, changes: Sequence[writes.Change]) -> None:
        for change in changes:
            if change.seq > self._applied:  # else the feed was faster
                self._own.add(change.seq)
                self._apply(change)

    def _apply(self, change: writes.Change) -> None:
        for app, subjects in change.subjects.items():
            self._facts.evict(app, subjects)
        if change.withdrawn and self._on_withdrawal is not None:
            self._tell(self._on_withdrawal, change, self._clock.now())

    def _tell(self, told: OnWithdrawal, change: writes.Change, applied_at: float) -> None:
        try:
            for app, subjects in change.subjects.items():
                for subject in subjects:
                    told(app, subject, change.at, applied_at)
        except Exception as error:  # noqa: BLE001  (who listens must not stop a withdrawal, nor the feed)
            _log.error("consent_withdrawal_untold", error=type(error).__name__)

    def _now_us(self) -> int:
        return int(self._clock.now() * writes.MICRO)

    async def close(self) -> None:
        """Stops following and closes the database. Work that runs is finished first."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        for lane in (self._writing, self._feeding, self._reading):
            await asyncio.to_thread(lane.close)
