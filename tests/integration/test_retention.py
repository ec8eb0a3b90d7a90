"""Retention in a running proxy: settings, admin API, command line; and what a rotation leaves of former epochs."""

import asyncio
import base64
import json
import time

import pytest
from typer.testing import CliRunner

from audit_proxy.adapters.clock_system import SystemClock
from audit_proxy.cli.log import log_app
from audit_proxy.core.errors import LogUnusable
from audit_proxy.core.record import Record, decode, encode, timestamp, uuid7
from audit_proxy.wiring.log import LogReader, open_audit_log, read_vkey, verify_log, vkey_path
from tests.integration import c2sp
from tests.simulator.admin import admin_stage
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy, serving
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1", "email": "1@example.org", "score": 1.5}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/people/1", body=ANN)
        yield up


def run(proxy, *arguments):
    token = proxy.folder / "admin.token"
    token.write_text(proxy.admin_token)
    more = ["--token-file", str(token), "--admin", proxy.admin_url]
    return asyncio.to_thread(CliRunner().invoke, log_app, [*arguments, *more])


def journal(proxy):
    return sorted(path.name for path in (proxy.folder / "log" / "journal").iterdir())


def verified(proxy):
    directory = proxy.folder / "log"
    verdict = verify_log(directory, read_vkey(vkey_path(directory)))
    assert verdict.whole, verdict.problems
    return verdict


async def test_sealed_segments_are_packed_by_the_running_proxy(tmp_path, upstream):
    """At the start, and every ten minutes: here at the second start."""
    async with running_proxy(tmp_path, upstream.url, document(), audit={"segment_bytes": 1500}) as proxy:
        for _ in range(12):
            assert (await proxy.get("/people/1", proxy.token()))[0] == 200
        await proxy.end()
    plain = journal(proxy)
    assert len(plain) > 3
    async with serving(proxy.folder, proxy.key, proxy.admin_token) as again:
        async with asyncio.timeout(10):
            while journal(again) != [*(f"{name}.zst" for name in plain[:-1]), plain[-1]]:
                await asyncio.sleep(0.02)
        assert (await again.get("/people/1", again.token()))[0] == 200
        await again.end()
    assert verified(again).records >= 13


async def test_the_command_tells_and_carries_out(tmp_path):
    """Dry run, then the removal, whose record is the call's; without a retention the answer says what to set."""
    async with admin_stage(tmp_path) as stage:
        stage.retention.would = 500
        async with stage.call("GET", "/v1/log/retention") as response:
            told = await response.json()
        assert told == {"retention_days": 30, "minimum_index": 0, "would_be": 500}
        async with stage.call("POST", "/v1/log/prune") as response:
            assert await response.json() == {"minimum_index": 500, "removed": 500}
            assert response.headers["X-Audit-Id"] == stage.log.records[-1].id
        assert stage.log.lines[-1] == ("log.prune", "ops", None)
        async with stage.call("POST", "/v1/log/prune") as response:
            assert await response.json() == {"minimum_index": 500, "removed": 0}
        stage.retention.error = LogUnusable("the journal is empty")
        for method, path in (("GET", "/v1/log/retention"), ("POST", "/v1/log/prune")):
            async with stage.call(method, path) as response:
                assert (response.status, (await response.json())["reason"]) == (503, "log_unusable")
        stage.retention.error = OSError(28, "No space left on device", "/secret/place")
        async with stage.call("POST", "/v1/log/prune") as response:
            text = await response.text()
        assert "No space left" in text
        assert "secret" not in text
        assert stage.log.lines[-1] == ("log.prune", "ops", "log_unusable")
    async with admin_stage(tmp_path, retention_s=None) as stage:
        async with stage.call("POST", "/v1/log/prune") as response:
            assert (response.status, (await response.json())["reason"]) == (409, "retention_unset")
        assert stage.log.lines == [("log.prune", "ops", "retention_unset")]


async def test_young_records_are_kept_whatever_is_asked(tmp_path, upstream):
    """How long is the configuration's alone: the command removes nothing that is a minute old."""
    settings = {"segment_bytes": 1500, "retention_days": 1}
    async with running_proxy(tmp_path, upstream.url, document(), audit=settings) as proxy:
        for _ in range(8):
            await proxy.get("/people/1", proxy.token())
        done = await run(proxy, "prune", "--dry-run")
        assert done.stdout == "0 records would be removed; the log would begin with record 0.\n"
        done = await run(proxy, "prune")
        assert done.stdout == "0 records were removed; the log begins with record 0.\n"
        assert json.loads((await run(proxy, "prune", "--json")).stdout) == {"minimum_index": 0, "removed": 0}
        await proxy.end()
    assert len(list(LogReader(proxy.folder / "log").records())) == 11
    assert verified(proxy)


async def test_without_a_retention_the_command_says_what_to_set(tmp_path, upstream):
    """Exit code 2."""
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        done = await run(proxy, "prune")
        assert (done.exit_code, done.stderr) == (2, "retention_unset: set audit.retention_days\n")


async def test_the_running_proxy_removes_old_records_by_itself(tmp_path, upstream):
    """Ten days of records, one day of retention: the old segments go, the log says so, verifies and goes on."""
    settings = {"segment_bytes": 1500, "retention_days": 1}
    async with running_proxy(tmp_path, upstream.url, document(), audit=settings) as proxy:
        await proxy.end()
    seed = base64.b64decode((tmp_path / "signing.key").read_text())
    now = time.time()
    log = await open_audit_log(
        tmp_path / "log", "audit-proxy/node-1", "n", seed, clock=SystemClock(), segment_bytes=1500, segment_s=1e9
    )
    for hour in range(240, 0, -1):
        await log.append(record(hour, now - hour * 3600))
    await log.close()
    async with serving(proxy.folder, proxy.key, proxy.admin_token) as again:
        reader = LogReader(again.folder / "log")
        async with asyncio.timeout(20):
            while not reader.minimum or min(journal(again)) < f"{reader.minimum:020d}":
                await asyncio.sleep(0.02)
        assert (await again.get("/people/1", again.token()))[0] == 200
        await again.end()
    assert 200 < reader.minimum <= 216
    kept = [decode(line) for _, line in reader.records()]
    (told,) = [one for one in kept if one.action == "log.prune"]
    assert (told.actor, told.target) == (None, {"minimum_index": reader.minimum, "former_minimum_index": 0})
    assert kept[-1].operation == "getPerson"
    verdict = verified(again)
    assert (verdict.first, verdict.records) == (reader.minimum, 242)
    assert len(c2sp.check_log(again.folder / "log", vkey_path(again.folder / "log").read_text(), reader.minimum)) == 242


def record(number, at):
    return encode(
        Record(v=1, id=uuid7(at, number.to_bytes(10, "big")), ts=timestamp(at), node="n", kind="access", app="x" * 200)
    )
