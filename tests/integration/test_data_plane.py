"""The running proxy between a real client and an upstream that records what reached it."""

import asyncio
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest

from audit_proxy.frontends.data_plane.coding import zstd
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1", "email": "1@example.org", "score": 1.5}
BOB = {"id": "2", "name": "nameof2", "email": "2@example.org", "score": 2.5}
EVE = {"id": "3", "name": "nameof3", "email": "3@example.org", "score": 3.5}


def _json(data: bytes) -> Any:
    return json.loads(data)


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, document()) as running:
        yield running


async def test_third_parties_are_dropped_and_recorded(proxy, upstream) -> None:
    """A list holds the holder and who granted; the record names exactly that; nothing raw is in the log."""
    upstream.reply("/people/1/friends", body={"data": [BOB, EVE, ANN], "total": 3, "next": "abc"})
    await proxy.grant("2", scopes="read")
    status, headers, body = await proxy.get("/people/1/friends", proxy.token())
    assert status == 200
    assert _json(body) == {"data": [{"id": "2", "name": "nameof2", "score": 2.5}, ANN], "next": "abc"}
    (record,) = proxy.records()
    assert record.id == headers["X-Audit-Id"]
    assert record.bytes == len(body)
    assert (record.decision, record.operation, record.route) == ("redact", "listFriends", "/people/{id}/friends")
    disclosed = {(g.relation, g.consent, g.fields, len(g.subjects)) for g in record.disclosed}
    assert disclosed == {
        ("third_party", "grant", ("Person.id", "Person.name", "Person.score"), 1),
        ("holder", "token", ("Person.email", "Person.id", "Person.name", "Person.score"), 1),
    }
    withheld = {(g.consent, g.relation, len(g.subjects)) for g in record.withheld}
    assert withheld == {("no_grant", "third_party", 1), ("grant_scope", "third_party", 1), ("aggregate", "none", 0)}
    written = proxy.everything_written()
    for marked in (b"nameof", b"example.org", b'"person:', proxy.token().encode()):
        assert marked not in written


async def test_withheld_and_unknown_people_are_alike(proxy, upstream) -> None:
    """A refused third party and an id that does not exist give the same answer after the same upstream call."""
    upstream.reply("/people/3", body=EVE)
    upstream.reply("/people/3/friends", body={"data": [BOB]})
    await proxy.grant("2")
    for path in ("/people/%s", "/people/%s/friends"):
        answers = []
        for one in ("3", "999"):
            upstream.clear()
            status, headers, body = await proxy.get(path % one, proxy.token())
            headers = {k: v for k, v in headers.items() if k not in ("X-Audit-Id", "Date")}
            answers.append((status, headers, body))
            assert [r.target for r in upstream.requests] == [path % one]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


async def test_search_hides_matches_that_did_not_consent_to_the_field(proxy, upstream) -> None:
    """Looking up by e-mail needs the e-mail scope of every match; without it nobody was found."""
    upstream.reply("/search", body={"data": [BOB]})
    await proxy.grant("2", scopes="read")
    status, _, body = await proxy.get("/search?email=2%40example.org", proxy.token())
    assert (status, _json(body)["reason"]) == (404, "not_found")
    await proxy.grant("2", scopes="read email")
    _, _, body = await proxy.get("/search?email=2%40example.org", proxy.token())
    assert _json(body) == {"data": [BOB]}
    status, headers, _ = await proxy.get("/search?email=2%40example.org", proxy.token(scope="read"))
    assert status == 403
    assert headers["Www-Authenticate"].endswith('error="insufficient_scope"')
    assert len(upstream.requests) == 2


async def test_withdrawal_takes_effect_for_a_valid_token(proxy, upstream) -> None:
    """After a withdrawal the next answer withholds the person, the holder included."""
    upstream.reply("/people/2", body=BOB)
    upstream.reply("/me", body=ANN)
    await proxy.grant("2")
    assert (await proxy.get("/people/2", proxy.token()))[0] == 200
    assert (await proxy.get("/me", proxy.token()))[0] == 200
    for one in ("1", "2"):
        status, text = await proxy.admin("POST", f"/v1/consent/quiz/person:{one}/withdraw")
        assert status == 200, text
    assert (await proxy.get("/people/2", proxy.token()))[0] == 404
    assert (await proxy.get("/me", proxy.token()))[0] == 404


async def test_before_the_first_load_third_parties_are_withheld(proxy, upstream) -> None:
    """The reason is consent_not_loaded; the holder's own data passes."""
    upstream.reply("/people/1/friends", body={"data": [ANN, BOB]})
    _, _, body = await proxy.get("/people/1/friends", proxy.token())
    assert _json(body)["data"] == [ANN]
    (record,) = proxy.records()
    assert [g.consent for g in record.withheld] == ["consent_not_loaded"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/nothing", 404, "operation_not_described"),
        ("/people//1", 400, "path_not_normal"),
        ("/people/..%2f1", 400, "path_not_normal"),
        ("/people/%2e%2e/me", 400, "path_not_normal"),
        ("/ME", 404, "operation_not_described"),
        ("/people/1;a=b", 400, "path_not_normal"),
        ("/people/1?x=1", 400, "parameter_not_described"),
        ("/people/abc", 400, "parameter_invalid"),
        ("/me?fields=nonsense", 400, "field_not_described"),
        ("/me?fields=name&fields=id", 400, "parameter_invalid"),
    ],
)
async def test_refused_before_the_upstream_is_asked(proxy, upstream, path, status, reason) -> None:
    """What no operation describes is refused, recorded, and never forwarded."""
    got, headers, body = await proxy.get(path, proxy.token())
    assert (got, _json(body)["reason"]) == (status, reason)
    assert headers["Content-Type"] == "application/problem+json"
    assert upstream.requests == []
    (record,) = proxy.records()
    assert (record.kind, record.reason, record.status) == ("denial", reason, status)


async def test_tokens_are_judged_first(proxy, upstream) -> None:
    """No token, a broken one, a missing scope: each with its challenge, none forwarded."""
    status, headers, _ = await proxy.get("/me")
    assert (status, headers["Www-Authenticate"]) == (401, 'Bearer realm="api", scope="read"')
    status, headers, _ = await proxy.get("/me", "nonsense")
    assert (status, headers["Www-Authenticate"]) == (401, 'Bearer realm="api", error="invalid_token"')
    status, _, body = await proxy.get("/me", proxy.token(scope=""))
    assert (status, _json(body)["reason"], _json(body)["scopes"]) == (403, "scope_missing", ["read"])
    status, _, body = await proxy.get("/me", proxy.token(app="stranger"))
    assert (status, _json(body)["reason"]) == (403, "app_unknown")
    assert upstream.requests == []


async def test_fields_are_judged_before_the_upstream_is_asked(proxy, upstream) -> None:
    """A selected field whose scope the token lacks is a refusal; nested ones too."""
    upstream.reply("/me", body=ANN)
    status, _, _ = await proxy.get("/me?fields=name,friends%7Bemail%7D", proxy.token(scope="read"))
    assert status == 403
    assert upstream.requests == []
    status, _, _ = await proxy.get("/me?fields=name,friends%7Bemail%7D", proxy.token())
    assert status == 200
    assert upstream.requests[0].target == "/me?fields=name,friends%7Bemail%7D"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw-deflate", "br", "zstd"])
async def test_codings_are_removed(proxy, upstream, coding) -> None:
    """A coded answer is inspected, and sent without its stale representation headers."""
    data = json.dumps(ANN).encode()
    raw = zlib.compressobj(wbits=-15)
    coded = {
        "gzip": gzip.compress(data),
        "deflate": zlib.compress(data),
        "raw-deflate": raw.compress(data) + raw.flush(),
        "br": brotli.compress(data),
        "zstd": zstd.compress(data),
    }[coding]
    headers = {
        "Content-Type": "application/json",
        "Content-Encoding": coding.removeprefix("raw-"),
        "ETag": '"x"',
        "Digest": "x",
        "Last-Modified": "x",
    }
    upstream.reply("/me", 200, headers, coded)
    status, got, body = await proxy.get("/me", proxy.token(), headers={"Accept-Encoding": "compress, *;q=0.1"})
    assert (status, _json(body)) == (200, ANN)
    assert upstream.requests[0].header("Accept-Encoding") == "gzip, deflate, br, zstd"
    assert not got.keys() & {"Content-Encoding", "Etag", "Digest", "Last-Modified"}


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"Content-Type": "application/json"}, b'{"id":"1"', "response_not_inspectable"),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, b"x", "response_not_inspectable"),
        ({"Content-Type": "application/json", "Content-Encoding": "compress"}, b"{}", "response_not_inspectable"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b'{"id":"1"}', "response_not_inspectable"),
        ({"Content-Type": "application/json"}, zstd.compress(b'{"id":"1"}'), "response_not_inspectable"),
        (
            {"Content-Type": "application/json", "Content-Encoding": "br"},
            brotli.compress(b'{"id":"1"}')[:-1],
            "response_not_inspectable",
        ),
        (
            {"Content-Type": "application/json", "Content-Encoding": "zstd"},
            zstd.compress(b'{"id":"1"}') + b"{}",
            "response_not_inspectable",
        ),
        (
            [("Content-Type", "application/json"), ("Content-Encoding", "br"), ("Content-Encoding", "gzip")],
            gzip.compress(brotli.compress(b"{}")),
            "response_not_inspectable",
        ),
        (
            {"Content-Type": "application/json", "Content-Encoding": "br"},
            brotli.compress(b" " * 3_000_000),
            "response_too_large",
        ),
        (
            {"Content-Type": "application/json", "Content-Encoding": "zstd"},
            zstd.compress(b" " * 3_000_000),
            "response_too_large",
        ),
        (
            {"Content-Type": "application/json", "Content-Encoding": "gzip, gzip"},
            gzip.compress(gzip.compress(b"{}")),
            "response_not_inspectable",
        ),
        (
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            gzip.compress(b" " * 3_000_000),
            "response_too_large",
        ),
        ({"Content-Type": "application/json"}, b" " * 2_000_001, "response_too_large"),
    ],
)
async def test_what_cannot_be_inspected_is_refused(tmp_path, upstream, headers, body, reason) -> None:
    """Broken, unknown, stacked or oversized bodies: 502, nothing of them is sent."""
    upstream.reply("/me", 200, headers, body)
    async with running_proxy(tmp_path, upstream.url, document(), limits={"response_body_bytes": 2_000_000}) as proxy:
        status, _, got = await proxy.get("/me", proxy.token())
        assert (status, _json(got)["reason"]) == (502, reason)


async def test_undescribed_status_or_media_type_loses_its_body(proxy, upstream) -> None:
    """The status stays, the body goes."""
    upstream.reply("/me", 418, {"Content-Type": "application/json"}, b'{"id":"secret"}')
    status, headers, body = await proxy.get("/me", proxy.token())
    assert (status, body) == (418, b"")
    assert "response_not_described" in headers["Proxy-Status"]
    upstream.reply("/me", 200, {"Content-Type": "text/html"}, b"secret")
    assert (await proxy.get("/me", proxy.token()))[2] == b""
    upstream.reply("/me", 302, {"Location": "/people/3"}, b"")
    status, headers, _ = await proxy.get("/me", proxy.token())
    assert status == 502
    assert "Location" not in headers


async def test_headers_in_both_directions(proxy, upstream) -> None:
    """Judged operations pass allowlists; forwarding headers of untrusted peers are replaced."""
    upstream.reply(
        "/me",
        200,
        {"Content-Type": "application/json", "Set-Cookie": "a=b", "X-Secret": "s", "X-Page": "7"},
        json.dumps(ANN).encode(),
    )
    sent = {
        "X-Forwarded-For": "9.9.9.9", "Cookie": "c=d", "If-None-Match": '"x"', "Range": "bytes=0-1", "X-HTTP-Method-Override": "DELETE",
        "Connection": "keep-alive, Accept-Language", "Accept-Language": "de", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }  # fmt: skip
    _, headers, _ = await proxy.get("/me", proxy.token(), headers=sent)
    assert headers["X-Page"] == "7"
    assert not headers.keys() & {"Set-Cookie", "X-Secret"}
    (request,) = upstream.requests
    names = {name.lower() for name, _ in request.headers}
    assert not names & {"cookie", "if-none-match", "range", "x-http-method-override", "accept-language"}
    assert request.header("X-Forwarded-For") == "127.0.0.1"
    assert request.header("Via") == "1.1 audit-proxy"
    assert request.header("traceparent") == sent["traceparent"]
    assert proxy.records()[0].trace == "a" * 32


async def test_duplicate_keys_cannot_smuggle(proxy, upstream) -> None:
    """What is sent is made from the parse that was judged."""
    upstream.reply("/me", 200, {"Content-Type": "application/json"}, b'{"id":"3","name":"nameof3","id":"1"}')
    _, _, body = await proxy.get("/me", proxy.token())
    assert body == b'{"id":"1","name":"nameof3"}'
    upstream.reply("/me", 200, {"Content-Type": "application/json"}, b'{"id":"1","name":"x","id":"3"}')
    assert (await proxy.get("/me", proxy.token()))[0] == 404


async def test_public_posts_and_ndjson(proxy, upstream) -> None:
    """Public content of a refused author stays; an export is judged line by line."""
    posts = [
        {"text": "open", "visibility": "public", "from": EVE},
        {"text": "closed", "visibility": "friends", "from": EVE},
    ]
    upstream.reply("/posts", body=posts)
    await proxy.grant("2")
    _, _, body = await proxy.get("/posts", proxy.token())
    assert _json(body) == [{"text": "open", "visibility": "public"}]
    upstream.reply(
        "/export",
        200,
        {"Content-Type": "application/x-ndjson"},
        b"\n".join(json.dumps(one).encode() for one in (ANN, BOB, EVE)),
    )
    _, headers, body = await proxy.get("/export", proxy.token())
    assert [json.loads(line) for line in body.splitlines()] == [ANN, BOB]
    assert headers["Content-Type"] == "application/x-ndjson"


async def test_a_write_is_judged_and_rebuilt(proxy, upstream) -> None:
    """The body that is forwarded is the one that was judged."""
    upstream.reply(
        "/posts", 200, {"Content-Type": "application/json"}, json.dumps({"text": "hi", "from": ANN}).encode()
    )
    token = proxy.token(scope="write")
    headers = {"Content-Type": "application/json"}
    status, _, _ = await proxy.ask("POST", "/posts", token, data=b'{"text":"a", "text": "b"}', headers=headers)
    assert status == 200
    assert upstream.requests[0].body == b'{"text":"b"}'
    for data, kind in (
        (b'{"to":"x"}', "application/json"),
        (b"text=1", "application/x-www-form-urlencoded"),
        (b"[]", "application/json"),
    ):
        status, _, _ = await proxy.ask("POST", "/posts", token, data=data, headers={"Content-Type": kind})
        assert status in (400, 415)
    assert len(upstream.requests) == 1


async def test_unjudged_operations_stream_both_ways(proxy, upstream) -> None:
    """Marked none: bytes and headers pass as they are, and the access is recorded as uninspected."""
    blob = bytes(range(256)) * 4096
    upstream.reply("/blob", 200, {"Content-Type": "image/png", "ETag": '"e"'}, blob)
    status, headers, body = await proxy.get("/blob", proxy.token())
    assert (status, body, headers["Etag"]) == (200, blob, '"e"')
    status, _, _ = await proxy.ask("PUT", "/blob", proxy.token(), data=blob)
    assert status == 200
    assert upstream.requests[-1].body == blob
    assert [r.uninspected for r in proxy.records()] == [True, True, True]  # the write has an intent as well


async def test_monitor_alters_nothing_and_says_what_it_would(tmp_path, upstream) -> None:
    """In monitor mode every refusal passes; the record holds what enforce would have done."""
    raw = b'{ "id":"3", "name":"nameof3", "extra": 1 }'
    upstream.reply("/people/3", 200, {"Content-Type": "application/json", "X-Own": "1"}, raw)
    async with running_proxy(tmp_path, upstream.url, document(), policy="mode: monitor\n") as proxy:
        status, headers, body = await proxy.get("/people/3", proxy.token())
        assert (status, headers["X-Own"], body) == (200, "1", raw)
        assert not headers.keys() & {"X-Audit-Id", "Proxy-Status"}
        status, _, body = await proxy.get("/people/3")
        assert (status, body) == (200, raw)
        judged, unknown = proxy.records()
        assert judged.would is not None
        assert (judged.decision, judged.would.decision, judged.would.reason) == ("allow", "deny", "not_found")
        assert {name for g in judged.disclosed for name in g.fields} >= {"Person.id", "Person.name"}
        assert unknown.would is not None
        assert (unknown.would.reason, unknown.uninspected) == ("token_missing", True)


async def test_no_record_no_answer(proxy, upstream, monkeypatch) -> None:
    """When the log cannot take the record, the answer is 503 and holds nothing."""
    upstream.reply("/me", body=ANN)
    assert (await proxy.get("/me", proxy.token()))[0] == 200
    import os

    def broken(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    status, headers, body = await proxy.get("/me", proxy.token())
    assert (status, _json(body)["reason"], headers["Retry-After"]) == (503, "audit_unavailable", "1")
    assert b"nameof1" not in body
    monkeypatch.undo()
    assert (await proxy.get("/me", proxy.token()))[0] == 200


async def test_a_stop_drains_requests_in_flight(tmp_path, upstream) -> None:
    """A request that the platform is slow to answer ends well after the stop began."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    data = json.dumps(ANN).encode()
    upstream.reply("/me", pieces=[0.3, head % len(data) + data])
    async with running_proxy(tmp_path, upstream.url, document()) as proxy:
        asked = asyncio.create_task(proxy.get("/me", proxy.token()))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        proxy.stop.set()
        status, _, body = await asked
        assert (status, _json(body)) == (200, ANN)


async def test_upstream_failures_are_told_apart(tmp_path) -> None:
    """Unreachable, silent and broken platforms have reasons of their own."""
    async with RecordingUpstream() as up:
        up.reply("/me", pieces=[2.0])
        up.reply("/posts", pieces=[b"garbage\r\n\r\n"])
        async with running_proxy(tmp_path, up.url, document(), upstream={"first_byte_timeout_s": 0.2}) as proxy:
            status, headers, _ = await proxy.get("/me", proxy.token())
            assert (status, "upstream_timeout" in headers["Proxy-Status"]) == (504, True)
            status, _, body = await proxy.get("/posts", proxy.token())
            assert status == 502
            assert _json(body)["reason"] in ("upstream_protocol_error", "upstream_unreachable")


async def test_metrics_count_what_happened(proxy, upstream) -> None:
    """The numbers of a request are in the exposition, without any id."""
    upstream.reply("/people/1/friends", body={"data": [ANN, BOB]})
    await proxy.grant("2", scopes="read")
    await proxy.get("/people/1/friends", proxy.token())
    await proxy.get("/nothing", proxy.token())
    _, text = await proxy.admin("GET", "/metrics")
    for line in (
        b'audit_proxy_requests_total{app="quiz",operation="listFriends",outcome="redact"} 1.0',
        b'audit_proxy_denials_total{app="quiz",reason="operation_not_described"} 1.0',
        b'audit_proxy_subjects_disclosed_total{app="quiz",relation="third_party"} 1.0',
        b'audit_proxy_fields_withheld_total{app="quiz",category="user.contact.email"} 1.0',
        b'audit_proxy_audit_records_total{kind="denial"} 1.0',
        b"audit_proxy_audit_log_size",
    ):
        assert line in text
    assert b"nameof" not in text


async def test_anonymous_operations_need_no_token(proxy, upstream) -> None:
    """``security: []`` admits a request without a token."""
    upstream.reply("/status", body={"ok": True, "extra": "x"})
    status, _, body = await proxy.get("/status")
    assert (status, _json(body)) == (200, {"ok": True})
