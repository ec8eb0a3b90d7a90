"""Spellings of paths, methods and headers around a forbidden and a permitted operation, through the running proxy."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.people import READ, document
from tests.simulator.proxy import Proxy, running_proxy
from tests.simulator.raw import assert_well_formed, head, say
from tests.simulator.recording import RecordingUpstream

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "paths"
SHARED = pytest.mark.skipif(
    not FIXTURES.exists(), reason="left out: the shared path lists are not beside this checkout"
)
ANN = {"id": "1", "name": "nameof1"}
FORBIDDEN = b"what-only-admins-see"
PERMITTED = {"/me", "/people/1", "/people/1/friends", "/search", "/posts", "/status", "/people/1/"}
OWN_FORMS = [
    "/adm%69n", "/%61dmin", "/ADMIN", "/admin%2f", "/admin%2F..%2fme", "/me/..%2fadmin", "/me%2f..%2fadmin", "/people/1%2f..%2f..%2fadmin",
    "/people/..%c0%afadmin", "/people/%c0%ae%c0%ae/admin", "/people/%e0%80%af/admin", "/%u0061dmin", "/%c1%a1dmin", "/people/%f0%80%80%af",
    "/people/%252e%252e/admin", "/people/%25252e%25252e/admin", "/\uff41dmin", "/%ef%bd%81dmin", "/%e2%93%90dmin", "/people/\u2025/admin",
    "/people/%ef%bc%8e%ef%bc%8e/admin", "/people/%ef%bc%8f..%ef%bc%8fadmin", "/people\\..\\admin", "/people%5c..%5cadmin", "/admin;x=1", "/;/admin",
    "/me;/../admin", "/admin\0", "/admin%00", "/me%00/../admin", "/admin%", "/admin%zz", "/admin%4", "//admin", "///admin", "/./admin", "/.//admin",
    "/me/../admin", "/me/.%2e/admin", "/me/%2e%2e/admin", "/me%23/../admin", "/me%3f/../admin", "/me?/../admin", "/me?x=/admin", "/me#/admin",
    "/admin.json", "/admin/", "/admin/.", "/admin ", "/admin%20", "/admin%09", "/admin%0d%0aX:%20y", "/me%0d%0aHost:%20evil", "/admin..", "/.admin",
]  # fmt: skip


def _with_admin() -> dict[str, Any]:
    described = document()
    described["paths"]["/admin"] = {
        "get": {
            "operationId": "admin",
            "security": [{"oauth": ["admin"]}],
            "x-data-category": "none",
            "responses": {"200": {"description": "what no app may see"}},
        }
    }
    return described


@pytest.fixture
async def upstream():
    """A careless platform: whatever is left over after its own odd decoding, it answers with the admins' page."""
    async with RecordingUpstream() as up:
        up.reply(
            lambda request: True,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"id": "1", "name": FORBIDDEN.decode()}).encode(),
        )
        for path in PERMITTED:
            up.reply(path, body=ANN)
        yield up


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, _with_admin()) as running:
        yield running


async def _tried(proxy: Proxy, upstream: RecordingUpstream, *data: bytes) -> None:
    for one in data:
        said = await say(proxy.running.data_port, one)
        assert said.statuses, one
        assert FORBIDDEN not in said.text, one
    assert_well_formed(upstream.requests)
    assert {request.path for request in upstream.requests} <= PERMITTED
    assert {request.method for request in upstream.requests} <= {"GET"}
    upstream.clear()


async def test_spellings_of_a_forbidden_path(proxy, upstream) -> None:
    """Each is refused, or is judged and forwarded as the permitted operation that it names in normal form."""
    token = proxy.token()
    await _tried(proxy, upstream, *[head(f"GET {form} HTTP/1.1", token) for form in OWN_FORMS])


@SHARED
async def test_the_shared_lists_around_a_forbidden_and_a_permitted_path(proxy, upstream) -> None:
    """Before, within and behind both paths: never the forbidden answer, and the platform sees normal forms only."""
    ends = (FIXTURES / "endpaths").read_text().splitlines()
    middles = (FIXTURES / "midpaths").read_text().splitlines()
    forms = [
        *(f"/{name}{end}" for end in ends for name in ("admin", "me", "people/1")),
        *(f"/{middle}{name}" for middle in middles for name in ("admin", "/admin")),
        *(f"/{name}/{middle}{joint}admin" for middle in middles for name in ("me", "people/1") for joint in ("", "/")),
    ]
    token = proxy.token()
    await _tried(proxy, upstream, *[head(f"GET {form} HTTP/1.1", token) for form in forms])


OVERRIDES = (
    "X-Original-URL", "X-Rewrite-URL", "X-Override-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix",
    "X-HTTP-DestinationURL", "X-Proxy-Url", "Request-Uri", "Referer", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
    "X-Forwarded-Method", "X-Host", "X-HTTP-Host-Override", "X-Forwarded-Server", "Proxy-Host",
)  # fmt: skip


async def test_headers_that_name_another_operation_are_not_sent_on(proxy, upstream) -> None:
    """On judged operations and on those that pass unjudged."""
    token = proxy.token()
    for path in ("/me", "/blob"):
        for name in OVERRIDES:
            for value in ("/admin", "DELETE", "admin.example"):
                upstream.reply("/blob", body=b"stored")
                said = await say(proxy.running.data_port, head(f"GET {path} HTTP/1.1", token, f"{name}: {value}"))
                assert said.statuses == (200,)
                (sent,) = upstream.requests
                if path == "/me" or name != "Referer":
                    assert value not in [got for key, got in sent.headers if key.lower() == name.lower()], (path, name)
                upstream.clear()


@SHARED
async def test_the_shared_headers_name_no_other_operation(proxy, upstream) -> None:
    """Names with a forbidden path or an inside address as value, and the listed pairs; methods as listed."""
    token = proxy.token()
    names = (FIXTURES / "headers").read_text().split()
    pairs = [line.split(" ", 1) for line in (FIXTURES / "simpleheaders").read_text().splitlines() if " " in line]
    pairs += [[name, value] for name in names for value in ("/admin", "192.0.2.7")]
    for name, value in pairs:
        said = await say(proxy.running.data_port, head("GET /me HTTP/1.1", token, f"{name}: {value}"))
        assert FORBIDDEN not in said.text
        for sent in upstream.requests:
            assert sent.path == "/me"
            assert sent.header("host") == upstream.url.removeprefix("http://")
            kept = {"origin", "x-forwarded-host"}  # told on purpose: who asked, under which name
            assert value not in [
                got
                for key, got in sent.headers
                if key.lower() == name.lower() and name.lower() not in kept | {"content-type"}
            ]
        upstream.clear()
    methods = (FIXTURES / "httpmethods").read_text().split()
    await _tried(
        proxy, upstream, *[head(f"{one} /{path} HTTP/1.1", token) for one in methods for path in ("me", "admin")]
    )


@pytest.mark.parametrize(
    "query",
    ["fields=id&fields=email", "fields=id&field%73=email", "fields=id&fields", "fields=email{}&fields=id", "fields[]=id", "Fields=id", "fields=id;fields=email", "x=1"],
)  # fmt: skip
async def test_a_selector_given_twice_or_otherwise_is_refused(proxy, upstream, query) -> None:
    """Nobody can know which of them the platform takes."""
    status, _, _ = await proxy.get(f"/me?{query}", proxy.token())
    assert status == 400
    assert upstream.requests == []


# -- one form for one parameter ----------------------------------------------------------------------------------------


def _with_slashes() -> dict[str, Any]:
    described = copy.deepcopy(_with_admin())
    folder = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "x-data-subject": ""},
        "x-allow-encoded-slash": True,
    }
    answer = described["paths"]["/people/{id}"]["get"]["responses"]
    described["paths"]["/names/{name}"] = {
        "get": {"operationId": "byName", "parameters": [folder], "responses": answer, "security": READ}
    }
    described["paths"]["/names/{name}/admin"] = {
        "get": {
            "operationId": "adminOf",
            "parameters": [folder],
            "responses": answer,
            "security": [{"oauth": ["admin"]}],
        }
    }
    return described


async def test_a_parameter_can_be_allowed_an_encoded_slash(tmp_path, upstream) -> None:
    """It is judged as the value with its slash and sent in one form, %2F; everything else stays refused."""
    upstream.reply("/names/a%2Fb", body={"id": "a/b", "name": "named"})
    async with running_proxy(tmp_path, upstream.url, _with_slashes()) as proxy:
        for form in ("a%2fb", "a%2Fb", "%61%2Fb"):
            status, _, body = await proxy.get(f"/names/{form}", proxy.token(holder="a/b"))
            assert (status, json.loads(body)["name"]) == (200, "named")
        assert {request.target for request in upstream.requests} == {"/names/a%2Fb"}
        upstream.clear()
        refused = [
            "a%2F",
            "%2Fb",
            "a%2F%2Fb",
            "a%2F..",
            "..%2Fa",
            "a%2F.%2Fb",
            "a%2F%2e%2e",
            "a%252Fb",
            "a%2Fadmin",
            "a%5Cb",
            "a%2Fb;c",
            "a%2F%00",
            "a%c0%afb",
        ]
        for form in refused:
            status, _, _ = await proxy.get(f"/names/{form}", proxy.token(holder="a/b"))
            assert status == 400, form
        for form in ("/people/1%2F2", "/people/1%2Ffriends", "/%2Fme", "/me%2F", "/names%2Fa"):
            status, _, _ = await proxy.get(form, proxy.token())
            assert status in (400, 404), form
        assert upstream.requests == []


# -- HEAD and preflights -----------------------------------------------------------------------------------------------


async def test_head_is_judged_as_get(proxy, upstream) -> None:
    """The platform is asked with GET; the status is that of GET, with no body and nothing of the original's length."""
    upstream.reply(
        "/people/3", headers={"ETag": '"3"', "Content-Type": "application/json"}, body=b'{"id":"3","name":"hidden"}'
    )
    upstream.reply("/people/9", 404, body={"error": "none"})
    answers = {}
    for path in ("/me", "/people/3", "/people/9"):
        said = await say(proxy.running.data_port, head(f"HEAD {path} HTTP/1.1", proxy.token()))
        first, _, rest = said.text.partition(b"\r\n\r\n")
        assert rest == b""
        fields = [line.partition(b":")[0].lower() for line in first.split(b"\r\n")[1:]]
        answers[path] = (said.statuses, sorted(fields), len(first))
        if said.statuses == (200,):
            assert not {b"content-length", b"content-type", b"etag", b"last-modified", b"content-encoding"} & set(
                fields
            )
    assert [answers[path][0] for path in answers] == [(200,), (404,), (404,)]
    assert answers["/people/3"] == answers["/people/9"]
    assert {request.method for request in upstream.requests} == {"GET"}
    mine, hidden, _ = proxy.records()
    assert (mine.method, mine.operation, mine.disclosed, mine.bytes) == ("HEAD", "getMe", (), 0)
    assert hidden.reason == "not_found" or hidden.withheld


PREFLIGHT = (
    "Origin: https://app.example",
    "Access-Control-Request-Method: GET",
    "Access-Control-Request-Headers: authorization",
)


async def test_a_preflight_is_refused_unless_described(tmp_path, upstream) -> None:
    """It carries no token and names no other method than OPTIONS: the catalog says whether the platform answers it."""
    described = _with_admin()
    described["paths"]["/search"]["options"] = {
        "operationId": "preflight",
        "security": [],
        "x-data-category": "none",
        "responses": {"204": {"description": "who may ask"}},
    }
    upstream.reply("/search", 204, {"Access-Control-Allow-Origin": "https://app.example"}, method="OPTIONS")
    async with running_proxy(tmp_path, upstream.url, described) as proxy:
        for token in (None, proxy.token()):
            for path in ("/me", "/admin", "/people/3", "/nothing"):
                said = await say(proxy.running.data_port, head(f"OPTIONS {path} HTTP/1.1", token, *PREFLIGHT))
                assert said.statuses[0] in (401, 404, 405)
                assert b"Access-Control" not in said.text
        assert upstream.requests == []
        said = await say(proxy.running.data_port, head("OPTIONS /search HTTP/1.1", None, *PREFLIGHT))
        assert said.statuses == (204,)
        assert b"Access-Control-Allow-Origin: https://app.example" in said.text
        (sent,) = upstream.requests
        assert (sent.method, sent.target) == ("OPTIONS", "/search")
        assert sent.header("access-control-request-method") == "GET"
