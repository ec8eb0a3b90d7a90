"""The SQLite store's own promises: freshness of cached facts, races, failure, the file itself."""

import asyncio
import json
import sqlite3
import stat
import threading
import time

import pytest

from audit_proxy.adapters.consent_sqlite import open_consent_store, reads, writes
from audit_proxy.adapters.consent_sqlite.facts import FactCache
from audit_proxy.adapters.consent_sqlite.schema import Lane, connect, prepare
from audit_proxy.adapters.consent_sqlite.store import SqliteConsentStore
from audit_proxy.core.errors import ConsentUnavailable
from audit_proxy.core.statements import ALL_APPS, GrantStatement, WithdrawalStatement

GRANT = GrantStatement("quiz", "person:1", "likes", "marketing")
WITHDRAWAL = WithdrawalStatement("quiz", "person:1")


class Clock:
    def now(self):
        return time.time()


class Ticks:
    """A monotonic clock that moves when told."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


class SlowLane(Lane):
    """Holds back what it has read until it is let go: a look-up that was overtaken."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.read = asyncio.Event()
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def ask(self, work, within_s):
        found = await super().ask(work, within_s)
        self.read.set()
        await self.let_go.wait()
        return found


class CountingLane(Lane):
    asked = 0

    async def ask(self, work, within_s):
        self.asked += 1
        return await super().ask(work, within_s)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "consent.sqlite3"


@pytest.fixture
async def make(path):
    """A store whose feed is polled by hand, on a lane of the test's choice."""
    stores = []

    async def made(lane=Lane, monotonic=None, on_withdrawal=None, cache_entries=1000):
        prepare(path)
        lanes = [
            kind(path, "test", cache_kib=1024, read_only=only)
            for kind, only in ((lane, True), (Lane, True), (Lane, False))
        ]
        store = SqliteConsentStore(
            *lanes, FactCache(cache_entries), Clock(), on_withdrawal, monotonic or time.monotonic
        )
        await store.follow(3600)
        stores.append(store)
        return store

    yield made
    for store in stores:
        await store.close()


async def standing(store, subject="person:1"):
    return (await store.standings("quiz", [subject]))[subject]


async def test_a_cached_page_asks_nothing(make):
    """Once cached, a page is answered without the database and without giving up the event loop; unknown people too."""
    store = await make(CountingLane)
    page = [f"person:{number}" for number in range(25)]
    await store.put(GRANT)
    await store.standings("quiz", page)
    asked = store._reading.asked
    coroutine = store.standings("quiz", page)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert store._reading.asked == asked


async def test_five_hundred_people_are_one_query(make):
    """A page of 500 is one statement; one more person makes two."""
    store = await make()
    statements = []
    store._reading._connection.set_trace_callback(statements.append)
    await store.standings("quiz", [f"person:{number}" for number in range(500)])
    assert len(statements) == 1
    statements.clear()
    await store.standings("other", [f"person:{number}" for number in range(501)])
    assert len(statements) == 2


async def test_the_query_uses_the_index(make):
    """No look-up scans a table."""
    store = await make()
    for size, query in reads._QUERIES.items():
        rows = store._reading._connection.execute("EXPLAIN QUERY PLAN " + query, ["quiz", *["person:1"] * size])
        assert not [row for row in rows if row[3].startswith("SCAN")]


async def test_only_missing_people_are_asked_for(make):
    """Cached people of a page are not asked for again."""
    store = await make()
    await store.standings("quiz", ["person:1", "person:2"])
    asked = []
    real = reads.standings
    store._reading._connection.set_trace_callback(asked.append)
    await store.standings("quiz", ["person:1", "person:3"])
    assert real is reads.standings
    assert len(asked) == 1
    assert "person:3" in asked[0]
    assert "person:1" not in asked[0]


async def test_a_look_up_overtaken_by_a_withdrawal_is_not_cached(make):
    """The grant was read, the person withdrew, then the look-up ended: the next look-up sees the withdrawal."""
    store = await make(SlowLane)
    await store.put(GRANT)
    store._reading.let_go.clear()
    overtaken = asyncio.create_task(standing(store))
    await store._reading.read.wait()
    await store.withdraw(WITHDRAWAL)
    store._reading.let_go.set()
    await overtaken
    assert (await standing(store)).withdrawn


async def test_a_look_up_overtaken_by_another_process_is_not_cached(make):
    """The same with a withdrawal by another process, which the feed brings while the look-up is in flight."""
    store, other = await make(SlowLane), await make()
    await store.put(GRANT)
    await store.poll()
    store._reading.let_go.clear()
    overtaken = asyncio.create_task(standing(store))
    await store._reading.read.wait()
    await other.withdraw(WITHDRAWAL)
    await store.poll()
    store._reading.let_go.set()
    await overtaken
    assert (await standing(store)).withdrawn


async def test_cached_facts_hold_for_one_second_after_the_feed_was_heard(make):
    """While the feed is silent for longer, the database is asked again for each page."""
    ticks = Ticks()
    store, other = await make(CountingLane, ticks), await make()
    await store.put(GRANT)
    assert (await standing(store)).grants
    await other.withdraw(WITHDRAWAL)
    ticks.at = 1.0
    assert (await standing(store)).grants  # a second has not passed
    ticks.at = 1.001
    assert (await standing(store)).withdrawn
    asked = store._reading.asked
    await standing(store)
    assert store._reading.asked == asked + 1
    await store.poll()
    await standing(store)
    await standing(store)
    assert store._reading.asked == asked + 2


async def test_the_heartbeat_is_when_the_feed_was_read_not_when_it_was_applied(make):
    """A poll whose answer comes late tells how things stood when it began: facts hold from then."""
    ticks = Ticks()
    store, other = await make(monotonic=ticks), await make()
    await store.put(GRANT)
    await standing(store)

    class Late:
        async def ask(self, work, within_s):
            found = await feeding.ask(work, within_s)
            await other.withdraw(WITHDRAWAL)
            ticks.at += 0.9
            return found

        def close(self):
            feeding.close()

    feeding, store._feeding = store._feeding, Late()
    await store.poll()
    ticks.at += 0.2
    assert (await standing(store)).withdrawn


async def test_without_feed_and_database_nothing_is_answered(make, path):
    """A silent feed and a database that cannot be asked: ConsentUnavailable, not an old fact."""
    ticks = Ticks()
    store = await make(monotonic=ticks)
    await store.put(GRANT)
    await standing(store)
    path.rename(path.with_suffix(".gone"))
    assert (await standing(store)).grants
    with pytest.raises(ConsentUnavailable):
        await store.poll()
    ticks.at = 1.5
    with pytest.raises(ConsentUnavailable):
        await standing(store)


async def test_a_database_replaced_by_another_file_is_not_believed(make, path):
    """Restoring a backup under a running process does not bring back old grants unseen."""
    store = await make()
    await store.put(GRANT)
    path.rename(path.with_suffix(".old"))
    prepare(path)
    for ask in (store.poll(), store.standings("quiz", ["person:9"]), store.put(GRANT), store.withdraw(WITHDRAWAL)):
        with pytest.raises(ConsentUnavailable):
            await ask


async def test_a_hanging_database_is_unavailable_after_a_second(make):
    """A look-up that does not come back is given up, and does not hold the event loop."""
    store = await make()
    hold = threading.Event()
    waiting = asyncio.get_running_loop().run_in_executor(store._reading._thread, hold.wait)
    try:
        async with asyncio.timeout(10):  # far past the second, far below a hang
            with pytest.raises(ConsentUnavailable):
                await standing(store)
    finally:
        hold.set()
        await waiting
    assert await standing(store)


async def test_every_sqlite_error_is_consent_unavailable(make):
    """A damaged database says ConsentUnavailable at each port, without the error's text."""
    store = await make()
    for table in ("grants", "withdrawals", "changes", "meta"):
        store._writing._connection.execute(f"DROP TABLE {table}")
    calls = [
        store.standings("quiz", ["person:1"]),
        store.held("quiz", "person:1"),
        store.put(GRANT),
        store.withdraw(WITHDRAWAL),
        store.mark_loaded(),
        store.poll(),
    ]
    for call in calls:
        with pytest.raises(ConsentUnavailable, match=r"failed: OperationalError$"):
            await call


async def test_a_withdrawal_is_told_once_when_it_comes_into_force(make):
    """The hook hears of each withdrawal once in each process, its own and others', with both times."""
    heard, there = [], []
    store = await make(on_withdrawal=lambda *args: heard.append(args))
    other = await make(on_withdrawal=lambda *args: there.append(args))
    at = await store.withdraw(WITHDRAWAL)
    await store.withdraw(WithdrawalStatement(ALL_APPS, "person:2"))
    await store.put(GRANT)
    for _ in range(2):
        await store.poll()
        await other.poll()
    assert (
        [each[:2] for each in heard] == [each[:2] for each in there] == [("quiz", "person:1"), (ALL_APPS, "person:2")]
    )
    assert heard[0][2] == at
    assert all(applied >= withdrawn for _, _, withdrawn, applied in heard + there)


async def test_who_listens_for_withdrawals_cannot_stop_them(make):
    """A hook that raises: the withdrawal returns and is in force, here and where the feed brings it."""

    def raising(*_):
        raise RuntimeError("no counter")

    store, other = await make(on_withdrawal=raising), await make(on_withdrawal=raising)
    await store.put(GRANT)
    for each in (store, other):
        await each.poll()
        assert (await standing(each)).grants
    await store.withdraw(WITHDRAWAL)
    await other.poll()
    assert (await standing(store)).withdrawn
    assert (await standing(other)).withdrawn


async def test_an_import_feeds_one_row_a_transaction(make):
    """However many apps a file is about, the feed stays short, and it names everyone who changed, the withdrawn apart."""
    store, other = await make(), await make()
    apps = [f"app-{number}" for number in range(50)]
    for app in apps:
        await other.standings(app, ["person:1", "person:2"])

    async def blocks():
        for app in apps:
            said = {"app": app, "subject": "person:1", "scopes": "likes", "purpose": "marketing"}
            yield json.dumps(said).encode() + b"\n"
        yield b'{"app": "*", "subject": "person:2", "withdrawn": true}'

    await store.load(blocks(), "ndjson", lambda _: None)
    rows = store._writing._connection.execute("SELECT withdrawn FROM changes ORDER BY seq").fetchall()
    assert rows == [(0,), (1,)]
    await other.poll()
    for app in apps:
        found = await other.standings(app, ["person:1", "person:2"])
        assert found["person:1"].grants
        assert found["person:2"].withdrawn


async def test_an_import_is_synced_before_it_returns_and_when_it_breaks_off(make):
    """Its transactions wait for no disk; the last one does, and so does each single change afterwards."""
    store = await make()
    connection = store._writing._connection
    said = json.dumps({"app": "quiz", "subject": "person:1", "scopes": "likes", "purpose": "marketing"}).encode()

    async def whole():
        yield said + b"\n"

    async def broken():
        yield said.replace(b"person:1", b"person:2") + b"\n"
        raise ConnectionError

    def modes():
        """The value of ``synchronous`` that each commit had."""
        mode, found = "FULL", []
        for statement in traced:
            if statement.startswith("PRAGMA synchronous"):
                mode = statement.rpartition(" ")[2]
            elif statement == "COMMIT":
                found.append(mode)
        return found

    traced = []
    connection.set_trace_callback(traced.append)
    with pytest.raises(ConnectionError):
        await store.load(broken(), "ndjson", lambda _: None)
    assert modes() == ["NORMAL", "FULL"]
    traced.clear()
    await store.load(whole(), "ndjson", lambda _: None)
    await store.withdraw(WITHDRAWAL)
    assert modes() == ["NORMAL", "FULL", "FULL", "FULL"]


async def test_a_failed_import_leaves_single_changes_synced(make):
    """A transaction of an import that fails gives the durable mode back."""
    store = await make()

    def lines():
        raise sqlite3.OperationalError("disk full")
        yield

    with pytest.raises(ConsentUnavailable):
        await store._writing.ask(lambda connection: writes.take(connection, lines(), 1, writes.Tally()), 5)
    assert store._writing._connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_a_feed_row_that_cannot_be_read_empties_the_cache(make):
    """What another hand wrote into the feed is about everybody; following goes on behind it."""
    store, other = await make(), await make()
    await store.put(GRANT)
    await store.poll()
    assert (await standing(store)).grants
    await other.withdraw(WITHDRAWAL)
    other._writing._connection.execute("UPDATE changes SET subjects = 'x' WHERE withdrawn = 1")
    await store.poll()
    assert (await standing(store)).withdrawn
    await other.put(GRANT)
    await store.poll()
    assert (await standing(store)).grants


async def test_a_feed_with_missing_rows_empties_the_cache(make):
    """A process that was stopped for so long that the feed was pruned past it believes nothing it had cached."""
    store, other = await make(), await make()
    await store.put(GRANT)
    await store.poll()
    assert (await standing(store)).grants
    await other.withdraw(WITHDRAWAL)
    later = int((time.time() + 7200) * writes.MICRO)
    await other._writing.ask(lambda connection: writes.prune(connection, later), 5)
    await store.poll()
    assert (await standing(store)).withdrawn


async def test_pruning_keeps_what_followers_still_need(make):
    """Rows younger than an hour stay in the feed."""
    store, other = await make(), await make()
    await store.put(GRANT)
    await standing(other)
    await other._writing.ask(lambda connection: writes.prune(connection, int(time.time() * writes.MICRO)), 5)
    await other.poll()
    assert (await standing(other)).grants


async def test_a_feed_of_many_changes_is_followed_to_its_end(make):
    """More changes than one read brings are all applied before the heartbeat counts."""
    store, other = await make(), await make()
    people = [f"person:{number}" for number in range(300)]
    await store.standings("quiz", people)
    for person in people:
        await other.put(GrantStatement("quiz", person, "likes", "marketing"))
    await store.poll()
    found = await store.standings("quiz", people)
    assert all(each.grants for each in found.values())


async def test_the_cache_is_bounded(make):
    """Walking over many people leaves at most the configured number of facts."""
    store = await make(cache_entries=100)
    for start in range(0, 1000, 30):
        await store.standings(f"app-{start % 4}", [f"person:{number}" for number in range(start, start + 30)])
        assert len(store._facts) <= 100


async def test_the_feed_recovers_by_itself(path):
    """After the database could not be read, the follower goes on once it can."""
    store = await open_consent_store(path, cache_entries=10, feed_interval_s=0.01, clock=Clock())
    away = path.with_suffix(".away")
    path.rename(away)
    async with asyncio.timeout(10):
        while store.heartbeat_age_s < 0.1:
            await asyncio.sleep(0.01)
        away.rename(path)
        while store.heartbeat_age_s > 0.1:
            await asyncio.sleep(0.01)
    await store.close()


async def test_two_writers_wait_for_each_other(make):
    """A transaction of another process delays a withdrawal, and does not fail it."""
    store = await make()
    blocker = sqlite3.connect(store._writing._path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    withdrawing = asyncio.create_task(store.withdraw(WITHDRAWAL))
    await asyncio.sleep(0.05)
    assert not withdrawing.done()
    blocker.execute("COMMIT")
    await withdrawing
    blocker.close()
    assert (await standing(store)).withdrawn


async def test_a_failed_block_of_an_import_leaves_nothing_of_it(make):
    """A block is stored whole or not at all, and is counted only when stored."""
    store = await make()
    tally = writes.Tally()

    def lines():
        yield 1, GRANT
        raise sqlite3.OperationalError("disk full")

    with pytest.raises(ConsentUnavailable):
        await store._writing.ask(lambda connection: writes.take(connection, lines(), 1, tally), 5)
    assert tally == writes.Tally()
    assert not (await standing(store)).grants


async def test_the_file_is_private(path):
    """Database, its log and its folder are for the owner alone."""
    store = await open_consent_store(path, cache_entries=10, feed_interval_s=0.1, clock=Clock())
    await store.put(GRANT)
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


async def test_a_newer_database_is_refused(path):
    """A program does not touch a database of a later version."""
    prepare(path)
    connection = connect(path, cache_kib=100, read_only=False)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConsentUnavailable, match="version 99"):
        await open_consent_store(path, cache_entries=10, feed_interval_s=0.1, clock=Clock())


async def test_what_is_no_database_is_refused(path):
    """Neither another kind of file nor a folder is opened, and nothing is left running."""
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ConsentUnavailable):
        await open_consent_store(path, cache_entries=10, feed_interval_s=0.1, clock=Clock())
    path.unlink()
    path.mkdir()
    with pytest.raises(ConsentUnavailable):
        await open_consent_store(path, cache_entries=10, feed_interval_s=0.1, clock=Clock())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("consent-")]
