"""Apps that are slow on purpose: in sending, in taking, in doing nothing; and everybody else meanwhile."""

import asyncio
import contextlib
import resource
import socket
from pathlib import Path

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import Proxy, proxy_process, running_proxy
from tests.simulator.raw import head, say
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1"}
TIMEOUT_S = 1.0
HANGS_S = 30.0  # after that a test fails instead of hanging
BLOB = 32 * 1024 * 1024


@pytest.fixture
async def upstream():
    async with RecordingUpstream(keep_bodies=False) as up:
        up.reply("/me", body=ANN)
        up.reply("/blob", body=bytes(BLOB), method="GET")
        up.reply("/blob", body=b"stored", method="PUT")
        yield up


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    data = {"app_timeout_s": TIMEOUT_S}
    async with running_proxy(tmp_path, upstream.url, document(), data=data) as running:
        yield running


async def _others_are_served(proxy: Proxy) -> None:
    assert (await say(proxy.running.data_port, head("GET /me HTTP/1.1", proxy.token()))).statuses == (200,)


async def _cut(proxy: Proxy, reason: str, times: int) -> None:
    """Waits until so many connections were cut for that reason."""
    line = f'audit_proxy_denials_total{{app="other",reason="{reason}"}} {float(times)}'.encode()
    async with asyncio.timeout(HANGS_S):
        while line not in (await proxy.admin("GET", "/metrics"))[1]:
            await asyncio.sleep(0.1)


async def _drip(port: int, begun: bytes, drop: bytes) -> int:
    """Sends a drop at a time until the connection ends; how many bytes went."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = len(begun)
    writer.write(begun)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(HANGS_S):
            while not reader.at_eof():
                writer.write(drop)
                await writer.drain()
                sent += len(drop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.05 if len(drop) < 10 else 0.0005)
    writer.close()
    return sent


async def test_a_head_that_drips_is_cut(proxy, upstream) -> None:
    """On a new connection and on one that was served before, however steadily it drips."""
    port = proxy.running.data_port
    served = head("GET /me HTTP/1.1", proxy.token(), closing=False)
    begun = b"GET /me HTTP/1.1\r\nX-A: "
    slow = asyncio.gather(_drip(port, begun, b"a"), _drip(port, served + begun, b"a"))
    await _others_are_served(proxy)
    await slow
    await _cut(proxy, "app_too_slow", 2)
    assert len(upstream.requests) == 2


async def test_a_body_that_drips_is_cut(proxy) -> None:
    """Where it is judged, and where it passes unjudged."""
    port, token = proxy.running.data_port, proxy.token(scope="read write")
    fields = ("Content-Type: application/json", "Content-Length: 100000")
    heads = [head(f"{line} HTTP/1.1", token, *fields) for line in ("POST /posts", "PUT /blob")]
    slow = asyncio.gather(*[_drip(port, one, b" ") for one in heads])
    await _others_are_served(proxy)
    await slow
    await _cut(proxy, "app_too_slow", 2)


async def test_a_body_that_moves_is_not_cut(proxy, upstream) -> None:
    """It takes several times the limit as a whole, and comes on steadily."""
    piece = bytes(64 * 1024)
    line = head("PUT /blob HTTP/1.1", proxy.token(), f"Content-Length: {30 * len(piece)}")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    writer.write(line)
    for _ in range(30):
        writer.write(piece)
        await asyncio.sleep(TIMEOUT_S / 10)
    assert (await asyncio.wait_for(reader.read(), HANGS_S)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert upstream.requests[0].body_bytes == 30 * len(piece)


async def test_an_answer_that_nobody_takes_is_cut(proxy) -> None:
    """The app reads nothing; nobody else waits for it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", proxy.running.data_port))
    await loop.sock_sendall(connection, head("GET /blob HTTP/1.1", proxy.token()))
    await _others_are_served(proxy)
    await _cut(proxy, "app_too_slow", 1)
    connection.close()


async def test_a_head_without_end_is_cut(proxy, upstream) -> None:
    """Fast as it comes, in many fields or in one: memory stays bounded by the head's limit."""
    port = proxy.running.data_port
    for drop in (b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000):
        sent = await _drip(port, b"GET /me HTTP/1.1\r\nX-A: ", drop)
        assert sent < 16 * 1024 * 1024  # what the system's buffers hold is sent as well
    assert upstream.requests == []
    await _others_are_served(proxy)


def _open_files(number: int) -> None:
    """Lets this process, and those it starts, have so many files open, or skips the test."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"needs {number} open files, the system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


async def test_idle_connections_starve_nobody(proxy) -> None:
    """Some have said nothing, some have begun a head; everybody else is served, and those that began are cut."""
    number = 200
    async with contextlib.AsyncExitStack() as stack:
        for one in range(number):
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
            stack.callback(writer.close)
            if one % 2:
                writer.write(b"GET /me HTTP/1.1\r\n")
        await _others_are_served(proxy)
        await _cut(proxy, "app_too_slow", number // 2)
        await _others_are_served(proxy)


async def test_thousands_of_idle_connections_take_little_memory(tmp_path, upstream) -> None:
    """5,000 in all, of which every fifth was served before: at most 32 KiB each, and everybody else is served."""
    number, most = 5_000, 32 * 1024
    _open_files(2 * number + 500)
    async with proxy_process(tmp_path, upstream.url, document()) as proxy, contextlib.AsyncExitStack() as stack:
        await _others_are_served(proxy)
        before = proxy.memory()
        loop = asyncio.get_running_loop()
        request = head("GET /me HTTP/1.1", proxy.token(), closing=False)
        for one in range(number):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", proxy.running.data_port))
            if one % 5 == 0:
                await loop.sock_sendall(connection, request)
                assert (await loop.sock_recv(connection, 65536)).startswith(b"HTTP/1.1 200")
        await _others_are_served(proxy)
        assert f"audit_proxy_connections {number}".encode() in (await proxy.admin("GET", "/metrics"))[1]
        taken = (proxy.memory() - before) / number
        assert taken < most, f"{taken:.0f} bytes a connection"
