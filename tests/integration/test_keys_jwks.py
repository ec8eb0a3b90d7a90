"""Keys fetched from a URL: a real server on loopback that can be changed while it runs."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from audit_proxy.adapters.http_aiohttp import AiohttpClient
from audit_proxy.adapters.keys_jwks import JwksUrl
from audit_proxy.core.jose import JWKS_MAX
from tests.simulator.services import Answering, Asked, Service, until

PINNED = frozenset({"ES256"})
BOMB = zlib.compress(b" " * (8 * 1024 * 1024) + b'{"keys":[]}')


def jwks(kid: str) -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return json.dumps({"keys": [jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True) | {"kid": kid}]}).encode()


@pytest.fixture
async def issuer() -> AsyncIterator[Service]:
    document = jwks("a")
    async with Service(lambda _: web.Response(body=document)) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    async with AiohttpClient() as found:
        yield found


@pytest.fixture
async def make(issuer: Service, client: AiohttpClient) -> AsyncIterator[Callable[..., JwksUrl]]:
    """Makes key sources of the issuer, and closes them."""
    made: list[JwksUrl] = []

    def make(path: str = "/jwks.json", **options: Any) -> JwksUrl:
        made.append(JwksUrl(issuer.url + path, PINNED, client, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def keys(make: Callable[..., JwksUrl]) -> JwksUrl:
    return make(refresh_s=0.02)


def has(keys: JwksUrl, kid: str) -> bool:
    return keys.current is not None and bool(keys.current.candidates(kid, "ES256"))


async def test_keys_are_there_after_the_start(issuer, keys):
    """One plain request, for an uncompressed key set."""
    assert keys.current is None
    await keys.start()
    assert has(keys, "a")
    assert issuer.asked[0].request.headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in issuer.asked[0].request.headers


async def test_a_new_set_replaces_the_old_in_the_background(issuer, keys):
    await keys.start()
    document = jwks("b")
    issuer.answer = lambda _: web.Response(body=document)
    await until(lambda: has(keys, "b"))
    assert not has(keys, "a")


async def test_an_unchanged_set_stays_the_same_object(issuer, keys):
    """Verified tokens are remembered by it."""
    document = jwks("a")
    issuer.answer = lambda _: web.Response(body=document)
    await keys.start()
    before = keys.current
    await until(lambda: len(issuer.asked) > 4)
    assert keys.current is before


def broken() -> list[tuple[str, Answering]]:
    return [
        ("an error", lambda _: web.Response(status=500, body=jwks("x"))),
        ("no content", lambda _: web.Response(status=204)),
        ("not JSON", lambda _: web.Response(text="<html>")),
        ("no keys", lambda _: web.Response(text='{"keys":[]}')),
        ("no usable key", lambda _: web.Response(text='{"keys":[{"kty":"oct","k":"AAAA"}]}')),
        ("a duplicate", lambda _: web.Response(text='{"keys":[],"keys":[]}')),
        ("too long", lambda _: web.Response(body=jwks("x") + b" " * JWKS_MAX)),
        ("a bomb", lambda _: web.Response(body=BOMB, headers={"Content-Encoding": "deflate"})),
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
    issuer.answer = lambda _: web.Response(body=document)
    await until(lambda: has(keys, "b"))
    before = keys.current
    issuer.answer = bad
    seen = len(issuer.asked)
    await until(lambda: len(issuer.asked) > seen + 2)
    assert keys.current is before


async def test_an_endless_answer_is_not_read_to_its_end(issuer, keys):
    """Memory is bounded by what a key set may be, not by what is sent."""
    sent = 0

    async def endless(asked: Asked) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(asked.request)
        while sent < 256 * 1024 * 1024:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    issuer.answer = endless
    await keys.start()
    assert keys.current is None
    assert JWKS_MAX <= sent < 64 * JWKS_MAX


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(issuer, keys, status):
    """Who can redirect the issuer's address could else name keys."""
    issuer.answer = lambda _: web.Response(status=status, headers={"Location": f"{issuer.url}/elsewhere"})
    await keys.start()
    assert keys.current is None
    assert [asked.target for asked in issuer.asked] == ["/jwks.json"]


async def test_an_issuer_that_comes_up_later_is_found(issuer, keys):
    """The start does not fail with it."""
    await issuer.stop()
    with structlog.testing.capture_logs() as logs:
        await keys.start()
    assert keys.current is None
    assert keys.age_s is None
    assert logs[0]["event"] == "jwks_fetch_failed"
    await issuer.start()
    await until(lambda: has(keys, "a"))
    await keys.close()
    await keys.close()


async def test_an_issuer_that_hangs_does_not_hold_up_the_start(issuer, make):
    """Its keys are in force as soon as it answers."""
    answers, good = asyncio.Event(), issuer.answer

    async def hang(asked: Asked) -> web.StreamResponse:
        await answers.wait()
        return good(asked)

    issuer.answer = hang
    keys = make(wait_s=0.05)
    await keys.start()
    assert keys.current is None
    answers.set()
    await until(lambda: has(keys, "a"))


async def test_a_connection_cut_in_the_middle_is_a_failed_fetch(issuer, keys):
    """A part of a set is no set."""

    def cut(asked: Asked) -> web.StreamResponse:
        transport = asked.request.transport
        assert transport is not None
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + jwks("a")[:100])
        transport.close()
        return web.Response()

    good, issuer.answer = issuer.answer, cut
    await keys.start()
    assert keys.current is None
    issuer.answer = good
    await until(lambda: has(keys, "a"))


async def test_logs_name_the_address_without_its_query(issuer, make):
    """A query may carry an access key."""
    keys = make("/jwks.json?key=S3CRET", refresh_s=0.02)
    with structlog.testing.capture_logs() as logs:
        await keys.start()
        issuer.answer = lambda _: web.Response(text="S3CRET")
        await until(lambda: len(logs) > 1)
        await issuer.stop()
        await until(lambda: len(logs) > 2)
        await keys.close()
    assert [entry["event"] for entry in logs[:2]] == ["jwks_read", "jwks_fetch_failed"]
    assert "S3CRET" not in json.dumps(logs)
    assert issuer.asked[0].target == "/jwks.json?key=S3CRET"


# --- outages ------------------------------------------------------------------------------------------------------------


async def test_in_an_outage_the_last_good_set_serves(issuer, keys):
    """And it is seen to age."""
    await keys.start()
    before, age = keys.current, keys.age_s
    assert before is not None
    await issuer.stop()
    await until(lambda: keys.age_s > age + 0.2)
    assert keys.current is before


async def test_in_an_outage_a_set_serves_up_to_its_bound(issuer, make):
    """And is back, as the same object, as soon as the issuer says the same again."""
    keys = make(refresh_s=0.02, max_age_s=0.2)
    await keys.start()
    before = keys.current
    assert before is not None
    await issuer.stop()
    await until(lambda: keys.current is None)
    assert keys.age_s >= 0.2
    await issuer.start()
    await until(lambda: keys.current is not None)
    assert keys.current is before


async def test_a_set_that_is_confirmed_does_not_age(issuer, make):
    """Its bound counts from the last fetch that succeeded, not from the first."""
    keys = make(refresh_s=0.02, max_age_s=2)
    with structlog.testing.capture_logs() as logs:
        await keys.start()
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > began + 2.2)
    assert [entry["event"] for entry in logs] == ["jwks_read"]


# --- tokens that name an unknown key ------------------------------------------------------------------------------------


class Held:
    """An answer that waits until it is let go."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.go = asyncio.Event()

    async def __call__(self, _: Asked) -> web.StreamResponse:
        await self.go.wait()
        return web.Response(body=self.document)


async def test_an_unknown_key_is_fetched_once_for_all_who_wait(issuer, make):
    """Fifty tokens of a key that was just published: one fetch, and everybody gets the new set."""
    keys = make(refresh_s=600)
    await keys.start()
    before = keys.current
    issuer.answer = held = Held(jwks("b"))
    waiting = [asyncio.create_task(keys.renewed(before)) for _ in range(50)]
    await until(lambda: len(issuer.asked) == 2)
    held.go.set()
    found = await asyncio.gather(*waiting)
    assert has(keys, "b")
    assert found == [keys.current] * 50
    assert len(issuer.asked) == 2
    assert await keys.renewed(before) is keys.current
    assert len(issuer.asked) == 2


async def test_unknown_keys_cannot_cause_a_fetch_each(issuer, make):
    """A flood of made-up kids: one fetch in the interval, and the set that was just confirmed stands."""
    keys = make(refresh_s=600, refetch_interval_s=600)
    await keys.start()
    before = keys.current
    for _ in range(300):
        assert await keys.renewed(before) is before
    assert len(issuer.asked) == 2


async def test_after_the_interval_one_more_fetch_is_permitted(issuer, make):
    keys = make(refresh_s=600, refetch_interval_s=0.05)
    await keys.start()
    await keys.renewed(keys.current)
    document = jwks("b")
    issuer.answer = lambda _: web.Response(body=document)

    async def found() -> None:
        while not has(keys, "b"):
            await keys.renewed(keys.current)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(found(), 20)
    assert len(issuer.asked) == 3


async def test_whether_a_key_exists_is_not_known_in_an_outage(issuer, make):
    """None, not the old set: a token of a key that may be new is our matter (503), also within the interval."""
    keys = make(refresh_s=600, refetch_interval_s=600)
    await keys.start()
    before = keys.current
    await issuer.stop()
    assert await keys.renewed(before) is None
    assert await keys.renewed(before) is None
    assert keys.current is before


async def test_who_waits_for_a_fetch_waits_for_a_bounded_time(issuer, make):
    keys = make(refresh_s=600, wait_s=0.05)
    await keys.start()
    issuer.answer = held = Held(jwks("b"))
    assert await keys.renewed(keys.current) is None
    assert not has(keys, "b")
    held.go.set()
    await until(lambda: has(keys, "b"))


async def test_only_so_many_wait(issuer, make):
    """An issuer that hangs does not gather all of the proxy's requests."""
    keys = make(refresh_s=600, wait_s=600)
    await keys.start()
    before = keys.current
    issuer.answer = held = Held(jwks("b"))
    waiting = [asyncio.create_task(keys.renewed(before)) for _ in range(300)]
    await until(lambda: sum(one.done() for one in waiting) >= 100)
    turned_away = [one for one in waiting if one.done()]
    assert len(turned_away) == 100
    assert {one.result() for one in turned_away} == {None}
    held.go.set()
    assert {await one for one in waiting} == {None, keys.current}


async def test_who_gives_up_waiting_does_not_end_the_fetch(issuer, make):
    """An app that hangs up takes nothing from the others."""
    keys = make(refresh_s=600)
    await keys.start()
    before = keys.current
    issuer.answer = held = Held(jwks("b"))
    gone, stays = (asyncio.create_task(keys.renewed(before)) for _ in range(2))
    await until(lambda: len(issuer.asked) == 2)
    gone.cancel()
    held.go.set()
    assert await stays is keys.current
    assert has(keys, "b")
