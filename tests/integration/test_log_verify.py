"""``verify`` finds every alteration, and what the log publishes is verified by a program that only knows the C2SP
specifications (c2sp.py)."""

import asyncio
import datetime as dt
import shutil
import time

import msgspec
import pytest
from typer.testing import CliRunner

from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.cli.log import log_app
from audit_proxy.core import record as audit_record
from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.merkle import note
from audit_proxy.wiring.log import open_audit_log, read_vkey, verify_log, vkey_path
from tests.integration import c2sp

SEED = b"s" * 32
ORIGIN = "example.com/verified"
KEY = note.verifier_key(ORIGIN, SEED)


class Clock:
    def now(self):
        return time.time()


def record(n, **more):
    moment = 1_800_000_000 + n
    return audit_record.encode(
        audit_record.Record(
            v=1,
            id=audit_record.uuid7(moment, n.to_bytes(10, "big")),
            ts=dt.datetime.fromtimestamp(moment, dt.UTC),
            node="node-1",
            kind="access",
            app="quiz",
            operation="listFriends",
            decision="redact",
            status=200,
            disclosed=(
                audit_record.Group(("/data/id",), ("user.unique_id",), "third_party", "grant", ("AAAA", "BBBB")),
            ),
            **more,
        )
    )


def opened(directory, **options):
    options = {"checkpoint_interval_s": 3600, "segment_s": 1e12, **options}  # the records' times are not the clock's
    return open_audit_log(directory, ORIGIN, "node-1", SEED, clock=Clock(), **options)


async def write(directory, start, stop, **options):
    log = await opened(directory, **options)
    futures = [log.append(record(n)) for n in range(start, stop)]
    await log.close()
    assert all(f.exception() is None for f in futures)


async def write_as_one_segment(directory, start, stop):
    """A new segment of exactly these records: only its first commit finds the one before it full."""
    log = await opened(directory, segment_bytes=1)
    await log.append(record(start))
    log._journal._segment_bytes = 10**9
    for n in range(start + 1, stop):
        log.append(record(n))
    await log.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log of 700 records in three segments, with leftovers of partial tiles."""
    directory = tmp_path_factory.mktemp("made") / "log"
    for start, stop in ((0, 100), (100, 290), (290, 700)):
        asyncio.run(write_as_one_segment(directory, start, stop))
    assert [int(p.stem) for p in sorted((directory / "journal").glob("*.jsonl"))] == [0, 100, 290]
    return directory


@pytest.fixture
def log(made, tmp_path):
    shutil.copytree(made, tmp_path / "log")
    shutil.copy(vkey_path(made), vkey_path(tmp_path / "log"))
    return tmp_path / "log"


def segment_of(directory, index):
    return max(p for p in (directory / "journal").glob("*.jsonl") if int(p.stem) <= index)


def edit(directory, index, change):
    """Changes the lines of a record's segment: ``change(lines, position)``."""
    path = segment_of(directory, index)
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines, index - int(path.stem))
    path.write_bytes(b"".join(lines))
    return f"journal/{path.name}:{index - int(path.stem) + 1}"


def kinds(verdict):
    return {p.kind for p in verdict.problems}


def test_an_honest_log_is_whole(made):
    """Nothing is found where nothing was altered; progress ends at the whole."""
    seen = []
    verdict = verify_log(made, KEY, lambda done, total: seen.append((done, total)))
    assert verdict.whole
    assert (verdict.records, verdict.signed, verdict.notes) == (700, 700, ())
    assert verdict.first_bad is None
    assert seen[-1][0] == seen[-1][1] == sum(p.stat().st_size for p in (made / "journal").iterdir())


def test_the_verifier_key_stands_beside_the_directory(made):
    """As log.vkey, in signed-note form."""
    assert vkey_path(made).name == "log.vkey"
    assert read_vkey(vkey_path(made)) == KEY


def test_a_program_that_knows_only_the_specifications_verifies_the_log(made):
    """Checkpoint, tiles and bundles, by c2sp.py; the entries are the journal's lines."""
    entries = c2sp.check_log(made, vkey_path(made).read_text())
    assert entries == [record(n) for n in range(700)]


def test_that_program_finds_alterations_too(log):
    """Or its consent would mean nothing."""
    vkey = vkey_path(log).read_text()
    for path in ("tile/0/000", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/188"):
        good = (log / path).read_bytes()
        (log / path).write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
        with pytest.raises(AssertionError):
            c2sp.check_log(log, vkey)
        (log / path).write_bytes(good)
    c2sp.check_log(log, vkey)


async def test_every_altered_byte_of_a_record_is_found(tmp_path):
    """Each single position of a record, whatever it becomes: the verdict names that record, its line and its id."""
    directory = tmp_path / "log"
    await write(directory, 0, 5)
    (path,) = (directory / "journal").glob("*.jsonl")
    good = path.read_bytes()
    start = len(record(0)) + len(record(1)) + 2
    for at in range(start, start + len(record(2)) + 1):
        for flip in (1, 32, 128):
            path.write_bytes(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
            verdict = verify_log(directory, KEY)
            assert not verdict.whole
            assert verdict.first_bad.index == 2
            assert verdict.first_bad.place.startswith(f"journal/{path.name}:3")
    path.write_bytes(good)
    assert verify_log(directory, KEY).whole


@pytest.mark.parametrize("index", [0, 99, 100, 255, 256, 289, 290, 511, 512, 698])
def test_an_altered_record_is_named(log, index):
    """A record that was replaced by another proper one: number, file and line, its id, and that it was signed otherwise."""
    forged = record(index).replace(b'"status":200', b'"status":404')
    place = edit(log, index, lambda lines, at: lines.__setitem__(at, forged + b"\n"))
    verdict = verify_log(log, KEY)
    assert not verdict.whole
    first = verdict.first_bad
    assert (first.kind, first.index, first.place) == ("record_altered", index, place)
    assert first.record_id == audit_record.decode(record(index)).id
    assert "root_differs" in kinds(verdict)
    assert "tile_altered" not in kinds(verdict)


@pytest.mark.parametrize("index", [0, 150, 289, 400, 698])
def test_a_removed_record_is_named(log, index):
    """The first record that is not the signed one is where one was taken out; the id that stood there is told."""
    edit(log, index, lambda lines, at: lines.__delitem__(at))
    verdict = verify_log(log, KEY)
    assert not verdict.whole
    assert verdict.first_bad.index == index
    assert "records_missing" in kinds(verdict)
    if index != 289:  # the last of its segment: nothing stands in its place
        assert audit_record.decode(record(index)).id in "".join(p.text for p in verdict.problems)


@pytest.mark.parametrize("index", [0, 98, 150, 697])
def test_swapped_records_are_named(log, index):
    """Two neighbours in each other's place."""

    def swap(lines, at):
        lines[at], lines[at + 1] = lines[at + 1], lines[at]

    edit(log, index, swap)
    verdict = verify_log(log, KEY)
    assert not verdict.whole
    assert verdict.first_bad.index == index


def test_an_inserted_record_is_found(log):
    """A forged record between others, in the middle and at a segment's end."""
    edit(log, 400, lambda lines, at: lines.insert(at, record(9999) + b"\n"))
    assert verify_log(log, KEY).first_bad.index == 400


def test_records_put_behind_a_sealed_segment_are_told(log):
    """They are no part of the log, and no gap record explains them."""
    edit(log, 99, lambda lines, at: lines.append(record(9999) + b"\n"))
    verdict = verify_log(log, KEY)
    assert kinds(verdict) == {"bytes_unexplained"}


@pytest.mark.parametrize("keep", [699, 512, 400, 291, 290])
def test_a_tail_cut_back_behind_the_checkpoint_is_found(log, keep):
    """The verdict says how many records are missing and where the journal ends."""
    edit(log, 290, lambda lines, at: lines.__delitem__(slice(keep - 290, None)))
    verdict = verify_log(log, KEY)
    assert verdict.first_bad.index == keep
    assert verdict.first_bad.kind == "records_missing"
    assert f"{700 - keep} records are missing" in verdict.first_bad.text


def test_a_removed_segment_is_found(log):
    """The first, one in the middle, the last, all."""
    for index in (0, 100, 290):
        path = segment_of(log, index)
        away = path.rename(log / "away")
        verdict = verify_log(log, KEY)
        assert not verdict.whole
        assert verdict.first_bad.index == index
        away.rename(path)
    for path in list((log / "journal").iterdir()):
        path.unlink()
    assert verify_log(log, KEY).first_bad.index == 0


def test_a_log_taken_back_to_an_earlier_state_is_found_by_its_tiles(log, tmp_path):
    """An old checkpoint put back, the journal cut to it: the tiles still cover what was there."""
    old = tmp_path / "old"
    asyncio.run(write(old, 0, 290))
    (log / "checkpoint").write_bytes((old / "checkpoint").read_bytes())
    segment_of(log, 290).unlink()
    verdict = verify_log(log, KEY)
    assert kinds(verdict) == {"records_missing"}
    assert "its tiles hold 700" in verdict.first_bad.text


def test_a_checkpoint_that_is_gone_or_signed_by_another_key_is_found(log):
    """Nothing signed, signed by somebody else, for another log, or not a checkpoint."""
    good = (log / "checkpoint").read_bytes()
    genuine = note.open_checkpoint(good, KEY)
    (log / "checkpoint").unlink()
    assert kinds(verify_log(log, KEY)) == {"checkpoint_missing"}
    for bad in (
        note.sign_checkpoint(genuine, b"o" * 32),
        note.sign_checkpoint(note.Checkpoint("example.com/other", 700, genuine.root), SEED),
        good.replace(b"700", b"699"),
        b"",
    ):
        (log / "checkpoint").write_bytes(bad)
        assert "checkpoint_invalid" in kinds(verify_log(log, KEY))


def test_a_genuine_checkpoint_of_another_history_is_found(log, tmp_path):
    """Signed by the right key over other records: the records do not give that root."""
    (log / "checkpoint").write_bytes(note.sign_checkpoint(note.Checkpoint(ORIGIN, 700, bytes(32)), SEED))
    verdict = verify_log(log, KEY)
    assert kinds(verdict) == {"root_differs"}


def test_a_log_rewritten_with_all_its_tiles_is_found_by_the_checkpoint(log, tmp_path):
    """Journal, bundles and tiles made anew around an altered record agree with one another, not with the signature."""

    async def forge():
        forged = await open_audit_log(
            tmp_path / "forged", ORIGIN, "n", b"o" * 32, clock=Clock(), checkpoint_interval_s=3600
        )
        for n in range(700):
            forged.append(record(n) if n != 300 else record(12345))
        await forged.close()

    asyncio.run(forge())
    shutil.rmtree(log / "tile")
    shutil.copytree(tmp_path / "forged/tile", log / "tile")
    edit(log, 300, lambda lines, at: lines.__setitem__(at, record(12345) + b"\n"))
    verdict = verify_log(log, KEY)
    assert kinds(verdict) == {"root_differs"}


@pytest.mark.parametrize(
    "path",
    ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/188"],
)
def test_altered_and_missing_tiles_and_bundles_are_found(log, path):
    """Each byte position class of each kind of file: the journal's root is the signed one, so the file is the bad one."""
    good = (log / path).read_bytes()
    assert verify_log(log, KEY).whole
    for at in (0, 1, len(good) // 2, len(good) - 1):
        (log / path).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        verdict = verify_log(log, KEY)
        assert kinds(verdict) == {"bundle_altered" if "entries" in path else "tile_altered"}
        assert path in verdict.problems[0].text
    for bad in (good[:-1], good + b"x", b""):
        (log / path).write_bytes(bad)
        assert not verify_log(log, KEY).whole
    (log / path).unlink()
    assert kinds(verify_log(log, KEY)) == {"bundle_missing" if "entries" in path else "tile_missing"}


def test_a_line_that_is_no_record_is_found_although_signed(tmp_path):
    """What decodes to no record, or is not in its one exact form, is told even when the writer signed it."""

    async def odd():
        log = await opened(tmp_path / "log")
        log.append(record(0))
        log.append(b'{"v": 1}')
        log.append(record(1).replace(b'"v":1,', b'"v": 1,'))
        log.append(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
        await log.close()

    asyncio.run(odd())
    verdict = verify_log(tmp_path / "log", KEY)
    assert [(p.kind, p.index) for p in verdict.problems] == [("record_malformed", n) for n in (1, 2, 3)]


async def append_at(directory, *times):
    """Records of requests that began (s) and took (s)."""
    log = await opened(directory)
    for began, took in times:
        log.append(record(began, duration_ms=took * 1000.0))
    await log.close()


def test_a_clock_that_was_set_back_is_a_note_only(tmp_path):
    """Clocks are set back in honest lives."""
    asyncio.run(append_at(tmp_path / "log", (5000, 1), (1400, 1), (1401, 1)))
    verdict = verify_log(tmp_path / "log", KEY)
    assert verdict.whole
    assert verdict.notes == ("the clock was set back by 3600 s before record 1",)


def test_requests_that_end_in_another_order_than_they_began_are_no_note(tmp_path):
    """A record's time is when its request began: a slow request's stands behind those of later ones."""
    asyncio.run(append_at(tmp_path / "log", (100, 1), (160, 0), (40, 121), (162, 0), (158, 1)))
    verdict = verify_log(tmp_path / "log", KEY)
    assert (verdict.whole, verdict.notes) == (True, ())


def test_an_absurd_duration_is_read_like_any_other(tmp_path):
    """No number that a record can hold ends the reading."""
    asyncio.run(append_at(tmp_path / "log", (1, 1e300), (2, 0)))
    (text,) = verify_log(tmp_path / "log", KEY).notes
    assert "before record 1" in text


def test_gaps_and_what_they_explain_are_notes(log):
    """A torn end, recovered: whole, and the gap is told."""
    with segment_of(log, 699).open("ab") as file:
        file.write(b'{"torn')
    verdict = verify_log(log, KEY)
    assert verdict.whole
    assert "being written, or was torn" in verdict.notes[0]
    asyncio.run(write(log, 700, 702))
    verdict = verify_log(log, KEY)
    assert verdict.whole
    assert verdict.notes[0] == "record 700 tells of a gap: torn_end, 6 bytes were cut"
    assert verdict.records == 703


class FailingFiles(PosixFiles):
    """The second write to the first segment fails half-way, and so does cutting it back."""

    def create(self, path):
        file = super().create(path)
        if path.endswith("0.jsonl"):
            write = file.write

            def failing(data):
                if b'"status"' in data and self.size(path):
                    write(data[: len(data) // 2])
                    raise OSError(5, "Input/output error")
                write(data)

            file.write = failing
        return file

    def truncate(self, path, size):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("told", [True, False])
async def test_the_remains_of_a_failed_commit_are_explained_by_its_gap(tmp_path, told):
    """Bytes behind a segment's last record are a note where a gap record tells of that segment, a problem otherwise."""
    log = await open_log(FailingFiles(tmp_path / "log"), ORIGIN, "n", SEED, Clock(), Options())
    await log.append(record(0))
    with pytest.raises(AuditUnavailable):
        await log.append(record(1))
    await log.append(record(2))
    await log.close()
    if not told:
        edit(tmp_path / "log", 1, lambda lines, at: lines.__setitem__(at, lines[at].replace(b"0.jsonl", b"7.jsonl")))
    verdict = verify_log(tmp_path / "log", KEY)
    assert verdict.whole == told
    assert verdict.records == 3
    if told:
        assert any("bytes of a commit that failed" in text for text in verdict.notes)
        assert len(c2sp.check_log(tmp_path / "log", note.encode_vkey(KEY))) == 3
    else:
        assert {"bytes_unexplained", "record_altered"} <= kinds(verdict)


def test_records_past_the_checkpoint_are_told(log):
    """They are there, and no signature covers them."""
    with segment_of(log, 699).open("ab") as file:
        file.write(record(700) + b"\n")
    verdict = verify_log(log, KEY)
    assert verdict.whole
    assert verdict.notes == ("1 records are not under a checkpoint yet: no signature covers them",)


def test_a_monstrous_line_does_not_take_the_memory(log):
    """A line without end is told as no record."""
    with segment_of(log, 699).open("ab") as file:
        file.write(b"x" * 5_000_000 + b"\n")
    verdict = verify_log(log, KEY)
    assert verdict.first_bad.kind == "record_malformed"
    assert verdict.first_bad.index == 700


def test_a_segment_named_absurdly_far_ahead_ends_the_reading(log):
    """A name that would mean millions of missing records is told, not counted out."""
    (log / "journal/99999999999999999999.jsonl").write_bytes(b"")
    verdict = verify_log(log, KEY)
    assert verdict.first_bad.index == 700
    assert verdict.first_bad.kind == "records_missing"


async def test_a_growing_log_is_verified_while_it_is_written(tmp_path):
    """Publication and deletion of partial tiles meanwhile are not mistaken for tampering."""
    log = await opened(tmp_path / "log", checkpoint_interval_s=0.002, commit_interval_ms=1)
    stop = False

    async def load(offset):
        n = offset
        while not stop:
            await log.append(record(n))
            n += 1

    tasks = [asyncio.create_task(load(n * 1000)) for n in range(4)]
    try:
        for _ in range(25):
            verdict = await asyncio.to_thread(verify_log, tmp_path / "log", KEY)
            assert verdict.whole, verdict.problems
    finally:
        stop = True
        await asyncio.gather(*tasks)
        await log.close()
    assert verify_log(tmp_path / "log", KEY).whole


def people(count):
    return (
        audit_record.Group(
            ("/data/id",), ("user.unique_id",), "third_party", "grant", tuple(f"{n:022}" for n in range(count))
        ),
    )


@pytest.fixture
async def divided(tmp_path):
    """Ten records and one in parts; the lines of the long one."""
    directory = tmp_path / "log"
    await write(directory, 0, 10)
    long = audit_record.lines(msgspec.structs.replace(audit_record.decode(record(10)), disclosed=people(10_000)))
    log = await opened(directory)
    log.append(*long)
    await log.close()
    return directory, long


async def test_a_record_in_parts_is_whole_and_shown_as_one(divided):
    """``verify`` has nothing to say about it; ``tail`` shows one row, ``--json`` the lines; ``prove`` each part."""
    directory, long = divided
    await write(directory, 11, 13)
    verdict = verify_log(directory, KEY)
    assert verdict.whole
    assert verdict.notes == ()
    assert verdict.records == 12 + len(long)
    c2sp.check_log(directory, vkey_path(directory).read_text())
    cli = CliRunner()
    shown = cli.invoke(log_app, ["tail", "--dir", str(directory), "-n", "3"])
    rows = shown.output.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["10", str(10 + len(long)), str(11 + len(long))]
    assert rows[0].split()[-2:] == ["10000t", "–"]
    exact = cli.invoke(log_app, ["tail", "--dir", str(directory), "-n", "3", "--json"]).stdout_bytes
    assert exact.splitlines()[: len(long)] == list(long)
    for number in (10, 9 + len(long)):
        assert cli.invoke(log_app, ["prove", str(number), "--dir", str(directory)]).exit_code == 0
    by_id = cli.invoke(log_app, ["prove", audit_record.decode(long[0]).id, "--dir", str(directory)])
    assert by_id.exit_code == 2
    assert f"in {len(long)} parts, from number 10 on" in by_id.output


async def test_a_crash_between_parts_is_a_gap_and_no_whole_record(divided):
    """Behind a crash the parts there are stay in the log; verify notes the gap that names the record, tail says incomplete."""
    directory, long = divided
    segment = directory / "journal" / f"{0:020}.jsonl"
    crashed = directory.parent / "crashed"
    await write(crashed, 0, 10)
    shutil.copy(directory.with_name("log.vkey"), directory.with_name("crashed.vkey"))
    (crashed / "journal" / segment.name).write_bytes(segment.read_bytes()[: -len(long[-1]) // 2])
    open_end = verify_log(crashed, KEY)
    assert open_end.whole
    assert any("the next one is being written, or was lost" in text for text in open_end.notes)
    await write(crashed, 11, 12)
    verdict = verify_log(crashed, KEY)
    assert verdict.whole
    assert (
        f"of record {audit_record.decode(long[0]).id} {len(long) - 1} of {len(long)} parts are there"
        in verdict.notes[0]
    )
    rows = CliRunner().invoke(log_app, ["tail", "--dir", str(crashed), "-n", "3"]).output.splitlines()[1:]
    assert f"(INCOMPLETE: {len(long) - 1} of {len(long)} parts)" in rows[0]
    assert "gap" in rows[1]


@pytest.mark.parametrize("lost", [0, 1, -1])
async def test_a_part_that_nobody_tells_of_is_a_problem(tmp_path, lost):
    """A writer that left out a part, and signed that, is found."""
    long = audit_record.lines(msgspec.structs.replace(audit_record.decode(record(10)), disclosed=people(10_000)))
    directory = tmp_path / "log"
    log = await opened(directory)
    for line in long:
        if line != long[lost]:
            log.append(line)
    log.append(record(11))
    await log.close()
    verdict = verify_log(directory, KEY)
    assert {problem.kind for problem in verdict.problems} == {"record_incomplete"}
    assert verdict.first_bad.record_id == audit_record.decode(long[0]).id
