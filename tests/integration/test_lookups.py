"""What a look-up, a filter, a sort order and a page tell of people who permitted nothing: 1 asks, 2 and 4 permit, 5 permits
more, 3 refuses, 999 does not exist.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.people import document
from tests.simulator.proxy import ProxyHere, running_proxy
from tests.simulator.recording import ABORT, CLOSE, Recorded, RecordingUpstream

PERSON = {"x-data-subject": ""}
PEOPLE = {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
NONE = {"type": "string", "x-data-category": "none"}
COUNT = {"x-data-category": "user.social", "x-aggregate": True, "x-required-scopes": ["read"]}
BORN = {"x-data-category": "user.demographic.date_of_birth", "x-required-scopes": ["birthday"]}
EMAIL = {"x-data-category": "user.contact.email", "x-required-scopes": ["email"]}
ORDER = {"oneOf": [{"const": "name"}, {"enum": ["birthday", "-birthday"], **BORN}]}
FIND = [
    {"name": name, "in": "query", "schema": schema}
    for name, schema in {
        "email": {"type": "string", **EMAIL},
        "min_age": {"anyOf": [{"type": "integer", **BORN}, {"type": "null"}]},
        "max_age": {"allOf": [{"type": "integer"}, BORN]},
        "sort": ORDER,
        "order_by": {"type": "array", "items": ORDER},
        "limit": {"type": "integer", "minimum": 10, "maximum": 100},
        "offset": {"type": "integer", "minimum": 0, "multipleOf": 25},
    }.items()
]


def _get(name: str, parameters: list[dict[str, Any]], schema: dict[str, Any]) -> dict[str, Any]:
    answers = {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}}
    return {"get": {"operationId": name, "parameters": parameters, "responses": answers}}


def _query(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", **schema}}


def _platform() -> dict[str, Any]:
    made = document()
    ids = _query("ids", type="array", items={"type": "string"}, **PERSON)
    errors = {"type": "array", "items": {"type": "object", "properties": {"value": NONE, "title": NONE}}}
    page = {
        "type": "object",
        "properties": {
            "data": PEOPLE,
            "total": {"type": "integer", **COUNT},
            "more": {"type": "boolean", **COUNT},
            "next": NONE,
        },
    }
    filters = {
        "type": "object",
        "properties": {"filter": {"type": "object", "properties": {"born": BORN, "sort": ORDER}}},
    }
    mail = {"name": "email", "in": "path", "required": True, "schema": {"type": "string", **EMAIL}}
    by_mail = _get("byMail", [mail], {"$ref": "#/components/schemas/Person"})
    by_mail["get"]["responses"] |= {
        "404": {"description": "nobody has it"},
        "204": {"description": "somebody has it"},
        "403": {"description": "no", "content": {"application/json": {"schema": {"type": "string", **NONE}}}},
    }
    several = {"name": "ids", "in": "path", "required": True, "schema": ids["schema"]}
    person = {"x-data-subject": ""}
    body = {"type": "object", "properties": {"user": person, "n": NONE}, "additionalProperties": True}
    made["paths"] |= {
        "/mail/{email}": by_mail,
        "/several/{ids}": _get("several", [several], PEOPLE),
        "/sorted": _get(
            "sorted", [{"name": "sort", "in": "query", "schema": {**ORDER, "default": "birthday"}}], PEOPLE
        ),
        "/open": {
            "post": {
                "operationId": "open",
                "requestBody": {"content": {"application/json": {"schema": body}}},
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": PEOPLE}}}},
            }
        },
        "/find": _get("find", FIND, page),
        "/query": {
            "post": {
                "operationId": "query",
                "requestBody": {"content": {"application/json": {"schema": filters}}},
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": page}}}},
            }
        },
        "/mutuals": _get("mutuals", [_query("user_id", **PERSON), _query("with", **PERSON)], PEOPLE),
        "/posts": _get(
            "posts", [_query("author", **PERSON)], {"type": "array", "items": {"$ref": "#/components/schemas/Post"}}
        ),
        "/people": _get("people", [ids], {"type": "object", "properties": {"data": PEOPLE, "errors": errors}}),
        "/people/posts": _get("postsOf", [ids], {"type": "array", "items": {"$ref": "#/components/schemas/Post"}}),
        "/together": {
            "post": {
                "operationId": "together",
                "requestBody": {
                    "content": {
                        kind: {"schema": {"type": "object", "properties": {"user": {"type": "string", **PERSON}}}}
                        for kind in ("application/json", "application/x-www-form-urlencoded")
                    }
                },
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": PEOPLE}}}},
            }
        },
    }
    return made


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    app = {"approved_scopes": ["read", "email", "birthday"]}
    async with running_proxy(tmp_path, upstream.url, _platform(), app=app) as running:
        await running.grant("2", "4")
        await running.grant("5", scopes="read email birthday")
        yield running


async def _answer(proxy: ProxyHere, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = await proxy.get(path, proxy.token(**options))
    return status, {k: v for k, v in headers.items() if k not in ("X-Audit-Id", "Date")}, body


async def _alike(proxy: ProxyHere, path: str, **options: Any) -> tuple[int, Any]:
    """The answer about 3, who refuses, after finding it equal to the one about 999, who does not exist."""
    refusing, unknown = [await _answer(proxy, path % one, **options) for one in ("3", "999")]
    assert refusing == unknown
    return refusing[0], json.loads(refusing[2] or b"null")


def _named(number: int) -> dict[str, str]:
    return {"id": str(number), "name": f"name{number}"}


# -- people whom a parameter names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mutuals?user_id=%s", "/mutuals?user_id=2&with=%s", "/mutuals?with=%s&user_id=2"])
async def test_a_person_whom_the_query_names_must_permit(proxy, upstream, path) -> None:
    """That others stand in an answer about a refusing person is that person's too: as if unknown, after the same call."""

    def mutuals(request: Recorded) -> bool:
        return request.path == "/mutuals" and "999" not in request.target

    upstream.reply(mutuals, body=[_named(2), _named(4)])
    upstream.reply(lambda r: "999" in r.target, body=[])
    assert (await _alike(proxy, path))[0] == 404
    assert [one.target for one in upstream.requests] == [path % "3", path % "999"]
    refused, unknown = proxy.records()
    assert (refused.reason, refused.disclosed, unknown.reason) == ("not_found", (), "not_found")
    assert proxy.pseudonym("3") in refused.asked
    for one in ("1", "2", "4"):
        assert (await _answer(proxy, path % one))[0] == 200


@pytest.mark.parametrize("status", [200, 204, 403, 410, 500])
async def test_whatever_the_platform_says_of_a_person_in_the_query(proxy, upstream, status) -> None:
    """Statuses tell nothing of who refuses."""
    upstream.reply(lambda r: "999" not in r.target, status)
    assert (await _alike(proxy, "/mutuals?user_id=%s"))[0] == 404
    assert (await _answer(proxy, "/mutuals?user_id=2"))[0] == status


async def test_what_is_public_about_a_person_in_the_query_stays(proxy, upstream) -> None:
    """A refusing author's public posts leave, the others do not; where nothing is public nothing is told."""
    posts = [{"text": one, "visibility": one, "from": _named(3)} for one in ("public", "friends")]
    upstream.reply("/posts?author=3", body=posts)
    assert (await _answer(proxy, "/posts?author=3"))[0] == 200
    assert json.loads((await _answer(proxy, "/posts?author=3"))[2]) == [{"text": "public", "visibility": "public"}]
    upstream.reply("/posts?author=3", body=posts[1:])
    upstream.reply("/posts?author=999", body=[])
    assert (await _alike(proxy, "/posts?author=%s"))[0] == 404


@pytest.mark.parametrize(("sent", "kind"), [(b'{"user":"%s"}', "json"), (b"user=%s", "x-www-form-urlencoded")])
async def test_a_person_whom_the_body_names_must_permit(proxy, upstream, sent, kind) -> None:
    """The status is the platform's, as for every write; the body is there for those who permit alone."""
    upstream.reply("/together", body=[_named(4)])
    answers = {}
    for one in (b"1", b"2", b"3", b"999"):
        headers = {"Content-Type": f"application/{kind}"}
        answers[one] = await proxy.ask("POST", "/together", proxy.token(), data=sent % one, headers=headers)
    assert {status for status, _, _ in answers.values()} == {200}
    assert [bool(answers[one][2]) for one in (b"1", b"2", b"3", b"999")] == [True, True, False, False]


@pytest.mark.parametrize(
    "sent", [{"user": 3.0}, {"user": True}, {"user": {"id": "3"}}, {"user": [3.0]}, {"User": "3"}, {"USER": 3}]
)
async def test_no_other_form_of_an_id_goes_on_in_a_body(proxy, upstream, sent) -> None:
    """Numbers that are no integers, objects, and names in another case: the platform might read them as a person's."""
    assert (await proxy.ask("POST", "/open", proxy.token(), json=sent))[0] == 400
    assert not upstream.requests
    upstream.reply("/open", body=[_named(2)])
    for named, left in (({"user": None, "other": 1}, 1), ({"user": ["2", 4]}, 1), ({"user": ["2", 3]}, 0)):
        status, _, body = await proxy.ask("POST", "/open", proxy.token(), json=named)
        assert (status, len(json.loads(body or b"[]"))) == (200, left)


async def test_everyone_whom_a_path_names_must_permit(proxy, upstream) -> None:
    """Several ids in one segment are several people."""
    upstream.reply(lambda r: True, body=[_named(2), _named(4)])
    assert (await _alike(proxy, "/several/2,%s"))[0] == 404
    status, _, body = await _answer(proxy, "/several/2,4")
    assert (status, json.loads(body)) == (200, [_named(2), _named(4)])


async def test_a_platform_that_breaks_off_tells_nothing_of_who_refuses(proxy, upstream) -> None:
    """An answer too long for its time, cut short, or malformed, stands for nobody either; for others it is what it is."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    for pieces in ([head, CLOSE], [head, ABORT], [CLOSE], [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", CLOSE]):
        for one in ("2", "3"):
            upstream.reply(f"/people/{one}", pieces=pieces)
            upstream.reply(f"/mutuals?user_id={one}", pieces=pieces)
        for path in ("/people/%s", "/mutuals?user_id=%s"):
            assert (await _alike(proxy, path))[0] == 404
            assert (await _answer(proxy, path % "2"))[0] == 502
    upstream.reply("/together", pieces=[CLOSE])
    headers = {"Content-Type": "application/json"}
    assert (await proxy.ask("POST", "/together", proxy.token(), data=b'{"user":"3"}', headers=headers))[0] == 502


# -- arrays of people ----------------------------------------------------------------------------------------------------


async def test_who_refuses_is_not_asked_for_among_others(proxy, upstream) -> None:
    """What the platform says of an unknown one of several (an error beside the data, a null, a status) says nothing."""

    for asked, sent in (("2,%s", "2"), ("%s,2,1", "2,1"), ("4,%s&ids=%s", "4")):
        upstream.reply(f"/people?ids={sent}", body={"data": [_named(int(one)) for one in sent.split(",")]})
        for one in ("3", "999"):
            upstream.clear()
            status, _, body = await _answer(proxy, "/people?ids=" + asked.replace("%s", one))
            assert (status, json.loads(body)) == (200, {"data": [_named(int(one)) for one in sent.split(",")]})
            assert [request.target for request in upstream.requests] == [f"/people?ids={sent}"]
            record = proxy.records()[-1]
            assert proxy.pseudonym(one) in record.asked
            assert proxy.pseudonym(one) not in record.found
    upstream.clear()
    for asked in ("%s", "%s,998", "998&ids=%s"):
        assert (await _alike(proxy, f"/people?ids={asked}"))[0] == 404
    assert not upstream.requests


async def test_arrays_are_sent_as_they_were_given(proxy, upstream) -> None:
    """Commas, repeats and order of those who permit stay."""
    upstream.reply(lambda r: True, body={"data": []})
    await _answer(proxy, "/people?ids=4,3,2&ids=3&ids=1")
    assert [r.target for r in upstream.requests] == ["/people?ids=4,2&ids=1"]


async def test_where_something_may_be_public_everyone_is_asked_for(proxy, upstream) -> None:
    """Then what comes is judged one by one."""
    posts = [{"text": one, "visibility": one, "from": _named(3)} for one in ("public", "friends")]
    upstream.reply("/people/posts?ids=2,3", body=posts)
    status, _, body = await _answer(proxy, "/people/posts?ids=2,3")
    assert (status, json.loads(body)) == (200, [{"text": "public", "visibility": "public"}])


# -- looking up, filtering, sorting --------------------------------------------------------------------------------------

ALL = "read email birthday"


async def _found(proxy: ProxyHere, path: str) -> dict[str, Any]:
    status, _, body = await _answer(proxy, path, scope=ALL)
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


async def test_an_address_tells_nothing_of_who_refuses(proxy, upstream) -> None:
    """Found and refused, and not found: the same, in the total too, which would say of one match whose it is."""
    for one in (2, 3):
        upstream.reply(f"/find?email=p{one}", body={"data": [_named(one)], "total": 1, "more": False})
    upstream.reply("/find?email=p999", body={"data": [], "total": 0, "more": False})
    assert await _alike(proxy, "/find?email=p%s", scope=ALL) == (200, {"data": []})
    assert await _found(proxy, "/find?email=p2") == {"data": [_named(2)]}
    upstream.reply("/find", body={"data": [], "total": 1, "more": False})
    assert await _found(proxy, "/find?limit=25") == {"data": [], "total": 1, "more": False}


@pytest.mark.parametrize(
    "parameter", ["sort=birthday", "sort=-birthday", "order_by=name,birthday", "order_by=name&order_by=birthday"]
)
async def test_a_place_in_an_order_needs_consent_to_what_orders(proxy, upstream, parameter) -> None:
    """Who permits the name and not the birthday is missing, without a gap, where the order would tell it."""
    upstream.reply("/find", body={"data": [_named(one) for one in (4, 5, 3, 2, 1)], "total": 5})
    assert await _found(proxy, f"/find?{parameter}") == {"data": [_named(5), _named(1)]}
    status, _, body = await proxy.get(f"/find?{parameter}", proxy.token())
    assert (status, json.loads(body)["reason"]) == (403, "scope_missing")


async def test_an_order_that_tells_nothing_more_needs_nothing_more(proxy, upstream) -> None:
    """Values demand for themselves alone, and others than the listed ones are refused."""
    upstream.reply("/find", body={"data": [_named(one) for one in (4, 5, 3, 2, 1)], "total": 5})
    for parameter in ("sort=name", "order_by=name"):
        assert await _found(proxy, f"/find?{parameter}") == {"data": [_named(one) for one in (4, 5, 2, 1)], "total": 5}
    for parameter in ("sort=Birthday", "sort=birthday%20", "sort=name,birthday", "order_by=name,email", "sort="):
        assert (await _answer(proxy, f"/find?{parameter}", scope=ALL))[0] == 400


async def test_an_order_that_nobody_asked_for_counts_too(proxy, upstream) -> None:
    """What the description says the platform does by itself."""
    upstream.reply("/sorted", body=[_named(one) for one in (4, 5, 3, 2, 1)])
    status, _, body = await _answer(proxy, "/sorted", scope=ALL)
    assert (status, json.loads(body)) == (200, [_named(5), _named(1)])
    assert len(json.loads((await _answer(proxy, "/sorted?sort=name", scope=ALL))[2])) == 4
    assert (await _answer(proxy, "/sorted"))[0] == 403


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, _named(3)),
        (200, {}, []),
        (200, {}, b""),
        (200, {"Content-Type": "image/png"}, b"png"),
        (200, {"Content-Type": "application/json"}, b"not json"),
        (204, {}, b""),
        (302, {"Location": "/people/3"}, b""),
        (403, {}, "she does not want to be found"),
        (410, {}, b""),
        (404, {}, b""),
    ],
)
async def test_whatever_is_said_of_an_address_nobody_was_found(proxy, upstream, status, headers, body) -> None:
    """A look-up by a personal field that discloses nothing is that of an address which nobody has."""
    upstream.reply("/mail/p3", status, headers, body)
    assert (await _alike(proxy, "/mail/p%s", scope=ALL))[0] == 404


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_what_is_said_of_the_request_stays(proxy, upstream, status) -> None:
    """Limits and faults of the platform tell of nobody."""
    upstream.reply(lambda r: True, status)
    assert (await _answer(proxy, "/mail/p3", scope=ALL))[0] == status
    upstream.reply("/mail/p2", body=_named(2))
    assert (await _answer(proxy, "/mail/p2", scope=ALL))[0] == 200


@pytest.mark.parametrize("parameter", ["min_age=30", "max_age=30", "min_age=30&max_age=30"])
async def test_a_range_finds_those_alone_who_permit_what_it_asks(proxy, upstream, parameter) -> None:
    """In or out of the range, who refuses is not told: no halving of ranges leads to an age."""
    answers = []
    for matches in ((2, 3, 4, 5), (5,)):
        upstream.reply("/find", body={"data": [_named(one) for one in matches], "total": len(matches), "more": True})
        answers.append(await _found(proxy, f"/find?{parameter}"))
    assert answers == [{"data": [_named(5)]}] * 2


@pytest.mark.parametrize("sent", [{"filter": {"born": "1990"}}, {"filter": {"sort": "birthday"}}, {"filter": {}}])
async def test_what_stands_deep_in_a_body_demands_too(proxy, upstream, sent) -> None:
    """A filter object demands what any of its properties does."""
    upstream.reply("/query", body={"data": [_named(one) for one in (2, 3, 5)], "total": 3})
    status, _, body = await proxy.ask("POST", "/query", proxy.token(scope=ALL), json=sent)
    assert (status, json.loads(body)) == (200, {"data": [_named(5)]})
    assert (await proxy.ask("POST", "/query", proxy.token(), json=sent))[0] == 403


# -- pages ---------------------------------------------------------------------------------------------------------------


async def test_a_page_has_no_gaps(proxy, upstream) -> None:
    """Ten of 25 refuse: 15 stand in their order, with nothing between them and no count of all."""
    refusing = set(range(100, 120, 2))
    await proxy.grant(*(str(one) for one in range(100, 125) if one not in refusing))
    upstream.reply("/people/1/friends", body={"data": [_named(one) for one in range(100, 125)], "total": 25})
    status, _, body = await _answer(proxy, "/people/1/friends")
    kept = [_named(one) for one in range(100, 125) if one not in refusing]
    assert (status, json.loads(body)) == (200, {"data": kept})
    assert len(kept) == 15


async def test_pages_can_be_kept_from_walking_one_by_one(proxy, upstream) -> None:
    """Bounds of ``limit`` and ``offset`` in the catalog: no page of one person, no pages that overlap."""
    upstream.reply("/find", body={"data": [_named(3)], "total": 1})
    for parameter in ("limit=1", "limit=9", "limit=101", "offset=1", "offset=-25", "limit=10&offset=24", "offset=2.5"):
        assert (await _answer(proxy, f"/find?{parameter}"))[0] == 400
    assert not upstream.requests
    for parameter in ("limit=10", "limit=100", "offset=0", "limit=25&offset=50"):
        assert (await _answer(proxy, f"/find?{parameter}"))[0] == 200


async def test_a_refusing_person_s_page_is_an_empty_one(proxy, upstream) -> None:
    """Where nothing beside the list says whether more follows, a refusing person's place and the end look alike."""
    upstream.reply("/find?offset=25", body={"data": [_named(3)]})
    upstream.reply("/find?offset=50", body={"data": []})
    answers = [await _answer(proxy, f"/find?offset={at}") for at in (25, 50)]
    assert answers[0] == answers[1]
