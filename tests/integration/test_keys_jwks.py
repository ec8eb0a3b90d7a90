"""Keys fetched from a URL: a real server on loopback that can be changed while it runs."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import jwt
import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from audit_proxy.adapters.keys_jwks import JwksUrl
from audit_proxy.core.jose import JWKS_MAX

PINNED = frozenset({"ES256"})
BOMB = zlib.compress(b" " * (8 * 1024 * 1024) + b'{"keys":[]}')


def jwks(kid: str) -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return json.dumps({"keys": [jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True) | {"kid": kid}]}).encode()


class Issuer:
    """Answers with what ``answer`` says; counts and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.StreamResponse] = lambda: web.Response(body=jwks("a"))
        self.stream: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
        self.requests: list[web.BaseRequest] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        return self.answer() if self.stream is None else await self.stream(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    found = Issuer()
    runner = web.ServerRunner(web.Server(found.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def keys(issuer: Issuer) -> AsyncIterator[JwksUrl]:
    async with aiohttp.ClientSession() as session:
        made = JwksUrl(issuer.url, PINNED, session, refresh_s=0.02)
        yield made
        await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come; the bound is only there to fail instead of hanging."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def has(keys: JwksUrl, kid: str) -> bool:
    return keys.current is not None and bool(keys.current.candidates(kid, "ES256"))


async def test_keys_are_there_after_the_start(issuer, keys):
    """One plain request, for an uncompressed key set."""
    assert keys.current is None
    await keys.start()
    assert has(keys, "a")
    assert issuer.requests[0].headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in issuer.requests[0].headers


async def test_a_new_set_replaces_the_old_in_the_background(issuer, keys):
    await keys.start()
    document = jwks("b")
    issuer.answer = lambda: web.Response(body=document)
    await until(lambda: has(keys, "b"))
    assert not has(keys, "a")


async def test_an_unchanged_set_stays_the_same_object(issuer, keys):
    """Verified tokens are remembered by it."""
    document = jwks("a")
    issuer.answer = lambda: web.Response(body=document)
    await keys.start()
    before = keys.current
    await until(lambda: len(issuer.requests) > 4)
    assert keys.current is before


def broken() -> list[tuple[str, Callable[[], web.StreamResponse]]]:
    return [
        ("an error", lambda: web.Response(status=500, body=jwks("x"))),
        ("no content", lambda: web.Response(status=204)),
        ("not JSON", lambda: web.Response(text="<html>")),
        ("no keys", lambda: web.Response(text='{"keys":[]}')),
        ("no usable key", lambda: web.Response(text='{"keys":[{"kty":"oct","k":"AAAA"}]}')),
        ("a duplicate", lambda: web.Response(text='{"keys":[],"keys":[]}')),
        ("too long", lambda: web.Response(body=jwks("x") + b" " * JWKS_MAX)),
        ("a bomb", lambda: web.Response(body=BOMB, headers={"Content-Encoding": "deflate"})),
    ]


@pytest.mark.parametrize("bad", [bad for _, bad in broken()], ids=[name for name, _ in broken()])
async def test_a_broken_answer_leaves_the_last_good_set(issuer, keys, bad):
    """And at the start: none, until a good one comes."""
    good = issuer.answer
    issuer.answer = bad
    await keys.start()
    assert keys.current is None
    issuer.answer = good
    await until(lambda: has(keys, "a"))
    document = jwks("b")
    issuer.answer = lambda: web.Response(body=document)
    await until(lambda: has(keys, "b"))
    before = keys.current
    issuer.answer = bad
    seen = len(issuer.requests)
    await until(lambda: len(issuer.requests) > seen + 2)
    assert keys.current is before


async def test_an_endless_answer_is_not_read_to_its_end(issuer, keys):
    """Memory is bounded by what a key set may be, not by what is sent."""
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 256 * 1024 * 1024:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    issuer.stream = endless
    await keys.start()
    assert keys.current is None
    assert JWKS_MAX <= sent < 64 * JWKS_MAX


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(issuer, keys, status):
    """Who can redirect the issuer's address could else name keys."""
    issuer.answer = lambda: web.Response(status=status, headers={"Location": f"{issuer.url}?elsewhere"})
    await keys.start()
    assert keys.current is None
    assert [request.query_string for request in issuer.requests] == [""]


async def test_an_issuer_that_comes_up_later_is_found(issuer):
    """The start does not fail with it."""
    async with aiohttp.ClientSession() as session:
        keys = JwksUrl("http://127.0.0.1:1/jwks.json", PINNED, session, refresh_s=0.02)
        with structlog.testing.capture_logs() as logs:
            await keys.start()
        assert keys.current is None
        assert logs[0]["event"] == "jwks_fetch_failed"
        keys._url = issuer.url
        await until(lambda: has(keys, "a"))
        await keys.close()
        await keys.close()


async def test_an_issuer_that_hangs_does_not_hold_up_the_start(issuer):
    """Its keys are in force as soon as it answers."""
    answers = asyncio.Event()

    async def hang(_request: web.BaseRequest) -> web.StreamResponse:
        await answers.wait()
        return web.Response(body=jwks("a"))

    issuer.stream = hang
    async with aiohttp.ClientSession() as session:
        keys = JwksUrl(issuer.url, PINNED, session, start_wait_s=0.05)
        await keys.start()
        assert keys.current is None
        assert not answers.is_set()
        answers.set()
        await until(lambda: has(keys, "a"))
        await keys.close()


async def test_a_connection_cut_in_the_middle_is_a_failed_fetch(issuer, keys):
    """A part of a set is no set."""

    def cut() -> web.StreamResponse:
        transport = issuer.requests[-1].transport
        assert transport is not None
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + jwks("a")[:100])
        transport.close()
        return web.Response()

    good, issuer.answer = issuer.answer, cut
    await keys.start()
    assert keys.current is None
    issuer.answer = good
    await until(lambda: has(keys, "a"))


async def test_logs_name_the_address_without_its_query(issuer):
    """A query may carry an access key."""
    async with aiohttp.ClientSession() as session:
        keys = JwksUrl(f"{issuer.url}?key=S3CRET", PINNED, session, refresh_s=60)
        with structlog.testing.capture_logs() as logs:
            await keys.start()
            issuer.answer = lambda: web.Response(text="S3CRET")
            await keys._refresh()
        await keys.close()
    assert [entry["event"] for entry in logs] == ["jwks_read", "jwks_fetch_failed"]
    assert "S3CRET" not in json.dumps(logs)
    assert issuer.requests[0].query_string == "key=S3CRET"
