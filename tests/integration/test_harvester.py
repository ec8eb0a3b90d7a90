"""What a registered app with valid tokens tries against `enforce`: each way to a person who permitted nothing."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.simulator.people import PERSON_ID, READ, document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream

LIMIT = 4096
TOTAL = {
    "type": "integer",
    "x-data-category": "user.social",
    "x-aggregate": True,
    "x-required-scopes": ["read"],
}


def _platform() -> dict[str, Any]:
    """People, with a count beside their friends, and a look-up by an id that nobody described the form of."""
    made = document()
    person = made["components"]["schemas"]["Person"]
    person["properties"]["friend_count"] = {**TOTAL, "x-required-scopes": ["email"]}
    friends = made["paths"]["/people/{id}/friends"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    friends["properties"]["total"] = TOTAL
    made["paths"]["/people"] = {
        "get": {
            "operationId": "getPeople",
            "security": READ,
            "parameters": [
                {
                    "name": "ids",
                    "in": "query",
                    "schema": {"type": "array", "items": {"type": "string"}, "x-data-subject": ""},
                }
            ],
            "responses": {
                "200": {
                    "description": "ok",
                    "content": {
                        "application/json": {
                            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
                        }
                    },
                }
            },
        }
    }
    made["paths"]["/people/{id}/picture"] = {
        "get": {
            "operationId": "getPicture",
            "parameters": [PERSON_ID],
            "responses": {"204": {"description": "has one"}, "404": {"description": "no such person"}},
        }
    }
    made["paths"]["/people/{id}/stream"] = {
        "get": {
            "operationId": "streamPerson",
            "parameters": [PERSON_ID],
            "responses": {
                "200": {
                    "description": "ok",
                    "content": {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Person"}}},
                }
            },
        }
    }
    return made


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, _platform(), limits={"response_body_bytes": LIMIT}) as running:
        yield running


async def _alike(proxy, path: str) -> tuple[int, dict[str, str], bytes]:
    """The answer about 3, who refuses, after finding it equal to the one about 999, who does not exist."""
    answers = []
    for one in ("3", "999"):
        status, headers, body = await proxy.get(path % one, proxy.token())
        answers.append((status, {k: v for k, v in headers.items() if k not in ("X-Audit-Id", "Date")}, body))
    assert answers[0] == answers[1]
    return answers[0]


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (204, {}, b""),
        (200, {}, b""),
        (302, {"Location": "https://cdn.example/3.jpg"}, b""),
        (304, {}, b""),
        (403, {"Content-Type": "text/html"}, b"<p>not for you</p>"),
        (410, {}, b""),
        (200, {"Content-Type": "image/jpeg"}, b"\xff\xd8"),
        (200, {"Content-Type": "application/json"}, b"not json"),
        (200, {"Content-Type": "application/json"}, b"\xef\xbb\xbf{}"),
        (200, {"Content-Type": "application/json; charset=utf-16"}, b"{}"),
        (200, {"Content-Type": "application/json"}, b'{"id": ' + b"9" * 4000 + b"}"),
        (200, {"Content-Type": "application/json"}, b'{"id": "\\ud800"}'),
        (200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"not gzip"),
        (200, {"Content-Type": "application/json"}, b'"' + b"x" * 2 * LIMIT + b'"'),
    ],
)
async def test_whatever_the_platform_answers_a_refusing_person_is_an_unknown_one(
    proxy, upstream, status, headers, body
) -> None:
    """Nothing, a redirect, an error, and what cannot be looked into tell nothing of a person whom the path names."""
    await proxy.grant("2")
    upstream.reply("/people/3", status, headers=headers, body=body)
    upstream.reply("/people/3/picture", status, headers=headers, body=body)
    for path in ("/people/%s", "/people/%s/picture"):
        assert (await _alike(proxy, path))[0] == 404


@pytest.mark.parametrize("coding", [{}, {"Content-Encoding": "gzip"}])
@pytest.mark.parametrize("body", [b'{"id": "3", "name": "three"}\n', b"not json\n"])
async def test_a_stream_about_a_refusing_person_is_no_stream(proxy, upstream, coding, body) -> None:
    """Also where its lines cannot be read or decoded, nothing begins."""
    await proxy.grant("2")
    upstream.reply("/people/3/stream", headers={"Content-Type": "application/x-ndjson", **coding}, body=body)
    assert (await _alike(proxy, "/people/%s/stream"))[0] == 404


async def test_who_permits_gets_the_platform_s_own_status(proxy, upstream) -> None:
    """The same answers about somebody who permits keep their status."""
    await proxy.grant("2")
    upstream.reply("/people/2/picture", 204, body=b"")
    assert (await proxy.get("/people/2/picture", proxy.token()))[0] == 204


async def test_a_count_about_a_refusing_person_is_withheld(proxy, upstream) -> None:
    """A count beside a refusing person's friends does not leave, nor makes it another answer than an unknown id's."""
    await proxy.grant("2", scopes="email")
    upstream.reply("/people/3/friends", body={"data": [], "total": 7})
    assert (await _alike(proxy, "/people/%s/friends"))[0] == 404
    assert not [one for record in proxy.records() for one in record.disclosed]


async def test_a_count_about_a_person_needs_that_person_s_grant_of_its_scope(proxy, upstream) -> None:
    """A count inside a person is that person's; beside a list of people it is the token's matter."""
    await proxy.grant("2", scopes="read")
    for one, left in (("1", {"id": "1", "friend_count": 4}), ("2", {"id": "2"})):
        upstream.reply(f"/people/{one}", body={"id": one, "friend_count": 4})
        assert json.loads((await proxy.get(f"/people/{one}", proxy.token()))[2]) == left
        upstream.reply(f"/people/{one}/friends", body={"data": [], "total": 4})
        answer = await proxy.get(f"/people/{one}/friends", proxy.token())
        assert json.loads(answer[2]) == {"data": [], "total": 4}


@pytest.mark.parametrize("asked", ["%C2%B2", "%D9%A2", "02", "9" * 4400, "2.0", "-2", "True"])
async def test_no_spelling_of_an_id_is_recorded_as_another_s(proxy, upstream, asked) -> None:
    """Ids that Python reads as numbers crash nothing and are not taken for the person whom they resemble."""
    await proxy.grant("2")
    upstream.reply(lambda r: r.path == "/people", body=[{"id": "2", "name": "two"}, {"id": 2, "name": "two"}])
    assert (await proxy.get(f"/people?ids={asked}", proxy.token()))[0] == 404
    assert not upstream.requests
    assert (await proxy.get(f"/people?ids=1,{asked}", proxy.token()))[0] == 200
    assert [one.target for one in upstream.requests] == ["/people?ids=1"]
    alone, beside = proxy.records()
    assert (len(alone.asked), alone.found, len(beside.asked), beside.found) == (1, (), 2, ())
    assert beside.counts["people"] == 1


async def test_an_id_is_found_as_text_and_as_number(proxy, upstream) -> None:
    """Who was asked for by text and answered by number was found, and counts once."""
    await proxy.grant("2")
    upstream.reply(lambda r: r.path == "/people", body=[{"id": 2, "name": "two"}, {"id": "2"}])
    await proxy.get("/people?ids=2,02", proxy.token())
    (record,) = proxy.records()
    assert record.found == (proxy.pseudonym("2"),)
    assert record.counts["people"] == 1


async def test_a_refusing_person_and_an_unknown_id_take_the_same_way(proxy, upstream) -> None:
    """Whatever the platform answers, it is not looked into: the records say the same of both but for the pseudonym, so
    nothing is done for one and not for the other that an app could time.
    """
    await proxy.grant("2")
    upstream.reply("/people/3", body={"id": "3", "name": "three", "friends": [{"id": str(one)} for one in range(200)]})
    upstream.reply("/people/3/stream", headers={"Content-Type": "application/x-ndjson"}, body=b'{"id": "3"}\n')
    for path in ("/people/%s", "/people/%s/stream"):
        await _alike(proxy, path)
        said = []
        for record, one in zip(proxy.records()[-2:], ("3", "999"), strict=True):
            assert record.asked == record.withheld[0].subjects == (proxy.pseudonym(one),)
            told = msgspec.structs.asdict(record)
            said.append({key: told[key] for key in told.keys() - {"id", "ts", "duration_ms", "asked", "withheld"}})
            assert [group.consent for group in record.withheld] == ["no_grant"]
        assert said[0] == said[1]
        assert [one.target for one in upstream.requests[-2:]] == [path % "3", path % "999"]
