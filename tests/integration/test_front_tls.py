"""TLS and mutual TLS at both listeners of the running proxy."""

import os
import shutil
import signal
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from audit_proxy.settings.files import ConfigProblems
from tests.simulator.certificates import Authority
from tests.simulator.people import document
from tests.simulator.proxy import Proxy, running_proxy
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1"}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/me", body=ANN)
        yield up


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _tls(authority: Authority, **more: Any) -> dict[str, Any]:
    server = authority.issue("server", "ip:127.0.0.1").path
    return {"certificate": str(server), "key": str(server), **more}


async def _me(proxy: Proxy, context: ssl.SSLContext) -> tuple[int, bytes]:
    url = proxy.url.replace("http:", "https:") + "/me"
    headers = {"Authorization": f"Bearer {proxy.token()}"}
    # a connection of its own, so that each handshake is a new one
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_the_data_plane_speaks_tls(tmp_path, authority, upstream) -> None:
    """Version 1.2 and newer; 1.1 and plain HTTP are not answered; the platform is told of https."""
    async with running_proxy(tmp_path, upstream.url, document(), data={"tls": _tls(authority)}) as proxy:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.client_context()
            context.minimum_version = context.maximum_version = version
            status, body = await _me(proxy, context)
            assert (status, b"nameof1" in body) == (200, True)
        assert upstream.requests[0].header("x-forwarded-proto") == "https"
        upstream.clear()
        old = authority.client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(aiohttp.ClientConnectionError):
            await _me(proxy, old)
        with pytest.raises(aiohttp.ClientError):
            await proxy.get("/me", proxy.token())
        assert upstream.requests == []


async def test_clients_without_a_certificate_of_the_authority_are_turned_away(tmp_path, authority, upstream) -> None:
    """In the handshake or right after it: no byte of theirs is read as a request."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger").issue("client")
    tls = _tls(authority, client_ca=str(authority.path))
    async with running_proxy(tmp_path, upstream.url, document(), data={"tls": tls}) as proxy:
        for certified in (None, stranger):
            with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
                await _me(proxy, authority.client_context(certified))
        assert (upstream.requests, proxy.records()) == ([], [])
        status, _ = await _me(proxy, authority.client_context(authority.issue("client")))
        assert status == 200


async def test_a_client_certificate_can_be_optional(tmp_path, authority, upstream) -> None:
    """None is accepted, one of another authority is not."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger").issue("client")
    tls = _tls(authority, client_ca=str(authority.path), client_certificate="optional")
    async with running_proxy(tmp_path, upstream.url, document(), data={"tls": tls}) as proxy:
        assert (await _me(proxy, authority.client_context()))[0] == 200
        with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
            await _me(proxy, authority.client_context(stranger))


async def test_the_admin_listener_speaks_mutual_tls(tmp_path, authority, upstream) -> None:
    """An operator's certificate opens the connection; the token is still needed."""
    tls = _tls(authority, client_ca=str(authority.path))
    operator = authority.issue("operator")
    async with running_proxy(tmp_path, upstream.url, document(), admin={"tls": tls}) as proxy:
        url = proxy.admin_url.replace("http:", "https:") + "/metrics"
        async with aiohttp.ClientSession() as session:
            with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
                await session.get(url, ssl=authority.client_context())
            for token, status in ((None, 401), (proxy.admin_token, 200)):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with session.get(url, ssl=authority.client_context(operator), headers=headers) as answer:
                    assert answer.status == status


async def test_sighup_loads_a_new_certificate(tmp_path, authority, upstream) -> None:
    """New connections see it at once; one that cannot be used leaves the former in force."""
    tls = _tls(authority)
    async with running_proxy(tmp_path, upstream.url, document(), data={"tls": tls}) as proxy:
        (tmp_path / "second").mkdir()
        second = Authority(tmp_path / "second")
        with pytest.raises(aiohttp.ClientConnectionError):
            await _me(proxy, second.client_context())
        shutil.copy(second.issue("server", "ip:127.0.0.1").path, tls["certificate"])
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await _me(proxy, second.client_context()))[0] == 200
        Path(tls["certificate"]).write_text("no certificate")
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await _me(proxy, second.client_context()))[0] == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"certificate": "absent.pem"}, "absent.pem: cannot be read"),
        ({"certificate": "jwks.json"}, "jwks.json: holds no PEM certificate"),
        ({"key": "other.pem"}, "other.pem: is no unencrypted PEM key, or not that of the certificate"),
        ({"key": "open.pem"}, "open.pem"),
        ({"client_ca": "jwks.json"}, "jwks.json: holds no PEM certificate of an authority"),
        ({"client_ca": "absent.pem"}, "absent.pem: cannot be read"),
        ({"client_certificate": "optional"}, "'client_certificate' goes with 'client_ca'"),
    ],
)
async def test_files_that_make_no_server_stop_the_start(tmp_path, authority, change, said) -> None:
    """The check that serve and check-config share says which file, and what is wrong with it."""
    authority.issue("other")
    authority.issue("open")
    (tmp_path / "open.pem").chmod(0o644)
    for listener in ("data", "admin"):
        with pytest.raises(ConfigProblems) as raised:
            async with running_proxy(
                tmp_path, "http://127.0.0.1:9", document(), **{listener: {"tls": {**_tls(authority), **change}}}
            ):
                pass
        assert said in str(raised.value)
        assert f"{listener}.tls" in str(raised.value)


async def test_a_gateway_is_known_by_its_certificate(tmp_path, authority, upstream) -> None:
    """Its headers say who asks; the same headers from anybody else, with a certificate or without, say nothing."""
    tls = _tls(authority, client_ca=str(authority.path), client_certificate="optional")
    gateway = authority.issue("gateway", "dns:gateway.internal")
    other = authority.issue("other", "dns:other.internal")
    identity = {"gateway": {"issuer": "https://gateway.example/", "certificates": ["dns:gateway.internal"]}}
    said = {"X-Authenticated-App": "quiz", "X-Authenticated-Holder": "1", "X-Authenticated-Scopes": "read"}
    async with running_proxy(tmp_path, upstream.url, document(), data={"tls": tls}, identity=identity) as proxy:
        url = proxy.url.replace("http:", "https:") + "/me"
        for certified, status in ((None, 401), (other, 401), (gateway, 200)):
            context = authority.client_context(certified)
            async with aiohttp.ClientSession() as session, session.get(url, ssl=context, headers=said) as answer:
                assert answer.status == status
        assert len(upstream.requests) == 1
        assert [(one.app, one.decision) for one in proxy.records()] == [
            (None, "deny"),
            (None, "deny"),
            ("quiz", "allow"),
        ]


async def test_a_gateway_without_client_certificates_stops_the_start(tmp_path, authority) -> None:
    """Nothing else could tell it from an app."""
    identity = {"gateway": {"issuer": "https://gateway.example/", "certificates": ["dns:gateway.internal"]}}
    with pytest.raises(ConfigProblems, match=r"needs 'data\.tls\.client_ca'"):
        async with running_proxy(
            tmp_path, "http://127.0.0.1:9", document(), data={"tls": _tls(authority)}, identity=identity
        ):
            pass
