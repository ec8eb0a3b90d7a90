"""A log over the years: packed segments, retention. It verifies, is read and proves as before; nothing else passes for it."""

import asyncio
import json
import shutil

import pytest
from typer.testing import CliRunner

from audit_proxy.adapters.audit_journal import JournalRetention
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.cli.log import log_app
from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, proof, tree
from audit_proxy.core.merkle.packing import Packer, unpacked, zstd
from audit_proxy.wiring.log import LogReader, RecordNotFound, verify_log, vkey_path
from tests.integration import c2sp
from tests.integration.test_log_verify import KEY, opened, record

START = 1_800_000_000
COUNT = 700


class Later:
    def now(self):
        return START + 10.0**6


def retaining(log, directory):
    return JournalRetention(log, PosixFiles(directory), KEY, Later(), "node-1", lambda _kind: None)


async def fill(directory, start, stop):
    log = await opened(directory, segment_bytes=20_000, commit_interval_ms=0, checkpoint_interval_s=0.01)
    for n in range(start, stop):
        await log.append(record(n))
    async with asyncio.timeout(10):
        while log.signed_size < log.size:
            await asyncio.sleep(0.005)
    return log


async def make(directory, *, pack, before):
    log = await fill(directory, 0, COUNT)
    keep = retaining(log, directory)
    if pack:
        assert await keep.pack() > 5
    if before:
        assert await keep.prune(START + before, "operator") is not None
    await log.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log each: packed, pruned, both."""
    folder = tmp_path_factory.mktemp("years")
    for name, pack, before in (("packed", True, 0), ("pruned", False, 400), ("both", True, 400)):
        asyncio.run(make(folder / name / "log", pack=pack, before=before))
    return folder


@pytest.fixture(params=["packed", "pruned", "both"])
def log(request, made, tmp_path):
    shutil.copytree(made / request.param, tmp_path / "copy")
    return tmp_path / "copy" / "log"


@pytest.fixture
def both(made, tmp_path):
    shutil.copytree(made / "both", tmp_path / "copy")
    return tmp_path / "copy" / "log"


def minimum(log):
    return LogReader(log).minimum


def kinds(verdict):
    return {p.kind for p in verdict.problems}


def run(*arguments):
    return CliRunner().invoke(log_app, [str(a) for a in arguments])


def test_it_is_whole(log):
    """Verified from the first record that is kept on, without a note: neither packing nor retention looks like tampering."""
    verdict = verify_log(log, KEY)
    assert verdict.whole, verdict.problems
    size = COUNT + bool(minimum(log))
    assert (verdict.first, verdict.records, verdict.signed, verdict.notes) == (minimum(log), size, size, ())
    assert (minimum(log) > 256) == (log.parent.parent.name != "packed" and minimum(log) > 0)


def test_a_program_that_knows_only_the_specifications_verifies_it(log):
    """Tiles and bundles, pruned as C2SP tlog-tiles says."""
    entries = c2sp.check_log(log, vkey_path(log).read_text(), minimum(log))
    first = minimum(log) // 256 * 256
    assert entries[: COUNT - first] == [record(n) for n in range(first, COUNT)]


def test_it_is_read_as_before(log):
    """Tail, by number, by id; what retention removed is told as that."""
    reader = LogReader(log)
    last = minimum(log)
    expected = [(n, record(n)) for n in range(last, COUNT)]
    assert list(reader.records())[: len(expected)] == expected
    assert list(reader.records(COUNT - 10))[:10] == expected[-10:]
    assert reader.last(300)[: 300 - bool(last)] == expected[len(expected) - 300 + bool(last) :]
    assert reader.record(last) == record(last)
    assert reader.find(audit_record.decode(record(500)).id) == (500, record(500))
    if last:
        with pytest.raises(RecordNotFound, match="removed by retention"):
            reader.record(last - 1)
    shown = run("tail", "--dir", log, "-n", "300")
    assert shown.exit_code == 0
    assert "listFriends" in shown.stdout


def test_it_proves_as_before(log, tmp_path):
    """Inclusion of every record that is kept, consistency with every size there ever was, pruned or not."""
    reader, vkey = LogReader(log), vkey_path(log).read_text()
    leaves = [tree.leaf_hash(record(n)) for n in range(COUNT)]
    for index in (minimum(log), 511, 512, COUNT - 1):
        text = proof.encode_inclusion(reader.inclusion(index, record(index), KEY))
        assert c2sp.check_proof(text, record(index), vkey)[0] == index
    for old in (1, 100, 256, 257, minimum(log) or 300, COUNT):
        root = tree.root(old, tree.subtrees_of(leaves[:old]))
        assert proof.check_consistency(reader.consistency(old, KEY), root, KEY).size >= COUNT
    done = run("prove", "600", "--dir", log, "--record", tmp_path / "record")
    assert done.exit_code == 0
    assert (tmp_path / "record").read_bytes() == record(600)


def test_an_old_proof_and_checkpoint_hold_after_retention(made):
    """Proofs made before are proofs for ever: the tree is what it was."""
    before = LogReader(made / "packed" / "log").inclusion(10, record(10), KEY)
    assert proof.check_inclusion(before, record(10), KEY).size == COUNT
    found = LogReader(made / "both" / "log").consistency(COUNT, KEY)
    assert proof.check_consistency(found, note.open_checkpoint(before.checkpoint, KEY).root, KEY).size == COUNT + 1


def test_zstdcat_reads_a_packed_segment(made):
    """Its content is the segment's lines."""
    first = min((made / "packed" / "log" / "journal").glob("*.zst"))
    text = zstd.decompress(first.read_bytes())
    assert text.startswith(record(0) + b"\n" + record(1) + b"\n")
    assert len(first.read_bytes()) < len(text) / 5


@pytest.mark.parametrize("at", [20, 100, -30, -1])
def test_a_damaged_packed_segment_is_found(both, at):
    """Whatever byte: the segment is named, or the record."""
    path = min((both / "journal").glob("*.zst"))
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    verdict = verify_log(both, KEY)
    assert not verdict.whole
    assert "segment_damaged" in kinds(verdict)
    assert path.name in verdict.first_bad.text


def test_a_packed_segment_of_other_records_is_found(both):
    """Properly packed, of a proper forged record: named like in a plain one."""
    path = min((both / "journal").glob("*.zst"))
    index = int(path.name[:20]) + 3
    with path.open("rb") as file:
        text = b"".join(unpacked(file.read))
    packer = Packer()
    path.write_bytes(packer.add(text.replace(record(index), record(index).replace(b"200", b"404"))) + packer.end())
    verdict = verify_log(both, KEY)
    assert (verdict.first_bad.kind, verdict.first_bad.index) == ("record_altered", index)


def test_a_removed_packed_segment_is_found(both):
    """In the middle, and the first one that is kept."""
    for path in sorted((both / "journal").glob("*.zst"))[:2]:
        away = path.rename(both / "away")
        verdict = verify_log(both, KEY)
        assert verdict.first_bad.index == int(path.name[:20])
        away.rename(path)


def test_more_removed_than_the_record_says_is_found(both):
    """A cut beginning does not pass for retention, with the true minimum index or an altered one."""
    first = min((both / "journal").glob("*.zst"))
    first.unlink()
    assert kinds(verify_log(both, KEY)) == {"segment_missing", "records_missing"}
    good = (both / "minimum-index").read_bytes()
    (both / "minimum-index").write_bytes(good.replace(b"index 70", b"index 69"))
    assert "minimum_invalid" in kinds(verify_log(both, KEY))
    (both / "minimum-index").unlink()
    assert "segment_missing" in kinds(verify_log(both, KEY))


def test_a_minimum_index_of_another_key_is_found(both):
    """Nobody but the log can say what it removed."""
    parsed = proof.parse_inclusion((both / "minimum-index").read_bytes())
    checkpoint = note.open_checkpoint(parsed.checkpoint, KEY)
    forged = proof.InclusionProof(
        parsed.index, parsed.path, note.sign_checkpoint(checkpoint, b"o" * 32), extra=parsed.extra
    )
    (both / "minimum-index").write_bytes(proof.encode_inclusion(forged))
    assert "minimum_invalid" in kinds(verify_log(both, KEY))


@pytest.mark.parametrize("path", ["tile/0/000", "tile/1/000.p/2"])
def test_altered_and_missing_tiles_that_stand_in_for_removed_records_are_found(both, path):
    """They are all that is left of what was removed, so they are checked up to the root."""
    good = (both / path).read_bytes()
    for at in (0, 31, len(good) - 1):
        (both / path).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert not verify_log(both, KEY).whole
    (both / path).unlink()
    assert "tile_missing" in kinds(verify_log(both, KEY))
    (both / path).write_bytes(good)
    assert verify_log(both, KEY).whole


def test_verify_says_from_which_record_on(both):
    """In words and in JSON."""
    done = run("verify", "--dir", both)
    assert done.exit_code == 0
    kept = COUNT + 1 - minimum(both)
    assert f"{kept} records from number {minimum(both)} on (retention removed those before)" in done.stdout
    told = json.loads(run("verify", "--dir", both, "--json").stdout)
    assert (told["whole"], told["first"], told["records"]) == (True, minimum(both), COUNT + 1)


def test_leftovers_of_a_removal_that_was_broken_off_are_no_part_of_the_log(both, made):
    """A segment below the minimum index that is still there changes nothing, whatever it holds."""
    name = min((made / "packed" / "log" / "journal").glob("*.zst")).name
    (both / "journal" / name).write_bytes(b"nonsense")
    assert verify_log(both, KEY).whole


async def test_a_log_is_verified_and_followed_while_it_is_packed_and_pruned(tmp_path):
    """What goes away under a reader's feet is no tampering, and no record is missed or told twice."""
    directory = tmp_path / "log"
    log = await fill(directory, 0, 300)
    keep = retaining(log, directory)
    stop = False

    async def churn():
        n = 300
        while not stop:
            for _ in range(100):
                await log.append(record(n))
                n += 1
            await keep.pack()
            await keep.prune(START + n - 250, None)
        return n

    def read_on():
        return [number for number, _ in LogReader(directory).records(LogReader(directory).minimum)]

    task = asyncio.create_task(churn())
    try:
        for _ in range(12):
            verdict = await asyncio.to_thread(verify_log, directory, KEY)
            assert verdict.whole, verdict.problems
            numbers = await asyncio.to_thread(read_on)
            assert numbers == sorted(set(numbers))
    finally:
        stop = True
        await task
        await log.close()
    verdict = verify_log(directory, KEY)
    assert verdict.whole
    assert verdict.first > 0
