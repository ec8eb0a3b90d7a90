"""The key files: what a crash leaves, what is overwritten, what stops a start."""

import errno
import random

import pytest

from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.pseudonyms_keyed import keystore
from audit_proxy.adapters.pseudonyms_keyed.keystore import KeyStore
from audit_proxy.core.errors import KeysUnavailable, KeysUnusable
from audit_proxy.core.pseudonyms import tree
from tests.simulator.files import SimulatedFiles

KEY = b"k" * 32
PEOPLE = [f"person:{n}" for n in range(40)]


def opened(files, *, create=True, key=KEY):
    store = KeyStore(files, key)
    store.open(1000.0, create=create)
    return store


def names(store, people=PEOPLE):
    return {n: [epoch.pseudonym(one) for one in people] for n, epoch in store.epochs.items()}


@pytest.fixture(params=["posix", "simulated"])
def files(request, tmp_path):
    return PosixFiles(tmp_path / "keys", private=True) if request.param == "posix" else SimulatedFiles()


def test_what_was_done_is_there_after_a_restart(files):
    """Epochs, erasures, pseudonyms; an expired epoch stays expired."""
    store = opened(files)
    assert store.erase(PEOPLE[3]) == 1
    assert store.rotate(2000.0) == 2
    assert store.erase(PEOPLE[5]) == 2
    assert store.erase(PEOPLE[5]) == 0
    store.rotate(3000.0)
    before = names(store)
    assert [before[n][3] is None for n in (1, 2, 3)] == [True, False, False]
    assert [before[n][5] is None for n in (1, 2, 3)] == [True, True, False]
    assert names(opened(files, create=False)) == before
    store.expire(1)
    again = opened(files, create=False)
    assert names(again) == {2: before[2], 3: before[3]}
    assert (again.current.number, again.current.top.began) == (3, 3000.0)
    assert not [name for name in files.names("") if name.startswith("000001") and ".top." not in name]


def test_files_are_private(tmp_path):
    """Nobody else on the machine can read them."""
    store = opened(PosixFiles(tmp_path / "keys", private=True))
    store.erase("person:1")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "keys").iterdir()} == {0o600}


def test_keys_that_are_missing_are_not_made(files):
    """Not without leave, and never in place of some that were there."""
    with pytest.raises(KeysUnusable, match="there are no pseudonym keys"):
        opened(files, create=False)
    assert [name for name in files.names("") if name != "lock"] == []


def test_the_epoch_in_force_cannot_expire(files):
    """Nothing could be recorded."""
    with pytest.raises(ValueError, match="in force"):
        opened(files).expire(1)


@pytest.mark.parametrize("gone", ["000001.top.00000002", "000001.{step}.00000001", "000002.top.00000001"])
def test_a_file_that_is_missing_stops_the_start(files, gone):
    """A removed epoch, and a removed shard, which would look like people who were erased."""
    store = opened(files)
    store.erase(PEOPLE[0])
    step = f"{store.current.path_of(PEOPLE[0])[0]:02x}"
    store.rotate(2.0)
    store.rotate(3.0)
    files.remove(gone.format(step=step))
    with pytest.raises(KeysUnusable, match="is missing"):
        opened(files)


def test_a_damaged_file_and_a_wrong_key_stop_the_start(files):
    """Said, and nothing is changed."""
    opened(files)
    with pytest.raises(KeysUnusable, match="the pseudonym key is not the one"):
        opened(files, key=b"x" * 32)
    data = files.read("000001.top.00000001")
    files.put("000001.top.00000001", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(KeysUnusable, match="damaged"):
        opened(files)
    assert len([name for name in files.names("") if name != "lock"]) == 1


def test_two_stores_on_the_same_files_see_each_other_s_changes(files):
    """Both erase, both rotate; each goes on from what the other did."""
    first, second = opened(files), opened(files)
    first.erase(PEOPLE[0])
    assert second.current.pseudonym(PEOPLE[0]) is not None
    assert second.erase(PEOPLE[0]) == 0  # done by the other: read before the change
    second.erase(PEOPLE[1])
    assert second.rotate(2.0) == 2
    first.load()
    assert names(first) == names(second)
    assert first.rotate(3.0) == 3
    first.expire(1)
    second.load()
    assert names(first) == names(second)


def test_a_directory_that_another_process_holds_is_told(files, monkeypatch):
    """After waiting for it, not for ever."""
    monkeypatch.setattr(keystore, "LOCK_WAIT_S", 0.05)
    store = opened(files)
    release = files.lock("lock")
    with pytest.raises(KeysUnavailable):
        store.erase("person:1")
    release()
    assert store.erase("person:1") == 1


def every_key_on_the_way(epoch, subject):
    """The keys from which the subject's own can be derived, and that one."""
    path = epoch.path_of(subject)
    return [tree.find(epoch.blocks, path[: depth + 1]) for depth in range(tree.LEVELS)]


def test_after_an_erasure_no_byte_of_the_disk_holds_what_it_removed():
    """Not in the files, nor in the blocks that the files had: former generations were overwritten where they lay."""
    files = SimulatedFiles()
    store = opened(files)
    store.erase(PEOPLE[1])
    removed = every_key_on_the_way(store.current, PEOPLE[0])
    assert any(key in bytes(inode.durable) for inode in files._disk.inodes.values() for key in removed)
    store.erase(PEOPLE[0])
    for inode in files._disk.inodes.values():
        assert not any(key in bytes(inode.live) + bytes(inode.durable) for key in removed)


def test_an_expired_epoch_leaves_no_byte_behind():
    """Neither its 256 keys nor what erasures had left below them."""
    files = SimulatedFiles()
    store = opened(files)
    store.erase(PEOPLE[0])
    blocks = dict(store.current.blocks)
    store.rotate(2.0)
    store.expire(1)
    keys = {block[at : at + 16] for block in blocks.values() for at in range(0, len(block), 16)} - {bytes(16)}
    for inode in files._disk.inodes.values():
        content = bytes(inode.live) + bytes(inode.durable)
        assert not any(key in content for key in keys)


@pytest.mark.parametrize("choice", ["nothing", "everything", "drawn"])
def test_a_crash_at_each_moment_loses_no_keys_and_revives_nobody(choice):
    """At every moment of a life: who was erased stays erased, everybody else has the pseudonym they had, and the next
    start overwrites what the crash kept from being overwritten.
    """
    files = SimulatedFiles()
    store = opened(files)
    removed = {}  # subject -> keys
    original = {1: names(store)[1]}
    files.mark("state", ({1}, frozenset()))
    erased = set()
    epochs = {1}
    for subject in (PEOPLE[0], PEOPLE[1]):
        removed[subject] = every_key_on_the_way(store.epochs[1], subject)
        store.erase(subject)
        erased.add(subject)
        files.mark("state", (set(epochs), frozenset(erased)))
    store.rotate(2.0)
    epochs.add(2)
    original[2] = names(store)[2]
    files.mark("state", (set(epochs), frozenset(erased)))
    store.expire(1)
    files.mark("state", ({2}, frozenset(erased)))
    rng = random.Random(3)
    survive = {"nothing": lambda n: 0, "everything": lambda n: n, "drawn": lambda n: rng.randint(0, n)}[choice]
    for at in range(len(files.operations) + 1):
        states = files.marks("state", at)
        after = files.crash(at, survive)
        again = opened(after, create=not states)
        if not states:
            continue
        told_epochs, told_erased = states[-1]
        assert told_epochs <= set(again.epochs) or (told_epochs == {1, 2} and set(again.epochs) == {2})
        for number, epoch in again.epochs.items():
            if number not in original:
                continue  # an epoch that was not told yet
            for n, one in enumerate(PEOPLE):
                found = epoch.pseudonym(one)
                gone = number == 1 and one in told_erased
                assert found == original[number][n] or (found is None and (gone or one in PEOPLE[:2]))
                assert not gone or found is None
        for subject in told_erased:
            for path, number in after._disk.live.items():
                if number is not None:
                    assert not any(key in bytes(after._disk.inodes[number].live) for key in removed[subject]), path


@pytest.mark.parametrize("operation", ["put", "sync_directory", "shred"])
@pytest.mark.parametrize("after", range(4))
def test_a_failing_disk_is_told_and_the_next_try_completes(operation, after):
    """An erasure that broke off at any step: asked again, it is done, and nobody else lost anything."""
    files = SimulatedFiles()
    store = opened(files)
    store.erase(PEOPLE[1])
    before = names(store)[1]
    removed = every_key_on_the_way(store.current, PEOPLE[0])
    files.fail[operation] = [None] * after + [OSError(errno.EIO, "Input/output error", "/secret/place")]
    failed = None
    try:
        store.erase(PEOPLE[0])
    except KeysUnavailable as error:
        failed = str(error)
        store.erase(PEOPLE[0])
    assert failed in {None, "the pseudonym keys cannot be changed: Input/output error"}
    files.fail.clear()
    assert names(store)[1] == [None, None, *before[2:]]
    store.erase(PEOPLE[2])  # the next change overwrites what is left
    for inode in files._disk.inodes.values():
        assert not any(key in bytes(inode.live) for key in removed)
    assert names(opened(files)) == names(store)
