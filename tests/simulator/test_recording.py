"""The recording upstream itself, spoken to by an ordinary client and by bare sockets."""

import asyncio

import aiohttp
import pytest

from tests.simulator.recording import CLOSE, RecordingUpstream


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_answers_by_path_and_by_exact_target_and_remembers_what_came():
    """The most specific thing a test says last wins, and requests keep their raw target, header order and body."""
    async with RecordingUpstream() as up, aiohttp.ClientSession() as client:
        up.reply("/people/1", body={"id": "1"})
        up.reply("/people/1?fields=id", 203, body={"id": "one"})
        async with client.get(f"{up.url}/people/1") as answer:
            assert (answer.status, await answer.json()) == (200, {"id": "1"})
        async with client.post(f"{up.url}/people/1?fields=id", data=b"hello", headers={"X-A": "1"}) as answer:
            assert (answer.status, await answer.json()) == (203, {"id": "one"})
        async with client.get(f"{up.url}/nothing") as answer:
            assert answer.status == 404
        assert [(r.method, r.target) for r in up.requests] == [
            ("GET", "/people/1"),
            ("POST", "/people/1?fields=id"),
            ("GET", "/nothing"),
        ]
        assert up.requests[1].body == b"hello"
        assert up.requests[1].header("x-a") == "1"
        assert up.requests[1].complete
        assert up.connections == 1


async def test_the_raw_target_is_kept_as_it_was_sent():
    """Nothing is decoded or normalised: an encoded slash and dot segments arrive as written."""
    async with RecordingUpstream() as up:
        await raw(up.port, b"GET /a/%2e%2E/b//c?x=%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert up.requests[0].target == "/a/%2e%2E/b//c?x=%zz"


async def test_codings_and_chunks():
    """An encoded body and a chunked one arrive as a client expects them."""
    async with RecordingUpstream() as up, aiohttp.ClientSession() as client:
        up.reply("/gz", body={"a": 1}, coding="gzip")
        up.reply("/chunks", headers={"Content-Type": "application/x-ndjson"}, chunks=[b'{"a":1}\n', b'{"b":2}\n'])
        async with client.get(f"{up.url}/gz") as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.json() == {"a": 1}
        async with client.get(f"{up.url}/chunks") as answer:
            assert await answer.read() == b'{"a":1}\n{"b":2}\n'


async def test_a_false_length_and_an_early_end():
    """An answer may promise more than it sends, or stop in the middle of its headers."""
    async with RecordingUpstream() as up, aiohttp.ClientSession() as client:
        up.reply("/short", body=b"abc", length=10)
        up.reply("/cut", pieces=[b"HTTP/1.1 200 OK\r\nContent-", CLOSE])
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.get(f"{up.url}/short") as answer:
                await answer.read()
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"{up.url}/cut")


async def test_uploads_can_be_counted_without_keeping_them():
    """A chunked upload is counted to the byte although nothing of it is kept."""

    async def body():
        for _ in range(8):
            yield b"x" * 100_000

    async with RecordingUpstream(keep_bodies=False) as up, aiohttp.ClientSession() as client:
        up.reply(lambda r: r.method == "PUT", 204)
        async with client.put(f"{up.url}/media/1", data=body()) as answer:
            assert answer.status == 204
        assert (up.requests[0].body_bytes, up.requests[0].body) == (800_000, b"")


async def test_leaving_ends_what_still_hangs():
    """A reply that never comes does not keep the test from ending."""
    async with RecordingUpstream() as up:
        up.reply("/never", delay=3600)
        reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
        writer.write(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        while not up.requests:
            await asyncio.sleep(0.01)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
