"""``log roster``: made, signed and compared from the command line, with the logs of real proxies."""

import asyncio
import base64
import json
import shutil

import pytest
from typer.testing import CliRunner

from audit_proxy.cli.log import log_app
from audit_proxy.core.merkle import note
from audit_proxy.wiring.log import read_vkey
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream


def run(*arguments):
    return CliRunner().invoke(log_app, ["roster", *map(str, arguments)])


async def serve(folder, upstream, node, requests):
    folder.mkdir()
    (folder / "kept").touch()
    audit = {
        "origin": node,
        "checkpoints": {"push_every_s": 60, "targets": [{"name": "vault", "file": "kept"}]},
    }
    async with running_proxy(folder, upstream.url, document(), audit=audit) as proxy:
        for _ in range(requests):
            assert (await proxy.get("/people/1", proxy.token()))[0] == 200


async def _made(folder):
    async with RecordingUpstream() as upstream:
        upstream.reply("/people/1", body={"id": "1", "name": "n", "email": "e", "score": 1.5})
        await serve(folder / "a", upstream, "audit-proxy/node-a", 3)
        await serve(folder / "b", upstream, "audit-proxy/node-b", 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two nodes' folders after some traffic, and a key for rosters."""
    folder = tmp_path_factory.mktemp("made")
    asyncio.run(_made(folder))
    assert run("key", folder / "roster.key", "--name", "example.com/roster").exit_code == 0
    return folder


@pytest.fixture
def nodes(made, tmp_path):
    return shutil.copytree(made, tmp_path / "nodes")


def signed(nodes, *more, origins=("a", "b")):
    given = [part for one in origins for part in ("--origins", nodes / one / "log.vkey")]
    done = run("sign", "--key", nodes / "roster.key", "-o", nodes / "roster", *given, *more)
    assert done.exit_code == 0, done.output
    return done


def verify(nodes, *logs, more=()):
    trusted = ("--roster", nodes / "roster", "--vkey", nodes / "roster.key.vkey")
    return run("verify", *(nodes / one / "log" for one in logs), *trusted, *more)


def problems(done):
    assert done.exit_code == 1, done.output
    return [(one["kind"], one["origin"]) for one in json.loads(done.stdout)["problems"]]


def test_logs_that_are_all_there(nodes):
    """Exit code 0, each with its size; the roster is a text people can read."""
    signed(nodes, "--against", nodes / "a/kept", "--against", nodes / "b/kept")
    first, *lines = note.open_note((nodes / "roster").read_bytes(), read_vkey(nodes / "roster.key.vkey")).splitlines()
    assert first == "audit-proxy/roster/v1"
    assert lines == [(nodes / one / "log.vkey").read_text().strip() + f" {size}" for one, size in (("a", 3), ("b", 2))]
    done = verify(nodes, "a", "b")
    assert done.exit_code == 0
    assert "audit-proxy/node-b: 2 records under its checkpoint" in done.stdout
    told = json.loads(verify(nodes, "a", "b", more=["--json"]).stdout)
    assert told == {
        "whole": True,
        "roster": "example.com/roster",
        "logs": {"audit-proxy/node-a": 3, "audit-proxy/node-b": 2},
        "problems": [],
    }


def test_a_whole_log_that_is_gone_is_missed(nodes):
    """Its directory not given, emptied, or gone; what it had is said where it is known."""
    signed(nodes, "--against", nodes / "a/kept", "--against", nodes / "b/kept")
    assert problems(verify(nodes, "a", more=["--json"])) == [("log_missing", "audit-proxy/node-b")]
    shutil.rmtree(nodes / "b/log")
    expected = [("checkpoint_missing", None), ("log_missing", "audit-proxy/node-b")]
    assert problems(verify(nodes, "a", "b", more=["--json"])) == expected
    (nodes / "b/log").mkdir()
    done = verify(nodes, "a", "b")
    assert done.exit_code == 1
    assert "log_missing: audit-proxy/node-b: no directory holds a checkpoint of it" in done.stdout
    assert "it had 2 records" in done.stdout


def test_a_log_that_nobody_listed_is_found(nodes):
    """In a directory, or by the checkpoints that it pushed."""
    signed(nodes, origins="a")
    assert problems(verify(nodes, "a", "b", more=["--json"])) == [("audit_unlisted", "audit-proxy/node-b")]
    done = verify(nodes, "a", more=["--against", nodes / "b/kept", "--json"])
    assert problems(done) == [("audit_unlisted", "audit-proxy/node-b")]
    signed(nodes, "--add-to", nodes / "roster", origins="b")
    assert verify(nodes, "a", "b").exit_code == 0


def test_a_log_cut_back_and_signed_anew_is_found(nodes):
    """By the size on the roster, or by checkpoints that were pushed since."""
    seed = base64.b64decode((nodes / "a/signing.key").read_text())
    shorter = note.sign_checkpoint(note.Checkpoint("audit-proxy/node-a", 1, bytes(32)), seed)
    signed(nodes, "--against", nodes / "a/kept")
    (nodes / "a/log/checkpoint").write_bytes(shorter)
    assert problems(verify(nodes, "a", "b", more=["--json"])) == [("tail_cut_back", "audit-proxy/node-a")]
    signed(nodes)
    assert verify(nodes, "a", "b").exit_code == 0
    done = verify(nodes, "a", "b", more=["--against", nodes / "a/kept", "--json"])
    assert problems(done) == [("tail_cut_back", "audit-proxy/node-a")]


def test_a_roster_by_another_key_is_none(nodes):
    """Exit code 1, also for one that was altered by a byte."""
    signed(nodes)
    whole = (nodes / "roster").read_bytes()
    for altered in (whole.replace(b"node-b+", b"node-c+"), whole.replace(b"v1", b"v2", 1), b"", whole[:-2]):
        (nodes / "roster").write_bytes(altered)
        done = verify(nodes, "a", "b")
        assert (done.exit_code, "does not hold" in done.stderr) == (1, True)
    (nodes / "roster").write_bytes(whole)
    other = ("--roster", nodes / "roster", "--vkey", nodes / "a/log.vkey")
    assert run("verify", nodes / "a/log", nodes / "b/log", *other).exit_code == 1


def test_the_key_is_its_owner_s_alone(nodes):
    """Mode 0600, never overwritten, used only where nobody else can read it."""
    path = nodes / "roster.key"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert run("key", path, "--name", "example.com/roster").exit_code == 2
    assert path.read_bytes() == before
    assert run("key", nodes / "other.key", "--name", "a b").exit_code == 2
    path.chmod(0o644)
    done = run("sign", "--key", path, "-o", nodes / "roster", "--origins", nodes / "a/log.vkey")
    assert (done.exit_code, "chmod 600" in done.stderr) == (2, True)
    assert not (nodes / "roster").exists()


def test_wrong_use_is_told(nodes):
    """Nothing is signed then: no log, one log with two keys, strange checkpoints, files that are not there."""
    sign = ("sign", "--key", nodes / "roster.key", "-o", nodes / "roster")
    forged = nodes / "forged.vkey"
    forged.write_text(note.encode_vkey(note.verifier_key("audit-proxy/node-a", b"x" * 32)))
    (nodes / "empty").touch()
    given = ("--origins", nodes / "a/log.vkey")
    for arguments, told in (
        ((), "at least one log"),
        ((*given, "--origins", forged), "two keys"),
        ((*given, "--against", nodes / "b/kept"), "kept checkpoints name audit-proxy/node-b"),
        (("--origins", forged, "--against", nodes / "a/kept"), "(unknown_key)"),
        ((*given, "--against", nodes / "empty"), "holds no checkpoint"),
        ((*given, "--add-to", nodes / "nowhere"), "nowhere"),
        (("--origins", nodes / "nowhere"), "nowhere"),
    ):
        done = run(*sign, *arguments)
        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
        assert not (nodes / "roster").exists()
    (nodes / "roster.key.vkey").write_text(forged.read_text())
    done = run(*sign, *given)
    assert (done.exit_code, "does not belong to" in done.stderr) == (2, True)


def test_wrong_use_of_verify_is_told(nodes):
    """A key or a roster that is not there, a file without checkpoints, no directory: exit code 2."""
    signed(nodes)
    (nodes / "empty").touch()
    key = ("--vkey", nodes / "roster.key.vkey")
    for arguments in (
        (nodes / "a/log", "--roster", nodes / "nowhere", *key),
        (nodes / "a/log", "--roster", nodes / "roster", "--vkey", nodes / "nowhere"),
        (nodes / "a/log", "--roster", nodes / "roster", *key, "--against", nodes / "empty"),
        ("--roster", nodes / "roster", *key),
    ):
        assert run("verify", *arguments).exit_code == 2
