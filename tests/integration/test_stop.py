"""SIGTERM to ``audit-proxy serve`` with requests in flight."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import aiohttp

from tests.simulator.people import document
from tests.simulator.proxy import ProxyProcess, proxy_process
from tests.simulator.recording import UNTIL_GONE

ANN = {"id": "1", "name": "nameof1"}
IN_FLIGHT = 20
BLOB = bytes(range(256)) * 1024 * 128  # 32 MiB: more than sockets hold


async def stopped_listening(proxy: ProxyProcess) -> None:
    """Waits until a new connection is refused."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
                writer.close()
                await asyncio.sleep(0.01)


async def verified(folder: Path) -> tuple[int, str]:
    """What ``audit-proxy log verify`` says of the log: its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "audit_proxy", "log", "verify", "-c", folder / "audit-proxy.yaml"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_every_request_in_flight_is_answered_and_recorded(tmp_path, upstream) -> None:
    """No new connection is taken; judged requests that the platform is slow to answer and a download that its reader is
    slow to take end well; then the process exits with 0 and the log holds every answer's record and verifies.
    """
    answers = asyncio.Event()

    async def slow(_request):
        await answers.wait()
        data = json.dumps(ANN).encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data

    upstream.reply("/me", pieces=slow)
    upstream.reply("/blob", body=BLOB)
    async with proxy_process(tmp_path, upstream.url, document()) as proxy:
        token = proxy.token()
        idle = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
        async with aiohttp.ClientSession() as reading:
            headers = {"Authorization": f"Bearer {token}"}
            download = await reading.get(f"{proxy.url}/blob", headers=headers)
            asked = [asyncio.create_task(proxy.get("/me", token)) for _ in range(IN_FLIGHT)]
            while len(upstream.requests) < IN_FLIGHT + 1:
                await asyncio.sleep(0.01)
            proxy.process.send_signal(signal.SIGTERM)
            await stopped_listening(proxy)
            assert not any(one.done() for one in asked)
            answers.set()
            got = await asyncio.gather(*asked)
            assert await download.read() == BLOB
        async with asyncio.timeout(20):
            assert await proxy.process.wait() == 0
        idle[1].close()
        assert [(status, json.loads(body)) for status, _, body in got] == [(200, ANN)] * IN_FLIGHT
        assert all(headers["Connection"] == "close" for _, headers, _ in got)
        ids = {headers["X-Audit-Id"] for _, headers, _ in got} | {download.headers["X-Audit-Id"]}
        assert {one.id for one in proxy.records()} == ids
        assert len(ids) == IN_FLIGHT + 1
    code, text = await verified(tmp_path)
    assert code == 0, text


async def test_when_the_drain_runs_out_what_is_left_is_cut(tmp_path, upstream) -> None:
    """The exit code tells that requests were lost; those got no answer, rather than half of one without a record; what
    had been answered is on record, and the log verifies.
    """
    upstream.reply("/me", body=ANN)
    upstream.reply("/posts", pieces=[UNTIL_GONE])
    async with proxy_process(tmp_path, upstream.url, document(), exits=1, data={"drain_s": 0.2}) as proxy:
        _, headers, _ = await proxy.get("/me", proxy.token())
        asked = [asyncio.create_task(proxy.get("/posts", proxy.token())) for _ in range(3)]
        while len(upstream.requests) < 4:
            await asyncio.sleep(0.01)
        proxy.process.send_signal(signal.SIGTERM)
        lost = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, aiohttp.ClientConnectionError) for one in lost)
        async with asyncio.timeout(20):
            assert await proxy.process.wait() == 1
        assert [one.id for one in proxy.records()] == [headers["X-Audit-Id"]]
        assert b'"drained":false' in proxy.output
        assert b"Traceback" not in proxy.output
    code, text = await verified(tmp_path)
    assert code == 0, text
