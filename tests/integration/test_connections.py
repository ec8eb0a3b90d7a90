"""``data.max_connections``: how many connections of apps there are, and who goes when there is one more."""

import asyncio
import contextlib
import json
import subprocess
import sys

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import proxy_process
from tests.simulator.recording import RecordingUpstream

LIMIT = 4
ANN = {"id": "1", "name": "nameof1"}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/me", body=ANN)
        yield up


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with proxy_process(tmp_path, upstream.url, document(), data={"max_connections": LIMIT}) as running:
        yield running


class App:
    """One connection of an app."""

    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer = proxy, reader, writer

    def send(self, path="/me"):
        head = f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {self.proxy.token()}\r\n\r\n"
        self.writer.write(head.encode())

    async def answer(self):
        """Status, headers by lower-case name, body."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def closed(self):
        """Waits until the proxy has closed the connection without a further word."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() == b""


@pytest.fixture
async def connect(proxy):
    apps = []

    async def connected():
        apps.append(App(proxy, *await asyncio.open_connection("127.0.0.1", proxy.running.data_port)))
        return apps[-1]

    yield connected
    for app in apps:
        app.writer.close()


async def gauge(proxy):
    _, text = await proxy.admin("GET", "/metrics")
    (line,) = (line for line in text.splitlines() if line.startswith(b"audit_proxy_connections "))
    return float(line.split()[1])


@pytest.mark.parametrize("sent", ["a request", "nothing", "half a head"])
async def test_idle_connections_make_room(proxy, connect, sent) -> None:
    """Who comes is served; the connection that has been idle longest is closed for it, and only that one."""
    apps = []
    for _ in range(LIMIT):
        app = await connect()
        if sent == "a request":
            app.send()
            assert (await app.answer())[0] == 200
        elif sent == "half a head":
            app.writer.write(b"GET /me HTTP/1.1\r\nHo")
        apps.append(app)
        while await gauge(proxy) != len(apps):
            await asyncio.sleep(0.01)
    newcomer = await connect()
    newcomer.send()
    assert (await newcomer.answer())[0] == 200
    await apps[0].closed()
    assert await gauge(proxy) == LIMIT
    if sent != "half a head":
        for app in [*apps[1:], newcomer]:
            app.send()
            assert (await app.answer())[0] == 200


async def test_where_none_is_idle_the_newcomer_is_refused(proxy, upstream, connect) -> None:
    """It gets a 503 that says so, counted and logged; those that are being answered are not disturbed."""
    answers = asyncio.Event()

    async def slow(_request):
        await answers.wait()
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n" + b'{"id":"1"}'

    upstream.reply("/me", pieces=slow)
    busy = [await connect() for _ in range(LIMIT)]
    for app in busy:
        app.send()
    async with asyncio.timeout(20):
        while len(upstream.requests) < LIMIT:
            await asyncio.sleep(0.01)
    for _ in range(3):
        newcomer = await connect()
        status, headers, body = await newcomer.answer()
        assert (status, json.loads(body)["reason"]) == (503, "overloaded")
        assert (headers["connection"], headers["retry-after"]) == ("close", "1")
        assert headers["content-type"] == "application/problem+json"
        await newcomer.closed()
    answers.set()
    assert [(await app.answer())[0] for app in busy] == [200] * LIMIT
    again = await connect()
    again.send()
    assert (await again.answer())[0] == 200
    _, text = await proxy.admin("GET", "/metrics")
    assert b'audit_proxy_denials_total{app="other",reason="overloaded"} 3.0' in text
    told = {"refused": 0, "made_room": 0}
    async with asyncio.timeout(20):
        while told != {"refused": 3, "made_room": 1}:  # in one line, or in several
            await asyncio.sleep(0.05)
            lines = [json.loads(one) for one in proxy.output.splitlines() if b'"connections_full"' in one]
            told = {name: sum(line[name] for line in lines) for name in told}


def test_the_limit_is_what_the_systems_file_limit_allows() -> None:
    """The soft limit is raised as far as it goes; what the hard one does not allow is taken off the connections."""
    program = """
import resource
from audit_proxy.wiring.descriptors import connections_for
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 2000))
print(connections_for(100, 100), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(connections_for(10_000, 100), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["100 456", "1644 2000"]
