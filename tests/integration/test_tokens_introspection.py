"""Opaque tokens: a real platform on loopback that is asked, counted and broken."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import structlog
from aiohttp import web

from audit_proxy.adapters.http_aiohttp import AiohttpClient
from audit_proxy.adapters.tokens_introspection import IntrospectionConfig, IntrospectionResolver
from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import Identity
from audit_proxy.core.introspection import ANSWER_MAX, RFC_7662, Asking, Rules, basic_credentials, parse_pointer
from tests.simulator.people import document
from tests.simulator.proxy import ISSUER, private, running_proxy
from tests.simulator.recording import RecordingUpstream
from tests.simulator.services import Asked, Service, until

NOW = 1_000_000.0
GOOD = {"active": True, "client_id": "quiz", "sub": "42", "scope": "read", "exp": NOW + 600}
VALUES = {"secret": "S3CRET", "basic": basic_credentials("me", "S3CRET")}


def answering(**answers: dict[str, Any]) -> Callable[[Asked], web.Response]:
    """A platform that knows these tokens (RFC 7662)."""

    def answer(asked: Asked) -> web.Response:
        token = parse_qs(asked.body.decode())["token"][0]
        return web.json_response(answers.get(token, {"active": False}))

    return answer


@pytest.fixture
async def platform() -> AsyncIterator[Service]:
    async with Service(answering(good=GOOD)) as found:
        yield found


@pytest.fixture
async def make(platform: Service) -> AsyncIterator[Callable[..., IntrospectionResolver]]:
    made: list[IntrospectionResolver] = []
    async with AiohttpClient() as client:

        def make(**options: Any) -> IntrospectionResolver:
            facts = {name: parse_pointer(text) for name, text in RFC_7662.items()}
            headers = {"Authorization": "Basic {basic}"}
            form = {"token": "{token}", "token_type_hint": "access_token"}
            one = Asking("POST", f"{platform.url}/introspect", headers, {}, form, None, facts)
            config = IntrospectionConfig(Rules(ISSUER, "person"), options.pop("askings", (one,)), VALUES, **options)
            made.append(IntrospectionResolver(config, client))
            return made[-1]

        yield make
        for one in made:
            await one.close()


@pytest.fixture
def resolver(make: Callable[..., IntrospectionResolver]) -> IntrospectionResolver:
    return make()


async def accepted(resolver: IntrospectionResolver, token: str = "good", now: float = NOW) -> Identity:
    found = await resolver.resolve(token, now)
    assert isinstance(found, Identity), found
    return found


async def refused(resolver: IntrospectionResolver, token: str = "good", now: float = NOW) -> Reason:
    found = await resolver.resolve(token, now)
    assert isinstance(found, Refusal), found
    return found.reason


async def test_a_token_is_asked_about_as_rfc_7662_says(resolver, platform):
    one = await accepted(resolver)
    assert (one.app, one.holder, one.scopes) == ("quiz", "person:42", {"read"})
    (asked,) = platform.asked
    assert (asked.request.method, asked.target) == ("POST", "/introspect")
    assert parse_qsl(asked.body.decode()) == [("token", "good"), ("token_type_hint", "access_token")]
    assert base64.b64decode(asked.request.headers["Authorization"].removeprefix("Basic ")) == b"me:S3CRET"
    assert asked.request.headers["Content-Type"] == "application/x-www-form-urlencoded"


# --- memory ---------------------------------------------------------------------------------------------------------------


async def test_an_answer_is_remembered_for_its_time_and_no_longer(make, platform):
    """A revoked token can pass for cache_s seconds, and not for one more."""
    resolver = make(cache_s=30)
    await accepted(resolver)
    platform.answer = answering()
    await accepted(resolver, now=NOW + 29.9)
    assert len(platform.asked) == 1
    assert await refused(resolver, now=NOW + 30) is Reason.token_invalid
    assert len(platform.asked) == 2


async def test_nothing_is_remembered_past_a_token_s_expiry(make, platform):
    resolver = make(cache_s=3600)
    await accepted(resolver, now=NOW + 599.9)
    assert await refused(resolver, now=NOW + 600) is Reason.token_expired


async def test_a_clock_that_is_set_back_does_not_lengthen_a_memory(make, platform):
    resolver = make(cache_s=30)
    await accepted(resolver)
    await accepted(resolver, now=NOW - 1)
    assert len(platform.asked) == 2


async def test_a_token_that_is_not_active_is_remembered_briefly(make, platform):
    """And passes when it becomes active."""
    resolver = make(negative_cache_s=5)
    for _ in range(3):
        assert await refused(resolver, "new") is Reason.token_invalid
    assert len(platform.asked) == 1
    platform.answer = answering(new=GOOD)
    assert await refused(resolver, "new", NOW + 4.9) is Reason.token_invalid
    await accepted(resolver, "new", NOW + 5)


async def test_the_memory_is_bounded_and_bad_tokens_push_no_good_one_out(make, platform):
    resolver = make(cache_entries=100)
    await accepted(resolver)
    for number in range(150):
        await refused(resolver, f"bad{number}")
        assert len(resolver) <= 11
    assert len(platform.asked) == 151
    await accepted(resolver)
    assert len(platform.asked) == 151


async def test_no_token_stands_in_memory(resolver):
    """Nor in what the resolver shows of itself."""
    await accepted(resolver)
    assert all(isinstance(key, bytes) and len(key) == 32 for key in resolver._good._young)
    assert "S3CRET" not in repr(resolver._config)


# --- many at once ---------------------------------------------------------------------------------------------------------


class Held:
    """Answers that wait until they are let go."""

    def __init__(self, answer: Callable[[Asked], web.Response]) -> None:
        self.answer = answer
        self.go = asyncio.Event()

    async def __call__(self, asked: Asked) -> web.StreamResponse:
        await self.go.wait()
        return self.answer(asked)


async def test_everybody_who_asks_about_one_token_waits_for_one_look_up(resolver, platform):
    """Also when one of them hangs up."""
    platform.answer = held = Held(platform.answer)
    waiting = [asyncio.create_task(resolver.resolve("good", NOW)) for _ in range(50)]
    await until(lambda: len(platform.asked) == 1)
    waiting.pop().cancel()
    held.go.set()
    assert {(await one).holder for one in waiting} == {"person:42"}
    assert len(platform.asked) == 1


async def test_tokens_asked_about_at_a_time_are_bounded(resolver, platform):
    """A flood of made-up tokens does not gather in the proxy; who is turned away is told to come back."""
    platform.answer = held = Held(platform.answer)
    waiting = [asyncio.create_task(resolver.resolve(f"t{number}", NOW)) for number in range(250)]
    await until(lambda: sum(one.done() for one in waiting) == 150)
    assert {one.result().reason for one in waiting if one.done()} == {Reason.introspection_unavailable}
    held.go.set()
    assert {(await one).reason for one in waiting} == {Reason.introspection_unavailable, Reason.token_invalid}


# --- outages --------------------------------------------------------------------------------------------------------------


def broken() -> list[tuple[str, Callable[[Asked], web.StreamResponse]]]:
    good = json.dumps(GOOD)
    return [
        ("our credential is refused", lambda _: web.Response(status=401, text='{"active":false}')),
        ("forbidden", lambda _: web.Response(status=403)),
        ("an error", lambda _: web.Response(status=500, text=good)),
        ("no content", lambda _: web.Response(status=204)),
        ("another 2xx", lambda _: web.Response(status=202, text=good)),
        ("a redirect", lambda _: web.Response(status=307, headers={"Location": "/elsewhere"})),
        ("not JSON", lambda _: web.Response(text="<html>")),
        ("not an object", lambda _: web.Response(text="[]")),
        ("active twice", lambda _: web.Response(text='{"active":false,' + good[1:])),
        ("too long", lambda _: web.Response(text=good + " " * ANSWER_MAX)),
        ("a coding", lambda _: web.Response(body=b"x", headers={"Content-Encoding": "gzip"})),
    ]


@pytest.mark.parametrize("answer", [answer for _, answer in broken()], ids=[name for name, _ in broken()])
async def test_a_broken_answer_is_an_outage_and_is_not_remembered(resolver, platform, answer):
    good, platform.answer = platform.answer, answer
    assert await refused(resolver) is Reason.introspection_unavailable
    assert len(platform.asked) == 1
    platform.answer = good
    await accepted(resolver)


async def test_a_platform_that_is_gone_is_an_outage(resolver, platform):
    """Said once in the log, and once that it is over; what is remembered stays good for its time."""
    await accepted(resolver)
    await platform.stop()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert await refused(resolver, "other") is Reason.introspection_unavailable
        await accepted(resolver)
        await platform.start()
        assert await refused(resolver, "other") is Reason.token_invalid
    assert [entry["event"] for entry in logs] == ["introspection_failed", "introspection_works"]
    assert "other" not in json.dumps(logs)


async def test_a_platform_that_hangs_is_an_outage_after_its_time(make, platform):
    platform.answer = held = Held(platform.answer)
    assert await refused(make(timeout_s=0.1)) is Reason.introspection_unavailable
    held.go.set()


# --- platforms with endpoints of their own ---------------------------------------------------------------------------------


def own(platform: Service, path: str, facts: dict[str, str], **more: Any) -> Asking:
    given = {"method": "GET", "headers": {}, "query": {}, "form": None, "json": None} | more
    pointers = {name: parse_pointer(text) for name, text in facts.items()}
    return Asking(url=platform.url + path, facts=pointers, **given)


async def test_facebook_s_debug_token(make, platform):
    """The token and our secret stand in the query, encoded."""
    facts = {"active": "/data/is_valid", "app": "/data/app_id", "holder": "/data/user_id", "scopes": "/data/scopes"}
    query = {"input_token": "{token}", "access_token": "1234|{secret}"}
    resolver = make(askings=(own(platform, "/debug_token", facts, query=query, inactive=frozenset({400})),))
    data = {"is_valid": True, "app_id": "quiz", "user_id": "9", "scopes": ["email"], "expires_at": 0}
    platform.answer = lambda _: web.json_response({"data": data})
    one = await accepted(resolver, "a&b#c%26|{secret}")
    assert (one.app, one.holder, one.scopes) == ("quiz", "person:9", {"email"})
    target = urlsplit(platform.asked[0].target)
    assert parse_qsl(target.query) == [("input_token", "a&b#c%26|{secret}"), ("access_token", "1234|S3CRET")]
    platform.answer = lambda _: web.json_response({"error": {"code": 190}}, status=400)
    assert await refused(resolver, "bad") is Reason.token_invalid


async def test_mastodon_s_two_endpoints(make, platform):
    """The app from one, the person from the other; a token without a person is an app's own."""
    bearer = {"Authorization": "Bearer {token}"}
    resolver = make(
        askings=(
            own(platform, "/api/v1/apps/verify_credentials", {"app": "/name", "scopes": "/scopes"}, headers=bearer, inactive={401}),
            own(platform, "/api/v1/accounts/verify_credentials", {"holder": "/id"}, headers=bearer, inactive={401}, silent={422}),
        )
    )  # fmt: skip

    def answer(asked: Asked) -> web.Response:
        token = asked.request.headers["Authorization"].removeprefix("Bearer ")
        if token not in ("person", "app"):
            return web.json_response({"error": "The access token is invalid"}, status=401)
        if "accounts" not in asked.target:
            return web.json_response({"name": "quiz", "scopes": ["read"]})
        return web.json_response({"id": "9"}) if token == "person" else web.json_response({}, status=422)

    platform.answer = answer
    assert (await accepted(resolver, "person")).holder == "person:9"
    assert (await accepted(resolver, "app")).holder is None
    assert (await accepted(resolver, "app")).app == "quiz"
    assert len(platform.asked) == 4
    assert await refused(resolver, "bad") is Reason.token_invalid
    assert len(platform.asked) == 5


def test_a_secret_that_cannot_stand_in_its_place_is_told_at_the_start(platform):
    asking = Asking("GET", "https://x.example/", {"X": "{secret}"}, {}, None, None, {})
    for values, problem in (({"secret": "a\nb"}, "printable ASCII"), ({}, "no value")):
        with pytest.raises(ValueError, match=problem):
            IntrospectionResolver(IntrospectionConfig(Rules("x", "p"), (asking,), values), AiohttpClient())


# --- the running proxy ----------------------------------------------------------------------------------------------------


async def test_opaque_and_signed_tokens_side_by_side(tmp_path, platform):
    """Each goes to the one that its form names; withheld is the same, and an outage is 503."""
    private(tmp_path / "client.secret", "S3CRET\n")
    good = GOOD | {"sub": "1", "exp": int(time.time()) + 600}
    platform.answer = answering(opaque=good)
    signed = {"issuer": ISSUER, "audience": "api", "algorithms": ["EdDSA"], "jwks_file": "jwks.json"}
    asked = {
        "issuer": "https://auth.example/",
        "client_id": "me",
        "client_secret": {"file": "client.secret"},
        "requests": [{"url": f"{platform.url}/introspect"}],
    }
    identity = {"issuers": [signed], "introspection": [asked]}
    async with RecordingUpstream() as upstream:
        upstream.reply("/me", body={"id": "1", "name": "Ann"})
        async with running_proxy(tmp_path, upstream.url, document(), identity=identity) as proxy:
            assert (await proxy.get("/me", proxy.token()))[0] == 200
            assert platform.asked == []
            status, _, body = await proxy.get("/me", "opaque")
            assert (status, json.loads(body)) == (200, {"id": "1", "name": "Ann"})
            first, second = proxy.records()
            assert first.holder == second.holder
            status, headers, _ = await proxy.get("/me", "unknown")
            assert (status, headers["Www-Authenticate"]) == (401, 'Bearer realm="api", error="invalid_token"')
            await platform.stop()
            status, headers, body = await proxy.get("/me", "another")
            assert (status, json.loads(body)["reason"]) == (503, "introspection_unavailable")
            assert "Www-Authenticate" not in headers
            assert (await proxy.get("/me", "opaque"))[0] == 200
            assert len(upstream.requests) == 3
            assert b"opaque" not in proxy.everything_written()
