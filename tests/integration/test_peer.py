"""What a connection's TLS handshake verified, of real connections."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from audit_proxy.core.exchange import Peer
from audit_proxy.frontends.data_plane.peer import certified, peer_of
from tests.simulator.certificates import Authority, Certified


@asynccontextmanager
async def serving(authority: Authority, verify: ssl.VerifyMode) -> AsyncIterator[tuple[str, list[Peer | None]]]:
    """A TLS server that notes who is at the other end."""
    seen: list[Peer | None] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(peer_of(request.transport))
        return web.Response()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", "ip:127.0.0.1").path)
    context.load_verify_locations(authority.path)
    context.verify_mode = verify
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/", seen
    await runner.cleanup()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def ask(url: str, context: ssl.SSLContext) -> None:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context):
        pass


async def test_a_verified_certificate_names_its_client(authority):
    gateway = authority.issue("gateway", "dns:Gateway.internal", "uri:spiffe://example/gateway")
    async with serving(authority, ssl.CERT_OPTIONAL) as (url, seen):
        await ask(url, authority.client_context(gateway))
    assert seen == [
        Peer(
            frozenset(
                {
                    "subject:CN=gateway,O=Example",
                    "dns:gateway.internal",
                    "uri:spiffe://example/gateway",
                    f"sha256:{sha256(gateway.der).hexdigest()}",
                }
            )
        )
    ]


async def test_without_a_certificate_there_is_no_peer(authority):
    async with serving(authority, ssl.CERT_OPTIONAL) as (url, seen):
        await ask(url, authority.client_context())
    assert seen == [None]


async def test_a_certificate_that_was_not_verified_is_none(authority, tmp_path):
    """A server that asks for none ignores it; one that asks refuses another authority's."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("gateway", "dns:gateway.internal")
    context = authority.client_context(stranger)
    async with serving(authority, ssl.CERT_NONE) as (url, seen):
        await ask(url, context)
    assert seen == [None]
    async with serving(authority, ssl.CERT_OPTIONAL) as (url, seen):
        with pytest.raises(aiohttp.ClientError):
            await ask(url, context)
    assert seen == []


async def test_a_plain_connection_has_no_peer():
    assert peer_of(None) is None


def test_a_certificate_without_alternative_names_has_subject_and_fingerprint(authority):
    one: Certified = authority.issue("plain")
    assert certified(one.der).names == {"subject:CN=plain,O=Example", f"sha256:{sha256(one.der).hexdigest()}"}
