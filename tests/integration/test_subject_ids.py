"""App-scoped ids at the running proxy: quiz knows Ann as 11 and Bob as 12, poll knows Ann as 21; Ann is 7001, Bob 7002."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from audit_proxy.adapters.http_aiohttp import AiohttpClient
from audit_proxy.adapters.subject_ids_http import HttpIds
from audit_proxy.adapters.subject_ids_table import TableIds
from audit_proxy.core.errors import SubjectIdsUnavailable
from audit_proxy.core.record import Record
from tests.simulator.people import document
from tests.simulator.proxy import ISSUER, Proxy, running_proxy
from tests.simulator.recording import RecordingUpstream
from tests.simulator.services import Asked, Service, until

TABLE = "app,id,subject\nquiz,11,7001\nquiz,12,7002\npoll,21,7001\npoll,22,7002\nquiz,quiz,7009\n"
POLICY = """
mode: enforce
unknown_apps: {admit: true, tier: unregistered, purpose: functional.service, approved_scopes: [read, email]}
"""
SCOPED = {
    "issuers": [
        {
            "issuer": ISSUER,
            "audience": "api",
            "algorithms": ["EdDSA"],
            "jwks_file": "jwks.json",
            "holder_app_scoped": True,
        }
    ]
}


def person(number: int | str) -> dict[str, Any]:
    return {"id": str(number), "name": f"name{number}"}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as found:
        yield found


@asynccontextmanager
async def proxied(
    folder: Path, upstream: RecordingUpstream, identity: dict[str, Any] = SCOPED, **ids: Any
) -> AsyncIterator[Proxy]:
    (folder / "ids.csv").write_text(TABLE)
    platform = {"subject_ids": ids or {"table": "ids.csv"}}
    async with running_proxy(
        folder,
        upstream.url,
        document(),
        policy=POLICY,
        identity=identity,
        platform={"openapi": "openapi.json", **platform},
    ) as found:
        yield found


def people(records: list[Record], relation: str) -> list[str]:
    return [
        one for record in records for group in record.disclosed if group.relation == relation for one in group.subjects
    ]


async def test_one_person_through_two_apps_is_one_subject(tmp_path, upstream):
    """The same pseudonym as holder, as friend and as whom a path names, in records of both apps."""
    upstream.reply("/me", body=person(11))
    upstream.reply("/people/11/friends", body={"data": [person(12), person(11)]})
    upstream.reply("/people/22", body=person(22))
    async with proxied(tmp_path, upstream) as proxy:
        await proxy.grant("7002", scopes="read")
        await proxy.grant("7002", scopes="read", app="poll")
        assert (await proxy.get("/me", proxy.token("11")))[0] == 200
        status, _, body = await proxy.get("/people/11/friends", proxy.token("11"))
        assert (status, json.loads(body)) == (200, {"data": [person(12), person(11)]})
        status, _, body = await proxy.get("/people/22", proxy.token("21", app="poll"))
        assert (status, json.loads(body)) == (200, person(22))
        own, friends, other = proxy.records()
        assert own.holder == friends.holder == other.holder
        assert people([own], "holder") == [own.holder]
        assert people([friends], "holder") == [own.holder]
        (bob,) = people([friends], "third_party")
        assert people([other], "third_party") == [bob]
        assert other.asked == other.found == (bob,)
        assert friends.asked == (own.holder,)
        assert all("unmapped" not in record.counts for record in (own, friends, other))
        written = proxy.everything_written()
        for raw in (b"7001", b"7002", b'"11"', b'"22"'):
            assert raw not in written


async def test_consent_is_the_person_s_whatever_an_app_calls_them(tmp_path, upstream):
    """What Bob withdraws from quiz is 12's there; who has the id of another app's Bob gets nothing of it."""
    upstream.reply("/people/12", body=person(12))
    upstream.reply("/people/22", body=person(22))
    async with proxied(tmp_path, upstream) as proxy:
        await proxy.grant("7002", scopes="read")
        assert (await proxy.get("/people/12", proxy.token("11")))[0] == 200
        assert (await proxy.get("/people/22", proxy.token("11")))[0] == 404
        assert (await proxy.get("/people/12", proxy.token("21", app="poll")))[0] == 404
        assert (await proxy.get("/people/22", proxy.token("21", app="poll")))[0] == 404
        await proxy.grant("7002", scopes="read", app="poll")
        assert (await proxy.get("/people/22", proxy.token("21", app="poll")))[0] == 200


async def test_who_is_not_mapped_is_withheld_and_counted(tmp_path, upstream):
    """No grant can be for such a person, neither by the app's id nor by a canonical id that looks like it."""
    upstream.reply("/people/11/friends", body={"data": [person(99), person(7002), person(12)]})
    upstream.reply("/people/99", body=person(99))
    async with proxied(tmp_path, upstream) as proxy:
        await proxy.grant("99", "7002", "7001", scopes="read")
        status, _, body = await proxy.get("/people/11/friends", proxy.token("11"))
        assert (status, json.loads(body)) == (200, {"data": [person(12)]})
        assert (await proxy.get("/people/99", proxy.token("11")))[0] == 404
        friends, looked_up = proxy.records()
        assert friends.counts["unmapped"] == 2
        grounds = {(group.consent, group.relation, len(group.subjects)) for group in friends.withheld}
        assert ("subject_unmapped", "third_party", 0) in grounds
        assert looked_up.counts["unmapped"] == 1
        assert looked_up.asked == ()
        _, metrics = await proxy.admin("GET", "/metrics")
        assert b'audit_proxy_unmapped_ids_total{app="quiz"} 3.0' in metrics


async def test_a_holder_who_is_not_mapped_holds_nothing(tmp_path, upstream):
    """As an app-only token: others' grants count, and nobody's own word."""
    upstream.reply("/me", body=person(99))
    upstream.reply("/people/12", body=person(12))
    async with proxied(tmp_path, upstream) as proxy:
        await proxy.grant("7002", "99", scopes="read")
        assert (await proxy.get("/me", proxy.token("99")))[0] == 404
        assert (await proxy.get("/people/12", proxy.token("99")))[0] == 200
        assert [one.holder for one in proxy.records()] == [None, None]
        assert proxy.records()[0].counts["unmapped"] == 2  # the holder and the person of the answer


async def test_an_app_only_token_has_no_holder_and_maps_nobody(tmp_path, upstream):
    """Although the table knows an id that is the app's name."""
    upstream.reply("/me", body=person("quiz"))
    async with proxied(tmp_path, upstream) as proxy:
        assert (await proxy.get("/me", proxy.token("quiz")))[0] == 404
        (record,) = proxy.records()
        assert record.holder is None


async def test_a_holder_whose_id_is_canonical_is_found_among_app_scoped_ids(tmp_path, upstream):
    """Where only the answers' ids are the app's own."""
    upstream.reply("/me", body=person(11))
    canonical = {"issuers": [{**SCOPED["issuers"][0], "holder_app_scoped": False}]}
    async with proxied(tmp_path, upstream, canonical) as proxy:
        status, _, body = await proxy.get("/me", proxy.token("7001"))
        assert (status, json.loads(body)) == (200, person(11))
        (record,) = proxy.records()
        assert people([record], "holder") == [record.holder]


async def test_a_denial_s_record_names_no_app_scoped_holder(tmp_path, upstream):
    """A denial before anything is judged is recorded with the subject too."""
    async with proxied(tmp_path, upstream) as proxy:
        upstream.reply("/me", body=person(11))
        await proxy.get("/me", proxy.token("11"))
        await proxy.get("/nowhere", proxy.token("11"))
        await proxy.get("/people/12", proxy.token("11", scope="email"))
        good, unknown, denied = proxy.records()
        assert good.holder == unknown.holder == denied.holder
        assert len(denied.asked) == 1


async def test_whatever_the_platform_answers_about_an_unmapped_person_it_is_an_unknown_one(tmp_path, upstream):
    """An error, nothing, a redirect, another media type: the same 404 as for an id that does not exist."""
    async with proxied(tmp_path, upstream) as proxy:
        seen = []
        for status, body, kind in (
            (404, {}, "json"),
            (500, {}, "json"),
            (204, b"", "json"),
            (302, b"", "json"),
            (200, b"x", "xml"),
        ):
            upstream.reply("/people/99", status, {"Content-Type": f"application/{kind}"}, body)
            answer = await proxy.get("/people/99", proxy.token("11"))
            seen.append((answer[0], answer[2], answer[1]["Proxy-Status"]))
        assert len(set(seen)) == 1
        assert seen[0][0] == 404
        assert {one.counts["unmapped"] for one in proxy.records()} == {1}


async def test_public_content_about_somebody_who_is_not_mapped_may_leave(tmp_path, upstream):
    """It needs nobody's grant; the author's other data does."""
    upstream.reply("/posts", body=[{"text": "hi", "visibility": "public", "from": person(99)}])
    async with proxied(tmp_path, upstream) as proxy:
        status, _, body = await proxy.get("/posts", proxy.token("11"))
        assert (status, json.loads(body)) == (200, [{"text": "hi", "visibility": "public"}])
        (record,) = proxy.records()
        assert record.counts["unmapped"] == 1
        assert {(group.consent, group.subjects) for group in record.disclosed} == {("public", ())}


async def test_a_stream_counts_whom_it_does_not_know_once(tmp_path, upstream):
    """Each chunk's in its record, the request's own and the sum in the closing one, and the metric each once."""
    upstream.reply("/export", headers={"Content-Type": "application/x-ndjson"}, body=b'{"id":"98"}\n{"id":"97"}\n')
    async with proxied(tmp_path, upstream) as proxy:
        assert (await proxy.get("/export", proxy.token("99")))[0] == 200
        *chunks, closing = proxy.records()
        assert sum(one.counts["unmapped"] for one in chunks) == 2
        assert closing.counts["unmapped"] == 3
        _, metrics = await proxy.admin("GET", "/metrics")
        assert b'audit_proxy_unmapped_ids_total{app="quiz"} 3.0' in metrics


# --- a service that maps --------------------------------------------------------------------------------------------------


def mapping(table: str = TABLE) -> Callable[[Asked], web.Response]:
    rows = [line.split(",") for line in table.splitlines()[1:]]
    known = {(app, one): subject for app, one, subject in rows}

    def answer(asked: Asked) -> web.Response:
        question = json.loads(asked.body)
        return web.json_response({"subjects": {one: known.get((question["app"], one)) for one in question["ids"]}})

    return answer


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(mapping()) as found:
        yield found


async def test_a_page_of_people_is_one_call_and_the_next_none(tmp_path, upstream, service):
    upstream.reply("/people/11/friends", body={"data": [person(number) for number in range(12, 112)]})
    async with proxied(tmp_path, upstream, url=f"{service.url}/ids") as proxy:
        await proxy.grant("7002", scopes="read")
        for _ in range(2):
            status, _, body = await proxy.get("/people/11/friends", proxy.token("11"))
            assert (status, json.loads(body)) == (200, {"data": [person(12)]})
        assert [len(json.loads(asked.body)["ids"]) for asked in service.asked] == [1, 100]  # the holder, then the page


async def test_in_an_outage_people_are_withheld_and_it_is_over_when_it_is(tmp_path, upstream, service):
    """Who is remembered is not; a holder who is not known is told to come back."""
    upstream.reply("/people/11/friends", body={"data": [person(12), person(11)]})
    upstream.reply("/me", body=person(11))
    async with proxied(tmp_path, upstream, url=f"{service.url}/ids") as proxy:
        await proxy.grant("7002", scopes="read")
        assert (await proxy.get("/me", proxy.token("11")))[0] == 200
        await service.stop()
        status, _, body = await proxy.get("/people/11/friends", proxy.token("11"))
        assert (status, json.loads(body)) == (200, {"data": [person(11)]})
        record = proxy.records()[-1]
        assert "subjects_unavailable" in {group.consent for group in record.withheld}
        assert record.counts["unmapped"] == 1
        status, headers, body = await proxy.get("/me", proxy.token("12"))
        assert (status, json.loads(body)["reason"]) == (503, "holder_unavailable")
        assert headers["Retry-After"]
        assert proxy.records()[-1].holder is None
        await service.start()
        status, _, body = await proxy.get("/people/11/friends", proxy.token("11"))
        assert (status, json.loads(body)) == (200, {"data": [person(12), person(11)]})


async def test_a_service_that_hangs_or_says_too_much_is_an_outage(service):
    """After its time, and at its limit."""
    async with AiohttpClient() as client:
        ids = HttpIds(f"{service.url}/ids", "person", client, secret=None, timeout_s=0.2)
        assert await ids.subjects("quiz", [11]) == {11: "person:7001"}
        service.answer = lambda _: web.Response(body=b'{"subjects":{' + b" " * 2_000_000 + b"}}")
        with pytest.raises(SubjectIdsUnavailable):
            await ids.subjects("quiz", [11])

        async def hang(asked: Asked) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(asked.request)
            await until(lambda: asked.request.transport is None or asked.request.transport.is_closing())
            return response

        service.answer = hang
        with pytest.raises(SubjectIdsUnavailable):
            await ids.subjects("quiz", [11])


# --- a table that changes --------------------------------------------------------------------------------------------------


async def test_a_changed_table_is_read_again_and_a_broken_one_is_not(tmp_path):
    """The last good one stays; nothing is read where nothing changed."""
    path = tmp_path / "ids.csv"
    path.write_text(TABLE)
    table = TableIds(path, "person", reload_s=0.02)
    await table.start()

    async def means(app: str, one: str, wanted: str | None) -> None:
        while (await table.subjects(app, [one])).get(one) != wanted:
            pass

    (tmp_path / "new.csv").write_text(TABLE + "quiz,13,7003\n")
    (tmp_path / "new.csv").replace(path)
    await means("quiz", "13", "person:7003")
    signature = table._signature
    (tmp_path / "new.csv").write_text(TABLE + "quiz,11,7999\n")
    (tmp_path / "new.csv").replace(path)
    await until(lambda: table._signature != signature)
    assert await table.subjects("quiz", ["11", "13"]) == {"11": "person:7001", "13": "person:7003"}
    path.unlink()
    assert await table.subjects("quiz", ["11"]) == {"11": "person:7001"}
    path.write_text(TABLE)
    await means("quiz", "13", None)
    await table.close()
