"""The proxy's own exchanges: with a platform that keeps connections or drops them, and with apps of every kind."""

import asyncio
import json

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import ABORT, CLOSE

ME = {"id": "1", "name": "nameof1"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def proxy(tmp_path, upstream):
    upstream.reply("/people/1", body=ME)
    async with running_proxy(tmp_path, upstream.url, document()) as running:
        yield running


def _once(upstream, path, end, answer):
    """The platform ends the connection on the second request for the path, having said nothing, and answers the others."""
    seen = []

    def pieces(request):
        seen.append(request)
        return [end] if len(seen) == 2 else [answer]

    upstream.reply(path, pieces=pieces)
    return seen


def _whole(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


async def test_connections_to_the_platform_are_kept(proxy, upstream) -> None:
    """Requests one after the other come on one connection, unless the platform says that it ends."""
    for _ in range(3):
        assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    assert {one.connection for one in upstream.requests} == {1}
    upstream.reply("/people/1", body=ME, close=True)
    for _ in range(2):
        assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    assert [one.connection for one in upstream.requests] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("end", [CLOSE, ABORT])
async def test_a_dropped_connection_is_no_error_for_what_can_be_repeated(proxy, upstream, end) -> None:
    """A platform may end a connection that it kept at any moment: the request is asked once more, on a fresh connection."""
    seen = _once(upstream, "/people/1", end, _whole(json.dumps(ME).encode()))
    assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    status, _, body = await proxy.get("/people/1", proxy.token())
    assert (status, json.loads(body)) == (200, ME)
    assert len(seen) == 3
    assert seen[1].connection != seen[2].connection
    assert len(proxy.records("access")) == 2


@pytest.mark.parametrize("end", [CLOSE, ABORT])
async def test_a_write_is_never_repeated(proxy, upstream, end) -> None:
    """A POST that may have been acted on is asked once, whatever becomes of its connection."""
    seen = _once(upstream, "/posts", end, _whole(b'{"text":"a"}'))
    token = proxy.token(scope="write read")
    for expected in (200, 502):
        status, _, _ = await proxy.ask("POST", "/posts", token, data=b'{"text":"a"}', headers=JSON)
        assert status == expected
    assert len(seen) == 2


async def test_a_platform_that_always_drops_is_asked_twice(proxy, upstream) -> None:
    """Then the app is told."""
    upstream.reply("/people/1", pieces=[CLOSE])
    assert (await proxy.get("/people/1", proxy.token()))[0] == 502
    assert len(upstream.requests) == 2


async def test_interim_answers_are_not_the_answer(proxy, upstream) -> None:
    """103 Early Hints and the like are passed over (RFC 9110 section 15.2)."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    upstream.reply("/people/1", pieces=[early, early + _whole(json.dumps(ME).encode())])
    status, headers, body = await proxy.get("/people/1", proxy.token())
    assert (status, json.loads(body)) == (200, ME)
    assert "Link" not in headers


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", _whole(b"{}", more=b"X-A\x00: b\r\n"), b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"],
)
async def test_what_is_no_http_is_a_502_and_ends_the_connection(proxy, upstream, answer) -> None:
    """Nothing of it is passed on, and nothing more is read from that connection."""
    upstream.reply("/people/1", pieces=[answer])
    status, _, body = await proxy.get("/people/1", proxy.token())
    assert (status, json.loads(body)["reason"]) == (502, "upstream_protocol_error")
    upstream.reply("/people/1", body=ME)
    assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    assert upstream.requests[-1].connection != upstream.requests[0].connection


async def test_a_head_may_be_as_large_as_in_monitor(proxy, upstream) -> None:
    """Hundreds of fields, and one of many kilobytes."""
    large = b"X-Large: %s\r\n" % (b"a" * 30_000) + b"".join(b"X-%d: b\r\n" % number for number in range(500))
    upstream.reply("/people/1", pieces=[_whole(json.dumps(ME).encode(), more=large)])
    assert (await proxy.get("/people/1", proxy.token()))[0] == 200


async def test_lengths_are_said_where_the_platform_needs_them(proxy, upstream) -> None:
    """A GET says none, a write says its own, also of nothing."""
    upstream.reply("/posts", body={"text": "a"})
    token = proxy.token(scope="write read")
    await proxy.get("/people/1", token)
    await proxy.ask("POST", "/posts", token, data=b'{"text":"a"}', headers=JSON)
    await proxy.ask("POST", "/posts", token)
    asked = [(one.method, one.header("Content-Length"), one.body) for one in upstream.requests]
    assert asked[0] == ("GET", None, b"")
    assert ("POST", "12", b'{"text":"a"}') in asked
    assert all(length == str(len(body)) for method, length, body in asked if method == "POST")


async def _raw(proxy, request: bytes, answers: int = 1) -> bytes:
    """What the proxy says to the request until the connection ends, or until so many heads have come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    writer.write(request)
    said = b""
    async with asyncio.timeout(10):
        while chunk := await reader.read(65536):
            said += chunk
            if said.count(b"HTTP/1.") >= answers and said.endswith(b"}") and b"close" not in request:
                break
    writer.close()
    return said


async def test_whole_answers_are_framed_for_every_app(proxy) -> None:
    """HTTP/1.1 kept alive or closing, HTTP/1.0, HEAD, and several in one packet."""
    head = f"Host: a\r\nAuthorization: Bearer {proxy.token()}\r\n".encode()
    kept = await _raw(proxy, b"GET /people/1 HTTP/1.1\r\n" + head + b"\r\n")
    fields, _, body = kept.partition(b"\r\n\r\n")
    assert fields.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: %d" % len(body) in fields
    assert b"\r\nDate: " in fields
    assert json.loads(body) == ME
    closing = await _raw(proxy, b"GET /people/1 HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in closing
    assert closing.endswith(body)
    old = await _raw(proxy, b"GET /people/1 HTTP/1.0\r\n" + head + b"\r\n")
    assert old.startswith(b"HTTP/1.0 200 OK\r\n")
    assert old.endswith(body)
    nothing = await _raw(proxy, b"HEAD /people/1 HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
    assert nothing.startswith(b"HTTP/1.1 200 OK\r\n")
    assert nothing.endswith(b"\r\n\r\n")
    several = await _raw(proxy, (b"GET /people/1 HTTP/1.1\r\n" + head + b"\r\n") * 3, answers=3)
    assert several.count(body) == 3


@pytest.mark.parametrize("large", [b"", b"X-Large: " + b"a" * 5000 + b"\r\n"])
async def test_what_a_connection_remembers_is_of_the_very_same_fields(proxy, upstream, large) -> None:
    """Each request on a connection is judged and forwarded with its own fields, however alike the one before was."""
    upstream.reply("/me", body=ME)
    first, second = proxy.token("1"), proxy.token("2")

    def request(token: str, more: bytes = b"", path: bytes = b"/people/1") -> bytes:
        return b"GET %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n%s%s\r\n" % (
            path,
            token.encode(),
            more,
            large,
        )

    several = [
        request(first),
        request(first),
        request(first, b"Accept-Language: de\r\n"),
        request(second),
        request(first, path=b"/me"),
        request("none"),
        request(first),
    ]
    said = await _raw(proxy, b"".join(several), answers=len(several))
    statuses = [int(one[9:12]) for one in (b"HTTP/1.1" + part for part in said.split(b"HTTP/1.1")[1:])]
    assert statuses == [200, 200, 200, 404, 200, 401, 200]
    asked = [(one.target, one.header("Authorization"), one.header("Accept-Language")) for one in upstream.requests]
    mine, other = f"Bearer {first}", f"Bearer {second}"
    assert asked == [
        ("/people/1", mine, None),
        ("/people/1", mine, None),
        ("/people/1", mine, "de"),
        ("/people/1", other, None),
        ("/me", mine, None),
        ("/people/1", mine, None),
    ]
