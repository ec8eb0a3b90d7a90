"""The running proxy while its disk is full, read-only, broken or hanging: nothing is disclosed without its record, health
checks tell, and it is back at work by itself when the disk is."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time

import pytest

from audit_proxy.adapters.clock_system import SystemClock
from audit_proxy.core.errors import LogUnusable
from audit_proxy.wiring.log import read_vkey, verify_log, vkey_path
from tests.simulator.disk import with_faults
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy, serving
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1", "email": "1@example.org"}
RAW = b'{ "id":"1",\n "name":"nameof1" }'  # bytes that no encoder here would write
FAULTS = ["full", "read-only", "broken", "fdatasync fails", "hanging"]


def put(disk, fault):
    match fault:
        case "full":
            disk.break_("ENOSPC", "create", "put", "write", "make_directory")
        case "read-only":
            disk.break_("EROFS")
        case "broken":
            disk.break_("EIO")
        case "fdatasync fails":
            disk.break_("EIO", "sync")
        case "hanging":
            disk.hang()


async def until(proxy, path, status):
    """Asks a health check until it gives this status."""
    while (await proxy.admin("GET", path))[0] != status:
        await asyncio.sleep(0.05)


async def until_served(proxy, path):
    while (answer := await proxy.get(path, proxy.token()))[0] != 200:
        await asyncio.sleep(0.05)
    return answer


def gaps(proxy):
    return [record.detail for record in proxy.records("gap")]


def whole(folder):
    verdict = verify_log(folder / "log", read_vkey(vkey_path(folder / "log")))
    assert verdict.whole, verdict.problems
    return verdict


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/people/1", body=ANN)
        yield up


@pytest.mark.parametrize("fault", FAULTS)
async def test_enforce_discloses_nothing_and_heals(tmp_path, upstream, monkeypatch, fault):
    """503 ``audit_unavailable`` without a byte of the platform's; alive, not ready; then ready and served, without a restart."""
    disk = with_faults(monkeypatch)
    async with running_proxy(tmp_path, upstream.url, document(), audit={"commit_timeout_s": 0.3}) as proxy:
        assert (await proxy.get("/people/1", proxy.token()))[0] == 200
        await until(proxy, "/readyz", 200)
        put(disk, fault)
        for answer in await asyncio.gather(*(proxy.get("/people/1", proxy.token()) for _ in range(5))):
            status, headers, body = answer
            assert status == 503
            assert json.loads(body)["reason"] == "audit_unavailable"
            told = repr(headers) + body.decode()
            assert "nameof1" not in told
            assert "1@example.org" not in told
            assert str(tmp_path) not in told
        assert (await proxy.admin("GET", "/livez"))[0] == 200
        await until(proxy, "/readyz", 503)
        assert (await proxy.get("/people/1", proxy.token()))[0] == 503
        disk.heal()
        await until(proxy, "/readyz", 200)
        assert json.loads((await until_served(proxy, "/people/1"))[2]) == ANN
        assert gaps(proxy)
        assert sum(gap["records"] for gap in gaps(proxy)) >= 1
    assert disk.used_after_a_failed_sync == []
    whole(tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
async def test_monitor_passes_and_tells_what_it_could_not_record(tmp_path, upstream, monkeypatch, fault):
    """Every byte is the platform's; ``fail_open_total`` counts; the gap is recorded once the disk is back, traffic or not."""
    disk = with_faults(monkeypatch)
    upstream.reply("/people/1", headers={"Content-Type": "application/json", "X-Odd": "1"}, body=RAW)
    settings = {"policy": "mode: monitor\n", "audit": {"commit_timeout_s": 0.3}}
    async with running_proxy(tmp_path, upstream.url, document(), **settings) as proxy:
        before = await proxy.get("/people/1", proxy.token())
        put(disk, fault)
        answers = await asyncio.gather(*(proxy.get("/people/1", proxy.token()) for _ in range(5)))
        for status, headers, body in [before, *answers]:
            assert (status, body, headers["X-Odd"]) == (200, RAW, "1")
            assert set(headers) == set(before[1])
        _, metrics = await proxy.admin("GET", "/metrics")
        assert b'audit_proxy_fail_open_total{where="audit"} 5.0' in metrics
        await until(proxy, "/readyz", 503)
        more = await proxy.get("/people/1", proxy.token())
        assert (more[0], more[2]) == (200, RAW)
        disk.heal()
        await until(proxy, "/readyz", 200)
        while not gaps(proxy):
            await asyncio.sleep(0.05)
        # a hanging disk may have taken records after all whose time was up
        assert 1 <= sum(gap["records"] for gap in gaps(proxy)) <= 6
        assert len(proxy.records()) + sum(gap["records"] for gap in gaps(proxy)) == 7
    assert disk.used_after_a_failed_sync == []
    whole(tmp_path)


async def test_an_outage_that_lasts_until_the_end_is_told_if_the_disk_is_back_by_then(tmp_path, upstream, monkeypatch):
    """The gap is written while the proxy stops."""
    disk = with_faults(monkeypatch)
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        disk.break_("EIO", "sync")
        assert (await proxy.get("/people/1", proxy.token()))[0] == 503
        disk.heal()
    assert sum(gap["records"] for gap in gaps(proxy)) == 1
    whole(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own, where the log will stand."""
    place = tmp_path / "log"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "audit-proxy-test", str(place)]
    made = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    if made is None or made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip() if made else 'there is no mount'}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_disk_that_is_really_full(small_disk, tmp_path, upstream):
    """Another file takes all of a small file system: 503 until it is gone; all that was answered is in the log, which is whole."""
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        answered = [(await proxy.get("/people/1", proxy.token()))[1]["X-Audit-Id"] for _ in range(3)]
        hog = small_disk / "hog"
        with contextlib.suppress(OSError), hog.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        while True:  # the page at the journal's end has room for some records more
            status, headers, body = await proxy.get("/people/1", proxy.token())
            if status == 503:
                break
            answered.append(headers["X-Audit-Id"])
        assert json.loads(body)["reason"] == "audit_unavailable"
        await until(proxy, "/readyz", 503)
        assert (await proxy.admin("GET", "/livez"))[0] == 200
        hog.unlink()
        _, headers, _ = await until_served(proxy, "/people/1")
        answered.append(headers["X-Audit-Id"])
        await until(proxy, "/readyz", 200)
    assert {record.id for record in proxy.records()} >= set(answered)
    assert gaps(proxy)
    whole(tmp_path)


async def test_a_start_on_a_read_only_mount_is_refused(small_disk, tmp_path, upstream):
    """With the reason, before anything is served."""
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        await proxy.get("/people/1", proxy.token())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        async with serving(proxy.folder, proxy.key, proxy.admin_token):
            pass


async def test_a_second_process_on_the_same_log_is_refused(tmp_path, upstream):
    """It says why; the first serves on, and its log stays whole."""
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        with pytest.raises(LogUnusable, match="another process writes to this audit log"):
            async with serving(proxy.folder, proxy.key, proxy.admin_token):
                pass
        assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    assert len(proxy.records()) == 1
    whole(tmp_path)


@pytest.mark.parametrize("jump", [-86_400.0 * 365, 86_400.0 * 365])
async def test_a_clock_that_jumps_breaks_neither_ids_nor_order(tmp_path, upstream, monkeypatch, jump):
    """Ids stay unique, records stand in the order in which they were answered; ``verify`` notes a clock that was set back."""
    ahead = [0.0]
    monkeypatch.setattr(SystemClock, "now", lambda _self: time.time() + ahead[0])
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        answered = []
        for turn in range(6):
            ahead[0] = jump if turn % 2 else 0.0
            token = proxy.token(exp=4_000_000_000)
            status, headers, _ = await proxy.get("/people/1", token)
            assert status == 200
            answered.append(headers["X-Audit-Id"])
            await until(proxy, "/readyz", 200)
    assert [record.id for record in proxy.records()] == answered
    assert len(set(answered)) == 6
    (note,) = whole(tmp_path).notes
    assert "the clock was set back" in note
