"""``audit-proxy catalog``: reviews, and what a real proxy's log tells of the catalog's gaps."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from audit_proxy.cli.app import app
from tests.simulator.people import document
from tests.simulator.proxy import configure, running_proxy

ANN = {"id": "1", "name": "ann", "nick": "annie", "score": "high", "secret-7": "x"}
OVERLAY = 'overlay: 1.0.0\ninfo: {title: O, version: "1"}\nactions:\n  - target: $.info\n    update: {title: T}\n'


def run(folder: Path, *arguments: str, code: int = 0, columns: int = 200) -> Result:
    """``audit-proxy catalog …`` on what stands in a folder."""
    with contextlib.chdir(folder):
        line = ["catalog", arguments[0], "-c", "audit-proxy.yaml", *arguments[1:]]
        done = CliRunner().invoke(app, line, env={"AUDIT_PROXY_CONFIG": None, "COLUMNS": str(columns)})
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code == code, done.output
    return done


def facts(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    return json.loads(run(folder, "status", "--json", *arguments, code=code).stdout)


def gaps(folder: Path, *arguments: str) -> dict[tuple[str | None, str], tuple[str, int, dict[str, int]]]:
    found = facts(folder, *arguments)["traffic"]["gaps"]
    return {(one["operation"], one["what"]): (one["effect"], one["exchanges"], one["apps"]) for one in found}


def platform() -> dict[str, Any]:
    """The tests' platform with a field that nobody has classified."""
    made = document()
    made["components"]["schemas"]["Person"]["properties"]["nick"] = {"type": "string"}
    return made


@pytest.fixture
def vendor(tmp_path):
    """A configuration in front of a platform that nobody has reviewed."""
    (tmp_path / "overlay.yaml").write_text(OVERLAY)
    (tmp_path / "vendor.json").write_text(json.dumps(platform()))
    configure(tmp_path, "http://127.0.0.1:9", {}, platform={"openapi": "vendor.json", "overlay": "overlay.yaml"})
    return tmp_path


async def test_what_a_real_proxys_log_says_of_gaps(tmp_path, upstream) -> None:
    """Dropped, passed, and refused for want of a description: by operation, field and app; read while the proxy runs."""
    upstream.reply("/me", body=ANN)
    upstream.reply("/people/1", body=ANN)
    upstream.reply("/posts", 418, body={"teapot": True})
    upstream.reply(
        "/export", 200, {"Content-Type": "application/x-ndjson"}, b'{"id":"1","new":1}\n{"id":"1","new":2}\n'
    )
    policy = "mode: enforce\noperations:\n  getPerson: {unclassified: pass}\n"
    async with running_proxy(tmp_path, upstream.url, platform(), policy=policy) as proxy:
        token = proxy.token()
        assert json.loads((await proxy.get("/me", token))[2]) == {"id": "1", "name": "ann"}
        await proxy.get("/me", token)
        assert json.loads((await proxy.get("/people/1", token))[2]) == ANN
        assert (await proxy.get("/posts", token))[0] == 418
        await proxy.get("/export", token)
        await proxy.get("/me?unheard=of", token)
        await proxy.get("/nowhere", token)
        assert gaps(tmp_path) == {
            ("getMe", "Person.?"): ("dropped", 2, {"quiz": 2}),
            ("getMe", "Person.nick"): ("dropped", 2, {"quiz": 2}),
            ("getMe", "Person.score"): ("dropped", 2, {"quiz": 2}),
            ("getPerson", "Person.?"): ("passed", 1, {"quiz": 1}),
            ("getPerson", "Person.score"): ("passed", 1, {"quiz": 1}),
            ("getPerson", "Person.nick"): ("passed", 1, {"quiz": 1}),
            ("listPosts", "response_not_described (status 418)"): ("refused", 1, {"quiz": 1}),
            ("export", "Person.?"): ("dropped", 1, {"quiz": 1}),
            ("getMe", "parameter_not_described"): ("refused", 1, {"quiz": 1}),
            (None, "operation_not_described"): ("refused", 1, {"quiz": 1}),
        }
        assert gaps(tmp_path, "--operation", "listPosts").keys() == {
            ("listPosts", "response_not_described (status 418)")
        }
        assert gaps(tmp_path, "--since", "2999-01-01") == {}
    shown = run(tmp_path, "status").stdout
    assert "Person.nick" in shown
    assert "Person.score (of another type)" in shown
    assert "secret-7" not in shown + proxy.everything_written().decode("utf-8", "replace")


async def test_in_monitor_it_says_what_enforce_would_have_done(tmp_path, upstream) -> None:
    """The record's ``would`` names what is unclassified, whoever it is about."""
    upstream.reply("/me", body=ANN)
    upstream.reply("/people/3", body={**ANN, "id": "3"})
    upstream.reply("/posts", 418, body={"teapot": True})
    async with running_proxy(tmp_path, upstream.url, platform(), policy="mode: monitor\n") as proxy:
        for path in ("/me", "/people/3", "/posts"):
            await proxy.get(path, proxy.token())
    assert gaps(tmp_path) == {
        (operation, what): (effect, 1, {"quiz": 1})
        for operation, what, effect in (
            ("getMe", "Person.?", "would drop"),
            ("getMe", "Person.nick", "would drop"),
            ("getMe", "Person.score", "would drop"),
            ("getPerson", "Person.?", "would drop"),
            ("getPerson", "Person.nick", "would drop"),
            ("listPosts", "response_not_described (status 418)", "would refuse"),
        )
    }


async def test_enforcing_what_nobody_reviewed_is_counted_and_recorded(tmp_path, upstream) -> None:
    """Where the named setting permits it, each record and a metric say so; reviewed operations and monitor do not count."""
    upstream.reply("/me", body={"id": "1"})
    upstream.reply("/export", 200, {"Content-Type": "application/x-ndjson"}, b'{"id":"1"}\n')
    (tmp_path / "vendor.json").write_text(json.dumps(platform()))
    policy = "unsafe_enforce_unreviewed: true\noperations: {getPerson: {mode: monitor}}\n"
    async with running_proxy(tmp_path, upstream.url, {}, policy=policy, platform={"openapi": "vendor.json"}) as proxy:
        await proxy.get("/me", proxy.token())
        await proxy.get("/export", proxy.token())
        await proxy.get("/people/1", proxy.token())
        metrics = (await proxy.admin("GET", "/metrics"))[1].decode()
    me, *stream, person = proxy.records()
    assert me.counts["unreviewed"] == 1
    assert [one.phase for one in stream] == ["chunk", None]
    assert [one.counts.get("unreviewed") for one in stream] == [None, 1]
    assert "unreviewed" not in person.counts
    assert 'audit_proxy_fail_open_total{where="unreviewed"} 2.0' in metrics
    shown = run(tmp_path, "status", code=1).stdout
    assert "ENFORCED ALL THE SAME" in shown


def test_from_unreviewed_to_reviewed_to_stale(vendor) -> None:
    """As an operator goes: status says what to do, review writes it, the vendor changes a component, status says so."""
    before = facts(vendor, code=1)
    names = [one["operation"] for one in before["operations"]]
    assert before["refused_at_start"] == names
    assert {one["state"] for one in before["operations"]} == {"unreviewed"}
    assert "No log yet" in run(vendor, "status", code=1).stdout
    printed = run(vendor, "review", "getMe", "--by", "Ada")
    assert printed.stdout.startswith("  - { target: ")
    assert (vendor / "overlay.yaml").read_text() == OVERLAY
    run(vendor, "review", *names, "--by", "Ada", "--at", "2026-11-25", "--write")
    after = facts(vendor)
    assert after["refused_at_start"] == []
    (me,) = (one for one in after["operations"] if one["operation"] == "getMe")
    assert (me["state"], me["modes"], me["scopes"], me["unclassified"]) == (
        "reviewed", ["enforce"], [["read"]], ["Person.nick"],
    )  # fmt: skip
    assert [(one["of"], one["by"], one["at"]) for one in me["reviews"]] == [("getMe", "Ada", "2026-11-25")]
    changed = platform()
    changed["components"]["schemas"]["Person"]["properties"]["phone"] = {"type": "string"}
    (vendor / "vendor.json").write_text(json.dumps(changed))
    stale = facts(vendor, code=1)["refused_at_start"]
    assert {"getMe", "listFriends", "export"} < set(stale)
    assert "status" not in stale
    shown = run(vendor, "status", code=1, columns=80).stdout
    assert "stale 2026-11-25" in shown
    assert max(map(len, shown.splitlines())) <= 80
    one = run(vendor, "status", "--operation", "getMe", code=1).stdout
    assert "Person.phone" in one
    assert "user.contact.email" in one
    assert run(vendor, "status", "--operation", "status").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("status", "--operation", "getMee"), "the catalog has no operation 'getMee'"),
        (("status", "--since", "yesterday"), "--since must be like 30m, 12h, 7d, 2w, or a date"),
        (("status", "--dir", "nowhere"), "nowhere is no directory"),
        (("review", "getMee", "--by", "Ada"), "did you mean 'getMe'?"),
        (("review", "getMe", "--by", ""), "--by must be a printable text"),
    ],
)
def test_wrong_use_says_what_to_do(vendor, arguments, what) -> None:
    done = run(vendor, *arguments, code=2)
    assert what in done.stderr
    assert done.stdout == ""


def test_without_an_overlay_nothing_is_written(vendor) -> None:
    config = vendor / "audit-proxy.yaml"
    config.write_text(config.read_text().replace("  overlay: overlay.yaml\n", ""))
    assert "names no file" in run(vendor, "review", "getMe", "--by", "Ada", "--write", code=2).stderr
    assert run(vendor, "review", "getMe", "--by", "Ada").stdout.startswith("overlay: 1.0.0\n")
