"""The keyring: changes are in force when they are told, in this process and soon in the others."""

import asyncio
import errno

import pytest

from audit_proxy.adapters.pseudonyms_keyed import open_keyring
from audit_proxy.core.errors import KeysUnavailable, KeysUnusable
from tests.simulator.files import SimulatedFiles

KEY = b"k" * 32
PEOPLE = [f"person:{n}" for n in range(6)]


class Clock:
    seconds = 1000.0

    def now(self):
        return self.seconds


@pytest.fixture
async def opened():
    rings = []

    async def open_it(files, **options):
        log = options.pop("log", None) or SimulatedFiles()
        rings.append(await open_keyring(files, log, KEY, Clock(), **{"fresh": True, "look_s": 0.01, **options}))
        return rings[-1]

    yield open_it
    for ring in rings:
        await ring.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_erased_person_is_out_of_the_caches_when_erase_returns(opened):
    """Though the pseudonym was in use a moment ago; the others' stay."""
    ring = await opened(SimulatedFiles(), look_s=3600)
    before = ring.pseudonyms(PEOPLE)
    assert ring.erased(PEOPLE) == ()
    assert await ring.erase(PEOPLE[2]) == 1
    assert ring.pseudonyms(PEOPLE) == [*before[:2], "erased", *before[3:]]
    assert set(ring.erased(PEOPLE)) == {PEOPLE[2]}
    assert await ring.names(PEOPLE[2]) == {}
    assert await ring.names(PEOPLE[1]) == {1: before[1]}


async def test_rotation_is_in_force_when_it_returns(opened):
    """Reports know both names; an erasure reaches the former epoch as well; expiry takes that one away."""
    ring = await opened(SimulatedFiles(), look_s=3600)
    first = ring.pseudonyms(PEOPLE)
    assert await ring.rotate() == 2
    second = ring.pseudonyms(PEOPLE)
    assert not set(first) & set(second)
    assert await ring.names(PEOPLE[0]) == {1: first[0], 2: second[0]}
    assert await ring.live() == {1: 1000.0, 2: 1000.0}
    assert await ring.erase(PEOPLE[1]) == 2
    assert await ring.names(PEOPLE[1]) == {}
    await ring.expire(1)
    assert await ring.names(PEOPLE[0]) == {2: second[0]}
    assert set(await ring.live()) == {2}


async def test_an_erasure_reaches_the_processes_that_share_the_keys(opened):
    """Within the time in which they look, whatever their caches held."""
    files = SimulatedFiles()
    one, other = await opened(files), await opened(files)
    before = other.pseudonyms(PEOPLE)
    await one.erase(PEOPLE[0])
    await until(lambda: other.pseudonyms(PEOPLE)[0] == "erased")
    assert other.pseudonyms(PEOPLE)[1:] == before[1:]
    await one.rotate()
    await until(lambda: other.pseudonyms(PEOPLE) == one.pseudonyms(PEOPLE))


async def test_a_change_here_takes_over_what_others_changed(opened):
    """Their erasure is read before ours is made, and then counts for the caches too."""
    files = SimulatedFiles()
    one, other = await opened(files, look_s=3600), await opened(files, look_s=3600)
    other.pseudonyms(PEOPLE)
    await one.erase(PEOPLE[0])
    await other.erase(PEOPLE[1])
    assert other.pseudonyms(PEOPLE)[:2] == ["erased", "erased"]


async def test_a_disk_that_fails_is_told_and_nothing_is_forgotten(opened):
    """The erasure did not come about; asked again it does."""
    files = SimulatedFiles()
    ring = await opened(files, look_s=3600)
    before = ring.pseudonyms(PEOPLE)
    files.fail["put"] = [OSError(errno.ENOSPC, "No space left on device")]
    with pytest.raises(KeysUnavailable, match="No space left"):
        await ring.erase(PEOPLE[0])
    assert ring.pseudonyms(PEOPLE) == before
    assert await ring.erase(PEOPLE[0]) == 1


async def test_keys_that_become_unreadable_are_told_and_those_in_memory_go_on(opened):
    """A damaged file beside a running process stops no traffic; a change is refused."""
    files, failures = SimulatedFiles(), []
    ring = await opened(files, on_failure=lambda: failures.append(1))
    before = ring.pseudonyms(PEOPLE)
    files.put("000001.top.00000002", b"nonsense")
    await until(lambda: failures)
    assert ring.pseudonyms(PEOPLE) == before
    with pytest.raises(KeysUnavailable, match="cannot be read"):
        await ring.rotate()


async def test_a_caller_that_goes_does_not_leave_a_change_half_done(opened):
    """The erasure that was begun comes to its end before the next change begins."""
    ring = await opened(SimulatedFiles(), look_s=3600)
    task = asyncio.create_task(ring.erase(PEOPLE[0]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ring.erase(PEOPLE[0]) == 0
    assert ring.pseudonyms(PEOPLE)[0] == "erased"


async def test_a_log_with_records_goes_on_with_its_own_keys_only(opened):
    """Not with keys that are gone, nor with others, nor when it no longer says which: never with new ones."""
    files, log = SimulatedFiles(), SimulatedFiles()
    ring = await opened(files, log=log)
    before = ring.pseudonyms(PEOPLE)
    await ring.rotate()
    await ring.expire(1)
    assert (await opened(files, log=log, fresh=False)).pseudonyms(PEOPLE) == ring.pseudonyms(PEOPLE) != before
    for fresh in (True, False):
        with pytest.raises(KeysUnusable, match="no pseudonym keys"):
            await opened(SimulatedFiles(), log=log, fresh=fresh)
        other = SimulatedFiles()
        await opened(other)
        with pytest.raises(KeysUnusable, match="not those that the log began with"):
            await opened(other, log=log, fresh=fresh)
    with pytest.raises(KeysUnusable, match="is gone"):
        await opened(files, fresh=False)
    log.alter("pseudonym-keys", lambda _old: b"xyz")
    with pytest.raises(KeysUnusable, match="damaged"):
        await opened(files, log=log, fresh=False)


async def test_two_logs_can_share_keys(opened):
    """Of two processes on one machine: a person has one pseudonym in both logs."""
    files = SimulatedFiles()
    assert (await opened(files)).pseudonyms(PEOPLE) == (await opened(files)).pseudonyms(PEOPLE)
