"""The order of system calls, seen from outside the process: the record, its ``fdatasync``, and only then the answer."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream

REQUESTS = 5
_CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<fd>\d+)(?P<rest>.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>.*= (?P<result>-?\d+)")


def strace_or_skip():
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed (apt-get install strace; .ci/run does)")
    tried = subprocess.run([found, "-f", "-e", "trace=fdatasync", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace cannot trace here: {tried.stderr.strip()}")
    return found


def events(trace: str) -> list[tuple[str, str]]:
    """What happened, in order: ("record", line), ("synced", file descriptor), ("sent", bytes)."""
    found, syncing = [], {}
    for line in trace.splitlines():
        resumed = _RESUMED.match(line)
        if resumed is not None:
            if resumed["name"] == "fdatasync" and resumed["result"] == "0":
                found.append(("synced", syncing.pop(resumed["pid"])))
            continue
        call = _CALL.match(line)
        if call is None:
            continue
        if call["name"] == "fdatasync":
            if "unfinished" in call["rest"]:
                syncing[line.split()[0]] = call["fd"]
            elif call["rest"].endswith("= 0"):
                found.append(("synced", call["fd"]))
        elif r"{\"v\":1,\"id\"" in call["rest"]:
            found.append(("record", call["fd"] + " " + call["rest"]))
        elif "HTTP/1.1 200" in call["rest"]:
            found.append(("sent", call["rest"]))
    return found


async def served(folder, command, ask):
    """Runs a proxy in a process of its own and asks it."""
    ports = folder / "ports.json"
    process = await asyncio.create_subprocess_exec(
        *command, "--ports-file", str(ports), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while not ports.exists() or not ports.read_text():
            assert process.returncode is None, "the proxy ended"
            await asyncio.sleep(0.05)
        return await ask(json.loads(ports.read_text())["data"])
    finally:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        await process.wait()


async def test_fdatasync_returns_before_the_answer_is_sent(tmp_path):
    """For every answer: a write of its record, an ``fdatasync`` of that file that returned 0, then the bytes on the socket."""
    strace = strace_or_skip()
    async with RecordingUpstream() as upstream:
        upstream.reply("/people/1", body={"id": "1", "name": "nameof1"})
        async with running_proxy(tmp_path, upstream.url, document()) as proxy:
            token = proxy.token()
        trace = tmp_path / "trace"
        traced = "trace=fdatasync,write,writev,send,sendto,sendmsg,pwrite64"
        command = [strace, "-f", "-qq", "-s", "65536", "-e", traced, "-e", "signal=none", "-o", str(trace)]
        command += [sys.executable, "-m", "audit_proxy", "serve", "-c", str(tmp_path / "audit-proxy.yaml")]

        async def ask(port):
            ids = []
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
                for _ in range(REQUESTS):
                    async with session.get(f"http://127.0.0.1:{port}/people/1") as answer:
                        assert answer.status == 200
                        ids.append(answer.headers["X-Audit-Id"])
            return ids

        ids = await served(tmp_path, command, ask)
    happened = events(trace.read_text())
    for audit_id in ids:
        mine = [n for n, (_, text) in enumerate(happened) if audit_id in text]
        recorded = next(n for n in mine if happened[n][0] == "record")
        sent = next(n for n in mine if happened[n][0] == "sent")
        descriptor = happened[recorded][1].split()[0]
        assert ("synced", descriptor) in happened[recorded:sent], happened[recorded:sent]


def test_the_reading_of_a_trace_tells_a_wrong_order():
    """A sync that failed, of another file, or unfinished when the answer left is none."""
    record = '1 write(7, "{\\"v\\":1,\\"id\\":\\"a\\"}\\n", 19) = 19'
    sent = '2 write(9, "HTTP/1.1 200 OK a", 17) = 17'
    kinds = lambda *lines: [kind for kind, _ in events("\n".join(lines))]  # noqa: E731
    assert kinds(record, "1 fdatasync(7) = 0", sent) == ["record", "synced", "sent"]
    assert kinds(record, "1 fdatasync(7) = -1 EIO (Input/output error)", sent) == ["record", "sent"]
    started, ended = "1 fdatasync(7 <unfinished ...>", "1 <... fdatasync resumed>) = 0"
    assert kinds(record, started, ended, sent) == ["record", "synced", "sent"]
    assert kinds(record, started, sent, ended) == ["record", "sent", "synced"]
