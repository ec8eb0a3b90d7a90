"""``audit-proxy log tail|verify|prove``, on a log that the real writer made."""

import asyncio
import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from audit_proxy.cli.log import log_app
from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, proof, tree
from tests.integration import c2sp
from tests.integration.test_log_verify import KEY, SEED, edit, record, write

CONFIG = """\
upstream: {{url: "http://127.0.0.1:1"}}
platform: {{openapi: openapi.yaml}}
identity:
  issuers: [{{issuer: i, audience: a, algorithms: [RS256], jwks_file: jwks.json}}]
audit:
  directory: log
  origin: {origin}
  signing_key: {{file: absent.key}}
  pseudonym_key: {{file: absent.key}}
"""


@pytest.fixture
def place(tmp_path):
    asyncio.run(write(tmp_path / "log", 0, 300))
    (tmp_path / "audit-proxy.yaml").write_text(CONFIG.format(origin=KEY.name))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(log_app, [str(a) for a in arguments])


def config(place):
    return ["-c", place / "audit-proxy.yaml"]


def test_tail_shows_the_last_records(place):
    """Number, time, app, operation, decision and how many people, in columns that line up."""
    result = run("tail", *config(place), "-n", 3)
    assert result.exit_code == 0, result.output
    head, *rows = result.output.splitlines()
    assert head.split() == ["#", "TIME", "(UTC)", "APP", "OPERATION", "DECISION", "DISCLOSED", "WITHHELD"]
    assert [row.split()[0] for row in rows] == ["297", "298", "299"]
    for row in rows:
        for title, cell in (
            ("TIME", "2027-01-15"),
            ("APP", "quiz"),
            ("OPERATION", "listFriends"),
            ("DECISION", "redact"),
        ):
            assert row.index(cell) == head.index(title)
        assert row[head.index("DISCLOSED") :].split() == ["2t", "–"]


def test_tail_json_prints_the_exact_bytes(place):
    """One record a line, as stored."""
    result = run("tail", *config(place), "-n", 2, "--json")
    assert result.stdout_bytes == record(298) + b"\n" + record(299) + b"\n"
    assert run("tail", *config(place), "-n", 0, "--json").stdout_bytes == b""


def test_tail_does_not_let_a_record_steer_the_terminal(place):
    """Control characters in a record are shown as replacement characters, and markup as text."""
    evil = audit_record.decode(record(0)).__class__(
        v=1, id="x", ts=audit_record.timestamp(0), node="n", kind="access", app="\x1b[31m[red]", operation="a\nb"
    )
    edit(place / "log", 299, lambda lines, at: lines.__setitem__(at, audit_record.encode(evil) + b"\n"))
    result = run("tail", *config(place), "-n", 1)
    assert "\x1b" not in result.output
    assert "[31m[red]" in result.output
    assert len(result.output.splitlines()) == 2


def test_tail_shows_a_line_that_is_no_record(place):
    """It says so instead of ending."""
    edit(place / "log", 299, lambda lines, at: lines.__setitem__(at, b"{}\n"))
    assert "no audit record" in run("tail", *config(place), "-n", 1).output


def test_tail_follow_shows_what_comes(place):
    """Records that are written meanwhile, across a new segment, each once."""
    command = [sys.executable, "-c", "from audit_proxy.cli.log import log_app; log_app()", "tail", "-f", "--json"]
    process = subprocess.Popen([*command, "-n", "1", "--dir", place / "log"], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == record(299) + b"\n"
        asyncio.run(write(place / "log", 300, 330, segment_bytes=1))
        asyncio.run(write(place / "log", 330, 340, segment_bytes=1))
        assert [process.stdout.readline() for _ in range(40)] == [record(n) + b"\n" for n in range(300, 340)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_verify_needs_no_private_key(place):
    """The configured keys do not exist; the log is whole, exit code 0."""
    result = run("verify", *config(place))
    assert result.exit_code == 0, result.output
    assert "is whole: 300 records, 300 under the signed checkpoint" in result.output


def test_verify_without_a_configuration(place):
    """A directory and a verifier key are enough."""
    vkey = place / "log.vkey"
    assert run("verify", "--dir", place / "log", "--vkey", vkey).exit_code == 0
    assert run("verify", "--dir", place / "log").exit_code == 0


def test_verify_names_the_first_bad_record(place):
    """Exit code 1; number, file and line, id; the same as JSON."""
    forged = record(123).replace(b"redact", b"allow")
    where = edit(place / "log", 123, lambda lines, at: lines.__setitem__(at, forged + b"\n"))
    result = run("verify", *config(place))
    assert result.exit_code == 1
    record_id = audit_record.decode(forged).id
    assert f"NOT WHOLE: the first bad record is number 123 ({where}), id {record_id}" in result.output
    result = run("verify", *config(place), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["whole"] is False
    assert told["first_bad"]["index"] == 123
    assert told["first_bad"]["place"] == where
    assert told["first_bad"]["id"] == record_id


def test_verify_json_of_a_whole_log(place):
    """The facts, and exit code 0."""
    result = run("verify", *config(place), "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["whole"], told["records"], told["signed"], told["problems"], told["first_bad"]) == (
        True,
        300,
        300,
        [],
        None,
    )
    assert re.fullmatch("[0-9a-f]{64}", told["root"])


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / "log.vkey").unlink(),
        lambda p: (p / "log.vkey").write_text("nonsense"),
        lambda p: (p / "audit-proxy.yaml").write_text("nonsense: 1"),
        lambda p: (p / "audit-proxy.yaml").write_text(CONFIG.format(origin="example.com/other")),
        lambda p: (p / "log").rename(p / "elsewhere"),
    ],
)
def test_verify_that_cannot_answer_exits_2(place, change):
    """A missing or malformed key, a wrong configuration, no log: neither yes nor no."""
    change(place)
    result = run("verify", *config(place))
    assert result.exit_code == 2, result.output


def test_a_vkey_of_another_log_says_no(place):
    """The checkpoint does not hold under it: exit code 1."""
    other = place / "other.vkey"
    other.write_text(note.encode_vkey(note.verifier_key(KEY.name, b"o" * 32)) + "\n")
    result = run("verify", *config(place), "--vkey", other)
    assert result.exit_code == 1
    assert "checkpoint_invalid" in result.output


@pytest.mark.parametrize("which", ["index", "id"])
@pytest.mark.parametrize("index", [0, 255, 256, 299])
def test_prove_makes_a_tlog_proof(place, which, index):
    """By number or id; a program that knows only the specifications accepts it for that record and no other."""
    name = str(index) if which == "index" else audit_record.decode(record(index)).id
    result = run("prove", name, *config(place), "-o", place / "p.tlog-proof", "--record", place / "r.json")
    assert result.exit_code == 0, result.output
    text, vkey = (place / "p.tlog-proof").read_bytes(), (place / "log.vkey").read_text()
    assert (place / "r.json").read_bytes() == record(index)
    assert c2sp.check_proof(text, record(index), vkey) == (index, 300)
    with pytest.raises(AssertionError):
        c2sp.check_proof(text, record(index + 1), vkey)
    assert run("prove", name, *config(place)).stdout_bytes == text


@pytest.mark.parametrize("old", [0, 1, 256, 299, 300])
def test_prove_consistency(place, old):
    """The older tree is shown to begin the newer, in the form in which witnesses take it."""
    result = run("prove", "--consistency", old, *config(place))
    assert result.exit_code == 0, result.output
    made = proof.parse_consistency(result.stdout_bytes)
    old_root = tree.root(old, tree.subtrees_of([tree.leaf_hash(record(n)) for n in range(old)]))
    assert proof.check_consistency(made, old_root, KEY).size == 300


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["300"], 1),
        (["no-such-id"], 1),
        (["--consistency", "301"], 1),
        ([], 2),
        (["1", "--consistency", "1"], 2),
    ],
)
def test_prove_says_no_or_what_is_wrong(place, arguments, code):
    """A record that is not there is a no; a question that is none is wrong use."""
    assert run("prove", *arguments, *config(place)).exit_code == code


def test_prove_does_not_prove_an_altered_record(place):
    """The proof is checked before it is given."""
    edit(place / "log", 7, lambda lines, at: lines.__setitem__(at, record(9999) + b"\n"))
    result = run("prove", "7", *config(place), "-o", place / "p")
    assert result.exit_code == 1
    assert not (place / "p").exists()
    tile = place / "log/tile/0/000"
    tile.write_bytes(bytes(8192))
    assert run("prove", "8", *config(place)).exit_code == 1
    assert run("prove", "--consistency", "5", *config(place)).exit_code == 1


def test_a_record_behind_the_checkpoint_cannot_be_proved_yet(place):
    """It says so, and what the checkpoint covers."""
    (path,) = (place / "log/journal").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(record(300) + b"\n")
    result = run("prove", "300", *config(place))
    assert result.exit_code == 1
    assert "not under the checkpoint yet, which covers 300 records" in result.output


def test_a_key_of_the_configured_seed_is_the_one_beside_the_log(place):
    """What ``open_audit_log`` wrote is the key of the seed it was given."""
    assert (place / "log.vkey").read_text() == note.encode_vkey(note.verifier_key(KEY.name, SEED)) + "\n"


def test_help_teaches():
    """Each command says what it does and what its exit code means."""
    for command, word in (("tail", "third parties"), ("verify", "Exit code 1"), ("prove", "tlog-proof")):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert word in " ".join(result.output.replace("│", " ").split())
