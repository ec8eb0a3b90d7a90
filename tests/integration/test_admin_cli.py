"""``audit-proxy consent`` against a running admin API."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from audit_proxy.cli.consent import consent_app
from tests.simulator.admin import admin_stage, token


@pytest.fixture
async def stage(tmp_path):
    async with admin_stage(tmp_path) as made:
        yield made


@pytest.fixture
def run(stage, tmp_path):
    """Runs the command as who; its exit code, standard output and standard error."""

    async def command(*arguments, who="ops", stdin=None, admin=stage.base):
        file = tmp_path / f"{who}.token"
        file.write_text(token(who) + "\n")
        more = ["--token-file", str(file), *(["--admin", admin] if admin else [])]
        result = await asyncio.to_thread(CliRunner().invoke, consent_app, [*arguments, *more], input=stdin)
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return command


def line(number):
    return json.dumps({"app": "quiz", "subject": f"person:{number}", "scopes": "likes", "purpose": "marketing"}) + "\n"


async def test_put_show_withdraw(run):
    """A grant is stored, shown, withdrawn; --json gives the API's facts."""
    pair = ("quiz", "person:a/b c%")
    code, out, _ = await run("put", *pair, "--scope", "likes", "--scope", "photos", "--purpose", "marketing")
    assert (code, out) == (0, "The grant is in force.\n")
    code, out, _ = await run("show", *pair)
    assert code == 0
    assert "likes photos" in out
    code, out, _ = await run("withdraw", "*", pair[1], "--json")
    assert code == 0
    assert set(json.loads(out)) == {"withdrawn_at"}
    code, out, _ = await run("show", *pair, "--json")
    assert json.loads(out)["withdrawn"] is True
    code, out, _ = await run("show", *pair)
    assert "Withdrawn from all apps" in out
    code, out, _ = await run("show", "quiz", "person:nobody")
    assert (code, out) == (0, "No grants.\n")


async def test_a_superseded_grant_is_exit_code_1(run):
    """The answer is no: 1."""
    await run("withdraw", "quiz", "person:1")
    arguments = ("put", "quiz", "person:1", "--scope", "likes", "--purpose", "marketing")
    code, _, err = await run(*arguments, "--granted-at", "2020-01-01T00:00:00Z")
    assert code == 1
    assert err.startswith("superseded:")


async def test_importing_a_file(run, stage, tmp_path):
    """All lines taken: 0. Some refused: 1, each told with its number. --json gives the whole summary."""
    file = tmp_path / "grants.ndjson"
    file.write_text("".join(map(line, range(3000))))
    code, out, _ = await run("import", str(file))
    assert (code, out.split(",")[0]) == (0, "3000 lines: 3000 taken")
    assert stage.store.loaded
    file.write_text(line(1) + "nonsense\n" + line(9999))
    code, out, err = await run("import", str(file))
    assert code == 1
    assert "line 2:" in err
    code, out, _ = await run("import", str(file), "--json")
    summary = json.loads(out)
    assert (code, summary["unchanged"], summary["refused"]) == (1, 2, 1)


async def test_importing_from_standard_input(run):
    """``-`` needs --format, and reads either."""
    code, out, _ = await run(
        "import", "-", "--format", "csv", stdin="app,subject,scopes,purpose\nquiz,person:1,likes,marketing\n"
    )
    assert (code, out.split(",")[0]) == (0, "2 lines: 1 taken")
    code, _, err = await run("import", "-", stdin=line(1))
    assert code == 2
    assert "--format" in err


async def test_many_refused_lines_are_told_to_a_bound(run, tmp_path):
    """A file of the wrong kind does not flood the terminal."""
    file = tmp_path / "wrong.jsonl"
    file.write_text("nonsense\n" * 5000)
    code, out, err = await run("import", str(file))
    assert code == 1
    assert "5000 refused" in out
    assert err.count("line ") < 30
    assert "does not count as loaded" in err


@pytest.mark.parametrize(("who", "expected"), [("grafana", "role_insufficient"), ("stranger", "token_invalid")])
async def test_a_token_that_may_not_is_exit_code_2(run, tmp_path, who, expected):
    """Refused tokens are told by reason, never shown; an import is refused although its body is large."""
    file = tmp_path / "grants.ndjson"
    file.write_text("".join(map(line, range(100_000))))
    for arguments in (("withdraw", "quiz", "person:1"), ("import", str(file))):
        code, out, err = await run(*arguments, who=who)
        assert code == 2
        assert expected in err
        assert token(who) not in out + err


async def test_wrong_use_is_exit_code_2(run, tmp_path, unused_tcp_port):
    """No such file, no listener, a listener that is something else, no token, no configuration."""
    code, _, err = await run("import", str(tmp_path / "nothing.csv"))
    assert (code, "nothing.csv" in err) == (2, True)
    code, _, err = await run("show", "quiz", "person:1", admin=f"http://127.0.0.1:{unused_tcp_port}")
    assert (code, "no answer of an admin API" in err) == (2, True)
    code, _, err = await run("show", "quiz", "person:1", admin="ftp://x")
    assert code == 2
    code, _, err = await run("show", "quiz", "person:1", "-c", str(tmp_path / "none.yaml"), admin=None)
    assert (code, "none.yaml" in err) == (2, True)
    code, _, err = await run("show", "quiz", "no-namespace")
    assert (code, err.startswith("statement_invalid:")) == (2, True)


async def test_a_withdrawal_that_was_not_recorded_says_to_repeat(run, stage):
    """With the log down: in force, exit code 2, and what to do."""
    stage.log.down = True
    code, _, err = await run("withdraw", "quiz", "person:1")
    assert code == 2
    assert "repeat the command" in err
    assert (await stage.store.standings("quiz", ["person:1"]))["person:1"].withdrawn
