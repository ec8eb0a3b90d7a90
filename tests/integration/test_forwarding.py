"""Which headers pass through the running proxy, and how long it waits for the platform."""

import asyncio
import contextlib
import json
import socket

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import UNTIL_GONE, RecordingUpstream

ANN = {"id": "1", "name": "nameof1"}
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
WAYS = [("/me", "enforce"), ("/blob", "enforce"), ("/me", "monitor")]  # judged, streamed, passed as it is


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/me", body=ANN)
        up.reply("/blob", body=b"blob")
        yield up


async def exchange(proxy, path: str, *headers: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """One GET with exactly these header lines: status, headers with lower-case names, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: api.example.org",
        f"Authorization: Bearer {proxy.token()}",
        *headers,
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    try:
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            got = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:-2])]
            length = dict(got).get("content-length")
            body = await reader.readexactly(int(length)) if length else b""
    finally:
        writer.close()
    return int(head[0].split()[1]), got, body


@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_what_belongs_to_one_connection_does_not_pass(tmp_path, upstream, path, mode) -> None:
    """Hop-by-hop headers and all that ``Connection`` names, in one line or in several, end here, both ways; others pass
    where the operation lets them.
    """
    named = [("Connection", "keep-alive, X-Page"), ("connection", " X-Two ,x-THREE")]
    fields = [
        ("X-Page", "hop"),
        ("X-Two", "hop"),
        ("X-Three", "hop"),
        ("Accept-Language", "hop"),
        ("Keep-Alive", "max=1"),
    ]
    more = [("Proxy-Authenticate", "Basic"), ("Trailer", "X-T"), ("Upgrade", "h2c"), ("X-Kept", "end")]
    upstream.reply(path, 200, [("Content-Type", "application/json"), *named, *fields, *more], json.dumps(ANN).encode())
    async with running_proxy(tmp_path, upstream.url, document(), policy=f"mode: {mode}\n") as proxy:
        request = [*named, ("Connection", "Accept-Language"), *fields, ("TE", "trailers"), ("Proxy-Connection", "x")]
        status, headers, _ = await exchange(proxy, path, *(f"{name}: {value}" for name, value in [*request, *more]))
        assert status == 200
        (asked,) = upstream.requests
        sent = {name.lower(): value for name, value in asked.headers}
        got = dict(headers)
        for name in ("x-page", "x-two", "x-three", "keep-alive", "upgrade", "trailer"):
            assert name not in sent
            assert name not in got
        assert not sent.keys() & {"te", "proxy-connection", "connection", "accept-language"}
        assert not got.keys() & {"proxy-authenticate", "connection"}
        kept = (path, mode) != ("/me", "enforce")
        assert (sent.get("x-kept"), got.get("x-kept")) == (("end", "end") if kept else (None, None))


@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_forwarding_headers_of_strangers_are_replaced(tmp_path, upstream, path, mode) -> None:
    """Nobody can claim to come from elsewhere; ``Via`` tells of the hops before us all the same."""
    claims = [
        "Forwarded: for=192.0.2.9;proto=https", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https",
        "X-Forwarded-Host: elsewhere.example", "X-Forwarded-Port: 443", "X-Real-IP: 192.0.2.9", "Via: 1.0 before",
    ]  # fmt: skip
    async with running_proxy(tmp_path, upstream.url, document(), policy=f"mode: {mode}\n") as proxy:
        assert (await exchange(proxy, path, *claims))[0] == 200
        (asked,) = upstream.requests
        assert asked.header("Forwarded") == 'for=127.0.0.1;proto=http;host="api.example.org"'
        assert asked.header("X-Forwarded-For") == "127.0.0.1"
        assert asked.header("X-Forwarded-Proto") == "http"
        assert asked.header("X-Forwarded-Host") == "api.example.org"
        assert asked.header("Via") == "1.0 before, 1.1 audit-proxy"
        assert b"192.0.2.9" not in asked.raw_head
        assert b"443" not in asked.raw_head
        assert b"elsewhere" not in asked.raw_head


@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_forwarding_headers_of_trusted_peers_are_extended(tmp_path, upstream, path, mode) -> None:
    """A load balancer in front, in a configured network, is believed, in one line or in several."""
    claims = [
        'Forwarded: for="[2001:db8::9]";proto=https', "Forwarded: for=192.0.2.8", "X-Forwarded-For: 2001:db8::9",
        "X-Forwarded-For: 192.0.2.8", "X-Forwarded-Proto: https", "X-Forwarded-Host: www.example.org",
    ]  # fmt: skip
    trust = {"trusted_proxies": ["10.0.0.0/8", "127.0.0.0/8"]}
    async with running_proxy(
        tmp_path, upstream.url, document(), policy=f"mode: {mode}\n", data={"port": 0, **trust}
    ) as proxy:
        assert (await exchange(proxy, path, *claims))[0] == 200
        (asked,) = upstream.requests
        own = 'for=127.0.0.1;proto=http;host="api.example.org"'
        assert asked.header("Forwarded") == f'for="[2001:db8::9]";proto=https, for=192.0.2.8, {own}'
        assert asked.header("X-Forwarded-For") == "2001:db8::9, 192.0.2.8, 127.0.0.1"
        assert asked.header("X-Forwarded-Proto") == "https"
        assert asked.header("X-Forwarded-Host") == "www.example.org"


@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_the_trace_goes_on_and_stands_in_the_record(tmp_path, upstream, path, mode) -> None:
    async with running_proxy(tmp_path, upstream.url, document(), policy=f"mode: {mode}\n") as proxy:
        assert (await exchange(proxy, path, f"traceparent: {TRACE}", "tracestate: a=1,b=2"))[0] == 200
        (asked,) = upstream.requests
        assert (asked.header("traceparent"), asked.header("tracestate")) == (TRACE, "a=1,b=2")
        assert [one.trace for one in proxy.records()] == ["a" * 32]


# -- time limits: each test sets the one that it is about, and leaves the others far off ---------------------------------

FAR = {"connect_timeout_s": 300, "first_byte_timeout_s": 300, "total_timeout_s": 300}


def limits(url: str, **short: float):
    return {"url": url, **FAR, **short}


@contextlib.contextmanager
def full_backlog():
    """An address where connecting takes for ever: the listener's queue is full and nobody accepts."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def timed_out(proxy, path: str) -> None:
    """The answer to a platform that took too long."""
    async with asyncio.timeout(20):
        status, headers, body = await proxy.get(path, proxy.token())
    assert (status, json.loads(body)["reason"]) == (504, "upstream_timeout")
    assert headers["Proxy-Status"] == 'audit-proxy; error=http_response_timeout; details="upstream_timeout"'
    record = proxy.records()[-1]
    assert (record.decision, record.reason, record.status) == ("deny", "upstream_timeout", 504)
    assert record.id == headers["X-Audit-Id"]


@pytest.mark.parametrize("path", ["/me", "/blob"])
async def test_connecting_is_limited(tmp_path, path) -> None:
    with full_backlog() as url:
        async with running_proxy(tmp_path, url, document(), upstream=limits(url, connect_timeout_s=0.3)) as proxy:
            await timed_out(proxy, path)


@pytest.mark.parametrize("path", ["/me", "/blob"])
async def test_the_wait_for_the_first_byte_is_limited(tmp_path, upstream, path) -> None:
    """And the platform is told that nobody waits any more."""
    upstream.reply(path, pieces=[UNTIL_GONE])
    settings = limits(upstream.url, connect_timeout_s=0.1, first_byte_timeout_s=0.3)
    async with running_proxy(tmp_path, upstream.url, document(), upstream=settings) as proxy:
        await timed_out(proxy, path)
        async with asyncio.timeout(20):
            while upstream.is_open(upstream.requests[0]):
                await asyncio.sleep(0.01)


def trickle(steps: int):
    """An answer that comes byte by byte, faster than any wait for the first one is limited."""

    async def pieces(_request):
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % steps
        for _ in range(steps):
            await asyncio.sleep(0.05)
            yield b" "

    return pieces


async def test_the_whole_of_a_judged_answer_is_limited(tmp_path, upstream) -> None:
    """Also where something comes all the time."""
    upstream.reply("/me", pieces=trickle(100_000))
    async with running_proxy(
        tmp_path, upstream.url, document(), upstream=limits(upstream.url, total_timeout_s=0.5)
    ) as proxy:
        await timed_out(proxy, "/me")


async def test_a_stream_may_take_as_long_as_something_comes(tmp_path, upstream) -> None:
    """The limit for the whole is one for answers that are held; a stream that stands still is cut off."""
    upstream.reply("/blob", pieces=trickle(30))
    settings = limits(upstream.url, first_byte_timeout_s=1.0, total_timeout_s=0.5)
    async with running_proxy(tmp_path, upstream.url, document(), upstream=settings) as proxy:
        assert (await proxy.get("/blob", proxy.token()))[2] == b" " * 30
        upstream.reply("/blob", pieces=[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nblob", UNTIL_GONE])
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await exchange(proxy, "/blob")


@pytest.mark.parametrize("path", ["/me", "/blob"])
async def test_the_wait_for_a_connection_to_the_platform_is_limited(tmp_path, upstream, path) -> None:
    """Where all of them are taken, whoever comes is told so in the end."""
    upstream.reply("/blob", pieces=trickle(100_000))
    settings = {"url": upstream.url, "max_connections": 1, "connect_timeout_s": 0.2, "first_byte_timeout_s": 0.5}
    async with (
        running_proxy(tmp_path, upstream.url, document(), upstream={**settings, "total_timeout_s": 0.5}) as proxy,
        proxy.session.get(f"{proxy.url}/blob", headers={"Authorization": f"Bearer {proxy.token()}"}) as taken,
    ):
        assert taken.status == 200
        await timed_out(proxy, path)
        assert len(upstream.requests) == 1
