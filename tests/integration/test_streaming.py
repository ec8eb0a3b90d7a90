"""Operations marked ``none`` through ``audit-proxy serve``: any size, both ways, in bounded memory."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.simulator.people import document
from tests.simulator.proxy import ProxyProcess, proxy_process
from tests.simulator.recording import CLOSE, UNTIL_GONE, RecordingUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
BLOCK = bytes(range(256)) * 1024  # 256 KiB
GROWTH_MAX = 32 * MIB  # buffers of four sockets and of both libraries, with room
SIZES = [128 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.slow)]


@dataclass
class Stage:
    """One proxy for all tests of this module: to start one takes longer than most of them."""

    proxy: ProxyProcess
    upstream: RecordingUpstream
    resident: int = 0  # the most memory before anything was streamed, in bytes

    def growth(self) -> int:
        return self.proxy.memory() - self.resident


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_stage(tmp_path_factory):
    # with a drain this short an exchange that hung would make the exit code 1
    async with (
        RecordingUpstream(keep_bodies=False) as upstream,
        proxy_process(tmp_path_factory.mktemp("proxy"), upstream.url, document(), data={"drain_s": 1}) as proxy,
    ):
        stage = Stage(proxy, upstream)
        upstream.reply("/blob")
        for method in ("GET", "PUT"):  # what the first exchanges load is no growth
            assert (await proxy.ask(method, "/blob", proxy.token(), data=BLOCK))[0] == 200
        stage.resident = proxy.memory()
        yield stage


@pytest.fixture
def stage(whole_stage):
    whole_stage.upstream.reset()
    whole_stage.upstream.reply("/blob", method="PUT")
    return whole_stage


@pytest.fixture
def upstream(stage):
    return stage.upstream


@pytest.fixture
def proxy(stage):
    return stage.proxy


async def until(reached) -> None:
    """Waits for what the other processes will have done soon."""
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.01)


async def still(count) -> int:
    """The value at which a count has come to rest."""
    last, now = -1, count()
    while last != now:
        last = now
        await asyncio.sleep(0.5)
        now = count()
    return now


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whichever way."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(MIB):
            got += data
    return got


def digest_of(size: int) -> bytes:
    whole = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        whole.update(BLOCK)
    return whole.digest()


def download(size: int):
    """A reply of ``size`` bytes that is made while it is sent."""

    def pieces(_request):
        yield b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n" % size
        for _ in range(size // len(BLOCK)):
            yield BLOCK

    return pieces


@contextlib.asynccontextmanager
async def connection(proxy: ProxyProcess, head: str):
    """A bare connection to the proxy on which the request's head was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port, limit=MIB)
    writer.write(f"{head}\r\nHost: api\r\nAuthorization: Bearer {proxy.token()}\r\n".encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # an orderly end would wait until everything is written


@pytest.mark.parametrize("size", SIZES)
async def test_a_download_of_any_size_takes_constant_memory(stage, proxy, upstream, size) -> None:
    """Every byte arrives, and the process never held more than a few buffers of them."""
    upstream.reply("/blob", method="GET", pieces=download(size))
    got, received = hashlib.sha256(), 0
    async with connection(proxy, "GET /blob HTTP/1.1") as (reader, writer):
        writer.write(b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        while received < size:
            data = await reader.read(MIB)
            assert data
            got.update(data)
            received += len(data)
    assert (received, got.digest()) == (size, digest_of(size))
    assert stage.growth() < GROWTH_MAX


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
async def test_an_upload_of_any_size_takes_constant_memory(stage, proxy, upstream, size, framing) -> None:
    """Every byte reaches the platform under the same framing, and the process never held more than a few buffers."""
    async with connection(proxy, "PUT /blob HTTP/1.1") as (reader, writer):
        chunked = framing == "chunked"
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(BLOCK)):
            writer.write(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    (request,) = upstream.requests
    assert (request.complete, request.body_bytes) == (True, size)
    assert request.header("Content-Length") == (None if chunked else str(size))
    assert stage.growth() < GROWTH_MAX


async def test_an_app_that_stops_reading_is_not_read_ahead_for(stage, proxy, upstream) -> None:
    """The platform is slowed down to the app's pace; what waits meanwhile is a few buffers, and nothing is lost."""
    size = 256 * MIB
    upstream.reply("/blob", method="GET", pieces=download(size))
    async with connection(proxy, "GET /blob HTTP/1.1") as (reader, writer):
        writer.write(b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: upstream.sent_bytes > MIB)
        assert await still(lambda: upstream.sent_bytes) < size // 4
        assert stage.growth() < GROWTH_MAX
        received = 0
        while received < size:
            received += len(await reader.read(MIB))
    assert received == size
    assert stage.growth() < GROWTH_MAX


async def test_a_platform_that_stops_reading_is_not_written_ahead_to(stage, proxy, upstream) -> None:
    """An upload waits for the platform in the app, not in the proxy."""
    size, sent = 256 * MIB, 0
    upstream.reads.clear()
    async with connection(proxy, "PUT /blob HTTP/1.1") as (_, writer):
        writer.write(b"Content-Length: %d\r\n\r\n" % size)

        async def upload() -> None:
            nonlocal sent
            for _ in range(size // len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()
                sent += len(BLOCK)

        uploading = asyncio.create_task(upload())
        await until(lambda: sent > MIB)
        assert await still(lambda: sent) < size // 2
        assert stage.growth() < GROWTH_MAX
        upstream.reads.set()
        await uploading
        await until(lambda: upstream.requests[-1].body_bytes == size)


async def test_an_app_that_leaves_in_an_upload_ends_the_upstream_request(proxy, upstream) -> None:
    """The platform sees a request that breaks off, at once, and nothing of it stays in the proxy."""
    async with connection(proxy, "PUT /blob HTTP/1.1") as (_, writer):
        writer.write(b"Content-Length: %d\r\n\r\n" % (64 * MIB) + BLOCK)
        await until(lambda: upstream.requests and upstream.requests[0].body_bytes == len(BLOCK))
    await until(lambda: not upstream.is_open(upstream.requests[0]))
    assert not upstream.requests[0].complete


@pytest.mark.parametrize("then", ["silent", "flowing"])
async def test_an_app_that_leaves_in_a_download_ends_the_upstream_request(proxy, upstream, then) -> None:
    """Also where the platform is silent just then, so that no write could fail."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB)
    upstream.reply(
        "/blob", method="GET", pieces=[head, BLOCK, UNTIL_GONE] if then == "silent" else download(1024 * MIB)
    )
    async with connection(proxy, "GET /blob HTTP/1.1") as (reader, writer):
        writer.write(b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BLOCK))
    await until(lambda: not upstream.is_open(upstream.requests[0]))


async def test_an_app_that_leaves_before_the_first_byte_ends_the_upstream_request(proxy, upstream) -> None:
    """Nobody waits for an answer that nobody will read."""
    upstream.reply("/blob", method="GET", pieces=[UNTIL_GONE])
    async with connection(proxy, "GET /blob HTTP/1.1") as (_, writer):
        writer.write(b"\r\n")
        await until(lambda: upstream.requests)
    await until(lambda: not upstream.is_open(upstream.requests[0]))


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_platform_that_breaks_off_is_seen_to_break_off(proxy, upstream, framing) -> None:
    """The app gets what there was and then a broken connection: never an end that looks like one, nor a second head."""
    chunk = BLOCK if "Length" in framing else b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
    head = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode()
    upstream.reply("/blob", method="GET", pieces=[head + chunk, CLOSE])
    records = len(proxy.records())
    async with connection(proxy, "GET /blob HTTP/1.1") as (reader, writer):
        writer.write(b"\r\n")
        head, _, body = (await everything(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(body) < 1_000_000
    assert b"HTTP/1.1" not in body
    assert not body.endswith(b"0\r\n\r\n")
    assert len(proxy.records()) == records + 1


async def test_an_app_that_waits_to_be_asked_for_its_body_is_asked(proxy, upstream) -> None:
    """``Expect: 100-continue`` is answered by whoever reads the body next, the proxy."""
    async with connection(proxy, "PUT /blob HTTP/1.1") as (reader, writer):
        writer.write(b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"data")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert upstream.requests[0].body_bytes == 4
    assert upstream.requests[0].header("Expect") is None


async def test_a_platform_may_answer_before_the_upload_ends(proxy, upstream) -> None:
    """Its refusal reaches the app, which still sends; the rest of the upload goes nowhere."""
    upstream.early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    async with connection(proxy, "PUT /blob HTTP/1.1") as (reader, writer):
        writer.write(b"Content-Length: %d\r\n\r\n" % (64 * MIB) + BLOCK)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        assert await reader.readexactly(3) == b"big"
    await until(lambda: not upstream.is_open(upstream.requests[0]))
