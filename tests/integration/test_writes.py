"""Writes through the running proxy: what is recorded before they are forwarded, and what an app is told afterwards."""

import json
import os
from pathlib import Path

import pytest

from audit_proxy.core.record import decode
from tests.simulator.people import document
from tests.simulator.proxy import Proxy, running_proxy
from tests.simulator.recording import CLOSE, RecordingUpstream

JSON = {"Content-Type": "application/json"}
EVE = {"id": "3", "name": "nameof3"}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


def _platform() -> dict:
    """The test platform whose posts can be written with every unsafe method."""
    made = document()
    posts = made["paths"]["/posts"]
    for method in ("put", "patch", "delete"):
        posts[method] = {**posts["post"], "operationId": f"{method}Post"}
    return made


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, _platform()) as running:
        yield running


async def _write(proxy: Proxy, method: str = "POST", path: str = "/posts", data: bytes = b'{"text":"a"}'):
    return await proxy.ask(method, path, proxy.token(scope="write read"), data=data, headers=JSON)


def _broken(_fd: int) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("method", UNSAFE)
async def test_the_intent_is_on_disk_before_the_platform_is_asked(proxy, upstream, method) -> None:
    """When the platform receives a write, the journal already holds its intent, under the id that the app is given."""
    seen: list[bytes] = []

    def answer(_request):
        seen.extend(
            line
            for path in (proxy.folder / "log" / "journal").glob("*.jsonl")
            for line in path.read_bytes().splitlines()
        )
        return [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"text":"hi"}']

    upstream.reply("/posts", pieces=answer)
    _, headers, _ = await _write(proxy, method)
    (intent,) = [one for one in map(decode, seen) if one.kind == "access"]
    assert (intent.phase, intent.decision, intent.method, intent.status) == ("intent", "allow", method, None)
    assert intent.id == headers["X-Audit-Id"]
    assert [(r.id, r.phase) for r in proxy.records()] == [(intent.id, "intent"), (intent.id, None)]


async def test_without_a_durable_intent_nothing_is_forwarded(proxy, upstream, monkeypatch) -> None:
    """503 audit_unavailable, for judged and for unjudged writes; the platform hears of neither."""
    monkeypatch.setattr(os, "fdatasync", _broken)
    for method, path in (("POST", "/posts"), ("PUT", "/blob")):
        status, _, body = await _write(proxy, method, path)
        assert (status, json.loads(body)["reason"]) == (503, "audit_unavailable")
    assert upstream.requests == []


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (200, JSON, b'{"text":', "response_not_inspectable"),
        (201, JSON | {"Content-Encoding": "compress"}, b"secret", "response_not_inspectable"),
        (201, JSON, b'{"text":"' + b"s" * 200_000 + b'"}', "response_too_large"),
        (201, {"Content-Type": "text/plain"}, b"secret", "response_not_described"),
        (303, {"Location": "/people/3"}, b"secret", "redirect_refused"),
        (200, JSON, json.dumps({"text": "secret", "from": EVE}).encode(), "not_found"),
    ],
)
async def test_a_refusal_keeps_the_status_of_a_write(tmp_path, upstream, method, status, headers, body, reason) -> None:
    """The platform has acted: its status stays, its body goes, and nothing asks for a repetition."""
    upstream.reply("/posts", status, headers, body)
    async with running_proxy(tmp_path, upstream.url, _platform(), limits={"response_body_bytes": 100_000}) as proxy:
        got, answered, left = await _write(proxy, method)
        assert (got, left) == (status, b"")
        assert not answered.keys() & {"Retry-After", "Location"}
        _, outcome = proxy.records()
        assert (outcome.id, outcome.reason, outcome.status) == (answered["X-Audit-Id"], reason, status)
    assert len(upstream.requests) == 1


async def test_a_write_whose_answer_breaks_off_keeps_its_status(proxy, upstream) -> None:
    """The status had come, so it is what the app gets."""
    upstream.reply("/posts", pieces=[b'HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{"text":"secret', CLOSE])
    status, headers, body = await _write(proxy)
    assert (status, body) == (201, b"")
    assert "upstream" in headers["Proxy-Status"]
    assert proxy.records()[-1].status == 201


async def test_an_unknown_resource_is_said_as_usual(proxy, upstream) -> None:
    """Where the platform itself says 404, nothing was done, and the app gets the one answer for what does not exist."""
    status, _, body = await _write(proxy)
    assert (status, json.loads(body)["reason"]) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("POST", "/posts"), ("PUT", "/blob")])
async def test_a_lost_outcome_keeps_the_status_of_a_write(proxy, upstream, monkeypatch, method, path) -> None:
    """The log fails between intent and outcome: the status stays, the body goes, the id names the intent."""

    def answer(_request):
        monkeypatch.setattr(os, "fdatasync", _broken)
        return [b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\nsecret"]

    upstream.reply(path, pieces=answer)
    status, headers, body = await _write(proxy, method, path)
    monkeypatch.undo()
    assert (status, body) == (201, b"")
    assert "Retry-After" not in headers
    assert "audit_unavailable" in headers["Proxy-Status"]
    assert [(r.id, r.phase) for r in proxy.records()] == [(headers["X-Audit-Id"], "intent")]


async def test_a_fault_of_ours_keeps_the_status_of_a_write(proxy, upstream, monkeypatch) -> None:
    """Even a bug in the judgement of an answer does not tell an app that its write failed."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("audit_proxy.pipeline.review.Reviewer.review", broken)
    upstream.reply("/posts", 201, JSON, b'{"text":"secret"}')
    status, _, body = await _write(proxy)
    assert (status, body) == (201, b"")
    assert proxy.records()[-1].reason == "internal_error"


async def test_reads_write_one_record(proxy, upstream) -> None:
    """A safe method has no intent."""
    upstream.reply("/me", body={"id": "1"})
    await proxy.get("/me", proxy.token())
    assert [r.phase for r in proxy.records()] == [None]
