"""Marked secrets through every path of a real ``audit-proxy serve`` at debug level; then all it ever said is searched.

An app's id and the names of scopes are no secrets: the issuer signed them, and records say them.
"""

import base64
import contextlib
import json
from urllib.parse import quote

import aiohttp
import pytest

from tests.simulator.people import document
from tests.simulator.proxy import proxy_process
from tests.simulator.recording import CLOSE, RecordingUpstream

HOLDER, FRIEND, STRANGER, ADMINISTERED = "7340915528817341", "7340915528817342", "7340915528817343", "7340915528817344"
IDS = (HOLDER, FRIEND, STRANGER, ADMINISTERED)
MARK = "Xq7Zmark"  # every secret below holds it
SECRET = f"{MARK}-value"
MAIL = f"{MARK}@example.org"


def forms(secret: str) -> set[bytes]:
    """What a secret looks like as it is, percent-encoded, in hexadecimal, and in base64 wherever it begins."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), quote(secret, safe="").encode(), "".join(f"%{byte:02X}" for byte in raw).encode()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[4 * bool(shift) : len(coded) - 4]  # without what depends on the neighbours
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def told(text: bytes, secrets: tuple[str, ...]) -> set[str]:
    """Which of the secrets stand in a text, in whatever form and case."""
    folded = text.lower()
    return {secret for secret in secrets if any(form.lower() in folded for form in forms(secret))}


@pytest.mark.parametrize("secret", [SECRET, *IDS])
def test_the_search_finds_every_form(secret):
    for shown in (secret, quote(secret), secret.encode().hex(), json.dumps({"a": secret})):
        assert told(b"..." + shown.encode() + b"...", (secret,)) == {secret}
    for before in ("", "a", "ab"):
        assert told(base64.b64encode(f"{before}{secret}and more".encode()), (secret,)) == {secret}


def platform() -> dict:
    made = document()
    made["paths"]["/posts"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"] = {
        "schema": {"type": "object", "properties": {"text": {"type": "string"}}}
    }
    return made


def answers(upstream: RecordingUpstream) -> None:
    """What the platform says, all of it about people and full of marks."""
    person = {"id": FRIEND, "name": SECRET, "email": MAIL, SECRET: SECRET}
    upstream.reply("/me", body={"id": HOLDER, "name": SECRET, "email": MAIL})
    upstream.reply("/search", body={"data": [person], "total": 1, "next": SECRET})
    upstream.reply(f"/people/{FRIEND}", body=person)
    upstream.reply(f"/people/{FRIEND}/friends", body={"data": [person, {**person, "id": STRANGER}], SECRET: 1})
    upstream.reply("/posts", body={"text": SECRET, "from": {"id": HOLDER, "name": SECRET}}, method="POST")
    upstream.reply(
        "/export", 200, {"Content-Type": "application/x-ndjson"}, json.dumps(person).encode() + b"\n{" + SECRET.encode()
    )
    upstream.reply("/blob", 200, {"X-Secret": SECRET}, SECRET.encode())


def broken(upstream: RecordingUpstream) -> int:
    """One answer after another that cannot be released, each to the next request of ``/posts``; how many there are."""
    mark = SECRET.encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    bad = [
        [head + b"Content-Length: 30\r\n\r\n" + b'{"id": ' + mark, CLOSE],
        [head + b"Content-Length: %d\r\n\r\n" % len(mark) + mark],
        [head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(mark) + mark],
        [head + b"Content-Encoding: " + mark + b"\r\nContent-Length: 2\r\n\r\n[]"],
        [b"HTTP/1.1 500 " + mark + b"\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(mark) + mark],
        [b"HTTP/1.1 302 Found\r\nLocation: https://" + mark + b".example/\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Type: " + mark + b"/" + mark + b"\r\nContent-Length: 2\r\n\r\n[]"],
        [b"HTTP/1.1 200 OK\r\n" + mark + b" no colon\r\n\r\n", CLOSE],
        [mark + b" is no HTTP\r\n\r\n", CLOSE],
        [b"HTTP/1.1 200 OK\r\nX-Long: " + mark * 20_000 + b"\r\n\r\n", CLOSE],
        [b"HTTP/1.1 204 No Content\r\nX-Secret: " + mark + b"\r\n\r\n"],
    ]
    left = iter(bad)
    upstream.reply(lambda request: request.method == "GET" and request.path == "/posts", pieces=lambda _: next(left))
    return len(bad)


async def refused_requests(proxy) -> list[tuple[int, dict[str, str], bytes]]:
    """Everything an app can do wrong, with marks in it; the answers."""
    good = proxy.token(HOLDER)
    tokens = [
        SECRET,
        f"{SECRET}.{SECRET}.{SECRET}",
        good[:-8] + MARK,
        proxy.token(SECRET, exp=1),
        proxy.token(SECRET, app="nobodys-app"),
        proxy.token(SECRET, scope="nothing"),
        proxy.token(SECRET, iss=f"https://{SECRET}.example"),
        proxy.token(HOLDER, scope={SECRET: SECRET}),
    ]
    made = [await proxy.get("/me", token) for token in tokens]
    for path in (
        f"/{SECRET}",
        f"/people/{SECRET}",
        f"/me?{SECRET}={SECRET}",
        f"/me?fields={SECRET}",
        f"/me?access_token={SECRET}",
        f"/search?email={MAIL}&email={SECRET}",
        f"/me/../{SECRET}",
        f"/%2e%2e/{SECRET}%00",
        f"/people/{STRANGER}",
        f"/people/{STRANGER}/friends?after={SECRET}",
    ):
        made += [await proxy.get(path, good)]
    for headers in (
        {"Authorization": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"X-Http-Method-Override": SECRET, "Authorization": f"Bearer {SECRET}"},
        {"Cookie": SECRET, "traceparent": SECRET, "User-Agent": SECRET, "X-Forwarded-For": SECRET, "Forwarded": SECRET},
    ):
        made += [await proxy.get("/me", headers=headers)]
    writer = proxy.token(HOLDER, scope="write")
    kinds = {"Content-Type": "application/json"}
    for body, headers in (
        (b"{" + SECRET.encode(), kinds),
        (json.dumps({SECRET: SECRET}).encode(), kinds),
        (f"access_token={SECRET}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
        (SECRET.encode(), {"Content-Type": f"{SECRET}/{SECRET}"}),
        (SECRET.encode(), {**kinds, "Content-Encoding": SECRET}),
    ):
        made.append(await proxy.ask("POST", "/posts", writer, data=body, headers=headers))
    made.append(await proxy.ask("DELETE", f"/people/{STRANGER}?{SECRET}", good))
    return made


async def administration(proxy) -> None:
    """Every call about a person, once as it should be and once not."""
    pair = f"/v1/consent/quiz/person:{ADMINISTERED}"
    grant = {"scopes": "read", "purpose": "functional.service", "source": SECRET, "evidence": SECRET}
    for method, path, body in (
        ("PUT", pair, grant),
        ("PUT", pair, {**grant, "scopes": {SECRET: 1}}),
        ("PUT", pair, {**grant, SECRET: SECRET}),
        ("GET", pair, None),
        ("POST", f"{pair}/withdraw", {"source": SECRET, "evidence": SECRET}),
        ("GET", f"/v1/subjects/person:{ADMINISTERED}/pseudonyms", None),
        ("POST", f"/v1/subjects/person:{ADMINISTERED}/erase", {}),
        ("GET", f"/v1/consent/{SECRET}/{SECRET}?{SECRET}", None),
        ("GET", f"/{SECRET}", None),
    ):
        await proxy.admin(method, path, **({} if body is None else {"json": body}))
    rows = json.dumps({**grant, "app": "quiz", "subject": f"person:{ADMINISTERED}"}) + f"\n{SECRET}\n"
    await proxy.admin(
        "POST", "/v1/consent/import", data=rows.encode(), headers={"Content-Type": "application/x-ndjson"}
    )
    for authorization in (f"Bearer {SECRET}", SECRET):
        status, _ = await proxy.admin("GET", pair, headers={"Authorization": authorization})
        assert status == 401


@pytest.mark.parametrize("mode", ["enforce", "monitor"])
async def test_no_secret_is_said_anywhere(tmp_path, upstream, mode):
    """Tokens, ids, queries, bodies and what platforms and admins say stand in no log line, metric, record or refusal."""
    answers(upstream)
    unusable = broken(upstream)
    settings = {"logging": {"level": "debug"}, "policy": f"mode: {mode}\n"}
    async with proxy_process(tmp_path, upstream.url, platform(), **settings) as proxy:
        await proxy.grant(FRIEND, source=SECRET, evidence=SECRET)
        good = proxy.token(HOLDER)
        for path in (
            "/me",
            f"/search?email={MAIL}",
            f"/people/{FRIEND}",
            f"/people/{FRIEND}/friends?after={SECRET}",
            "/blob",
        ):
            status, _, _ = await proxy.get(path, good)
            assert status == 200, path
        status, _, _ = await proxy.ask("POST", "/posts", proxy.token(HOLDER, scope="write"), json={"text": SECRET})
        assert status == 200
        replaced = []
        for _ in range(unusable):
            with contextlib.suppress(aiohttp.ClientPayloadError):  # monitor passes one that breaks off as it is
                replaced.append(await proxy.get("/posts", good))
        assert len(replaced) == unusable - (mode == "monitor")
        refusals = await refused_requests(proxy)
        if mode == "enforce":  # monitor gives what the platform gave
            for status, headers, body in (*replaced, *refusals):
                assert not told(f"{headers}".encode() + body, (MARK, *IDS)), (status, headers, body)
        await administration(proxy)
        _, metrics = await proxy.admin("GET", "/metrics")
        tokens = (good, proxy.admin_token)
    said = {"output": proxy.output, "metrics": metrics, "log": proxy.everything_written()}
    for place, text in said.items():
        assert not told(text, (MARK, *IDS, *(part for token in tokens for part in token.split(".")))), place
    assert b'"event":"request"' in said["output"]
    assert b"getPerson" in said["output"]
    assert b'operation="getPerson"' in said["metrics"]
    assert b'"operation":"getPerson"' in said["log"]
    assert b"consent.put" in said["log"]
