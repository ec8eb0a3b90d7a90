"""What every consent store promises (ports ConsentStore, ConsentAdmin, ConsentLoad), run on each adapter."""

import asyncio
import json
import time

import pytest

from audit_proxy.adapters.consent_sqlite import open_consent_store
from audit_proxy.core.consent import NOTHING_KNOWN, Grant, Standing
from audit_proxy.core.statements import ALL_APPS, FileInvalid, GrantStatement, WithdrawalStatement


class Clock:
    def __init__(self):
        self.time = 1_800_000_000.0

    def now(self):
        self.time += 0.001
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite"])
def opened(request, tmp_path, clock):
    """Opens another handle on the same store, as another process would."""

    async def open_one(**more):
        options = {"cache_entries": 10_000, "feed_interval_s": 0.02, "clock": clock, **more}
        return await open_consent_store(tmp_path / "consent.sqlite3", **options)

    return open_one


@pytest.fixture
async def store(opened):
    made = await opened()
    yield made
    await made.close()


def grant(subject="person:1", app="quiz", scopes="likes", purpose="marketing", **more):
    return GrantStatement(app, subject, scopes, purpose, **more)


def withdrawal(subject="person:1", app="quiz", **more):
    return WithdrawalStatement(app, subject, **more)


async def standing(store, subject="person:1", app="quiz"):
    return (await store.standings(app, [subject]))[subject]


async def blocks(*lines):
    for line in lines:
        yield line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"


def line(subject="person:1", app="quiz", **more):
    return {"app": app, "subject": subject, "scopes": ["likes"], "purpose": "marketing", **more}


async def load(store, *lines, form="ndjson"):
    return await store.load(blocks(*lines), form, lambda _: None)


MARKETING = Grant(frozenset({"likes"}), "marketing")


async def test_nothing_is_known_of_an_unknown_subject(store):
    """Every asked subject is answered, unknown ones with NOTHING_KNOWN."""
    assert await store.standings("quiz", ["person:1", "person:2"]) == {
        "person:1": NOTHING_KNOWN,
        "person:2": NOTHING_KNOWN,
    }
    assert await store.standings("quiz", []) == {}


async def test_a_grant_is_of_one_subject_for_one_app(store):
    """A grant stands for its own subject and app only, with its scopes, purpose and expiry."""
    await store.put(grant(scopes="likes photos", expires_at=1_900_000_000.25))
    assert await standing(store) == Standing((Grant(frozenset({"likes", "photos"}), "marketing", 1_900_000_000.25),))
    assert await standing(store, app="other") is NOTHING_KNOWN
    assert await standing(store, subject="person:2") is NOTHING_KNOWN
    assert await standing(store, subject="Person:1") is NOTHING_KNOWN


async def test_grants_for_several_purposes_stand_beside_each_other(store):
    """One grant a purpose: a second purpose adds, the same purpose replaces."""
    await store.put(grant(purpose="marketing"))
    await store.put(grant(purpose="essential", scopes="email"))
    await store.put(grant(purpose="marketing", scopes="photos"))
    assert await standing(store) == Standing(
        (Grant(frozenset({"email"}), "essential"), Grant(frozenset({"photos"}), "marketing"))
    )


async def test_equal_standings_are_one_object(store):
    """Equal standings are the same object, whoever's they are."""
    for number in range(3):
        await store.put(grant(f"person:{number}"))
    found = await store.standings("quiz", [f"person:{number}" for number in range(3)])
    assert len(set(map(id, found.values()))) == 1


async def test_a_withdrawal_ends_every_grant_of_the_pair(store):
    """A withdrawal takes all purposes, of that app only."""
    await store.put(grant())
    await store.put(grant(purpose="essential"))
    await store.put(grant(app="other"))
    await store.withdraw(withdrawal())
    assert await standing(store) == Standing((), withdrawn=True)
    assert await standing(store, app="other") == Standing((MARKETING,))


async def test_a_withdrawal_needs_no_grant(store):
    """The holder of a valid token may withdraw although the store never heard of them."""
    await store.withdraw(withdrawal())
    assert (await standing(store)).withdrawn


async def test_a_withdrawal_from_all_apps_reaches_every_app(store):
    """``*`` withdraws from apps that hold a grant and from those that never did."""
    await store.put(grant())
    assert not (await standing(store)).withdrawn
    assert not (await standing(store, app="other")).withdrawn
    await store.withdraw(withdrawal(app=ALL_APPS))
    assert await standing(store) == Standing((), withdrawn=True)
    assert (await standing(store, app="other")).withdrawn


@pytest.mark.parametrize("app", ["quiz", ALL_APPS])
async def test_consenting_again_lifts_the_withdrawal_for_what_is_given_now(store, app):
    """A put after a withdrawal is in effect alone: older purposes and other apps stay withdrawn."""
    await store.put(grant(purpose="essential"))
    await store.put(grant(app="other"))
    await store.withdraw(withdrawal(app=app))
    assert await store.put(grant()) == "taken"
    assert await standing(store) == Standing((MARKETING,))
    assert (await standing(store, app="other")).withdrawn is (app == ALL_APPS)


async def test_a_put_that_was_given_before_the_withdrawal_stays_without_effect(store, clock):
    """A grant dated before the withdrawal arrives late: it is superseded."""
    await store.withdraw(withdrawal())
    assert await store.put(grant(granted_at=clock.time - 60)) == "superseded"
    assert (await standing(store)).withdrawn


async def test_a_clock_set_back_voids_no_withdrawal(store, clock):
    """Order is the order of the calls, not what the clock says: a withdrawal counts, and so does consenting again."""
    await store.put(grant())
    clock.time -= 86_400
    await store.withdraw(withdrawal())
    assert (await standing(store)).withdrawn
    clock.time -= 86_400
    await store.put(grant())
    assert await standing(store) == Standing((MARKETING,))


async def test_a_grant_from_the_future_does_not_outlive_a_withdrawal(store, clock):
    """A grant that claims to be given next year is given now: the next withdrawal ends it."""
    await store.put(grant(granted_at=clock.time + 31_536_000))
    await store.withdraw(withdrawal())
    assert (await standing(store)).withdrawn


async def test_held_shows_grants_withdrawals_and_evidence(store, clock):
    """What is held is shown with its evidence, the withdrawn too."""
    await store.put(grant(source="app", evidence="form 7"))
    at = await store.withdraw(withdrawal(app=ALL_APPS, source="help desk"))
    held = await store.held("quiz", "person:1")
    (one,) = held.grants
    assert (one.grant.source, one.grant.evidence, one.in_effect) == ("app", "form 7", False)
    assert held.withdrawals == (WithdrawalStatement(ALL_APPS, "person:1", at, "help desk"),)
    assert held.withdrawn
    assert (await store.held("quiz", "person:2")).grants == ()


async def test_a_change_of_this_process_is_seen_at_once(store):
    """After the call returns, the next look-up sees it, although the old fact was cached."""
    for _ in range(20):
        await store.put(grant())
        assert await standing(store) == Standing((MARKETING,))
        await store.withdraw(withdrawal())
        assert (await standing(store)).withdrawn


async def test_another_process_sees_a_withdrawal_within_a_second(store, opened):
    """A withdrawal through one handle is in force at the other within 1 s, although it had cached the grant."""
    other = await opened()
    try:
        await store.put(grant())
        await until(lambda: seen(other, withdrawn=False))
        began = time.monotonic()
        await store.withdraw(withdrawal())
        await until(lambda: seen(other, withdrawn=True))
        assert time.monotonic() - began < 1.0  # the promise itself, ten times the expected
    finally:
        await other.close()


async def seen(store, *, withdrawn):
    now = await standing(store)
    return now.withdrawn is withdrawn and bool(now.grants) is not withdrawn


async def until(condition):
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


async def test_it_is_loaded_once_an_import_has_ended(store, opened):
    """The flag is kept, is seen by other handles, and never goes back."""
    other = await opened()
    assert not store.loaded
    assert not other.loaded
    done = await load(store, line())
    assert done.loaded
    assert store.loaded
    await until(lambda: asyncio.sleep(0, other.loaded))
    await other.close()
    again = await opened()
    assert again.loaded
    await again.close()


async def test_an_operator_can_mark_it_loaded(store):
    """mark_loaded without any import."""
    await store.mark_loaded()
    assert store.loaded


async def test_an_import_that_breaks_off_does_not_load(store):
    """Each line that came whole before the break stays, counted; half a line does not; the store is not loaded."""
    progress = []

    async def broken():
        yield json.dumps(line()).encode() + b"\n"
        yield json.dumps(line("person:2")).encode() + b"\n" + json.dumps(line("person:3")).encode()
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await store.load(broken(), "ndjson", progress.append)
    assert not store.loaded
    assert (progress[-1].lines, progress[-1].taken, progress[-1].done) == (2, 2, False)
    assert await standing(store) == await standing(store, subject="person:2") == Standing((MARKETING,))
    assert await standing(store, subject="person:3") == NOTHING_KNOWN


async def test_an_import_that_lost_a_withdrawal_does_not_load(store):
    """A refused line that may have been a withdrawal, or a file without one good line: an operator has to look first."""
    done = await load(store, line(), {"app": "quiz", "subject": "nobody", "withdrawn": True})
    assert (done.taken, done.withdrawals_refused, done.loaded) == (1, 1, False)
    done = await load(store, b"not json\n")
    assert (done.refused, done.loaded) == (1, False)
    done = await load(store, line(), b"not json\n")
    assert (done.refused, done.loaded) == (1, True)


async def test_importing_twice_changes_nothing(store):
    """The second import of a file finds everything unchanged."""
    lines = [line(f"person:{number}", expires_at="2031-01-01T00:00:00Z", source="dump") for number in range(50)]
    lines += [
        {"app": "quiz", "subject": "person:7", "withdrawn": True},
        {"app": "*", "subject": "person:99", "withdrawn": True},
    ]
    first = await load(store, *lines)
    second = await load(store, *lines)
    assert (first.taken, first.unchanged, first.superseded) == (52, 0, 0)
    assert (second.taken, second.unchanged, second.superseded) == (0, 51, 1)  # person:7's grant stays withdrawn


async def test_a_bad_line_takes_no_other_along(store):
    """Each refused line is told by number and reason; all others are stored."""
    done = await load(store, line(), b"{\n", line("person:2"), {**line("person:3"), "more": 1}, line("person:4"))
    assert (done.lines, done.taken, done.refused, done.done) == (5, 3, 2, True)
    assert [number for number, _ in done.problems] == [2, 4]
    assert await standing(store, "person:4") == Standing((MARKETING,))
    assert await standing(store, "person:3") is NOTHING_KNOWN


async def test_an_import_changes_grants_and_other_handles_see_it(store, opened):
    """A later file's grant replaces the earlier one, in every cache."""
    other = await opened()
    await load(store, line())
    await until(lambda: seen(other, withdrawn=False))
    await load(store, line(scopes="photos"))

    async def changed():
        return (await standing(other)).grants[0].scopes == {"photos"}

    await until(changed)
    assert (await standing(store)).grants[0].scopes == {"photos"}
    await other.close()


async def test_an_undated_import_lifts_no_withdrawal(store):
    """Yesterday's dump, imported after a withdrawal, does not undo it; neither in the same file."""
    await load(store, line())
    await store.withdraw(withdrawal())
    done = await load(store, line(scopes="likes photos"), line(purpose="essential"))
    assert (done.superseded, done.taken) == (2, 0)
    assert (await standing(store)).withdrawn
    done = await load(store, {"app": "*", "subject": "person:5", "withdrawn": True}, line("person:5"))
    assert (done.superseded, done.taken) == (1, 1)


async def test_a_dated_import_is_ordered_by_its_dates(store):
    """In whatever order lines come, the latest statement of a pair stands."""
    early, late = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00+00:00"
    gone = {"app": "quiz", "subject": "person:1", "withdrawn": True, "withdrawn_at": "2026-01-15T12:00:00Z"}
    await load(store, gone, line(granted_at=early))
    assert (await standing(store)).withdrawn
    await load(store, line(granted_at=late))
    assert await standing(store) == Standing((MARKETING,))
    assert (await load(store, gone)).unchanged == 1
    assert await standing(store) == Standing((MARKETING,))
    done = await load(store, line(granted_at=early, scopes="photos"))
    assert done.superseded == 1


async def test_csv_is_read_with_its_header(store):
    """CSV: columns by name, scopes separated by spaces, empty fields absent; a header of unknown columns is refused."""
    done = await load(
        store,
        b"subject,app,scopes,purpose,expires_at,withdrawn,evidence\r\n",
        b'person:1,quiz,likes,marketing,,,"said ""yes"", twice"\r\n',
        b"person:2,*,,,,true,\r\n",
        b"person:3,quiz,likes,marketing\r\n",
        form="csv",
    )
    assert (done.taken, done.refused) == (2, 1)
    assert (await store.held("quiz", "person:1")).grants[0].grant.evidence == 'said "yes", twice'
    assert (await standing(store, "person:2")).withdrawn
    with pytest.raises(FileInvalid):
        await load(store, b"who,what\n", form="csv")


async def test_fifty_thousand_grants_are_imported_while_look_ups_go_on(store):
    """Every line is stored, progress only grows, and reads are answered meanwhile."""
    count = 50_000
    progress = []

    async def file():
        for start in range(0, count, 500):
            lines = (json.dumps(line(f"person:{number}", f"app-{number % 7}")) for number in range(start, start + 500))
            yield ("\n".join(lines) + "\n").encode()

    loading = asyncio.create_task(store.load(file(), "ndjson", progress.append))
    reads = 0
    while not loading.done():
        await store.standings("app-1", [f"person:{number}" for number in range(reads, reads + 25)])
        reads += 25
        await asyncio.sleep(0.002)
    done = await loading
    assert (done.lines, done.taken, done.refused, done.loaded) == (count, count, 0, True)
    assert progress
    assert [each.lines for each in progress] == sorted(each.lines for each in progress)
    assert reads > 25
    found = await store.standings("app-1", [f"person:{number}" for number in range(count)])
    assert sum(bool(each.grants) for each in found.values()) == len(range(1, count, 7))


@pytest.mark.parametrize("size", [1, 2, 8, 9, 33, 129, 500, 501, 1203])
async def test_pages_of_any_size_are_answered_whole(store, size):
    """Every subject of a page is answered, with duplicates and strange ids among them."""
    await store.put(grant("person:0"))
    subjects = [f"person:{number}" for number in range(size)] + ["person:0", "person:\ud800", "person:1\x00", "'; --"]
    found = await store.standings("quiz", subjects)
    assert set(found) == set(subjects)
    assert [subject for subject, each in found.items() if each.grants] == ["person:0"]


async def test_an_id_with_a_zero_byte_is_not_its_beginning(store):
    """``person:1\\0x`` is somebody else than ``person:1``."""
    await store.put(grant("person:1"))
    assert await standing(store, "person:1\x00x") is NOTHING_KNOWN
    assert await standing(store, "person:1\x00") is NOTHING_KNOWN
