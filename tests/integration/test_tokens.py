"""Tokens at the running proxy: real issuers on loopback, and an upstream that records what reached it."""

import asyncio
import json
import time

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.simulator.people import document
from tests.simulator.proxy import ISSUER, running_proxy
from tests.simulator.recording import RecordingUpstream
from tests.simulator.services import Service


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as found:
        found.reply("/me", body={"id": "1", "name": "Ann"})
        yield found


class Keyring:
    """An issuer's keys and the set that it publishes."""

    def __init__(self) -> None:
        self.keys: dict[str, ed25519.Ed25519PrivateKey] = {}

    def new(self, kid: str) -> None:
        self.keys[kid] = ed25519.Ed25519PrivateKey.generate()

    def published(self, _: object = None) -> web.Response:
        to_jwk = jwt.algorithms.OKPAlgorithm.to_jwk
        return web.json_response(
            {"keys": [to_jwk(key.public_key(), as_dict=True) | {"kid": kid} for kid, key in self.keys.items()]}
        )

    def token(self, kid: str, key: ed25519.Ed25519PrivateKey | None = None, **more: object) -> str:
        claims = {"iss": ISSUER, "aud": "api", "sub": "1", "client_id": "quiz", "scope": "read"}
        claims |= {"exp": int(time.time()) + 600} | more
        return jwt.encode(claims, key or self.keys[kid], "EdDSA", headers={"kid": kid})


def identity(issuer: Service, **more: object) -> dict[str, object]:
    return {"issuers": [{"issuer": ISSUER, "audience": "api", "algorithms": ["EdDSA"], "jwks_url": issuer.url, **more}]}


async def test_a_key_rotated_a_moment_ago_is_known_and_made_up_ones_are_not_fetched_for(tmp_path, upstream):
    """One fetch at the start, one for the new key; a hundred made-up key ids cause none."""
    ring = Keyring()
    ring.new("a")
    async with Service(ring.published) as issuer:
        settings = identity(issuer, jwks_refetch_interval_s=600)
        async with running_proxy(tmp_path, upstream.url, document(), identity=settings) as proxy:
            assert (await proxy.get("/me", ring.token("a")))[0] == 200
            ring.new("b")
            assert (await proxy.get("/me", ring.token("b")))[0] == 200
            assert len(issuer.asked) == 2
            mine = ed25519.Ed25519PrivateKey.generate()
            for number in range(100):
                status, headers, _ = await proxy.get("/me", ring.token(f"made-up-{number}", mine))
                assert status == 401
                assert 'error="invalid_token"' in headers["Www-Authenticate"]
            assert len(issuer.asked) == 2
            _, text = await proxy.admin("GET", "/metrics")
            assert b"audit_proxy_issuer_keys_age_seconds " in text
    assert len(upstream.requests) == 2


async def test_an_issuer_s_outage_is_503_and_never_401(tmp_path, upstream):
    """Known keys serve on; an unknown key is told to come back."""
    ring = Keyring()
    ring.new("a")
    async with Service(ring.published) as issuer:
        settings = identity(issuer)
        async with running_proxy(tmp_path, upstream.url, document(), identity=settings) as proxy:
            await issuer.stop()
            ring.new("b")
            status, headers, body = await proxy.get("/me", ring.token("b"))
            assert (status, json.loads(body)["reason"]) == (503, "keys_unavailable")
            assert headers["Retry-After"]
            assert "Www-Authenticate" not in headers
            assert (await proxy.get("/me", ring.token("a")))[0] == 200
            assert [one.reason for one in proxy.records("denial")] == ["keys_unavailable"]


async def test_a_long_outage_of_an_issuer_is_503_until_it_is_back(tmp_path, upstream):
    """Also for tokens that were verified before; nobody is told that a token is bad."""
    ring = Keyring()
    ring.new("a")
    async with Service(ring.published) as issuer:
        settings = identity(issuer, jwks_refresh_s=0.2, jwks_max_age_s=0.5)
        async with running_proxy(tmp_path, upstream.url, document(), identity=settings) as proxy:
            await issuer.stop()
            for wanted in (503, 200):
                status, body = 0, b""
                while status != wanted:
                    status, _, body = await proxy.get("/me", ring.token("a"))
                    assert status in (200, 503)
                    await asyncio.sleep(0.02)
                if wanted == 503:
                    assert json.loads(body)["reason"] == "keys_unavailable"
                    await issuer.start()


# --- where a token stands ------------------------------------------------------------------------------------------------


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with running_proxy(tmp_path, upstream.url, document()) as found:
        yield found


async def raw(proxy, *headers: str, target: str = "/me", method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """An exchange of exactly these header lines: status and the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer


async def test_two_tokens_in_one_request_are_refused(proxy, upstream):
    """Twice the header, header and query, twice the query: 400 invalid_request, whoever's they are, and nothing goes on."""
    ann, bob = proxy.token("1"), proxy.token("2")
    header = f"Authorization: Bearer {ann}"
    for answer in (
        await raw(proxy, header, header),
        await raw(proxy, header, f"authorization: Bearer {bob}"),
        await raw(proxy, f"{header}, Bearer {bob}"),
        await raw(proxy, header, "Authorization:"),
        await raw(proxy, header, target=f"/me?access_token={bob}"),
        await raw(proxy, header, target=f"/me?%61ccess_token={bob}"),
        await raw(proxy, target=f"/me?access_token={ann}&access_token={bob}"),
        await raw(proxy, header, target=f"/blob?access_token={bob}"),
    ):
        assert answer[0] == 400
        assert b'error="invalid_request"' in answer[1]
        assert b'"reason":"token_repeated"' in answer[1]
        assert ann.encode() not in answer[1]
        assert bob.encode() not in answer[1]
    assert upstream.requests == []
    assert {one.reason for one in proxy.records("denial")} == {"token_repeated"}


async def test_a_token_in_the_body_is_refused(proxy, upstream):
    """With one in the header, and alone."""
    headers = {"Content-Type": "application/json"}
    for token, status in ((proxy.token(scope="write"), 400), (None, 401)):
        body = json.dumps({"text": "t", "access_token": proxy.token("2")})
        answer = await proxy.ask("POST", "/posts", token, data=body, headers=headers)
        assert answer[0] == status
    assert upstream.requests == []
    assert [one.reason for one in proxy.records("denial")] == ["token_misplaced", "token_missing"]


async def test_a_token_in_the_query_is_refused_and_written_nowhere(proxy, upstream, capfd):
    """The answer says where it belongs."""
    token = proxy.token()
    status, headers, body = await proxy.get(f"/me?access_token={token}")
    assert status == 400
    assert headers["Www-Authenticate"] == 'Bearer realm="api", error="invalid_request"'
    assert json.loads(body)["reason"] == "token_misplaced"
    assert "Authorization header" in json.loads(body)["detail"]
    assert (await proxy.get(f"/status?access_token={token}"))[0] == 400
    assert upstream.requests == []
    assert token.encode() not in proxy.everything_written()
    assert token not in "".join(capfd.readouterr())


async def test_a_token_in_the_query_goes_on_in_the_header_where_it_is_permitted(tmp_path, upstream, capfd):
    """The platform's own logs do not get it either; one in each place stays refused."""
    settings = {"identity": {"unsafe_token_in_query": True}, "logging": {"level": "debug"}}
    async with running_proxy(tmp_path, upstream.url, document(), **settings) as proxy:
        token = proxy.token()
        upstream.reply("/blob", body=b"blob", headers={"Content-Type": "text/plain"})
        for path in ("/me", "/blob"):
            assert (await proxy.get(f"{path}?access_token={token}"))[0] == 200
            asked = upstream.requests[-1]
            assert (asked.target, asked.header("Authorization")) == (path, f"Bearer {token}")
        assert (await proxy.get("/me?access_token=nonsense"))[0] == 401
        assert (await proxy.get(f"/me?access_token={token}", token))[0] == 400
        assert len(upstream.requests) == 2
        assert token.encode() not in proxy.everything_written()
        assert token not in "".join(capfd.readouterr())


async def test_a_token_moved_out_of_the_query_is_stripped_like_one_in_the_header(tmp_path, upstream):
    settings = {"identity": {"unsafe_token_in_query": True}, "upstream": {"url": upstream.url, "credential": "strip"}}
    async with running_proxy(tmp_path, upstream.url, document(), **settings) as proxy:
        assert (await proxy.get(f"/me?access_token={proxy.token()}"))[0] == 200
        asked = upstream.requests[-1]
        assert (asked.target, asked.header("Authorization")) == ("/me", None)
