"""What leaves beside the body, and bodies that are something else: headers, redirects, JSONP, other formats."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream

OURS = {"Content-Type", "Content-Length", "Date", "X-Audit-Id", "Proxy-Status", "Cache-Control", "Server"}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Version": {"type": "string"},
    "X-User": {"type": "string", "x-data-subject": ""},
    "X-Email": {"type": "string", "x-data-category": "user.contact.email"},
    "X-Order": {"oneOf": [{"const": "name"}, {"const": "birthday", "x-required-scopes": ["birthday"]}]},
}
SCRIPT = ("application/javascript", "text/javascript", "text/html", "application/xml", "image/svg+xml")


def _platform() -> dict[str, Any]:
    """Answers may come as script or XML, if the vendor's description is to be believed."""
    made = document()
    for route in ("/people/{id}", "/search"):
        operation = made["paths"][route]["get"]
        operation["parameters"] += [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("callback", "format")
        ]
        operation["parameters"] += [
            {"name": name, "in": "header", "schema": schema} for name, schema in HEADERS.items()
        ]
        content = operation["responses"]["200"]["content"]
        content.update(dict.fromkeys(SCRIPT, content["application/json"]))
        operation["responses"]["200"]["headers"] = {
            name: {"x-data-category": "none"} for name in ("X-Page", "Content-Length", "Content-Type", "ETag", "Digest")
        }
    posts = made["paths"]["/posts"]["post"]["responses"]
    posts["201"] = posts["200"]
    return made


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, _platform()) as running:
        await running.grant("2")
        yield running


LEAKY = [
    ("Link", '</people/2/friends?after=3>; rel="next", </people/3>; rel="author"'),
    ("Location", "/people/3"),
    ("Content-Location", "/people/3"),
    ("Refresh", "0; url=https://platform.example/people/3"),
    ("Set-Cookie", "seen=3"),
    ("X-Total-Count", "3"),
    ("X-Next-Cursor", "3"),
    ("X-User-Id", "3"),
    ("X-Accel-Redirect", "/people/3"),
    ("ETag", '"3"'),
    ("Digest", "sha-256=3"),
    ("Last-Modified", "Thu, 03 Mar 2033 03:33:33 GMT"),
    ("Content-Language", "3"),
    ("Content-Disposition", 'attachment; filename="3.json"'),
    ("Accept-Ranges", "bytes"),
    ("Warning", '199 - "3"'),
    ("Server-Timing", "found;dur=3"),
    ("WWW-Authenticate", 'Bearer realm="3"'),
]


@pytest.mark.parametrize("status", [200, 404, 403, 500])
async def test_headers_of_a_judged_answer_are_ours(proxy, upstream, status) -> None:
    """Links, locations, totals, cursors and validators in headers stay behind, whatever the status; what is described as
    about nobody passes, save what tells of the platform's own bytes.
    """
    upstream.reply("/people/2", status, headers=[*LEAKY, ("X-Page", "9")], body={"id": "2", "unknown": "x" * 100})
    _, headers, body = await proxy.get("/people/2", proxy.token())
    assert headers.keys() <= OURS | {"X-Page"}
    assert ("X-Page" in headers) == (status == 200)
    assert int(headers["Content-Length"]) == len(body)


async def test_what_a_write_made_is_told_in_its_body_alone(proxy, upstream) -> None:
    """A 201 keeps its status; its ``Location`` can name people and lead past the proxy, so it stays behind."""
    upstream.reply("/posts", 201, headers=LEAKY, body={"text": "t", "from": {"id": "1"}}, method="POST")
    status, headers, body = await proxy.ask("POST", "/posts", proxy.token(scope="write read"), json={"text": "t"})
    assert (status, json.loads(body)) == (201, {"text": "t", "from": {"id": "1"}})
    assert headers.keys() <= OURS


async def test_redirects_are_not_followed_and_lead_nowhere(proxy, upstream) -> None:
    """Neither the proxy nor the app goes where the platform points."""
    for status in (300, 301, 302, 303, 307, 308):
        for path in ("/people/2", "/search?email=a", "/export"):
            upstream.clear()
            upstream.reply(path, status, headers=LEAKY, body={"id": "3"})
            answered, headers, body = await proxy.get(path, proxy.token())
            refused = (
                (404, "not_found") if "email" in path else (502, "redirect_refused")
            )  # a look-up tells of no match
            assert (answered, json.loads(body)["reason"]) == refused
            assert headers.keys() <= OURS
            assert len(upstream.requests) == 1


async def test_an_undescribed_way_to_another_form_is_refused(proxy, upstream) -> None:
    """Before the platform is asked."""
    for parameter in ("jsonp=f", "_format=xml", "alt=media", "output=js", "_callback=f", "Callback=f", "callback[]=f"):
        status, _, body = await proxy.get(f"/people/2?{parameter}", proxy.token())
        assert (status, json.loads(body)["reason"]) == (400, "parameter_not_described")
    assert not upstream.requests


BODIES = [
    b'f({"id": "2", "secret": "secret"});',
    b'/**/f({"id": "2", "email": "secret"})',
    b"<user><id>2</id><email>secret</email></user>",
    b'for(;;);{"id": "2", "email": "secret"}',
    b')]}\',\n{"id": "2", "email": "secret"}',
]


async def test_a_header_asks_for_nobody(proxy, upstream) -> None:
    """A header parameter that is described as a person's or a field's is not sent on; another one is."""
    upstream.reply("/people/2", body={"id": "2"})
    sent = {"X-User": "3", "X-Email": "a@example.org", "X-Order": "birthday", "X-Version": "7", "X-Other": "1"}
    await proxy.get("/people/2", proxy.token(), headers=sent)
    (request,) = upstream.requests
    assert [name for name, _ in request.headers if name in sent] == ["X-Version"]


async def test_script_never_leaves(proxy, upstream) -> None:
    """A described ``callback`` or ``format`` that makes the platform answer something else: it cannot be looked into."""
    for kind in (*SCRIPT, "application/json", "text/plain", "application/jsonp"):
        for sent in BODIES:
            upstream.reply("/people/2", headers={"Content-Type": kind}, body=sent)
            for path in ("/people/2?callback=f", "/people/2?format=xml"):
                status, headers, body = await proxy.get(path, proxy.token())
                described = kind in (*SCRIPT, "application/json")
                assert status == (502 if described else 200)
                assert headers.get("Content-Type") == ("application/problem+json" if described else None)
                assert b"secret" not in body
                assert described or not body
    assert all(record.uninspected and not record.disclosed for record in proxy.records())


async def test_json_that_calls_itself_script_is_json_afterwards(proxy, upstream) -> None:
    """The type that is sent says what was judged, so nobody runs it."""
    for kind in SCRIPT:
        upstream.reply("/people/2", headers={"Content-Type": kind}, body=b'{"id": "2", "secret": "secret"}')
        status, headers, body = await proxy.get("/people/2?callback=", proxy.token())
        assert (status, headers["Content-Type"], body) == (200, "application/json", b'{"id":"2"}')


async def test_endings_that_ask_for_another_form_name_nobody(proxy, upstream) -> None:
    """An id with an ending is off its pattern."""
    for ending in (".xml", ".json", ".js", ".rss", "%2Exml"):
        assert (await proxy.get(f"/people/2{ending}", proxy.token()))[0] == 400
    assert not upstream.requests
