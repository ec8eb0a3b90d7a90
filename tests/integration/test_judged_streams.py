"""Judged answers in lines or events through the running proxy: chunk by chunk, each recorded before it is released."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import brotli
import pytest

from tests.simulator.people import READ, _answers, _ref, document
from tests.simulator.proxy import Proxy, running_proxy
from tests.simulator.recording import CLOSE, RecordingUpstream

ANN = {"id": "1", "name": "nameof1"}
BOB = {"id": "2", "name": "nameof2"}
EVE = {"id": "3", "name": "nameof3"}
LINES = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def _platform() -> dict[str, Any]:
    made = document()
    paths = made["paths"]
    events = _answers(_ref("Person"), "text/event-stream")
    paths["/events"] = {"get": {"operationId": "events", "security": READ, "responses": events}}
    named = _answers(_ref("Person"), "text/event-stream")
    none = {"type": "string", "x-data-category": "none"}
    named["200"]["content"]["text/event-stream"] |= {"x-event": none, "x-event-id": none}
    paths["/named"] = {"get": {"operationId": "named", "responses": named}}
    person = paths["/people/{id}"]["get"]["parameters"]
    paths["/people/{id}/log"] = {
        "get": {
            "operationId": "personLog",
            "parameters": person,
            "responses": _answers(_ref("Person"), "application/x-ndjson"),
        }
    }
    return made


def _part(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _line(*people: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in people)


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, _platform()) as running:
        yield running


def _broken(_fd: int) -> None:
    raise OSError(5, "Input/output error")


async def _until(reached) -> None:
    """Looks again and again. The proxy runs on the same loop, so looking must leave it most of the time."""
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.1)


def _open(proxy: Proxy, path: str):
    headers = {"Authorization": f"Bearer {proxy.token()}"}
    return proxy.session.get(proxy.url + path, headers=headers)


async def _cut_off(answer: aiohttp.ClientResponse) -> bytes:
    """What still comes of an answer that must break off."""
    came = b""
    try:
        while data := await answer.content.readany():
            came += data
    except aiohttp.ClientError:
        return came
    raise AssertionError("the answer ended as if it were whole")


def _gated(head: bytes, *parts: bytes | object):
    """An answer whose parts after the first wait each for its event."""
    gates = [asyncio.Event() for _ in parts[1:]]

    async def pieces(_request):
        yield head
        for at, part in enumerate(parts):
            if at:
                await gates[at - 1].wait()
            yield part

    return pieces, gates


async def test_each_chunk_is_recorded_before_it_is_released(proxy, upstream) -> None:
    """What an app has received stands in the journal, numbered; the closing record totals it."""
    pieces, (gate,) = _gated(LINES, _part(_line(ANN, EVE)), _part(_line(BOB)) + END)
    upstream.reply("/export", pieces=pieces)
    await proxy.grant("2")
    async with _open(proxy, "/export") as answer:
        assert json.loads(await answer.content.readline()) == ANN
        (first,) = proxy.records()
        assert (first.phase, first.seq, first.id) == ("chunk", 1, answer.headers["X-Audit-Id"])
        assert first.decision == "redact"
        gate.set()
        assert json.loads(await answer.content.readline()) == BOB
        assert (await answer.content.read()) == b""
    _, second, closing = proxy.records()
    assert (second.phase, second.seq, second.decision) == ("chunk", 2, "allow")
    assert (closing.phase, closing.seq, closing.decision, closing.status) == (None, None, "redact", 200)
    assert closing.counts == {"people": 3, "chunks": 2, "bytes": (first.bytes or 0) + (second.bytes or 0)}
    assert closing.bytes == len(_line(ANN).replace(b" ", b"")) + len(_line(BOB).replace(b" ", b""))
    assert not closing.disclosed


async def test_chunks_are_bounded_in_size(proxy, upstream) -> None:
    """However much the platform sends at once, no chunk is larger than 256 KiB, coded or not."""
    lines = _line(ANN) * 30_000
    for coding, data in ((None, lines), ("br", brotli.compress(lines, quality=1))):
        headers = {"Content-Type": "application/x-ndjson", **({"Content-Encoding": coding} if coding else {})}
        upstream.reply("/export", 200, headers, data)
        before = len(proxy.records())
        _, _, body = await proxy.get("/export", proxy.token())
        assert body.count(b"\n") == 30_000
        records = proxy.records()[before:]
        assert len(records) > 4
        assert max(r.bytes or 0 for r in records if r.phase == "chunk") <= 256 * 1024
        assert records[-1].counts["chunks"] == len(records) - 1


async def test_events_are_judged_and_made_anew(proxy, upstream) -> None:
    """Data is judged by the schema; names and ids leave only where they are described; comments and unknown fields go."""
    stream = (
        b": secret comment\n\nevent: secret\r\nid: secret3\r\nretry: 5000\r\ndata: %s\r\ndata: }\r\n\r\n"
        b"data: %s\nfoo: secret\n\nid: secret\n\ndata: %s\n\ndata: %s"
    ) % (json.dumps(ANN).encode()[:-1], json.dumps(EVE).encode(), json.dumps(BOB).encode(), b'{"id":"1","name":"cut"}')
    await proxy.grant("2")
    for path, name in (("/events", b""), ("/named", b"event: secret\nid: secret3\n")):
        upstream.reply(path, 200, {"Content-Type": "text/event-stream"}, stream)
        status, headers, body = await proxy.get(path, proxy.token())
        assert (status, headers["Content-Type"]) == (200, "text/event-stream")
        ann, bob = (json.dumps(one, separators=(",", ":")).encode() for one in (ANN, BOB))
        assert body == name + b"retry: 5000\ndata: " + ann + b"\n\ndata: " + bob + b"\n\n"
    withheld = {name for group in proxy.records()[0].withheld for name in group.fields}
    assert {"events.id", "events.event"} <= withheld


async def test_a_withdrawal_takes_effect_at_the_next_chunk(proxy, upstream) -> None:
    """Whoever withdraws while a stream runs is in none of its later chunks."""
    pieces, (gate,) = _gated(
        EVENTS,
        _part(b"data: " + _line(BOB) + b"\n"),
        _part(b"data: " + _line(BOB)[:-1] + b"\n\ndata: " + _line(ANN) + b"\n") + END,
    )
    upstream.reply("/events", pieces=pieces)
    await proxy.grant("2")
    async with _open(proxy, "/events") as answer:
        assert b"nameof2" in await answer.content.readline()
        assert (await proxy.admin("POST", "/v1/consent/quiz/person:2/withdraw"))[0] == 200
        gate.set()
        rest = await answer.content.read()
    assert b"nameof1" in rest
    assert b"nameof2" not in rest


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ((_part(b'{"id": "1"\n') + END,), "response_not_inspectable"),
        ((_part(b'{"id": "1", "name": "' + b"x" * 300_000 + b'"}\n') + END,), "response_too_large"),
        ((_part(_line(BOB)[:-9]), CLOSE), "upstream_protocol_error"),
    ],
)
async def test_a_stream_that_cannot_go_on_has_no_clean_end(proxy, upstream, rest, reason) -> None:
    """Broken, too long or cut short: what was released stays, nothing of the rest, and the app's connection breaks."""
    pieces, gates = _gated(LINES, _part(_line(ANN)), *rest)
    upstream.reply("/export", pieces=pieces)
    async with _open(proxy, "/export") as answer:
        await answer.content.readline()
        for gate in gates:
            gate.set()
        assert await _cut_off(answer) == b""
    await _until(lambda: len(proxy.records()) == 2)
    closing = proxy.records()[1]
    assert (closing.phase, closing.decision, closing.counts["chunks"]) == (None, "deny", 1)
    assert closing.reason in (reason, "upstream_unreachable")


async def test_a_refusal_before_the_first_release_is_an_ordinary_answer(proxy, upstream) -> None:
    """Nothing was sent, so the status can tell: a line too long, no JSON, an unknown coding, or a person who is withheld."""
    for body, coding, expected in (
        (b'{"id":"' + b"1" * 300_000 + b'"}\n', "", (502, "response_too_large")),
        (b"nothing\n", "", (502, "response_not_inspectable")),
        (_line(ANN), "compress", (502, "response_not_inspectable")),
        (brotli.compress(_line(ANN) * 9)[:-1], "br", (502, "response_not_inspectable")),
    ):
        upstream.reply("/export", 200, {"Content-Type": "application/x-ndjson", "Content-Encoding": coding}, body)
        status, _, got = await proxy.get("/export", proxy.token())
        assert (status, json.loads(got)["reason"]) == expected
    upstream.reply("/people/3/log", 200, {"Content-Type": "application/x-ndjson"}, _line(EVE))
    withheld, unknown = [await proxy.get(f"/people/{one}/log", proxy.token()) for one in ("3", "999")]
    assert (withheld[0], withheld[2]) == (unknown[0], unknown[2])
    assert withheld[0] == 404


async def test_a_stall_within_a_line_times_out(tmp_path, upstream) -> None:
    """A line that does not become whole is not waited for, whether the platform is silent or drips."""
    drip = [b"1\r\nx\r\n", 0.1] * 1000
    for rest in ([_part(b'{"id"'), 30.0], drip):
        upstream.reply("/export", pieces=[LINES, _part(_line(ANN)), *rest])
        limits = {"first_byte_timeout_s": 0.3, "total_timeout_s": 1}
        folder = tmp_path / str(len(rest))
        folder.mkdir()
        async with running_proxy(folder, upstream.url, _platform(), upstream=limits) as proxy:
            async with _open(proxy, "/export") as answer:
                async with asyncio.timeout(20):
                    came = await _cut_off(answer)
                assert came == _line(ANN).replace(b" ", b"")
            await _until(lambda proxy=proxy: len(proxy.records()) == 2)
            assert proxy.records()[-1].reason == "upstream_timeout"


async def test_without_a_record_a_stream_ends(proxy, upstream, monkeypatch) -> None:
    """No record, no chunk: before the first 503, later a broken connection."""
    pieces, (gate,) = _gated(LINES, _part(_line(ANN)), _part(_line(ANN | {"name": "later"})) + END)
    upstream.reply("/export", pieces=pieces)
    async with _open(proxy, "/export") as answer:
        await answer.content.readline()
        monkeypatch.setattr(os, "fdatasync", _broken)
        gate.set()
        assert await _cut_off(answer) == b""
    status, _, body = await proxy.get("/export", proxy.token())
    assert (status, json.loads(body)["reason"]) == (503, "audit_unavailable")
    monkeypatch.undo()


async def test_an_app_that_leaves_ends_the_platforms_part(proxy, upstream) -> None:
    """The upstream connection ends, and the closing record says what had been released."""
    gone = asyncio.Event()

    async def pieces(_request):
        try:
            yield LINES
            while True:
                yield _part(_line(ANN))
                await asyncio.sleep(0.02)
        finally:
            gone.set()

    upstream.reply("/export", pieces=pieces)
    async with _open(proxy, "/export") as answer:
        await answer.content.readline()
        answer.close()
    await _until(lambda: proxy.records()[-1].phase is None)
    closing = proxy.records()[-1]
    chunks = [r for r in proxy.records() if r.phase == "chunk"]
    assert (closing.reason, closing.counts["chunks"]) == ("app_gone", len(chunks))
    await _until(gone.is_set)


async def test_a_slow_reader_slows_the_platform(tmp_path, upstream) -> None:
    """While the app does not read, the platform is not read either; an app that never reads is cut off."""
    sent = 0

    async def pieces(_request):
        nonlocal sent
        yield LINES
        while True:
            data = _part(_line(ANN) * 4000)
            yield data
            sent += len(data)

    upstream.reply("/export", pieces=pieces)
    limits = {"total_timeout_s": 2}
    async with running_proxy(tmp_path, upstream.url, _platform(), upstream=limits) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port, limit=1024)
        try:
            writer.write(f"GET /export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.token()}\r\n\r\n".encode())
            await reader.read(10)
            await _until(lambda: proxy.records()[-1].phase is None)  # it ends, although the platform never does
            assert sent < 32 * 1024 * 1024  # the sockets' buffers and ours
            assert proxy.records()[-1].reason == "app_gone"
        finally:
            writer.close()


async def test_a_token_that_expires_ends_its_stream(proxy, upstream) -> None:
    """What was permitted by a token is not released after its time."""
    import time

    pieces, (gate,) = _gated(LINES, _part(_line(ANN)), _part(_line(ANN)) + END)
    upstream.reply("/export", pieces=pieces)
    token = proxy.token(exp=int(time.time()) + 2)
    async with proxy.session.get(proxy.url + "/export", headers={"Authorization": f"Bearer {token}"}) as answer:
        await answer.content.readline()
        await asyncio.sleep(2.1)
        gate.set()
        assert await _cut_off(answer) == b""
    await _until(lambda: len(proxy.records()) == 2)
    assert proxy.records()[-1].reason == "token_expired"


async def test_monitor_lets_a_stream_through_as_it_comes(tmp_path, upstream) -> None:
    """Byte for byte and without waiting for an end that may never come; a record before and one behind it say that nothing was inspected, and how much it was."""
    pieces, (gate,) = _gated(EVENTS, _part(b": hello\n\n"), _part(b"data: " + _line(EVE) + b"\n") + END)
    upstream.reply("/events", pieces=pieces)
    async with running_proxy(tmp_path, upstream.url, _platform(), policy="mode: monitor\n") as proxy:
        async with _open(proxy, "/events") as answer:
            assert await answer.content.readline() == b": hello\n"
            gate.set()
            assert await answer.content.read() == b"\ndata: " + _line(EVE) + b"\n"
        begun, ended = proxy.records()
        assert (begun.phase, begun.bytes, begun.uninspected) == ("chunk", None, True)
        length = len(b": hello\n\ndata: " + _line(EVE) + b"\n")
        assert (ended.phase, ended.bytes, ended.uninspected) == (None, length, True)
        assert ended.counts == {"chunks": 1, "bytes": length}
        assert ended.would is not None
        assert ended.would.decision == "unknown"
