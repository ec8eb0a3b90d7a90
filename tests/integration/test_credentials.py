"""What becomes of the app's token on its way to the platform: forwarded, stripped, or replaced by a service credential."""

import asyncio

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import private, running_proxy
from tests.simulator.recording import RecordingUpstream

SERVICE = "Bearer service-credential-5f1e"
ANN = {"id": "1", "name": "nameof1"}
WAYS = {
    "judged": ("GET", "/me", None),
    "a judged write": ("POST", "/posts", b'{"text":"a"}'),
    "streamed down": ("GET", "/blob", None),
    "streamed up": ("PUT", "/blob", b"blob"),
}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/me", body=ANN)
        up.reply("/posts", body={"text": "a", "from": ANN})
        up.reply("/blob", body=b"blob")
        yield up


@pytest.fixture
def through(tmp_path, upstream):
    """Starts a proxy with a credential mode and a policy mode."""
    private(tmp_path / "service", SERVICE + "\n")

    def start(credential, mode="enforce"):
        settings = {"url": upstream.url, "credential": credential}
        if credential == "replace":
            settings["service_credential"] = {"file": "service"}
        return running_proxy(tmp_path, upstream.url, document(), policy=f"mode: {mode}\n", upstream=settings)

    return start


@pytest.mark.parametrize("mode", ["enforce", "monitor"])
@pytest.mark.parametrize("credential", ["forward", "strip", "replace"])
async def test_the_platform_gets_the_credential_that_is_configured_and_no_other(
    through, upstream, credential, mode
) -> None:
    """One ``Authorization`` or none, on every way through; the app's own token nowhere else; credentials for a proxy end
    here; and the service credential is neither told to the app nor written down.
    """
    async with through(credential, mode) as proxy:
        token = proxy.token(scope="read email write")
        expected = {"forward": [f"Bearer {token}"], "strip": [], "replace": [SERVICE]}[credential]
        for method, path, data in WAYS.values():
            sent = {"Proxy-Authorization": "Basic cHJveHk6cHJveHk=", "Content-Type": "application/json"}
            status, headers, body = await proxy.ask(method, path, token, data=data, headers=sent)
            assert status == 200
            assert SERVICE not in str(headers)
            assert SERVICE.encode() not in body
        assert len(upstream.requests) == len(WAYS)
        for request in upstream.requests:
            assert request.header_values("Authorization") == expected
            assert request.header_values("Proxy-Authorization") == []
            assert b"cHJveHk6cHJveHk=" not in request.raw_head
            assert request.raw_head.count(token.encode()) == (credential == "forward")
        assert SERVICE.encode() not in proxy.everything_written()


@pytest.mark.parametrize("credential", ["forward", "strip", "replace"])
async def test_no_credential_is_lent_to_a_request_that_is_refused(through, upstream, credential) -> None:
    """Without a good token, or with one that lacks the scope, the platform is not asked, in nobody's name."""
    async with through(credential) as proxy:
        for method, path, data in WAYS.values():
            for token, refused in ((None, 401), ("nonsense", 401), (proxy.token(scope=""), 403)):
                sent = {"Content-Type": "application/json"}
                assert (await proxy.ask(method, path, token, data=data, headers=sent))[0] == refused
        assert upstream.requests == []


async def test_an_anonymous_operation_is_asked_with_the_service_credential(through, upstream) -> None:
    """It is the platform's own gateway that the service credential opens, for whoever is admitted."""
    upstream.reply("/status", body={"ok": True})
    async with through("replace") as proxy:
        assert (await proxy.get("/status"))[0] == 200
        assert upstream.requests[0].header_values("Authorization") == [SERVICE]


@pytest.mark.parametrize(("credential", "expected"), [("strip", []), ("replace", [SERVICE])])
async def test_of_two_tokens_in_monitor_none_passes_a_strip_or_replacement(
    through, upstream, credential, expected
) -> None:
    """Enforce refuses two tokens; monitor lets the request through, and what is configured holds for both of them."""
    async with through(credential, "monitor") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
        tokens = "".join(f"Authorization: Bearer {proxy.token(holder)}\r\n" for holder in ("1", "2"))
        writer.write(f"GET /me HTTP/1.1\r\nHost: api\r\n{tokens}Connection: close\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert upstream.requests[0].header_values("Authorization") == expected
        (record,) = proxy.records()
        assert record.would is not None
        assert record.would.reason == "token_repeated"


@pytest.mark.parametrize("credential", ["forward", "strip", "replace"])
async def test_a_token_in_the_query_passes_no_strip_or_replacement(through, upstream, credential) -> None:
    """Monitor sends the target as it came, without the token that is not to go on, however its name is spelled."""
    async with through(credential, "monitor") as proxy:
        token = proxy.token()
        asked = f"/me?a=%7e&access_token={token}&&%61ccess%5Ftoken={token}&fields=id&b"
        assert (await proxy.get(asked))[0] == 200
        assert (await proxy.get(f"/me?access_token={token}"))[0] == 200
        assert (await proxy.get("/me?a=%7e&", token))[0] == 200
        stripped = ["/me?a=%7e&&fields=id&b", "/me", "/me?a=%7e&"]
        kept = [asked, f"/me?access_token={token}", "/me?a=%7e&"]
        assert [one.target for one in upstream.requests] == (kept if credential == "forward" else stripped)
        assert [one.raw_head.count(token.encode()) for one in upstream.requests] == (
            [2, 1, 1] if credential == "forward" else [0, 0, 0]
        )
