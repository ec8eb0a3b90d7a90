"""Imports over real sockets: progress while they run, and what happens when they break off."""

import asyncio
import gzip
import hashlib
import json

import pytest
from jsonschema import Draft202012Validator

from audit_proxy.frontends.admin.openapi import openapi
from tests.simulator.admin import admin_stage, token

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def stage(tmp_path):
    async with admin_stage(tmp_path) as made:
        yield made


def line(number, **more):
    return (
        json.dumps({"app": "quiz", "subject": f"person:{number}", "scopes": "likes", "purpose": "marketing", **more})
        + "\n"
    )


async def answered(response):
    """The progress lines, each as the document describes it, and the last one."""
    document = openapi()
    schema = {"$ref": "#/components/schemas/Progress", "components": document["components"]}
    lines = [json.loads(each) for each in (await response.text()).splitlines()]
    for each in lines:
        Draft202012Validator(schema).validate(each)
    return lines[:-1], lines[-1]


async def granted(stage, number):
    subject = f"person:{number}"
    return bool((await stage.store.standings("quiz", [subject]))[subject].grants)


async def test_a_file_is_stored_and_counted_and_the_store_is_loaded(stage):
    """Good lines are stored, bad ones told by number; two records hold counts and the file's hash, no ids."""
    data = line(1) + "nonsense\n" + line(2, app="*") + line(3)
    async with stage.call("POST", "/v1/consent/import", headers=NDJSON, data=data) as response:
        assert response.status == 200
        _, last = await answered(response)
    digest = hashlib.sha256(data.encode()).hexdigest()
    assert (last["done"], last["loaded"], last["taken"], last["refused"], last["sha256"]) == (True, True, 2, 2, digest)
    assert [each["line"] for each in last["problems"]] == [2, 3]
    assert stage.store.loaded
    assert await granted(stage, 3)
    begin, end = stage.log.records
    assert (begin.kind, begin.action, begin.target) == (
        "consent",
        "consent.import",
        {"phase": "begin", "format": "ndjson"},
    )
    assert end.target == {"phase": "end", "format": "ndjson", "begin": begin.id, "sha256": digest}
    assert end.counts == {
        "lines": 4,
        "taken": 2,
        "unchanged": 0,
        "superseded": 0,
        "refused": 2,
        "withdrawals_refused": 0,
    }


async def test_progress_comes_while_the_file_is_still_being_sent(stage):
    """The sender sees counts before it has sent the end."""
    seen = asyncio.Event()

    async def body():
        yield "".join(line(number) for number in range(8000)).encode()
        await seen.wait()
        yield line(9000).encode()

    async with asyncio.timeout(20), stage.call("POST", "/v1/consent/import", headers=NDJSON, data=body()) as response:
        first = json.loads(await response.content.readline())
        assert not first["done"]
        assert 0 < first["taken"] <= 8000
        seen.set()
        _, last = await answered(response)
    assert last["taken"] == 8001


async def test_csv_with_a_wrong_header_is_refused_with_its_status(stage):
    """What cannot be read at all is 422, recorded with its reason, and loads nothing."""
    async with stage.call(
        "POST", "/v1/consent/import", headers={"Content-Type": "text/csv"}, data="a,b\n1,2\n"
    ) as response:
        assert response.status == 422
        assert (await response.json(content_type=None))["reason"] == "file_invalid"
    assert stage.log.lines == [("consent.import", "ops", None), ("consent.import", "ops", "file_invalid")]
    assert not stage.store.loaded


async def test_lines_without_end_are_refused_in_bounded_memory(stage):
    """A line of megabytes is one refused line; the next one is stored."""

    async def body():
        for _ in range(64):
            yield b"x" * 65_536
        yield b"\n" + line(1).encode()

    async with stage.call("POST", "/v1/consent/import", headers=NDJSON, data=body()) as response:
        _, last = await answered(response)
    assert (last["lines"], last["refused"], last["taken"]) == (2, 1, 1)
    assert await granted(stage, 1)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 100000", line(1).encode()),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(line(1)), line(1).encode())),
        ("Transfer-Encoding: chunked", b"fff\r\n" + line(1).encode()),
    ],
)
async def test_a_body_that_is_cut_off_is_no_end_of_file(stage, framing, body):
    """The connection breaks before the body's end: not loaded, and the record says that it was cut short."""
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    head = f"POST /v1/consent/import HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token('ops')}\r\n{framing}\r\nContent-Type: application/x-ndjson\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        while len(stage.log.records) < 2:
            await asyncio.sleep(0.02)
    assert stage.log.lines[1] == ("consent.import", "ops", "import_cut_short")
    assert not stage.store.loaded


async def test_one_import_at_a_time_and_the_next_may_come_after_a_failed_one(stage):
    """A second import is refused while one runs; after the first has ended, or broken off, another may run."""
    go = asyncio.Event()

    async def body():
        yield line(1).encode()
        await go.wait()

    first = asyncio.create_task(finished(stage, body()))
    async with asyncio.timeout(5):
        while not stage.log.records:
            await asyncio.sleep(0.01)
    async with stage.call("POST", "/v1/consent/import", headers=NDJSON, data=line(2)) as response:
        assert response.status == 409
        assert (await response.json(content_type=None))["reason"] == "import_running"
    async with stage.call(
        "PUT", "/v1/consent/quiz/person:5", json={"scopes": "likes", "purpose": "marketing"}
    ) as response:
        assert response.status == 200  # single changes go on meanwhile
    go.set()
    assert (await first)["taken"] == 1
    assert (await finished(stage, line(2)))["taken"] == 1


async def finished(stage, data):
    async with stage.call("POST", "/v1/consent/import", headers=NDJSON, data=data) as response:
        return (await answered(response))[1]


async def test_when_the_log_fails_during_an_import_the_end_says_so(stage):
    """The file was taken, its end could not be recorded: the answer says audit_unavailable and that it is applied."""
    go = asyncio.Event()

    async def body():
        yield line(1).encode()
        await go.wait()

    call = asyncio.create_task(status_and_reason(stage, body()))
    async with asyncio.timeout(5):
        while not stage.log.records:
            await asyncio.sleep(0.01)
    stage.log.down = True
    go.set()
    assert await call == (503, "audit_unavailable", True)
    assert await granted(stage, 1)


async def status_and_reason(stage, data):
    async with stage.call("POST", "/v1/consent/import", headers=NDJSON, data=data) as response:
        problem = json.loads((await response.text()).splitlines()[-1])
        return response.status, problem["reason"], problem.get("applied")


async def test_a_withdrawal_during_an_import_is_not_undone_by_it(stage):
    """Somebody withdraws while the dump that still holds their grant is being read: the withdrawal stands."""
    go = asyncio.Event()

    async def body():
        yield line(1).encode()
        await go.wait()
        yield line(7).encode()

    call = asyncio.create_task(finished(stage, body()))
    async with asyncio.timeout(5):
        while not stage.log.records:
            await asyncio.sleep(0.01)
    async with stage.call("POST", "/v1/consent/quiz/person:7/withdraw") as response:
        assert response.status == 200
    go.set()
    assert (await call)["superseded"] == 1
    found = await stage.store.standings("quiz", ["person:7"])
    assert found["person:7"].withdrawn


async def test_compressed_files_are_refused_not_read(stage):
    """A coding is refused before anything is unpacked."""
    headers = {**NDJSON, "Content-Encoding": "gzip"}
    async with stage.call(
        "POST", "/v1/consent/import", headers=headers, data=gzip.compress(b"\0" * 10_000_000)
    ) as response:
        assert response.status == 415
