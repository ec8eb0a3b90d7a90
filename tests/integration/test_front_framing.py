"""Requests that two servers could read differently, byte by byte, against the running proxy."""

from pathlib import Path

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import Proxy, running_proxy
from tests.simulator.raw import assert_well_formed, head, say
from tests.simulator.recording import RecordingUpstream

BODY = b'{"text":"hello"}'
CHUNKED = b"10\r\n" + BODY + b"\r\n0\r\n\r\n"
SECRET = "s3cr3t-of-this-request"
ANN = {"id": "1", "name": "nameof1"}
EVE = {"id": "3", "name": "nameof3"}  # nobody may see her
WEBSOCKET = (
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply(lambda request: True, body=EVE)
        up.reply("/me", body=ANN)
        up.reply("/posts", 201, method="POST")
        yield up


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, document()) as running:
        yield running


def _get(target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return head(f"GET {target} {version}", SECRET, *fields)


def _put(*fields: str, version: str = "HTTP/1.1") -> bytes:
    return head(f"PUT /blob {version}", SECRET, *fields)


SMUGGLED = head("GET /people/3 HTTP/1.1", SECRET)
MALFORMED = {
    "length, then chunked": _put("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "chunked, then length": _put("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n" + SMUGGLED,
    "length twice, the same": _put("Content-Length: 16", "Content-Length: 16") + BODY,
    "length twice, different": _put("Content-Length: 16", "Content-Length: 0") + BODY,
    "a list of lengths": _put("Content-Length: 16, 16") + BODY,
    "a signed length": _put("Content-Length: +16") + BODY,
    "a negative length": _put("Content-Length: -1") + BODY,
    "a hexadecimal length": _put("Content-Length: 0x10") + BODY,
    "a length of two numbers": _put("Content-Length: 1 6") + BODY,
    "gzip as transfer coding": _put("Transfer-Encoding: gzip") + BODY,
    "gzip before chunked": _put("Transfer-Encoding: gzip, chunked") + CHUNKED,
    "gzip after chunked": _put("Transfer-Encoding: chunked, gzip") + CHUNKED,
    "chunked twice": _put("Transfer-Encoding: chunked, chunked") + CHUNKED,
    "chunked in two fields": _put("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + CHUNKED,
    "a coding like chunked": _put("Transfer-Encoding: xchunked") + CHUNKED,
    "a coding behind a control character": _put("Transfer-Encoding: \x0bchunked") + CHUNKED,
    "the identity coding": _put("Transfer-Encoding: identity", "Content-Length: 16") + BODY,
    "chunked in HTTP/1.0": _put("Transfer-Encoding: chunked", version="HTTP/1.0") + CHUNKED,
    "a folded line": _get("/me", "X-A: a\r\n b"),
    "a line folded by a tab": _get("/me", "X-A: a\r\n\tb"),
    "LF alone everywhere": _get("/me").replace(b"\r\n", b"\n"),
    "LF alone after the request line": _get("/me").replace(b"1.1\r\n", b"1.1\n"),
    "LF alone between fields": _get("/me", "X-A: a\nX-B: b"),
    "CR alone in a field": _get("/me", "X-A: a\rX-B: b"),
    "CR alone in the request line": _get("/me\r"),
    "a space before the colon": _get("/me", "X-A : a"),
    "a space before the colon of the coding": _put("Transfer-Encoding : chunked", "Content-Length: 16") + BODY,
    "a space in a name": _get("/me", "X A: a"),
    "no name": _get("/me", ": a"),
    "no colon": _get("/me", "XA"),
    "a space before the first field": _get("/me").replace(b"Host", b" Host"),
    "NUL in a value": _get("/me", "X-A: a\0b"),
    "NUL in a name": _get("/me", "X\0A: b"),
    "NUL in the target": _get("/me\0"),
    "a control character in a value": _get("/me", "X-A: a\x01b"),
    "DEL in a value": _get("/me", "X-A: a\x7fb"),
    "an absolute target": _get("http://api.example/me"),
    "an absolute target elsewhere": _get("http://evil.example/me"),
    "a scheme that lengthens the platform's name": _get("evil://x/me"),
    "an authority as target": _get("api.example:80"),
    "a user as target": _get("@evil.example"),
    "a target without a slash": _get("me"),
    "an asterisk": _get("*"),
    "OPTIONS of the server": head("OPTIONS * HTTP/1.1", SECRET),
    "a fragment": _get("/me#x"),
    "a fragment in the query": _get("/me?fields=id#x"),
    "raw bytes in the target": _get("/m\u00e9"),
    "no Host": _get("/me", "Host: x").replace(b"Host: x\r\n", b""),
    "Host twice": _get("/me", "Host: api.example", "Host: evil.example"),
    "an empty Host": _get("/me", "Host:"),
    "a user in Host": _get("/me", "Host: api.example@evil.example"),
    "a path in Host": _get("/me", "Host: api.example/people"),
    "a list in Host": _get("/me", "Host: api.example, evil.example"),
    "a space in Host": _get("/me", "Host: api.example evil"),
    "a Forwarded parameter in Host": _get("/me", 'Host: a";for="192.0.2.1'),
    "a port by name in Host": _get("/me", "Host: api.example:http"),
    "raw bytes in Host": _get("/me", "Host: \u00e9"),
    "CONNECT": head("CONNECT api.example:443 HTTP/1.1", SECRET),
    "CONNECT to a path": head("CONNECT /me HTTP/1.1", SECRET),
    "TRACE": head("TRACE /me HTTP/1.1", SECRET),
    "an unknown method": head("POUET /me HTTP/1.1", SECRET),
    "a method in lower case": head("get /me HTTP/1.1", SECRET),
    "HTTP/0.9": b"GET /me\r\n\r\n",
    "HTTP/0.9 by name": _get("/me", version="HTTP/0.9"),
    "HTTP/1.2": _get("/me", version="HTTP/1.2"),
    "HTTP/2.0 in the old form": _get("/me", version="HTTP/2.0"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "something after the version": _get("/me", version="HTTP/1.1x"),
    "tabs in the request line": _get("/me").replace(b"GET /me ", b"GET\t/me\t"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
}
BAD_CHUNKS = {
    "no number": b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a prefix": b"0x10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a sign": b"-10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "an overflow": b"fffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a space": b"10 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "LF alone": b"10\n" + BODY + b"\n0\n\n",
    "data past its size": b"10\r\n" + BODY + b"0\r\n\r\n",
    "LF alone in an extension": b"10;a=b\nxx\r\n" + BODY + b"\r\n0\r\n\r\n",
}
TOO_LARGE = {
    "one large field": _get("/me", "X-A: " + "a" * 20_000),
    "many fields": _get("/me", *[f"X-{number}: {'a' * 1000}" for number in range(30)]),
    "a long target": _get("/me?fields=" + "a" * 9_000),
    "hundreds of small fields": _get("/me", *[f"X-{number}: a" for number in range(300)]),
}


async def _refused(proxy: Proxy, upstream: RecordingUpstream, name: str, data: bytes) -> None:
    said = await say(proxy.running.data_port, data.replace(SECRET.encode(), proxy.token().encode()))
    assert said.statuses, name
    assert set(said.statuses) <= {400, 405, 413}, (name, said)
    assert upstream.requests == [], name
    assert b'"reason":"request_' in said.text, name
    for quoted in (proxy.token().encode()[:20], b"api.example", b"people", b"aaaa", b"X-A", b"aiohttp"):
        assert quoted not in said.text.partition(b"\r\n\r\n")[2], (name, said)


@pytest.mark.parametrize("mode", ["enforce", "monitor"])
async def test_what_is_malformed_never_reaches_the_platform(tmp_path, upstream, mode) -> None:
    """In enforce and in monitor alike: an error that quotes nothing, nothing forwarded, a metric."""
    async with running_proxy(tmp_path, upstream.url, document(), policy=f"mode: {mode}\n") as proxy:
        for name, data in (MALFORMED | TOO_LARGE).items():
            await _refused(proxy, upstream, name, data)
        assert proxy.records() == []
        status, metrics = await proxy.admin("GET", "/metrics")
        assert status == 200
        assert b'audit_proxy_denials_total{app="other",reason="request_malformed"}' in metrics


async def test_a_body_that_breaks_off_is_never_judged(proxy, upstream) -> None:
    """Chunk sizes that are no plain number, and chunks that do not end where they say."""
    for name, chunks in BAD_CHUNKS.items():
        fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        data = head("POST /posts HTTP/1.1", proxy.token(scope="write"), *fields) + chunks + SMUGGLED
        said = await say(proxy.running.data_port, data)
        assert len(said.statuses) == 1, name
        assert said.statuses[0] >= 400, name
        assert upstream.requests == [], name


JUDGED = {
    "chunk extensions": (("Transfer-Encoding: chunked",), b"10;a=b\r\n" + BODY + b"\r\n0;c\r\n\r\n"),
    "trailers": (
        ("Transfer-Encoding: chunked", "Trailer: Authorization"),
        b"10\r\n" + BODY + b"\r\n0\r\nAuthorization: Bearer other\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
    ),
    "one length": (("Content-Length: 16",), BODY),
    "chunks": (("Transfer-Encoding: Chunked",), CHUNKED),
    "an expectation": (("Content-Length: 16", "Expect: 100-continue"), BODY),
}


async def test_bodies_are_sent_on_in_one_form(proxy, upstream) -> None:
    """Extensions, trailers and expectations are not passed on: one length and the body that was judged."""
    token = proxy.token(scope="write")
    for name, (fields, data) in JUDGED.items():
        upstream.clear()
        line = head("POST /posts HTTP/1.1", token, "Content-Type: application/json", *fields)
        said = await say(proxy.running.data_port, line + data)
        assert said.statuses[-1] == 201, (name, said)
        (sent,) = upstream.requests
        assert_well_formed([sent])
        assert (sent.body, sent.header("content-length")) == (BODY, "16"), name
        assert sent.header("expect") is None
        assert sent.header("authorization") == f"Bearer {token}"


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade, close", *WEBSOCKET),
        ("Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection: close, Authorization-X, Host",),
        ("Connection: close", "TE: trailers", "Proxy-Connection: keep-alive"),
    ],
)
async def test_an_upgrade_is_an_ordinary_request(proxy, upstream, fields) -> None:
    """It is judged and sent on without the offer to switch; what follows on the connection is judged as well."""
    data = head("GET /me HTTP/1.1", proxy.token(), *fields)
    if "Upgrade" in fields[0]:  # after "close" nothing may follow
        data += head("GET /people/3 HTTP/1.1", proxy.token())
    said = await say(proxy.running.data_port, data)
    assert said.statuses in ((200,), (200, 404))
    assert b"nameof3" not in said.text
    assert_well_formed(upstream.requests)
    assert len(upstream.requests) == len(said.statuses) == len(proxy.records())


async def test_pipelined_requests_are_judged_one_by_one(proxy, upstream) -> None:
    """Each with its own token; a body's bytes are never taken for a request."""
    token = proxy.token(scope="read write")
    inner = head("GET /people/3 HTTP/1.1", token)
    post = head(
        "POST /posts HTTP/1.1", token, "Content-Type: application/json", f"Content-Length: {len(inner)}", closing=False
    )
    me = head("GET /me HTTP/1.1", token, closing=False)
    said = await say(proxy.running.data_port, me + post + inner + me, head("GET /me HTTP/1.1", None))
    assert said.statuses == (200, 415, 200, 401)
    assert [one.target for one in upstream.requests] == ["/me", "/me"]
    assert_well_formed(upstream.requests)
    assert [one.decision for one in proxy.records()] == ["allow", "deny", "allow", "deny"]


async def test_http_1_0_is_judged(proxy, upstream) -> None:
    """With a Host and without; what reaches the platform is HTTP/1.1."""
    for fields in ((), ("Host: x",)):
        data = head("GET /me HTTP/1.0", proxy.token(), *fields)
        data = data if fields else data.replace(b"Host: api.example\r\n", b"")
        said = await say(proxy.running.data_port, data)
        assert said.statuses == (200,)
        assert b"nameof1" in said.text
    said = await say(proxy.running.data_port, head("GET /people/3 HTTP/1.0", proxy.token()))
    assert said.statuses == (404,)
    assert_well_formed(upstream.requests)
    assert len(proxy.records()) == 3


async def test_the_platform_sees_its_own_host(proxy, upstream) -> None:
    """Whatever Host the app names; it stands in X-Forwarded-Host."""
    for host in ("evil.example", "evil.example:8080", "[::1]:80"):
        upstream.clear()
        said = await say(proxy.running.data_port, head("GET /me HTTP/1.1", proxy.token(), f"Host: {host}"))
        assert said.statuses == (200,)
        (sent,) = upstream.requests
        assert sent.header("host") == upstream.url.removeprefix("http://")
        assert sent.header("x-forwarded-host") == host
