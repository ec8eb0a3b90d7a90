"""Paging state: what is sealed, what opens, and which links may leave."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.core.catalog import Catalog, compile_catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.core.catalog.model import Cursor, CursorFor
from audit_proxy.core.catalog.paging import taken_by
from audit_proxy.core.cursors import SEALED_MAX, SIZES, Cursors, Page, Reader, binding, framed, quotes, unframed
from tests.simulator.cursors import MemoryVault

RAW = "m4rkedCURSOR"
CURSOR = {"x-data-category": "none", "x-cursor": True}
HOST = "https://api.platform.example"


def _list(operation: str, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"next": {"type": "string", **CURSOR, **more}}}
    answer = {"description": "ok", "content": {"application/json": {"schema": schema}}}
    return {"get": {"operationId": operation, "parameters": [*parameters], "responses": {"200": answer}}}


def _parameter(name: str, place: str = "query", kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": kind, **more}}


AFTER = _parameter("after", **{"x-cursor": True})
LIMIT = _parameter("limit", kind="integer")
PATHS = {
    "/me/friends": _list("mine", AFTER, LIMIT),
    "/people/{id}/friends": _list("friends", _parameter("id", "path", **{"x-data-subject": ""}), AFTER),
    "/mail/{address}": _list("mail", _parameter("address", "path", **{"x-data-category": "user.contact.email"}), AFTER),
    "/both": _list("both", AFTER, _parameter("before", **{"x-cursor": True})),
    "/file/{path}": _list("file", _parameter("path", "path", **{"x-allow-encoded-slash": True}), AFTER),
}


def catalog(paths: dict[str, Any]) -> Catalog:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": HOST}, {"url": "/v1"}, {"url": "https://{region}.platform.example"}],
        "security": [{"o": []}],
        "paths": paths,
    }
    return compile_catalog(document, None, hash="h", categories=frozenset({"user.contact.email"}))


CATALOG = catalog(PATHS)
OPERATIONS = {one.id: one for one in CATALOG.operations}
READER = Reader("quiz", "person:1")


def cursors(base: str = "") -> Cursors:
    vault = MemoryVault()
    return Cursors(CATALOG, vault.seal, vault.open, origins=CATALOG.servers, base=base)


def page(**more: Any) -> Page:
    return Page(READER, OPERATIONS["mine"], "/me/friends", named=frozenset({"1"}), **more)


def link(made: Cursors, url: str, at: Page | None = None) -> str | None:
    """A whole ``Link`` header's one URL."""
    value, _ = made.header(at or page(), "Link", Cursor(link=True), f'<{url}>; rel="next"')
    return None if value is None else value.removeprefix("<").removesuffix('>; rel="next"')


@given(st.text(max_size=2100))
@settings(max_examples=200, deadline=None)
def test_a_frame_gives_back_its_cursor(text) -> None:
    """Whatever it is, in one of the sizes; None where it is larger than those."""
    frame = framed(text)
    if frame is None:
        assert len(text.encode("utf-8", "surrogatepass")) > SIZES[-1] - 2 or not text.isprintable()
    else:
        assert len(frame) in SIZES
        assert unframed(frame) == text


@given(st.binary(max_size=200) | st.sampled_from(SIZES).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
@settings(max_examples=200, deadline=None)
def test_what_is_no_frame_has_no_cursor(raw) -> None:
    """A length past the end, text that is not UTF-8, another size."""
    found = unframed(raw)
    if found is not None:
        assert len(raw) in SIZES
        assert raw[2:].startswith(found.encode())
    assert unframed(b"\xff\xff" + bytes(62)) is None
    assert unframed(b"\x00\x01\xff" + bytes(61)) is None
    assert framed("\udc80") is None


@given(st.text(max_size=300) | st.text("ABab01_-", max_size=300))
@settings(max_examples=300, deadline=None)
def test_nothing_opens_that_was_not_sealed(text) -> None:
    """Whatever an app sends; the empty text carries nothing, and stays what it is."""
    made, operation = cursors(), OPERATIONS["mine"]
    made.sealed(READER, operation, operation.cursors[0], RAW)
    assert made.opened(READER, operation, operation.cursors[0], text) == ("" if not text else None)


def test_each_part_of_a_binding_counts() -> None:
    """App, holder, operation, parameter; no two run into one another."""
    after, before = OPERATIONS["both"].cursors
    bindings = {
        binding(Reader(app, holder), OPERATIONS[operation], parameter)
        for app in ("quiz", "qui", 'quiz","person:1')
        for holder in ("person:1", None, "", "null", "zperson:1")
        for operation in ("mine", "both")
        for parameter in (after, before)
    }
    assert len(bindings) == 3 * 5 * 2 * 2


def test_a_sealed_cursor_is_bounded_and_url_safe() -> None:
    """Of every length that is sealed."""
    made, operation = cursors(), OPERATIONS["mine"]
    for size in (1, 62, 63, 500, 2046):
        sealed = made.sealed(READER, operation, operation.cursors[0], "x" * size)
        assert sealed is not None
        assert len(sealed) <= SEALED_MAX
        assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)
        assert made.opened(READER, operation, operation.cursors[0], sealed) == "x" * size
    assert made.sealed(READER, operation, operation.cursors[0], "x" * 2047) is None


def test_who_takes_a_cursor_is_one_parameter_or_nobody() -> None:
    """The answering operation's only one, or the one that ``x-cursor-for`` names."""

    def taker(operation: str, wanted: CursorFor | None = None) -> tuple[str, str] | None:
        found = taken_by(Cursor(taken_by=wanted), OPERATIONS[operation], OPERATIONS)
        return None if found is None else (found[0].id, found[1].name)

    assert taker("mine") == ("mine", "after")
    assert taker("both") is None
    assert taker("mine", CursorFor("friends")) == ("friends", "after")
    assert taker("mine", CursorFor("both")) is None
    assert taker("mine", CursorFor("both", "before")) == ("both", "before")
    assert taker("mine", CursorFor("both", "elsewhere")) is None
    assert taker("mine", CursorFor("nobody")) is None


@pytest.mark.parametrize(
    "inside",
    [
        {
            "x-cursor-for": "friends",
            "allOf": [{"type": "object", "properties": {"next": {"type": "string", **CURSOR}}}],
        },
        {"allOf": [{"$ref": "#/components/schemas/Pages"}, {"x-cursor-for": "friends"}, {"type": "object"}]},
        {"$ref": "#/components/schemas/Elsewhere", "x-cursor-for": "friends"},
    ],
)
def test_what_a_place_s_cursors_are_for_holds_in_every_layer(inside) -> None:
    """Beside ``allOf`` and ``$ref``; a place's own word goes before its component's."""
    pages = {"type": "object", "properties": {"next": {"type": "string", **CURSOR}}}
    answer = {"description": "ok", "content": {"application/json": {"schema": inside}}}
    found = compile_catalog(
        {
            "openapi": "3.1.0",
            "components": {"schemas": {"Pages": pages, "Elsewhere": {**pages, "x-cursor-for": "nowhere"}}},
            "security": [{"o": []}],
            "paths": {**PATHS, "/x": {"get": {"operationId": "x", "responses": {"200": answer}}}},
        },
        None,
        hash="h",
        categories=frozenset({"user.contact.email"}),
    )
    plan = next(one for one in found.operations if one.id == "x").responses["200"].media["application/json"].field
    assert plan.object is not None
    assert plan.object.fields["next"].cursor == Cursor(taken_by=CursorFor("friends"))


# -- links ------------------------------------------------------------------------------------------------------------

schemes = st.sampled_from(["", "https://", "http://", "//", "HTTPS://", "ftp://", "https:", "javascript:"])
hosts = st.sampled_from(
    ["", "api.platform.example", "api.platform.example:443", "evil.example", "a@api.platform.example", "/", "[::1]"]
)
paths = st.sampled_from(
    ["/me/friends", "/people/1/friends", "/people/7001/friends", "/mail/x@y", "/both", "/me/../me/friends", "/me//friends",
     "/file/a%2Fb", "/file/a%2F..", "/nowhere", "", "/ME/friends", "/me/friends/", f"/file/{RAW}%00"]
)  # fmt: skip
names = st.sampled_from(["after", "before", "limit", "access_token", "After", "x"])
values = st.sampled_from([RAW, "25", "", quote(RAW + "/+="), "%", "%0a", "é", "a b", "7001"])
queries = st.lists(st.tuples(names, values), max_size=4).map(lambda pairs: "&".join(f"{n}={v}" for n, v in pairs))
ends = st.sampled_from(["", "", "", f"#{RAW}", "\\", "\t", ";x"])


@given(schemes, hosts, paths, queries, ends, st.sampled_from(["", "https://proxy.example"]))
@settings(max_examples=600, deadline=None)
def test_a_link_that_leaves_leads_through_the_proxy_and_says_nothing(scheme, host, path, query, end, base) -> None:
    """No host but the proxy's, no token, no cursor but sealed ones that open to the platform's, nobody unknown."""
    made = cursors(base)
    url = f"{scheme}{host}{path}{'?' if query else ''}{query}{end}"
    found = link(made, url)
    if found is None:
        return
    assert found.startswith(f"{base}/")
    assert not found.startswith("//")
    parts = urlsplit(found)
    assert parts.path in ("/me/friends", "/people/1/friends", "/both", "/file/a%2Fb")
    operation = OPERATIONS[
        {"/me/friends": "mine", "/people/1/friends": "friends", "/both": "both"}.get(parts.path, "file")
    ]
    assert RAW not in found
    given_query = dict(parse_qsl(query + (end if query and end == ";x" else ""), keep_blank_values=True))
    left = dict(parse_qsl(parts.query, keep_blank_values=True))
    assert left.keys() == given_query.keys() - {"access_token"}
    for name, value in left.items():
        parameter = operation.parameters["query", name]
        opened = made.opened(READER, operation, parameter, value) if parameter.cursor else value
        assert opened == given_query[name]


@given(st.text(max_size=200) | st.lists(st.sampled_from(["<", ">", ";", ",", "rel", "=", '"', "next", RAW, HOST, "/both", " ", "?", "after="]), max_size=30).map("".join))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_no_link_header_carries_a_cursor_out(text) -> None:
    """However it is put together."""
    value, whole = cursors().header(page(), "link", Cursor(link=True), text)
    assert value is None or (RAW not in value and "://" not in value)
    if RAW in text and value is None:
        assert not whole


def test_links_by_path_to_what_is_personal_are_the_request_s_own() -> None:
    """Also where no id but an address stands in the path."""
    assert link(cursors(), f"{HOST}/mail/x@y?after=1") is None
    found = link(cursors(), f"{HOST}/mail/x@y?after=1", page(values=frozenset({"x@y"})))
    assert found is not None
    assert found.startswith("/mail/x@y?after=")


def test_a_quoted_cursor_is_found() -> None:
    """As it is, as JSON escapes it, as a query does."""
    assert quotes(json.dumps({"e": 'no "a+b"'}).encode(), ['"a+b"'])
    assert quotes(b'{"e":"?after=a%2Bb"}', ["a+b"])
    assert not quotes(b'{"e":"a b"}', ["a+b"])


# -- the catalog ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameter",
    [
        _parameter("id", "path", **{"x-cursor": True}),
        _parameter("X-After", "header", **{"x-cursor": True}),
        _parameter("after", "cookie", **{"x-cursor": True}),
        _parameter("after", kind="array", **{"x-cursor": True}),
        _parameter("after", kind="array", items={"type": "string", "x-cursor": True}),
        _parameter("id", "path", allOf=[{"x-cursor": True}]),
        _parameter("id", "path", oneOf=[{"type": "string", "x-cursor": True}, {"type": "integer"}]),
    ],
)
def test_a_cursor_where_none_can_be_opened_refuses_the_catalog(parameter) -> None:
    """In the path, a header, a cookie, a list: otherwise it would pass raw."""
    with pytest.raises(CatalogError, match="x-cursor goes on one value"):
        catalog({"/people/{id}": _list("one", parameter)})


def test_a_cursor_deep_in_a_request_s_body_is_told() -> None:
    """Only the top level is opened, through references and cycles too."""
    deep: dict[str, Any] = {
        "type": "object",
        "properties": {"page": {"type": "object", "properties": {"after": CURSOR}}},
    }
    deep["properties"]["self"] = {"$ref": "#/paths/~1x/post/requestBody/content/application~1json/schema/properties/in"}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": {"in": deep, "out": {}}}}}}
    found = catalog({"/x": {"post": {"operationId": "x", "requestBody": body, "responses": {}}}}).findings
    assert "POST /x: in: x-cursor: only the top level of a request's body is opened" in found
    assert not any(": out: x-cursor" in one for one in found)


def test_what_the_catalog_tells_of_paging() -> None:
    """Its absolute servers, and whether anything is to be sealed at all."""
    assert CATALOG.servers == (HOST,)
    assert CATALOG.pages
    plain = {"/x": {"get": {"operationId": "x", "responses": {"200": {"description": "ok"}}}}}
    assert not catalog(plain).pages
    taking = {"/x": {"get": {**plain["/x"]["get"], "parameters": [AFTER]}}}
    assert catalog(taking).pages
