"""What is tried on monitor: requests that enforce refuses for every reason there is, and answers of every kind, as raw bytes.

A platform finds the answer to a case by ``User-Agent``, which passes in both modes: cases can run side by side.
"""

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import brotli
import yaml

from audit_proxy.core.errors import Reason
from audit_proxy.frontends.data_plane.coding import zstd
from tests.simulator.people import PERSON_ID, document
from tests.simulator.proxy import Proxy, ProxyHere, configure, serving
from tests.simulator.raw import head
from tests.simulator.recording import CLOSE, Recorded, RecordingUpstream, encode

FRIENDS = {
    "data": [
        {"id": "2", "name": "nameof2", "email": "2@example.org", "score": 2.50},
        {"id": "3", "name": "nameof3", "friends": [{"id": "4", "name": "nameof4"}], "unheard_of": "3's"},
        {"id": "1", "name": "nameof1", "email": "1@example.org"},
    ],
    "total": 3,
    "next": "abc",
}
RAW = json.dumps(FRIENDS, indent=1, ensure_ascii=False).encode()
LINES = b'{"id":"1","name":"nameof1"}\n{"id":"2", "name":"nameof2"}\n{"id":"3","name":"nameof3"}\n'
LIMIT = 60_000  # response_body_bytes
REQUEST_LIMIT = 20_000
JSON = "Content-Type: application/json"


def said(first: str, *fields: str, body: bytes = RAW, length: int | None = None) -> bytes:
    """An answer's bytes, with its length unless ``fields`` frame it."""
    framed = any(one.lower().startswith(("content-length:", "transfer-encoding:")) for one in fields) or length == -1
    sized = () if framed else (f"Content-Length: {len(body) if length is None else length}",)
    return "\r\n".join([f"HTTP/1.1 {first}", *fields, *sized, "", ""]).encode("utf-8", "surrogateescape") + body


def chunked(first: str, *fields: str, body: bytes = RAW, whole: bool = True) -> bytes:
    """The same in chunks of 100 bytes."""
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(one), one) for one in (body[i : i + 100] for i in range(0, len(body), 100))
    )
    return said(first, *fields, "Transfer-Encoding: chunked", body=chunks + (b"0\r\n\r\n" if whole else b""))


@dataclass(frozen=True)
class Case:
    """One exchange. ``reason``: enforce's refusal; ``token``: claims, or None for no token at all."""

    answer: Sequence[Any] = (said("200 OK", JSON),)
    reason: Reason | None = None
    line: str = "GET /people/1/friends HTTP/1.1"
    fields: tuple[str, ...] = ()
    token: dict[str, Any] | None = field(default_factory=dict)
    forged: bool = False  # the token has another signature
    body: bytes = b""
    unknown: bool = False  # what enforce would do cannot be told from what the platform gave

    @property
    def method(self) -> str:
        return self.line.partition(" ")[0]

    def request(self, name: str, proxy: Proxy) -> bytes:
        token = None if self.token is None else proxy.token(**self.token)
        if token is not None and self.forged:
            token = token.rpartition(".")[0] + "." + "A" * 86
        sized = (f"Content-Length: {len(self.body)}",) if self.body else ()
        return head(self.line, token, f"User-Agent: {name}", *self.fields, *sized) + self.body


def answer(*pieces: Any, **more: Any) -> Case:
    return Case(pieces, **more)


_GZIPPED = encode(RAW, "gzip")
_NOT_READ = Reason.response_not_inspectable
_NOT_DESCRIBED = Reason.response_not_described
ANSWERS = {
    "people": answer(said("200 OK", JSON)),
    "one's own": answer(said("200 OK", JSON, body=b'{ "id":"1", "name":"nameof1"}'), line="GET /me HTTP/1.1"),
    "odd phrase": answer(said("200 As It Were, Fine", JSON)),
    "no phrase": answer(said("200 ", JSON)),
    "odd fields": answer(
        said("200 OK", "x-LOWER-Upper: a", "content-TYPE:application/json", "Set-Cookie: a=1", "X-Two: 1", "Set-Cookie: b=2; Path=/",
             "X-Two: 2", "X-Empty:", 'ETag: W/"7"', 'Link: </people/3>; rel="next", </people/4>; rel=prev', "Date: yesterday",
             "Server: one/1.0 (\udce9)", "X-Latin: caf\udce9", "Cache-Control: public", "X-Audit-Id: not-ours", "Proxy-Status: up")
    ),
    "fields of the connection": answer(said("200 OK", JSON, "Keep-Alive: timeout=5", "Connection: X-Hop", "X-Hop: 1", "Upgrade: h2c")),
    "long fields": answer(said("200 OK", JSON, *(f"Set-Cookie: {n}={'c' * 9_000}" for n in range(5)), *(f"X-{n}: 1" for n in range(200)))),
    "without media type": answer(said("200 OK"), reason=_NOT_DESCRIBED),
    "another media type": answer(said("200 OK", "Content-Type: text/html"), reason=_NOT_DESCRIBED),
    "two media types": answer(said("200 OK", JSON, "Content-Type: text/html"), reason=_NOT_DESCRIBED),
    "another charset": answer(said("200 OK", "Content-Type: application/json; charset=utf-16"), reason=_NOT_DESCRIBED),
    "keys twice": answer(said("200 OK", JSON, body=b'{"data":[],"data":[{"id":"3","name":"a","name":"nameof3"}]}')),
    "not JSON": answer(said("200 OK", JSON, body=RAW[:-1]), reason=_NOT_READ),
    "not UTF-8": answer(said("200 OK", JSON, body=b'{"next":"\xff"}'), reason=_NOT_READ),
    "an unheard-of number": answer(said("200 OK", JSON, body=b'{"total":1e999}'), reason=_NOT_READ),
    "gzip": answer(said("200 OK", JSON, "Content-Encoding: gzip", body=_GZIPPED)),
    "br": answer(said("200 OK", JSON, "Content-Encoding: br", body=brotli.compress(RAW))),
    "zstd": answer(said("200 OK", JSON, "Content-Encoding: zstd", body=zstd.compress(RAW))),
    "gzip, mislabelled": answer(said("200 OK", JSON, "Content-Encoding: br", body=_GZIPPED), reason=_NOT_READ),
    "gzip, cut short": answer(said("200 OK", JSON, "Content-Encoding: gzip", body=_GZIPPED[:-9]), reason=_NOT_READ),
    "codings stacked": answer(
        said("200 OK", JSON, "Content-Encoding: gzip, gzip", body=gzip.compress(_GZIPPED)), reason=_NOT_READ
    ),
    "an unknown coding": answer(said("200 OK", JSON, "Content-Encoding: lzip"), reason=_NOT_READ),
    "a coding that the app asked for": answer(
        said("200 OK", JSON, "Content-Encoding: compress"), reason=_NOT_READ, unknown=True, fields=("Accept-Encoding: compress, br",)
    ),
    "a bomb": answer(
        said("200 OK", JSON, "Content-Encoding: gzip", body=gzip.compress(bytes(LIMIT + 1))), reason=Reason.response_too_large
    ),
    "chunked": answer(chunked("200 OK", JSON, "Trailer: X-Late")),
    "until the end": answer(said("200 OK", JSON, length=-1), CLOSE),
    "breaks off": answer(said("200 OK", JSON, length=len(RAW) + 7), CLOSE, reason=Reason.upstream_protocol_error),
    "breaks off in chunks": answer(chunked("200 OK", JSON, whole=False), CLOSE, reason=Reason.upstream_protocol_error),
    "breaks off at once": answer(said("200 OK", JSON, body=b"", length=7), CLOSE, reason=Reason.upstream_protocol_error),
    "too large": answer(said("200 OK", JSON, body=b" " * LIMIT + RAW), reason=Reason.response_too_large),
    "too large in chunks": answer(chunked("200 OK", JSON, body=b" " * LIMIT + RAW), reason=Reason.response_too_large),
    "too large and breaks off": answer(
        said("200 OK", JSON, body=b" " * (LIMIT + 9), length=2 * LIMIT), CLOSE, reason=Reason.response_too_large
    ),
    "empty": answer(said("200 OK", JSON, body=b"")),
    "201": answer(
        said("201 Created", JSON, "Location: /posts/7", body=b'{"text":"t"}'), reason=_NOT_DESCRIBED,
        line="POST /posts HTTP/1.1", token={"scope": "write"}, fields=(JSON,), body=b'{"text":"t"}',
    ),
    "204": answer(said("204 No Content", "X-Own: 1", body=b"", length=-1)),
    "206": answer(said("206 Partial Content", JSON, "Content-Range: bytes 0-9/99"), reason=_NOT_DESCRIBED),
    "206 to a range": answer(
        said("206 Partial Content", JSON, "Content-Range: bytes 0-9/99"), reason=_NOT_DESCRIBED, unknown=True, fields=("Range: bytes=0-9",)
    ),
    "302": answer(said("302 Found", "Location: /people/3?x=1", JSON), reason=Reason.redirect_refused),
    "304": answer(said("304 Not Modified", 'ETag: "7"', "Content-Length: 99", body=b""), reason=Reason.redirect_refused),
    "304 to a condition": answer(
        said("304 Not Modified", 'ETag: "7"', body=b"", length=-1), reason=Reason.redirect_refused, unknown=True,
        fields=('If-None-Match: "7"',),
    ),
    "401": answer(said("401 Unauthorized", JSON, 'WWW-Authenticate: Bearer realm="theirs"'), reason=_NOT_DESCRIBED),
    "404": answer(said("404 Not Found", JSON, body=b'{"error": "nobody"}'), reason=Reason.not_found),
    "418": answer(said("418 I'm a teapot", JSON), reason=_NOT_DESCRIBED),
    "500": answer(said("500 Internal Server Error", "Content-Type: text/plain", "Retry-After: 7"), reason=_NOT_DESCRIBED),
    "599": answer(said("599 Own", JSON, body=b"{}"), reason=_NOT_DESCRIBED),
    "after 103": answer(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + said("200 OK", JSON)),
    "HEAD": answer(said("200 OK", JSON, 'ETag: "7"'), line="HEAD /me HTTP/1.1", unknown=True),
    "HEAD, chunked": answer(chunked("200 OK", JSON), line="HEAD /me HTTP/1.1", unknown=True),
    "lines": answer(said("200 OK", "Content-Type: application/x-ndjson", body=LINES), line="GET /export HTTP/1.1"),
    "lines without a length": answer(
        chunked("200 OK", "Content-Type: application/x-ndjson", body=LINES), line="GET /export HTTP/1.1", unknown=True
    ),
    "an error instead of lines": answer(
        chunked("404 Not Found", JSON, body=b'{"error":"none"}'), line="GET /export HTTP/1.1", reason=Reason.not_found
    ),
    "unjudged": answer(said("200 OK", "Content-Type: image/png", body=bytes(range(256))), line="GET /blob HTTP/1.1"),
    "unjudged in chunks": answer(chunked("200 OK", "Content-Type: image/png", body=bytes(range(256))), line="GET /blob HTTP/1.1"),
    "to HTTP/1.0": answer(said("200 OK", JSON), line="GET /people/1/friends HTTP/1.0"),
    "chunked to HTTP/1.0": answer(said("200 OK", JSON, length=-1), CLOSE, line="GET /people/1/friends HTTP/1.0"),
}  # fmt: skip


def asked(reason: Reason, line: str = "GET /people/1/friends HTTP/1.1", **more: Any) -> Case:
    return Case(reason=reason, line=line, **more)


_POST = "POST /posts HTTP/1.1"
_WRITE = {"token": {"scope": "write"}}
REQUESTS = {
    "path": asked(Reason.path_not_normal, "GET /people//1/./friends/%2e%2e/x HTTP/1.1"),
    "query": asked(Reason.query_not_normal, "GET /me?fields=%zz HTTP/1.1"),
    "large": asked(Reason.request_too_large, _POST, **_WRITE, fields=(JSON,), body=b'"%s"' % (b"x" * REQUEST_LIMIT)),
    "coded": asked(
        Reason.request_not_inspectable, _POST, **_WRITE, fields=(JSON, "Content-Encoding: gzip"), body=gzip.compress(b"{}")
    ),
    "no token": asked(Reason.token_missing, token=None),
    "two tokens": asked(Reason.token_repeated, fields=("authorization: Bearer x",)),
    "token in the query": asked(Reason.token_misplaced, "GET /me?access_token=abc HTTP/1.1", token=None),
    "no bearer": asked(Reason.token_malformed, token=None, fields=("Authorization: Bearer a b",)),
    "bad token": asked(Reason.token_invalid, forged=True),
    "expired": asked(Reason.token_expired, token={"exp": int(time.time()) - 9_999}),
    "too early": asked(Reason.token_not_yet_valid, token={"nbf": int(time.time()) + 9_999}),
    "a stranger's token": asked(Reason.issuer_unknown, token={"iss": "https://stranger.example"}),
    "operation": asked(Reason.operation_not_described, "GET /nothing?of=this&x HTTP/1.1"),
    "method": asked(Reason.method_not_described, "DELETE /people/1 HTTP/1.1"),
    "preflight": asked(Reason.token_missing, "OPTIONS /people/1 HTTP/1.1", token=None, fields=("Origin: https://a.example",)),
    "parameter": asked(Reason.parameter_not_described, "GET /me?callback=steal HTTP/1.1"),
    "value": asked(Reason.parameter_invalid, "GET /people/abc HTTP/1.1"),
    "field": asked(Reason.field_not_described, "GET /me?fields=nonsense HTTP/1.1"),
    "field's scope": asked(Reason.scope_missing, "GET /me?fields=name,friends%7Bemail%7D HTTP/1.1", token={"scope": "read"}),
    "scope": asked(Reason.scope_missing, token={"scope": ""}),
    "approval": asked(Reason.scope_not_approved, "PUT /admin HTTP/1.1", token={"scope": "admin"}, body=b"x"),
    "unknown app": asked(Reason.app_unknown, token={"app": "stranger"}),
    "suspended app": asked(Reason.app_suspended, token={"app": "suspended"}),
    "a refusing person": Case((said("200 OK", JSON, body=b'{"id":"3","name":"nameof3"}'),), Reason.not_found, "GET /people/3 HTTP/1.1"),
    "an unknown person": Case((said("200 OK", JSON, body=b'{"id":"9","name":"nameof9"}'),), Reason.not_found, "GET /people/9 HTTP/1.1"),
    "a refusing person, broken off": Case(
        (said("200 OK", JSON, body=b'{"id":"3"', length=99), CLOSE), Reason.not_found, "GET /people/3 HTTP/1.1"
    ),
    "a refusing person's lines": Case(
        (chunked("200 OK", "Content-Type: application/x-ndjson", body=LINES),), Reason.not_found, "GET /people/3/lines HTTP/1.1"
    ),
    "refusing people": asked(Reason.not_found, "GET /people?ids=3,9 HTTP/1.1"),
    "a refusing person, HEAD": Case(
        (said("200 OK", JSON, body=b'{"id":"3"}'),), Reason.not_found, "HEAD /people/3 HTTP/1.1"
    ),
}  # fmt: skip
CASES = ANSWERS | REQUESTS


def teach(upstream: RecordingUpstream) -> None:
    """Lets the platform know the answers."""
    for name, case in CASES.items():
        upstream.reply(
            lambda request, name=name: request.header("User-Agent") == name,
            pieces=lambda request, case=case: _pieces(request, case),
            close=CLOSE in case.answer,
        )


def _pieces(request: Recorded, case: Case) -> Sequence[Any]:
    if request.method != "HEAD":
        return case.answer
    (whole,) = case.answer
    return [whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"]


async def heard(port: int, request: bytes) -> bytes:
    """Everything that comes back on a connection that ends with the answer, however it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(30):
            writer.write(request)
            while data := await reader.read(65_536):
                got += data
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return got


_CONNECTION = {b"connection", b"keep-alive", b"upgrade", b"trailer", b"transfer-encoding"}  # may differ


@dataclass(frozen=True)
class Message:
    """An answer as it counts end to end. ``whole``: None where nothing but the connection's end could tell."""

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool | None


def message(raw: bytes, method: str) -> Message:
    """Reads an answer; interim ones are left out."""
    first, _, rest = raw.partition(b"\r\n\r\n")
    while first.startswith(b"HTTP/1.1 1"):
        first, _, rest = rest.partition(b"\r\n\r\n")
    line, *lines = first.split(b"\r\n")
    fields = [(name, value.strip()) for name, _, value in (one.partition(b":") for one in lines)]
    known = {name.lower(): value for name, value in fields}
    dropped = _CONNECTION | {one.strip().lower() for one in known.get(b"connection", b"").split(b",")}
    kept = tuple((name, value) for name, value in fields if name.lower() not in dropped)
    status = line.split(b" ")[1]
    whole: bool | None
    if method == "HEAD" or status in (b"204", b"304"):
        whole = True
    elif known.get(b"transfer-encoding") == b"chunked":
        body, whole = b"", False
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if (count := int(size or b"0", 16)) == 0:
                whole = rest == b"\r\n"
                break
            body, rest = body + rest[:count], rest[count + 2 :]
        rest = body
    elif b"content-length" in known:
        whole = len(rest) == int(known[b"content-length"])
    else:
        whole = None
    return Message(line.replace(b"HTTP/1.0", b"HTTP/1.1"), kept, rest, whole)


def platform() -> dict[str, Any]:
    described = document()
    described["paths"]["/admin"] = {
        "put": {"operationId": "admin", "security": [{"oauth": ["admin"]}], "x-data-category": "none", "responses": {}}
    }
    ids = {"name": "ids", "in": "query", "explode": False}
    ids["schema"] = {"type": "array", "items": {"type": "string", "x-data-subject": ""}}
    answers = described["paths"]["/people/{id}/friends"]["get"]["responses"]
    lines = {"200": described["paths"]["/export"]["get"]["responses"]["200"]}
    described["paths"]["/people/{id}/lines"] = {
        "get": {"operationId": "lines", "parameters": [PERSON_ID], "responses": lines}
    }
    described["paths"]["/people"] = {"get": {"operationId": "people", "parameters": [ids], "responses": answers}}
    return described


@contextlib.asynccontextmanager
async def proxied(folder: Path, origin: str, mode: str, **settings: Any) -> AsyncIterator[ProxyHere]:
    """The proxy in this mode, where person 2 has granted ``read``, 4 all, and 3 nothing."""
    folder.mkdir(exist_ok=True)
    sizes = {"response_body_bytes": LIMIT, "request_body_bytes": REQUEST_LIMIT}
    place = configure(folder, origin, platform(), policy=f"mode: {mode}\n", **{"limits": sizes, **settings})
    apps = yaml.safe_load((folder / "apps.yaml").read_text())["apps"]
    apps += [{**apps[0], "id": "suspended", "status": "suspended"}, {**apps[0], "id": "strict", "mode": "enforce"}]
    (folder / "apps.yaml").write_text(yaml.safe_dump({"apps": apps}))
    async with serving(folder, place.key, place.admin_token) as proxy:
        yield proxy


async def granted(proxy: ProxyHere) -> None:
    await proxy.grant("2", scopes="read")
    await proxy.grant("4")


async def difference(upstream, proxy: ProxyHere, name: str, case: Case) -> str | None:
    """How the answer through the proxy differs from the one without it."""
    request = case.request(name, proxy)
    both = await asyncio.gather(heard(upstream.port, request), heard(proxy.running.data_port, request))
    direct, through = (message(raw, case.method) for raw in both)
    if direct.whole is None or through.whole is None:  # on one side only the connection's end says that it is whole
        direct = replace(direct, whole=through.whole)
    return None if direct == through else f"{name}: {direct!r:.2000}\n{through!r:.2000}"
