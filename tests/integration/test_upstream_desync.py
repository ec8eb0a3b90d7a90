"""What a platform says beyond its answer, or before it was asked, is nobody's answer: on connections that many requests share."""

import asyncio
import contextlib
import io
import json

import aiohttp
import pytest

from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import ABORT, CLOSE

ME = {"id": "1", "name": "nameof1"}
LARGE = 16 * 1024 * 1024  # more than all sockets hold
LIMITS = {"limits": {"request_body_bytes": 2 * LARGE}}
JSON = {"Content-Type": "application/json"}


def _whole(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


MINE = _whole(json.dumps(ME).encode())
STRAY = _whole(b'{"id":"1","name":"stray"}')


def _again(upstream, *pieces):
    """The first answer on the path is these pieces, then the connection stays; all others are whole."""
    seen = []

    def made(request):
        seen.append(request)
        return [*pieces] if len(seen) == 1 else [MINE]

    upstream.reply("/people/1", pieces=made)
    return seen


@pytest.fixture(params=["enforce", "monitor"])
async def proxy(tmp_path, upstream, request):
    async with running_proxy(
        tmp_path, upstream.url, document(), policy=f"mode: {request.param}\n", **LIMITS
    ) as running:
        yield running


@pytest.mark.parametrize(
    "stray",
    [
        STRAY,
        _whole(b"{}", b"408 Request Timeout", b"Connection: close\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: ",
        b"\r\n",
        b"x",
    ],
)
@pytest.mark.parametrize("when", ["with it", "later"])
async def test_what_follows_an_answer_is_nobodys(proxy, upstream, stray, when) -> None:
    """Bytes behind an answer's end, in one packet with it or while the connection is idle, never begin the next answer."""
    pieces = [MINE + stray, 0.1] if when == "with it" else [MINE, 0.05, stray, 0.1]
    _again(upstream, *pieces)
    token = proxy.token()
    first = await proxy.get("/people/1", token)
    await asyncio.sleep(0.2)
    for _ in range(3):
        status, _, body = await proxy.get("/people/1", token)
        assert (status, json.loads(body)) == (200, ME)
    assert first[0] in (200, 502)
    if stray != b"\r\n":
        assert upstream.requests[1].connection != upstream.requests[0].connection


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("gap", [(), (0.05,)])
async def test_an_answer_without_body_that_has_one(proxy, upstream, status, gap) -> None:
    """Its length is not believed, and what follows as a body begins no other answer."""
    _again(upstream, b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(STRAY)), *gap, STRAY)
    token = proxy.token()
    await proxy.get("/people/1", token)
    await asyncio.sleep(0.2)
    status, _, body = await proxy.get("/people/1", token)
    assert (status, json.loads(body)) == (200, ME)


async def test_an_answer_to_head_that_has_a_body(proxy, upstream) -> None:
    """The same for HEAD."""
    _again(upstream, MINE, 0.05, STRAY)
    token = proxy.token()
    await proxy.ask("HEAD", "/people/1", token)
    await asyncio.sleep(0.2)
    status, _, body = await proxy.get("/people/1", token)
    assert (status, json.loads(body)) == (200, ME)


@pytest.mark.parametrize("proxy", ["enforce"], indirect=True)  # monitor sends a body as it comes: the next test
async def test_an_answer_before_the_request_was_sent(proxy, upstream) -> None:
    """A platform that answers while a body is on its way gets nothing else on that connection."""
    upstream.reply("/people/1", pieces=[MINE])
    token = proxy.token(scope="write read")
    upstream.early = _whole(b'{"text":"no"}')
    upstream.reads.clear()
    big = json.dumps({"text": "a" * LARGE}).encode()
    status, _, _ = await proxy.ask("POST", "/posts", token, data=io.BytesIO(big), headers=JSON)
    assert status == 200
    upstream.early = None
    status, _, body = await proxy.get("/people/1", token)
    assert (status, json.loads(body)) == (200, ME)
    assert upstream.requests[-1].connection != upstream.requests[0].connection


async def test_an_answer_before_the_app_sent_its_body(proxy, upstream) -> None:
    """Of a body that passes as it comes, what is missing is not made up by the next request."""
    upstream.reply("/people/1", pieces=[MINE])
    upstream.early = _whole(b"{}")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    head = f"PUT /blob HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {proxy.token(scope='write read')}\r\n"
    writer.write(head.encode() + b"Content-Length: 1000\r\n\r\n" + b"a" * 10)
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    upstream.early = None
    for _ in range(2):
        status, _, body = await proxy.get("/people/1", proxy.token())
        assert (status, json.loads(body)) == (200, ME)
    assert upstream.requests[-1].connection != upstream.requests[0].connection
    writer.close()


@pytest.mark.parametrize("end", [CLOSE, ABORT])
async def test_an_answer_that_began_is_not_asked_for_again(proxy, upstream, end) -> None:
    """Where the connection is lost within the body the platform was asked once."""
    upstream.reply("/people/1", pieces=[MINE[:-5], 0.05, end])
    with contextlib.suppress(aiohttp.ClientPayloadError):  # monitor passes what came
        assert (await proxy.get("/people/1", proxy.token()))[0] == 502
    assert len(upstream.requests) == 1


async def test_an_upgrade_that_nobody_asked_for(proxy, upstream) -> None:
    """101 ends the connection, whatever follows it."""
    _again(upstream, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + STRAY, 0.1)
    status, _, _ = await proxy.get("/people/1", proxy.token())
    assert status == (101 if "monitor" in (proxy.folder / "policy.yaml").read_text() else 502)
    status, _, body = await proxy.get("/people/1", proxy.token())
    assert (status, json.loads(body)) == (200, ME)
    assert upstream.requests[1].connection != upstream.requests[0].connection


@pytest.mark.parametrize("said", [b"", MINE[:-5]])
async def test_an_exchange_that_the_app_left(proxy, upstream, said) -> None:
    """What the platform says to it afterwards goes to nobody else."""
    _again(upstream, said, 0.4, MINE[-5:] if said else STRAY, 0.1)
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    writer.write(f"GET /people/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {proxy.token()}\r\n\r\n".encode())
    await asyncio.sleep(0.15)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    for _ in range(2):
        status, _, body = await proxy.get("/people/1", proxy.token())
        assert (status, json.loads(body)) == (200, ME)
        await asyncio.sleep(0.4)
