"""Whom an answer is about, where its objects do not say so themselves, and answers about several people at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream


def _string(category: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "x-data-category": category, **more}


def _object(about: Any = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"x-data-subject": about} if about is not None else {})}


def _get(schema: dict[str, Any], about: Any = None, *parameters: dict[str, Any]) -> dict[str, Any]:
    media = {"schema": schema, **({"x-data-subject": about} if about is not None else {})}
    answers = {"200": {"description": "ok", "content": {"application/json": media}}}
    return {"get": {"parameters": [*parameters], "responses": answers}}


EMAIL = _object(email=_string("user.contact.email", **{"x-required-scopes": ["email"]}))


def _lookup(media: str, sent: dict[str, Any], about: str) -> dict[str, Any]:
    answers = _get(EMAIL, about)["get"]["responses"]
    return {"post": {"requestBody": {"content": {media: {"schema": sent}}}, "responses": answers}}


def _parameter(place: str, name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string", **schema}}


NAMED = _object("/id", id=_string("user.unique_id"), name=_string("user.name"))
PHOTO = _object("/owner/id", url=_string("user.content"), owner=NAMED, tags={"type": "array", "items": NAMED})
MESSAGE = _object(["/from/id", "/to/id"], text=_string("user.content.private"), **{"from": NAMED, "to": NAMED})
ID = _parameter("path", "id")
PATHS: dict[str, Any] = {
    "/people/{id}/email": _get(EMAIL, "$request.path.id", ID),
    "/people/{id}/motto": _get(_string("user.content"), "$request.path.id", ID),
    "/people/{id}/likes": _get({"type": "array", "items": _object(page=_string("user.behavior"))}, "$request.path.id", ID),
    "/people/{id}/friends/ids": _get(
        {"type": "array", "items": {"type": "integer", "x-data-category": "user.unique_id", "x-data-subject": ""}},
        None,
        _parameter("path", "id", **{"x-data-subject": ""}),
    ),
    "/email": _get(EMAIL, "$request.query.user", _parameter("query", "user")),
    "/together": _get(
        _object(score={"type": "integer", "x-data-category": "user.social"}),
        "$request.query.users",
        _parameter("query", "users", type="array", items={"type": "string"}),
    ),
    "/lookup": _lookup("application/json", _object(who=_object(id=_string("none"))), "$request.body#/who/id"),
    "/lookup/form": _lookup(
        "application/x-www-form-urlencoded", _object(who=_string("none")), "$request.body#/who"
    ),
    "/album": _get(
        _object(
            owner=_string("none"),
            pictures={"type": "array", "items": _object("$response.body#/owner", place=_string("user.location"))},
        )
    ),
    "/me/email": _get(EMAIL, "$holder"),
    "/scores": _get({"type": "object", "x-data-subject": "$key", "additionalProperties": _object(n={"type": "integer", "x-data-category": "none"})}),
    "/messages": _get({"type": "array", "items": MESSAGE}),
    "/photos": _get({"type": "array", "items": PHOTO}),
}  # fmt: skip
PLATFORM = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "security": [{"oauth": ["read"]}],
    "paths": PATHS,
}


@pytest.fixture
async def proxy(tmp_path: Path, upstream: RecordingUpstream):
    async with running_proxy(tmp_path, upstream.url, PLATFORM) as running:
        await running.grant("2")
        await running.grant("4", scopes="read")
        yield running


async def answer(proxy, path: str, **token: Any) -> Any:
    status, _, body = await proxy.get(path, proxy.token(**token))
    return (status, json.loads(body)) if status == 200 else status


def subjects(proxy) -> set[str]:
    """The people whom the last record says something was disclosed about."""
    known = {proxy.pseudonym(str(one)): str(one) for one in range(1, 9)}
    return {known[one] for group in proxy.records()[-1].disclosed for one in group.subjects}


async def alike(proxy, upstream, path: str, refused: str) -> None:
    """A person who refuses, and one who does not exist: the same upstream call, the same answer."""
    answers = []
    for one in (refused, "999"):
        upstream.clear()
        status, headers, body = await proxy.get(path % one, proxy.token())
        answers.append((status, {k: v for k, v in headers.items() if k not in ("X-Audit-Id", "Date")}, body))
        assert [r.target for r in upstream.requests] == [path % one]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/people/%s/email", {"email": "x@example.org"}),
        ("/people/%s/motto", "carpe diem"),
        ("/people/%s/likes", [{"page": "cats"}, {"page": "dogs"}]),
        ("/email?user=%s", {"email": "x@example.org"}),
    ],
)
async def test_the_request_names_whom_the_answer_is_about(proxy, upstream, path, body) -> None:
    """An object, a bare value, a list and a look-up: whole for the holder and who granted, else as if unknown."""
    for one in ("1", "2", "3"):
        upstream.reply(path % one, body=body if isinstance(body, dict | list) else json.dumps(body).encode(), headers={"Content-Type": "application/json"})  # fmt: skip
    for one in ("1", "2"):
        assert await answer(proxy, path % one) == (200, body)
        assert subjects(proxy) == {one}
    await alike(proxy, upstream, path, "3")
    (withheld, _) = proxy.records()[-2:]
    assert (withheld.found, [group.consent for group in withheld.withheld]) == ((), ["no_grant"])


async def test_a_field_s_own_scope_counts_for_whom_the_request_names(proxy, upstream) -> None:
    """Who granted the operation but not the field shows the answer without it."""
    upstream.reply("/people/4/email", body={"email": "4@example.org"})
    assert await answer(proxy, "/people/4/email") == (200, {})
    assert [group.consent for group in proxy.records()[-1].withheld] == ["grant_scope"]


async def test_bare_ids_are_judged_one_by_one(proxy, upstream) -> None:
    """A list of ids keeps those who permit, in order and without gaps, under a person who permits."""
    for one in ("1", "2", "3"):
        upstream.reply(f"/people/{one}/friends/ids", body=[4, 3, 2, 999, 1])
    assert await answer(proxy, "/people/1/friends/ids") == (200, [4, 2, 1])
    assert subjects(proxy) == {"1", "2", "4"}
    assert await answer(proxy, "/people/2/friends/ids") == (200, [4, 2, 1])
    await alike(proxy, upstream, "/people/%s/friends/ids", "3")


async def test_everyone_a_list_parameter_names_must_permit(proxy, upstream) -> None:
    """One refusal among several withholds what is about all of them; nobody named means nobody known."""
    upstream.reply("/together", body={"score": 7})
    assert await answer(proxy, "/together?users=1,2") == (200, {"score": 7})
    assert subjects(proxy) == {"1", "2"}
    assert await answer(proxy, "/together?users=1,2,3") == 404
    assert await answer(proxy, "/together?users=1&users=3") == 404
    assert await answer(proxy, "/together") == 404


async def test_the_request_s_body_names_whom_the_answer_is_about(proxy, upstream) -> None:
    """By JSON Pointer, in the form that was forwarded: a second key of the same name is not a second opinion."""
    answered = b'{"email":"x@example.org"}'

    async def post(path: str, sent: bytes, media: str) -> bytes:
        status, _, body = await proxy.ask("POST", path, proxy.token(), data=sent, headers={"Content-Type": media})
        assert status == 200  # the platform acted, so the status stays
        return body

    upstream.reply("/lookup", body=answered, headers={"Content-Type": "application/json"})
    for sent, told in (
        (b'{"who":{"id":"2"}}', answered),
        (b'{"who":{"id":"3"}}', b""),
        (b'{"who":{"id":"2"},"who":{"id":"3"}}', b""),
        (b'{"who":{"id":"3"},"who":{"id":"2"}}', answered),
        (b'{"who":{}}', b""),
        (b"{}", b""),
    ):
        assert await post("/lookup", sent, "application/json") == told
    assert upstream.requests[2].body == b'{"who":{"id":"3"}}'
    assert len(proxy.records()[-1].asked) == 0
    upstream.reply("/lookup/form", body=answered, headers={"Content-Type": "application/json"})
    for sent, told in ((b"who=2", answered), (b"who=3", b"")):
        assert await post("/lookup/form", sent, "application/x-www-form-urlencoded") == told
        assert proxy.records()[-1].asked == (proxy.pseudonym(sent[4:].decode()),)


async def test_another_place_in_the_answer_names_whom_it_is_about(proxy, upstream) -> None:
    """``$response.body#/owner``, wherever in the answer it is used."""
    for owner, pictures in (("2", [{"place": "Rome"}]), ("3", []), (None, [])):
        upstream.reply("/album", body={"owner": owner, "pictures": [{"place": "Rome"}]})
        status, body = await answer(proxy, "/album")
        assert (status, body["pictures"]) == (200, pictures)


async def test_answers_about_the_holder_say_so(proxy, upstream) -> None:
    """``$holder``: the token's person; a token without one names nobody."""
    upstream.reply("/me/email", body={"email": "1@example.org"})
    assert await answer(proxy, "/me/email") == (200, {"email": "1@example.org"})
    assert proxy.records()[-1].disclosed[0].relation == "holder"
    assert await answer(proxy, "/me/email", holder="quiz") == 404  # sub equal to the client id: app-only
    assert await answer(proxy, "/me/email", holder="3") == (200, {"email": "1@example.org"})


async def test_the_keys_of_a_map_are_people(tmp_path, upstream) -> None:
    """A key leaves, and is recorded, only where its person permits it, also where policy keeps the rest."""
    upstream.reply("/scores", body={"3": {"n": 3}, "2": {"n": 2}, "1": {"n": 1}, "": {"n": 0}})
    for policy in ("mode: enforce\n", "refused_third_party: minimal\n"):
        folder = tmp_path / policy[:4]
        folder.mkdir()
        async with running_proxy(folder, upstream.url, PLATFORM, policy=policy) as proxy:
            await proxy.grant("2")
            assert await answer(proxy, "/scores") == (200, {"2": {"n": 2}, "1": {"n": 1}})
            assert subjects(proxy) == {"1", "2"}
            (record,) = proxy.records()
            assert {group.categories for group in record.withheld} == {("user.unique_id",)}


async def test_a_message_needs_both_ends(proxy, upstream) -> None:
    """Sender and receiver must both permit."""

    def message(sender: int, receiver: int) -> dict[str, Any]:
        ends = {"from": {"id": str(sender), "name": f"n{sender}"}, "to": {"id": str(receiver), "name": f"n{receiver}"}}
        return {"text": f"{sender} to {receiver}", **ends}

    upstream.reply("/messages", body=[message(1, 2), message(3, 1), message(1, 3), message(2, 4), message(2, 3)])
    assert await answer(proxy, "/messages") == (200, [message(1, 2), message(2, 4)])
    assert subjects(proxy) == {"1", "2", "4"}


async def test_tags_are_about_the_tagged_and_photos_about_their_owner(proxy, upstream) -> None:
    """A refused owner's photo goes with all its tags; a refused person's tag goes from a photo that stays."""

    def photo(owner: int, *tagged: int) -> dict[str, Any]:
        people = [{"id": str(one), "name": f"n{one}"} for one in (owner, *tagged)]
        return {"url": f"u{owner}", "owner": people[0], "tags": people[1:]}

    upstream.reply("/photos", body=[photo(2, 3, 1), photo(3, 1, 2), photo(1, 3)])
    assert await answer(proxy, "/photos") == (200, [photo(2, 1), photo(1)])
    assert subjects(proxy) == {"1", "2"}
