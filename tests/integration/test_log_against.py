"""``log verify --against``: a history that was rewritten with the log's own key is found by what left the machine before."""

import asyncio
import base64
import json
import shutil
import time

import msgspec
import pytest
from typer.testing import CliRunner

from audit_proxy.cli.log import log_app
from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note
from audit_proxy.wiring.log import LogReader, NothingKept, open_audit_log, read_kept, read_vkey, verify_log, vkey_path
from tests.integration.test_log_verify import KEY, ORIGIN, SEED, edit, opened, record, write
from tests.integration.test_log_years import COUNT, START, fill, retaining
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy


def verify(log, *files, **options):
    against = [part for path in files for part in ("--against", str(path))]
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
    return CliRunner().invoke(log_app, ["verify", "--dir", str(log), *against, *flags])


def problems(done):
    assert done.exit_code == 1, done.output
    return {one["kind"]: one for one in json.loads(done.stdout)["problems"]}


class Clock:
    def now(self):
        return time.time()


async def forge(folder, lines):
    """What whoever has the log and its key can do: these records as a log that is whole in itself."""
    seed = base64.b64decode((folder / "signing.key").read_text())
    key = read_vkey(vkey_path(folder / "log"))
    shutil.rmtree(folder / "log")
    log = await open_audit_log(folder / "log", key.name, key.name, seed, clock=Clock(), segment_s=1e12)
    for line in lines:
        log.append(line)
    await log.close()


@pytest.fixture
async def served(tmp_path, upstream):
    """The folder of a proxy that answered ten requests, and pushed checkpoints to a file elsewhere."""
    upstream.reply("/people/1", body={"id": "1", "name": "n", "email": "e", "score": 1.5})
    (tmp_path / "kept").touch()
    settings = {
        "checkpoint_interval_s": 0.01,
        "checkpoints": {"push_every_s": 0.02, "targets": [{"name": "vault", "file": "kept"}]},
    }
    async with running_proxy(tmp_path, upstream.url, document(), audit=settings) as proxy:
        for _ in range(10):
            assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    return tmp_path


@pytest.mark.parametrize("left", [0, 1, 9])
async def test_a_tail_cut_back_and_signed_anew_is_found(served, left):
    """Alone the log is whole; the pushed checkpoints say that it was longer, and by how much."""
    assert verify(served / "log", served / "kept").exit_code == 0
    await forge(served, [line for _, line in LogReader(served / "log").records()][:left])
    assert verify(served / "log").exit_code == 0
    found = problems(verify(served / "log", served / "kept", json=True))
    assert f"{10 - left} records were cut off its end" in found["tail_cut_back"]["text"]
    assert set(found) == {"tail_cut_back"}
    shown = verify(served / "log", served / "kept")
    assert (shown.exit_code, "NOT WHOLE" in shown.stdout) == (1, True)


@pytest.mark.parametrize("changed", [0, 4, 9])
async def test_a_record_replaced_or_left_out_and_signed_anew_is_found(served, changed):
    """A proxy that goes on with the forged log, longer than before, changes nothing about that."""
    lines = [line for _, line in LogReader(served / "log").records()]
    forged = audit_record.encode(msgspec.structs.replace(audit_record.decode(lines[changed]), app="somebody-else"))
    for history in (
        [*lines[:changed], forged, *lines[changed + 1 :], *lines[:3]],
        [*lines[:changed], *lines[changed + 1 :], *lines[:3]],
    ):
        await forge(served, history)
        assert verify(served / "log").exit_code == 0
        assert set(problems(verify(served / "log", served / "kept", json=True))) == {"history_rewritten"}


async def test_the_key_replaced_too_is_found(served):
    """With the key that stands beside the log, which the attacker made, the checkpoints are by an unknown one."""
    lines = [line for _, line in LogReader(served / "log").records()]
    (served / "signing.key").write_text(base64.b64encode(b"x" * 32).decode())
    await forge(served, lines[:5])
    assert verify(served / "log").exit_code == 0
    assert "unknown_key" in problems(verify(served / "log", served / "kept", json=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log of 600 records, and the checkpoints over 100, 300 and 600 that were kept elsewhere."""
    folder = tmp_path_factory.mktemp("made")
    for start, stop in ((0, 100), (100, 300), (300, 600)):
        asyncio.run(write(folder / "log", start, stop))
        with (folder / "kept").open("ab") as file:
            file.write((folder / "log/checkpoint").read_bytes())
    return folder


@pytest.fixture
def place(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def checkpoint(size, seed=SEED, origin=ORIGIN, root=bytes(32)):
    return note.sign_checkpoint(note.Checkpoint(origin, size, root), seed)


def test_a_log_that_continues_them_all_is_whole(place):
    """One file or several, one checkpoint or many; the log may have grown. JSON says what was compared."""
    asyncio.run(write(place / "log", 600, 650))
    done = verify(place / "log", place / "kept")
    assert done.exit_code == 0
    assert "continues all 3 checkpoints kept elsewhere, the newest over 600 records" in done.stdout
    told = json.loads(verify(place / "log", place / "log/checkpoint", place / "kept", json=True).stdout)
    assert told["against"] == {"checkpoints": 4, "newest": 650, "other_origins": {}, "damaged": 0}
    assert json.loads(verify(place / "log", json=True).stdout)["against"] is None


async def rewrite(directory, count, changed=None):
    shutil.rmtree(directory)
    log = await opened(directory)
    for n in range(count):
        log.append(record(n if n != changed else 10_000 + n))
    await log.close()


@pytest.mark.parametrize(
    ("changed", "between", "more"), [(5, "0 to 99", 2), (150, "100 to 299", 1), (599, "300 to 599", 0)]
)
def test_the_first_contradiction_says_where_to_look(place, changed, between, more):
    """Between the last checkpoint that fits and the first that does not; how many more do not."""
    asyncio.run(rewrite(place / "log", 650, changed))
    text = problems(verify(place / "log", place / "kept", json=True))["history_rewritten"]["text"]
    assert f"one of the records {between} is not what it was" in text
    assert (f"nor do {more} more" in text) == (more > 0)


def test_both_at_once(place):
    """Cut back, and what is left altered."""
    asyncio.run(rewrite(place / "log", 400, 200))
    assert set(problems(verify(place / "log", place / "kept", json=True))) == {"tail_cut_back", "history_rewritten"}


def test_two_histories_signed_over_one_size_are_found(place):
    """Only one of them can be the log's."""
    with (place / "kept").open("ab") as file:
        file.write(checkpoint(300))
    assert set(problems(verify(place / "log", place / "kept", json=True))) == {"history_rewritten"}


def test_a_record_altered_without_the_key_is_not_called_a_rewriting(place):
    """The tiles still give what was published: the record is named, as ever."""
    edit(place / "log", 50, lambda lines, at: lines.__setitem__(at, record(10_050) + b"\n"))
    found = problems(verify(place / "log", place / "kept", json=True))
    assert "record_altered" in found
    assert "history_rewritten" not in found


async def test_retention_is_no_contradiction(tmp_path):
    """Checkpoints over fewer records than the log begins with are compared by the tiles that stay."""
    log = await fill(tmp_path / "log", 0, 50)
    await log.close()
    early = (tmp_path / "log/checkpoint").read_bytes()
    log = await fill(tmp_path / "log", 50, COUNT)
    middle = (tmp_path / "log/checkpoint").read_bytes()
    assert await retaining(log, tmp_path / "log").prune(START + 400, "operator") is not None
    await log.close()
    (tmp_path / "kept").write_bytes(early + middle)
    done = verify(tmp_path / "log", tmp_path / "kept")
    assert done.exit_code == 0, done.output
    assert "retention removed those before" in done.stdout
    (tmp_path / "kept").write_bytes(early + checkpoint(60) + middle)
    assert set(problems(verify(tmp_path / "log", tmp_path / "kept", json=True))) == {"history_rewritten"}


async def test_a_log_that_grows_meanwhile_is_not_taken_for_one_that_was_cut(tmp_path):
    """Whatever was kept before the reading began is in the log by then."""
    log = await opened(tmp_path / "log", checkpoint_interval_s=0.002, commit_interval_ms=1)
    stop = False

    async def load():
        n = 0
        while not stop:
            await log.append(record(n))
            n += 1

    def compare():
        with (tmp_path / "kept").open("ab") as file:
            file.write((tmp_path / "log/checkpoint").read_bytes())
        return verify_log(tmp_path / "log", KEY, against=read_kept([tmp_path / "kept"], KEY))

    task = asyncio.create_task(load())
    try:
        for _ in range(15):
            verdict = await asyncio.to_thread(compare)
            assert verdict.whole, verdict.problems
    finally:
        stop = True
        await task
        await log.close()


def test_what_is_not_the_log_s_own_is_counted_and_named(place):
    """Another log's checkpoints and damaged entries are notes; what claims to be the log's and is not is a problem."""
    other = checkpoint(5, origin="example.com/other")
    whole = (place / "kept").read_bytes()
    (place / "kept").write_bytes(other + whole + b"torn\n\n" + other + whole)
    done = verify(place / "log", place / "kept")
    assert done.exit_code == 0
    assert "note: the files hold 2 checkpoints of another log too, example.com/other" in done.stdout
    assert "note: the files hold 1 entries that are no checkpoint" in done.stdout
    told = json.loads(verify(place / "log", place / "kept", json=True).stdout)["against"]
    assert told == {"checkpoints": 3, "newest": 600, "other_origins": {"example.com/other": 2}, "damaged": 1}
    (place / "kept").write_bytes(whole + whole.replace(b"\n600\n", b"\n500\n"))
    assert problems(verify(place / "log", place / "kept", json=True))["kept_altered"]["place"] == f"{place / 'kept'}:26"
    (place / "kept").write_bytes(whole + checkpoint(700, b"o" * 32) * 3)
    assert "(and 2 more)" in problems(verify(place / "log", place / "kept", json=True))["unknown_key"]["text"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "nothing at all"),
        (b"\n\n\n", "nothing at all"),
        (b"no checkpoint\n", "nothing readable"),
        (checkpoint(5)[:-3], "nothing readable"),
        (checkpoint(5, origin="example.com/other"), "example.com/other"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_evidence_is_wrong_use(place, content, told):
    """Exit code 2, never "fine"; beside a sound one too."""
    if content is not None:
        (place / "none").write_bytes(content)
    for files in ([place / "none"], [place / "kept", place / "none"]):
        done = verify(place / "log", *files)
        assert done.exit_code == 2
        assert told in done.stderr
        assert str(place / "none") in done.stderr


def test_a_directory_is_no_file(place):
    """Wrong use as well."""
    assert verify(place / "log", place).exit_code == 2


def test_a_file_of_another_log_alone_says_whose_it_holds(place):
    """By name, to see that the wrong file was given."""
    (place / "none").write_bytes(checkpoint(5, origin="example.com/other"))
    with pytest.raises(NothingKept, match=r"holds no checkpoint of example\.com/verified, but example\.com/other"):
        read_kept([place / "none"], KEY)
