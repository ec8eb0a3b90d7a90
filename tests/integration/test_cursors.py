"""Paging state: apps hold sealed cursors, and the platform gets exactly those that it gave out."""

import base64
import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import yaml

from audit_proxy.settings.check import check
from audit_proxy.settings.files import ConfigProblems
from tests.simulator.proxy import configure, private, reviewed, running_proxy, serving
from tests.simulator.recording import RecordingUpstream

RAW = "QVFIUjc3MDAxOTk5OQ=="  # base64 of something with the id 7001999 in it, as platforms do
SEALED = re.compile(r"[A-Za-z0-9_-]{123}\Z")
CURSOR = {"x-data-category": "none", "x-cursor": True}
LINK = {"type": "string", "x-data-category": "none", "x-cursor": "url"}


def _get(operation: str, schema: Any, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    bad = {"type": "object", "properties": {"error": {"type": "string", "x-data-category": "none"}}}
    headers = {
        "Link": {"x-data-category": "none", "x-cursor": "url"},
        "X-Next": CURSOR,
        "X-Plain": {"x-data-category": "none"},
    }
    answer = {"description": "ok", "headers": headers, "content": {"application/json": {"schema": schema}}}
    error = {"description": "no", "headers": headers, "content": {"application/json": {"schema": bad}}}
    return {"operationId": operation, "parameters": [*parameters], "responses": {"200": answer, "400": error}, **more}


def _query(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind, **more}}


AFTER = _query("after", pattern="^[A-Za-z0-9+/=]{1,64}$", **{"x-cursor": True})
LIMIT = _query("limit", "integer")
ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "x-data-subject": ""}}
PERSON: dict[str, Any] = {
    "type": "object",
    "x-data-subject": "/id",
    "properties": {
        "id": {"type": "string", "x-data-category": "user.unique_id"},
        "name": {"type": "string", "x-data-category": "user.name"},
        "friends": {"$ref": "#/components/schemas/People", "x-cursor-for": "listFriends"},
    },
}
PAGING = {
    "type": "object",
    "properties": {
        "cursors": {"type": "object", "properties": {"after": {"type": "string", **CURSOR}}},
        "next": LINK,
    },
}
PEOPLE = {
    "type": "object",
    "properties": {
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}},
        "paging": {"$ref": "#/components/schemas/Paging"},
    },
}
NUMBERED = {"type": "object", "properties": {"next": {"type": "integer", **CURSOR}}}
PEOPLE_REF = {"$ref": "#/components/schemas/People"}
MAX_ID = _query("max_id", "integer", **{"x-cursor": {"plain": ["0", "-1"]}})
SENT = {
    "type": "object",
    "properties": {
        "page": {"type": "integer", "x-cursor": True},
        "mark": {"type": ["string", "null"], "x-cursor": True},
    },
}
POST = _get("search", {"type": "object", "properties": {"next": {"type": "integer", **CURSOR}}, "x-cursor-for": {"operation": "search", "parameter": "page"}})  # fmt: skip
POST["requestBody"] = {
    "content": {"application/json": {"schema": SENT}, "application/x-www-form-urlencoded": {"schema": SENT}}
}
LINES = _get("export", {}, AFTER)
LINES["responses"]["200"]["content"] = {
    "application/x-ndjson": {"schema": {"type": "object", "properties": {"next": {"type": "string", **CURSOR}}}}
}
PLATFORM: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "servers": [{"url": "https://graph.platform.example"}],
    "security": [{"o": ["read"]}],
    "components": {"schemas": {"Person": PERSON, "People": PEOPLE, "Paging": PAGING}},
    "paths": {
        "/me": {"get": _get("getMe", {"$ref": "#/components/schemas/Person"})},
        "/me/friends": {"get": _get("listMyFriends", PEOPLE_REF, AFTER, LIMIT)},
        "/people/{id}/friends": {"get": _get("listFriends", PEOPLE_REF, ID, AFTER, LIMIT)},
        "/find": {
            "get": _get(
                "find",
                PEOPLE_REF,
                _query("email", **{"x-data-category": "user.contact.email", "x-required-scopes": ["email"]}),
                AFTER,
            )
        },
        "/timeline": {"get": _get("timeline", NUMBERED, MAX_ID)},
        "/search": {"post": POST},
        "/export": {"get": LINES},
        "/open": {"get": {**_get("open", PEOPLE_REF, AFTER), "security": []}},
        "/status": {"get": {**_get("status", PEOPLE_REF, AFTER), "x-data-category": "none"}},
    },
}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as running:
        yield running


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with running_proxy(tmp_path, upstream.url, PLATFORM) as running:
        await running.grant("2")
        yield running


def people(*ids: str, **paging: Any) -> dict[str, Any]:
    return {"data": [{"id": one, "name": f"n{one}"} for one in ids], "paging": paging}


async def answer(proxy, path: str, token: str | None = None, **options: Any) -> Any:
    status, _, body = await proxy.get(path, token or proxy.token(), **options)
    return json.loads(body) if status == 200 else (status, json.loads(body).get("reason"))


async def first_page(proxy, upstream, path: str = "/me/friends", raw: str = RAW, token: str | None = None) -> str:
    """A sealed cursor as an app gets it."""
    upstream.reply(path, body=people("2", cursors={"after": raw}))
    body = await answer(proxy, path, token)
    cursor = body["paging"]["cursors"]["after"]
    upstream.clear()
    return cursor


def asked(upstream) -> list[str]:
    found = [one.target for one in upstream.requests]
    upstream.clear()
    return found


# -- values -----------------------------------------------------------------------------------------------------------


async def test_a_cursor_leaves_sealed_and_the_platform_gets_its_own(proxy, upstream) -> None:
    """In the answer stands nothing of it; in the next request it is what the platform gave out, as often as it is used."""
    upstream.reply(
        "/me/friends", body=people("2", cursors={"after": RAW}), headers={"Content-Type": "application/json"}
    )
    status, _, body = await proxy.get("/me/friends", proxy.token())
    assert status == 200
    assert RAW.encode() not in body
    sealed = json.loads(body)["paging"]["cursors"]["after"]
    assert SEALED.match(sealed)
    upstream.clear()
    for _ in range(2):
        await answer(proxy, f"/me/friends?after={sealed}&limit=5")
        assert asked(upstream) == [f"/me/friends?after={quote(RAW)}&limit=5"]
    assert RAW.encode() not in proxy.everything_written()
    assert [one.decision for one in proxy.records()] == ["allow"] * 3


async def test_equal_cursors_look_unrelated_and_of_one_length(proxy, upstream) -> None:
    """Neither the same cursor twice nor a longer one of its size can be told by looking."""
    seen = [await first_page(proxy, upstream, raw=raw) for raw in (RAW, RAW, "1", "x" * 62)]
    assert len(set(seen)) == 4
    assert len({one[:16] for one in seen}) == 4
    assert {len(one) for one in seen} == {123}


async def test_what_was_not_given_out_for_this_is_refused(proxy, upstream) -> None:
    """Forged, cut, changed, spelled otherwise, raw, huge: 400 with a reason of its own, and nothing reaches the platform."""
    sealed = await first_page(proxy, upstream)
    unused_bits = sealed[:-1] + chr(ord(sealed[-1]) + 1)
    assert base64.urlsafe_b64decode(unused_bits + "=") == base64.urlsafe_b64decode(sealed + "=")
    forged = [
        RAW,
        quote(RAW),
        "7001999",
        sealed[:-1],
        sealed[:-4],
        sealed[1:],
        sealed[:40],
        sealed + "A",
        sealed + "AAAA",
        sealed + "=",
        sealed + "%3D",
        unused_bits,
        sealed[:60] + ("A" if sealed[60] != "A" else "B") + sealed[61:],
        sealed.swapcase(),
        base64.urlsafe_b64encode(secrets.token_bytes(92)).decode().rstrip("="),
        base64.urlsafe_b64encode(bytes(92)).decode().rstrip("="),
        "A" * 4000,
        "%00",
        "-1",
    ]
    for one in forged:
        assert await answer(proxy, f"/me/friends?after={one}") in (
            (400, "cursor_invalid"),
            (400, "query_not_normal"),
        ), one
    assert await answer(proxy, f"/me/friends?after={sealed}&after={RAW}") == (400, "cursor_invalid")
    assert await answer(proxy, f"/me/friends?after={sealed}&after={sealed}") == (400, "parameter_invalid")
    assert asked(upstream) == []
    assert proxy.records()[-2].reason == "cursor_invalid"
    assert proxy.records()[-2].kind == "denial"


async def test_a_cursor_is_for_one_app_holder_operation_and_parameter(proxy, upstream, tmp_path) -> None:
    """Whoever else brings it, or wherever else, is refused before the platform is asked."""
    other_app = {"id": "rival", "name": "R", "owner": "o", "contact": "r@example.org", "tier": "standard", "purpose": "functional.service", "approved_scopes": ["read", "email"]}  # fmt: skip
    apps = yaml.safe_load((tmp_path / "apps.yaml").read_text())
    (tmp_path / "apps.yaml").write_text(yaml.safe_dump({"apps": [*apps["apps"], other_app]}))
    await proxy.end()
    async with serving(proxy.folder, proxy.key, proxy.admin_token) as proxy:
        sealed = await first_page(proxy, upstream)
        for path, token in (
            (f"/me/friends?after={sealed}", proxy.token(app="rival")),
            (f"/me/friends?after={sealed}", proxy.token(holder="2")),
            (f"/me/friends?after={sealed}", proxy.token(holder="quiz")),  # app-only
            (f"/people/1/friends?after={sealed}", proxy.token()),
            (f"/find?after={sealed}", proxy.token()),
            (f"/timeline?max_id={sealed}", proxy.token()),
        ):
            assert await answer(proxy, path, token) == (400, "cursor_invalid")
        status, _, _ = await proxy.get(f"/open?after={sealed}")
        assert status == 400
        assert asked(upstream) == []
        assert isinstance(await answer(proxy, f"/me/friends?after={sealed}", proxy.token(scope="read")), dict)


async def test_without_a_holder_and_without_a_token_cursors_are_sealed_too(proxy, upstream) -> None:
    """An app's own token, and nobody's: each gets back what it was given, and not the other's."""
    upstream.reply("/open", body={"data": [], "paging": {"cursors": {"after": RAW}}})
    found = []
    for token in (proxy.token(holder="quiz"), None):
        _, _, body = await proxy.get("/open", token)
        found.append(json.loads(body)["paging"]["cursors"]["after"])
    upstream.clear()
    for token, cursor in ((None, found[0]), (proxy.token(holder="quiz"), found[1])):
        status, _, _ = await proxy.get(f"/open?after={cursor}", token)
        assert status == 400
    assert asked(upstream) == []
    await proxy.get(f"/open?after={found[1]}")
    assert asked(upstream) == [f"/open?after={quote(RAW)}"]


async def test_a_list_inside_something_else_goes_on_at_its_own_operation(proxy, upstream) -> None:
    """``x-cursor-for``: the cursor of a nested list opens at the operation that has the next page, and not elsewhere."""
    upstream.reply("/me", body={"id": "1", "friends": people("2", cursors={"after": RAW})})
    sealed = (await answer(proxy, "/me"))["friends"]["paging"]["cursors"]["after"]
    assert SEALED.match(sealed)
    upstream.clear()
    assert await answer(proxy, f"/me/friends?after={sealed}") == (400, "cursor_invalid")
    await proxy.get(f"/people/1/friends?after={sealed}", proxy.token())
    assert asked(upstream) == [f"/people/1/friends?after={quote(RAW)}"]


async def test_numbers_are_sealed_and_come_back_as_numbers(proxy, upstream) -> None:
    """``max_id`` and the like; values that carry no state (``plain``) pass as they are, both ways."""
    upstream.reply("/timeline", body={"next": 7001999})
    sealed = (await answer(proxy, "/timeline?max_id=-1"))["next"]
    assert SEALED.match(sealed)
    assert asked(upstream) == ["/timeline?max_id=-1"]
    await answer(proxy, f"/timeline?max_id={sealed}")
    assert asked(upstream) == ["/timeline?max_id=7001999"]
    assert await answer(proxy, "/timeline?max_id=7001999") == (400, "cursor_invalid")
    upstream.reply("/timeline", body={"next": 0})
    assert await answer(proxy, "/timeline") == {"next": "0"}


async def test_a_request_body_s_cursors_are_opened(proxy, upstream) -> None:
    """In JSON and in forms; in JSON a number is a number again."""
    upstream.reply("/search", body={"next": 7001999})

    async def post(kind: str, data: bytes) -> Any:
        status, _, body = await proxy.ask("POST", "/search", proxy.token(), data=data, headers={"Content-Type": kind})
        return json.loads(body) if status == 200 else (status, json.loads(body)["reason"])

    json_kind, form_kind = "application/json", "application/x-www-form-urlencoded"
    sealed = (await post(json_kind, b"{}"))["next"]
    upstream.clear()
    await post(json_kind, json.dumps({"page": sealed, "mark": None}).encode())
    await post(form_kind, f"page={sealed}".encode())
    assert [one.body for one in upstream.requests] == [b'{"page":7001999,"mark":null}', b"page=7001999"]
    upstream.clear()
    for kind, data in (
        (json_kind, b'{"page":7001999}'),
        (json_kind, json.dumps({"mark": sealed}).encode()),
        (form_kind, b"page=7001999"),
        (form_kind, f"mark={sealed}".encode()),
    ):
        assert await post(kind, data) == (400, "cursor_invalid")
    for data in (b'{"mark":["x"]}', b'{"page":true}', b'{"mark":{"a":1}}', b'{"page":1.0}'):
        assert await post(json_kind, data) == (400, "parameter_invalid")
    assert upstream.requests == []


async def test_lines_and_events_are_sealed_as_they_come(proxy, upstream) -> None:
    """A stream's cursors, and its headers'; what cannot be sealed of these stands in a chunk's record."""
    headers = [("Content-Type", "application/x-ndjson"), ("X-Next", RAW), ("Link", f"<https://evil.example/{RAW}>")]
    line = json.dumps({"next": RAW}).encode() + b"\n"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    begun = f"HTTP/1.1 200 OK\r\n{head}Content-Length: {2 * len(line)}\r\n\r\n".encode() + line
    upstream.reply("/export", pieces=[begun, 0.3, line])
    status, got, body = await proxy.get("/export", proxy.token())
    assert status == 200
    lines = [json.loads(one)["next"] for one in body.splitlines()]
    assert [bool(SEALED.match(one)) for one in lines] == [True, True]
    assert SEALED.match(got["X-Next"])
    assert "Link" not in got
    chunks = [one for one in proxy.records() if one.phase == "chunk"]
    told = [(group.fields, group.consent) for one in chunks for group in one.withheld]
    assert told == [(("export.link",), "cursor_unsealable")]


async def test_odd_values_do_not_leave_in_a_cursor_s_place(tmp_path, upstream) -> None:
    """Also where policy lets pass what nothing classifies: an object, a list, a number, a truth, a text too long."""
    odd = [{"a": RAW}, [RAW], 1.5, True, "x" * 2047]
    async with running_proxy(tmp_path, upstream.url, PLATFORM, policy="mode: enforce\nunclassified: pass\n") as proxy:
        for value in odd:
            upstream.reply("/me/friends", body={"data": [], "paging": {"cursors": {"after": value}}})
            assert await answer(proxy, "/me/friends") == {"data": [], "paging": {"cursors": {}}}
            assert [one.consent for one in proxy.records()[-1].withheld] == ["cursor_unsealable"]
        upstream.reply("/me/friends", body={"data": [], "paging": {"cursors": {"after": None}}})
        assert await answer(proxy, "/me/friends") == {"data": [], "paging": {"cursors": {"after": None}}}
        upstream.reply("/me/friends", body={"data": [], "paging": {"cursors": {"after": "x" * 2046}}})
        longest = (await answer(proxy, "/me/friends"))["paging"]["cursors"]["after"]
        assert 2700 < len(longest) < 2816


# -- links ------------------------------------------------------------------------------------------------------------


async def link(proxy, upstream, url: str, path: str = "/me/friends", inside: Any = None) -> str | None:
    """What an app gets for a platform's link to the next page."""
    upstream.reply(path.partition("?")[0], body=inside or people("2", next=url))
    body = await answer(proxy, path)
    upstream.clear()
    found = body["paging"].get("next")
    if found is None:
        assert "cursor_unsealable" in [one.consent for one in proxy.records()[-1].withheld], url
    return found


async def follow(proxy, upstream, url: str | None) -> list[str]:
    """What the platform is asked when an app follows a link."""
    assert url is not None
    assert url.startswith("/")
    status, _, _ = await proxy.get(url, proxy.token())
    assert status in (200, 404)
    return asked(upstream)


async def test_links_lead_back_through_the_proxy_with_sealed_cursors(proxy, upstream) -> None:
    """Whatever host the platform names itself by; the token in a link is taken out, everything else stays."""
    wanted = [f"/me/friends?limit=25&after={quote(RAW)}"]
    query = f"limit=25&after={quote(RAW)}"
    for url in (
        f"https://graph.platform.example/me/friends?{query}",
        f"HTTPS://GRAPH.platform.example:443/me/friends?{query}",
        f"http://graph.platform.example/me/friends?{query}",
        f"{upstream.url}/me/friends?{query}",
        f"/me/friends?{query}",
        f"?{query}",
        f"https://graph.platform.example/me/friends?access_token=EAASECRET&{query}",
        f"https://graph.platform.example/me/friends?{query}&access_token=EAASECRET&access_token=2",
    ):
        found = await link(proxy, upstream, url)
        assert found is not None, url
        parts = urlsplit(found)
        assert (parts.scheme, parts.netloc, parts.path) == ("", "", "/me/friends")
        assert parse_qs(parts.query).keys() == {"limit", "after"}
        assert SEALED.match(parse_qs(parts.query)["after"][0])
        assert await follow(proxy, upstream, found) == wanted
    assert b"EAASECRET" not in proxy.everything_written()


async def test_links_that_lead_elsewhere_do_not_leave(proxy, upstream) -> None:
    """Other hosts, other schemes, forms that two readers could take differently, what no operation describes: withheld."""
    query = f"after={quote(RAW)}"
    for url in (
        f"https://evil.example/me/friends?{query}",
        f"https://graph.platform.example.evil.example/me/friends?{query}",
        f"https://graph.platform.example:8443/me/friends?{query}",
        f"https://graph.platform.example@evil.example/me/friends?{query}",
        f"https://u:p@graph.platform.example/me/friends?{query}",
        f"https://graph.platform.example\\@evil.example/me/friends?{query}",
        f"//graph.platform.example/me/friends?{query}",
        f"///me/friends?{query}",
        f"ftp://graph.platform.example/me/friends?{query}",
        f"javascript:alert({RAW})",
        f"https://graph.platform.example:x/me/friends?{query}",
        f"https://[graph/me/friends?{query}",
        f"friends?{query}",
        f"./friends?{query}",
        f"https://graph.platform.example/me/../me/friends?{query}",
        f"https://graph.platform.example/me%2Ffriends?{query}",
        f"https://graph.platform.example/me//friends?{query}",
        f"https://graph.platform.example/me/friends;{RAW}?{query}",
        f"https://graph.platform.example/me/friends/{RAW}?{query}",
        f"https://graph.platform.example/me/friends#{RAW}",
        f"https://graph.platform.example/me/friends?{query}#{RAW}",
        f"https://graph.platform.example/me/friends?{query}&__paging_token={RAW}",
        f"https://graph.platform.example/me/friends?{query}&{query}",
        f"https://graph.platform.example/me/friends?After={RAW}",
        f"https://graph.platform.example/me/friends?{query}&limit={RAW}",
        f"https://graph.platform.example/me/friends?{query}&limit=1&limit=2",
        f"https://graph.platform.example/me/friends?after={'x' * 3000}",
        f"https://graph.platform.example/me/friends?{query}&limit={'1' * 9000}",
        f"https://graph.platform.example/nowhere?{query}",
        f"https://graph.platform.example/search?{query}",
        f"https://graph.platform.example/status?{query}",
        f"https://graph.platform.example/me/friends?after=%00{RAW}",
        f"https://graph.platform.example/me/fri\tends?{query}",
        f" https://graph.platform.example/me/friends?{query}",
        f"https://graph.platform.example/me/friénds?{query}",
        RAW,
        "7001999",
    ):
        assert await link(proxy, upstream, url) is None, url
    assert RAW.encode() not in proxy.everything_written()


async def test_a_link_names_nobody_whom_the_app_does_not_know(proxy, upstream) -> None:
    """The person in a link is one whom the request names, the holder, or whom the link stands inside of; never another."""
    query = f"after={quote(RAW)}"
    for path in ("/me/friends", "/people/2/friends"):
        upstream.reply(path, body=people("2"))
    for person, path, leaves in (
        ("1", "/me/friends", True),  # the holder
        ("7001999", "/me/friends", False),
        ("2", "/me/friends", False),  # in the answer, but the link is not theirs
        ("2", "/people/2/friends", True),
        ("1", "/people/2/friends", True),
        ("7001999", "/people/2/friends", False),
    ):
        found = await link(proxy, upstream, f"https://graph.platform.example/people/{person}/friends?{query}", path)
        assert (found is not None) is leaves, (person, path)
        if found is not None:
            assert await follow(proxy, upstream, found) == [f"/people/{person}/friends?after={quote(RAW)}"]
    friend = {"id": "2", "friends": people(next=f"/people/2/friends?{query}")}
    other = {"id": "2", "friends": people(next=f"/people/7001999/friends?{query}")}
    upstream.reply("/me/friends", body={"data": [friend, other]})
    first, second = (await answer(proxy, "/me/friends"))["data"]
    upstream.clear()
    assert await follow(proxy, upstream, first["friends"]["paging"]["next"]) == [
        f"/people/2/friends?after={quote(RAW)}"
    ]
    assert second["friends"] == {"data": [], "paging": {}}


async def test_a_link_inside_who_refuses_names_nobody(tmp_path, upstream) -> None:
    """Where policy keeps what is not personal of a refused person, a link there does not say who that is."""
    policy = "mode: enforce\nrefused_third_party: minimal\n"
    async with running_proxy(tmp_path, upstream.url, PLATFORM, policy=policy) as proxy:
        await proxy.grant("2")
        inside = [{"id": one, "friends": people(next=f"/people/{one}/friends?after=x")} for one in ("2", "7001999")]
        upstream.reply("/me/friends", body={"data": inside})
        permitting, refusing = (await answer(proxy, "/me/friends"))["data"]
        assert permitting["friends"]["paging"]["next"].startswith("/people/2/friends?after=")
        assert refusing == {"friends": {"data": [], "paging": {}}}


async def test_a_link_looks_nobody_up_by_what_the_app_did_not_say(proxy, upstream) -> None:
    """A personal parameter in a link is the request's own, or the link does not leave."""
    url = "https://graph.platform.example/find?email=%s&after=QVFIUjc3MDAxOTk5OQ"
    assert await link(proxy, upstream, url % "secret@example.org", "/find?email=mine@example.org") is None
    found = await link(proxy, upstream, url % "mine@example.org", "/find?email=mine@example.org")
    assert await follow(proxy, upstream, found) == ["/find?email=mine@example.org&after=QVFIUjc3MDAxOTk5OQ"]


async def test_links_begin_with_the_proxy_s_own_address_where_it_is_known(tmp_path, upstream) -> None:
    """``data.public_url``; a platform that takes its name from ``X-Forwarded-Host`` is understood as well."""
    public = "https://api.proxy.example"
    async with running_proxy(tmp_path, upstream.url, PLATFORM, data={"public_url": public}) as proxy:
        for host in ("https://graph.platform.example", public):
            upstream.reply("/me/friends", body=people(next=f"{host}/me/friends?after={quote(RAW)}"))
            found = (await answer(proxy, "/me/friends"))["paging"]["next"]
            assert found.startswith(f"{public}/me/friends?after=")
            assert RAW[:-2] not in found


# -- headers ----------------------------------------------------------------------------------------------------------


async def test_headers_are_sealed_like_bodies(proxy, upstream) -> None:
    """``Link`` by its parts (RFC 8288), other headers as a whole; also for HEAD, and for an answer whose body is lost."""
    here = "https://graph.platform.example/me/friends"
    given = (
        f'<{here}?after={quote(RAW)}&access_token=EAASECRET>; rel="next"; title="{RAW}", '
        f'<{here}?after={quote(RAW)}>; rel=prev, <{here}>; rel="first", '
        f'<https://evil.example/{RAW}>; rel="last", <{here}>; rel="{RAW}", <{here}?x={RAW}>; rel="next"'
    )
    headers = [("Link", given), ("Link", f"junk {RAW}"), ("X-Next", RAW), ("X-Plain", "p"), ("X-Other", RAW)]
    for method, body in (("GET", people("2")), ("HEAD", people("2")), ("GET", b"<html>")):
        html = [("Content-Type", "text/html")] if isinstance(body, bytes) else []
        upstream.reply("/me/friends", headers=[*headers, *html], body=body)
        status, got, _ = await proxy.ask(method, "/me/friends", proxy.token())
        assert status == 200
        assert RAW not in str(got)
        assert quote(RAW) not in str(got)
        assert "EAASECRET" not in str(got)
        links = re.findall(r'<([^>]*)>; rel="(\w+)"', got["Link"])
        assert [relation for _, relation in links] == ["next", "prev", "first"]
        assert ", ".join(f'<{url}>; rel="{relation}"' for url, relation in links) == got["Link"]
        assert SEALED.match(got["X-Next"])
        assert got["X-Plain"] == "p"
        upstream.clear()
        assert await follow(proxy, upstream, links[0][0]) == [f"/me/friends?after={quote(RAW)}"]
        await proxy.get(f"/me/friends?after={got['X-Next']}", proxy.token())
        assert asked(upstream) == [f"/me/friends?after={quote(RAW)}"]
        record = next(one for one in reversed(proxy.records()) if one.withheld)
        assert record.withheld[-1].fields == ("listMyFriends.link",)
        assert record.withheld[-1].consent == "cursor_unsealable"


async def test_an_error_that_quotes_the_cursor_loses_its_body(proxy, upstream) -> None:
    """A platform's complaint about a cursor names it; the status stays, and other complaints do."""
    sealed = await first_page(proxy, upstream)
    for text, kept in ((f"bad cursor {RAW}", False), (f"bad: {quote(RAW, safe='')}", False), ("bad cursor", True)):
        upstream.reply("/me/friends", 400, body={"error": text})
        status, _, body = await proxy.get(f"/me/friends?after={sealed}", proxy.token())
        assert status == 400
        assert body == (json.dumps({"error": text}, separators=(",", ":")).encode() if kept else b"")


async def test_a_withheld_person_and_an_unknown_one_look_alike_with_cursors(proxy, upstream) -> None:
    """Same status, headers and body, after the same upstream calls, with a good cursor and with a forged one."""
    sealed = await first_page(proxy, upstream, "/people/2/friends")
    upstream.reply("/people/3/friends", headers={"X-Next": RAW, "Content-Type": "application/json"}, body=people("2"))
    for cursor in (sealed, "forged"):
        seen = []
        for person in ("3", "404404"):
            status, headers, body = await proxy.get(f"/people/{person}/friends?after={cursor}", proxy.token())
            for volatile in ("X-Audit-Id", "Date"):
                headers.pop(volatile, None)
            seen.append((status, headers, body, len(asked(upstream))))
        assert seen[0] == seen[1]


# -- keys and modes ---------------------------------------------------------------------------------------------------


async def test_keys_are_changed_without_losing_anybody_s_place(proxy, upstream) -> None:
    """The first key seals, all open; what a removed key sealed is refused."""
    old = await first_page(proxy, upstream)
    config = proxy.folder / "audit-proxy.yaml"
    settings = yaml.safe_load(config.read_text())
    private(proxy.folder / "new.key", base64.b64encode(secrets.token_bytes(32)).decode())
    await proxy.end()
    for keys, opens in ((["cursor.key", "new.key"], True), (["new.key", "cursor.key"], True), (["new.key"], False)):
        settings["cursors"]["keys"] = [{"file": one} for one in keys]
        config.write_text(yaml.safe_dump(settings))
        async with serving(proxy.folder, proxy.key, proxy.admin_token) as again:
            found = await answer(again, f"/me/friends?after={old}", proxy.token())
            assert (found != (400, "cursor_invalid")) is opens, keys
            if keys[0] == "new.key":
                new = await first_page(again, upstream, token=proxy.token())
                assert isinstance(await answer(again, f"/me/friends?after={new}", proxy.token()), dict)


def test_a_platform_with_cursors_needs_a_key(tmp_path) -> None:
    """Without one the proxy does not start; a platform without cursors needs none."""
    place = configure(tmp_path, "http://127.0.0.1:9", PLATFORM, cursors={"keys": []})
    with pytest.raises(ConfigProblems, match=r"cursors\.keys: name a key"):
        check(place.config)
    plain = {**PLATFORM, "paths": {"/x": {"get": {"operationId": "x", "responses": {"200": {"description": "ok"}}}}}}
    (tmp_path / "openapi.json").write_text(json.dumps(reviewed({**plain, "components": {}})))
    assert not check(place.config).catalog.pages


async def test_monitor_alters_no_answer_and_opens_what_enforce_sealed(proxy, upstream) -> None:
    """Raw cursors pass both ways unchanged and are judged as the platform's own; sealed ones still open."""
    sealed = await first_page(proxy, upstream)
    number = proxy.token()
    upstream.reply("/search", body={"next": 5})
    _, _, body = await proxy.ask("POST", "/search", number, data=b"{}", headers={"Content-Type": "application/json"})
    page = json.loads(body)["next"]
    (proxy.folder / "policy.yaml").write_text("mode: monitor\n")
    await proxy.end()
    upstream.clear()
    given = json.dumps(people("2", cursors={"after": RAW}, next=f"https://evil.example/?after={RAW}")).encode()
    upstream.reply(
        "/me/friends", headers=[("Content-Type", "application/json"), ("X-Next", RAW), ("Link", f"<{RAW}>")], body=given
    )
    async with serving(proxy.folder, proxy.key, proxy.admin_token) as again:
        for target, wanted in (
            (f"/me/friends?after={RAW}&limit=5", f"/me/friends?after={RAW}&limit=5"),
            ("/me/friends?after=%41", "/me/friends?after=%41"),
            (f"/me/friends?after={sealed}&limit=5", f"/me/friends?after={quote(RAW)}&limit=5"),
        ):
            status, headers, body = await again.get(target, proxy.token())
            assert (status, headers["X-Next"], body) == (200, RAW, given)
            assert asked(upstream) == [wanted]
            would = again.records()[-1].would
            assert would is not None
            assert (would.decision, would.reason) == ("redact", None)
            assert {one.consent for one in would.withheld} == {"cursor_unsealable"}
            assert {name for one in would.withheld for name in one.fields} == {"Paging.next", "listMyFriends.link"}
        for sent, wanted_body in (
            (b'{ "page": 5 }', b'{ "page": 5 }'),
            (b'{ "page": "%s" }' % page.encode(), b'{"page":5}'),
        ):
            kind = {"Content-Type": "application/json"}
            await again.ask("POST", "/search", proxy.token(), data=sent, headers=kind)
            assert upstream.requests[-1].body == wanted_body


async def test_a_raw_cursor_from_monitor_is_refused_by_enforce(proxy, upstream) -> None:
    """After the switch an app begins with page one, and is told so."""
    assert await answer(proxy, f"/me/friends?after={quote(RAW)}") == (400, "cursor_invalid")
    assert asked(upstream) == []
