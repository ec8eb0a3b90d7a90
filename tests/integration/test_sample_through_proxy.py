"""The sample platform behind the running proxy: exactly what each person permitted arrives, and nothing else.

The expectation is made by this file alone, from the platform's own answer and the grants: a second reading of what the
overlay means, written for the sample's shapes.
"""

import json
import random
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from audit_proxy.demo.platform import make_app
from audit_proxy.demo.world import World
from audit_proxy.settings.shipped import shipped
from tests.simulator.proxy import running_proxy

SAMPLE = shipped() / "platforms" / "sample"
WORLD = World(160, 11)
SCOPES = (
    "profile.read email.read birthday.read location.read views.read friends.read likes.read posts.read messages.read "
    "photos.read people.search people.export posts.write"
)
EVERYTHING = "name,username,picture,verified,email,birthday,city,political_views"
EXTRA = {
    "email": "email.read",
    "birthday": "birthday.read",
    "city": "location.read",
    "political_views": "views.read",
    "friends": "friends.read",
    "likes": "likes.read",
    "posts": "posts.read",
}
STAND_INS = ("0", 0, None, '"0"', "{}")


def permissions(seed):
    """Person -> scopes of their own grant. Two in five say nothing, one in five everything."""
    draw = random.Random(seed)
    made = {}
    for one in range(WORLD.people):
        kind = draw.random()
        if kind < 0.4:
            continue
        scopes = SCOPES.split() if kind < 0.6 else draw.sample(SCOPES.split(), draw.randint(3, 12))
        made[str(WORLD.id_of(one))] = frozenset(scopes)
    return made


GRANTS = permissions(1)
HOLDER = str(
    WORLD.id_of(max(range(WORLD.people), key=lambda one: len(WORLD.friends[one]) + 20 * len(WORLD.photos(one))))
)
FRIENDS = [str(WORLD.id_of(one)) for one in WORLD.friends[WORLD.index_of(int(HOLDER))]]
OPEN = next(one for one in FRIENDS if GRANTS.get(one) == frozenset(SCOPES.split()))
SILENT = next(
    one
    for one in FRIENDS
    if one not in GRANTS
    and {post.visibility for post in WORLD.posts(WORLD.index_of(int(one)))} >= {"public", "friends"}
)


@dataclass
class Reading:
    """One answer, read: ``found`` maps each value that says something to whether it may be told."""

    needed: frozenset[str]  # of the operation and its parameters
    named: str | None = None  # the person in the path

    def permits(self, person, scopes):
        if self.named is not None and not self._own(self.named, self.needed):
            return False
        return self._own(person, scopes)

    @staticmethod
    def _own(person, scopes):
        return person == HOLDER or scopes <= GRANTS.get(person, frozenset())

    def page(self, kind, value, more=frozenset(), alive=True):
        for one in value["data"]:
            yield from getattr(self, kind)(one, more, alive)

    def person(self, value, more=frozenset(), alive=True):
        who = value["id"]
        alive = alive and self.permits(who, self.needed)
        for name, inner in value.items():
            scopes = more | ({EXTRA[name]} if name in EXTRA else set())
            if name in ("friends", "likes", "posts"):
                kind = {"friends": "person", "likes": "like", "posts": "post"}[name]
                yield from self.page(kind, inner, scopes, alive)
            else:
                told = alive and (name == "verified" or self.permits(who, self.needed | scopes))
                shown = who if name != "verified" or self.permits(who, self.needed | more) else "0"
                yield ("person", shown, name, inner), told

    def like(self, value, more=frozenset(), alive=True):
        who = value["person_id"]
        told = alive and self.permits(who, self.needed | more)
        for name, inner in value.items():
            yield ("like", who, name, json.dumps(inner)), told

    def post(self, value, more=frozenset(), alive=True):
        who, public = str(value["owner_id"]), value["visibility"] == "public"
        kept = alive and (public or self.permits(who, self.needed))
        for name, inner in value.items():
            if name == "comments":
                yield from self.page("comment", inner, more, kept)
            elif name == "shared":
                yield from self.post(inner, more, kept)
            else:
                personal = public or self.permits(who, self.needed | more)
                yield (
                    ("post", value["id"] if personal else "0", name, inner),
                    kept and (name == "visibility" or personal),
                )

    def comment(self, value, more=frozenset(), alive=True):
        told = alive and self.permits(value["from"].get("id", "0"), self.needed | more)
        for name, inner in value.items():
            yield ("comment", value["id"], name, json.dumps(inner)), told

    def message(self, value, more=frozenset(), alive=True):
        told = all(self.permits(value[end]["id"], self.needed) for end in ("from", "to"))
        for name, inner in value.items():
            yield ("message", value["id"], name, json.dumps(inner)), told

    def photo(self, value, more=frozenset(), alive=True):
        kept = self.permits(value["owner"]["id"], self.needed)
        for name, inner in value.items():
            if name == "tags":
                for tag in inner:
                    for part, place in tag.items():
                        yield (
                            ("tag", value["id"], tag["id"], part, place),
                            kept and self.permits(tag["id"], self.needed),
                        )
            else:
                yield ("photo", value["id"], name, json.dumps(inner)), kept


def read(kind, shape, value, reading):
    if shape == "one":
        return list(getattr(reading, kind)(value))
    if shape == "map":
        return [fact for one in value.values() for fact in getattr(reading, kind)(one)]
    return list(reading.page(kind, value))


NESTED = f"{EVERYTHING},likes,posts,friends{{{EVERYTHING},likes{{page}},posts}}"
CASES = [
    (f"/me?fields={NESTED}", "person", "one", "profile.read", None),
    (f"/people/{OPEN}?fields={NESTED}", "person", "one", "profile.read", OPEN),
    (f"/people?ids={HOLDER},{OPEN},{SILENT},{','.join(FRIENDS[:20])}", "person", "map", "profile.read", None),
    (f"/me/friends?limit=100&fields={EVERYTHING},posts,likes", "person", "page", "friends.read", None),
    (f"/people/{OPEN}/friends?limit=100&fields={EVERYTHING},friends", "person", "page", "friends.read", OPEN),
    (f"/people/{OPEN}/likes?limit=100", "like", "page", "likes.read", OPEN),
    (f"/people/{HOLDER}/likes", "like", "page", "likes.read", HOLDER),
    (f"/people/{OPEN}/posts", "post", "page", "posts.read", OPEN),
    (f"/people/{SILENT}/posts", "post", "page", "posts.read", SILENT),
    (f"/people/{HOLDER}/posts", "post", "page", "posts.read", HOLDER),
    (f"/people/{HOLDER}/photos", "photo", "page", "photos.read", HOLDER),
    (f"/people/{OPEN}/photos", "photo", "page", "photos.read", OPEN),
    ("/me/messages?limit=100", "message", "page", "messages.read", None),
    (f"/search/people?name=a&limit=100&fields={EVERYTHING}".replace("name=a", "name=an"), "person", "page", "people.search profile.read", None),
    (f"/search/people?email={WORLD.profiles[WORLD.index_of(int(OPEN))].email}&fields=name", "person", "page", "people.search email.read", None),
]  # fmt: skip


@pytest.fixture
async def proxy(tmp_path):
    async with TestServer(make_app(WORLD)) as server:
        origin = str(server.make_url("/")).rstrip("/")
        sample = {"openapi": str(SAMPLE / "openapi.yaml"), "overlay": str(SAMPLE / "overlay.yaml")}
        app = {"approved_scopes": SCOPES.split()}
        async with running_proxy(tmp_path, origin, {}, app=app, platform=sample) as running:
            rows = [
                {
                    "app": "quiz",
                    "subject": f"person:{one}",
                    "scopes": sorted(scopes),
                    "purpose": "functional.service",
                    "source": "t",
                    "evidence": "t",
                }
                for one, scopes in GRANTS.items()
            ]
            data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            status, text = await running.admin(
                "POST", "/v1/consent/import", data=data, headers={"Content-Type": "application/x-ndjson"}
            )
            assert status == 200, text
            running.extra["origin"] = origin
            yield running


async def direct(proxy, path):
    """The platform's own answer to the holder's token."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            proxy.extra["origin"] + path, headers={"Authorization": f"Bearer {proxy.token(HOLDER, SCOPES)}"}
        ) as answer,
    ):
        return answer.status, await answer.read()


async def test_exactly_what_was_permitted_arrives(proxy):
    """For every kind of answer: each permitted value arrives unchanged and in its order, every other one is gone; the
    record names exactly the people whose data arrived.
    """
    told_any = kept_back = 0
    for path, kind, shape, needed, named in CASES:
        reading = Reading(frozenset(needed.split()), named)
        status, body = await direct(proxy, path)
        assert status == 200, (path, body)
        whole = read(kind, shape, json.loads(body), reading)
        expected = [fact for fact, told in whole if told and fact[-1] not in STAND_INS]
        status, headers, body = await proxy.get(path, proxy.token(HOLDER, SCOPES))
        assert status == 200, (path, body)
        value = json.loads(body)
        got = [fact for fact, _ in read(kind, shape, value, reading) if fact[-1] not in STAND_INS]
        assert got == expected, path
        assert "total_count" not in body.decode(), path
        told_any += bool(expected)
        kept_back += len(expected) < len(whole)
        record = next(one for one in proxy.records() if one.id == headers["X-Audit-Id"])
        named_people = {one for group in record.disclosed for one in group.subjects}
        arrived = {subject for fact in got for subject in subjects(fact)}
        assert {proxy.pseudonym(one) for one in arrived} == named_people, path
    assert told_any == len(CASES)
    assert kept_back > len(CASES) / 2


def subjects(fact):
    """Whom a value that arrived is about."""
    kind, first, *rest = fact
    if kind in ("person", "like"):
        return [] if rest[0] == "verified" else [first]
    if kind == "tag":
        return [rest[0]]
    if kind == "comment" and rest[0] == "from":
        return [json.loads(rest[1])["id"]]
    if kind == "message" and rest[0] in ("from", "to"):
        return [json.loads(rest[1])["id"]]
    if kind == "photo" and rest[0] == "owner":
        return [json.loads(rest[1])["id"]]
    if kind == "post" and rest[0] == "owner_id":
        return [str(rest[1])]
    return []


async def test_a_map_of_people_takes_fields(proxy):
    """``fields`` selects properties of the people in a map, as it does in a list."""
    status, _, body = await proxy.get(f"/people?ids={OPEN}&fields=name,city", proxy.token(HOLDER, SCOPES))
    assert (status, json.loads(body)[OPEN].keys()) == (200, {"id", "name", "city"})


async def test_lists_are_paged_by_sealed_cursors(proxy):
    """Page by page an app gets the very people of the whole list, and never a cursor of the platform's; a nested list goes
    on where its own operation is.
    """
    token = proxy.token(HOLDER, SCOPES)
    _, _, body = await proxy.get("/me/friends?limit=100", token)
    whole = [one["id"] for one in json.loads(body)["data"]]
    paged, seen, target = [], [], "/me/friends?limit=3"
    while target is not None:
        _, _, body = await proxy.get(target, token)
        page = json.loads(body)
        paged += [one["id"] for one in page["data"]]
        after = page["paging"].get("after")
        seen += [after] if after is not None else []
        target = None if after is None else f"/me/friends?limit=3&after={after}"
    assert paged == whole
    assert len(seen) == len(set(seen)) == (len(FRIENDS) - 1) // 3
    assert {len(one) for one in seen} == {123}
    _, body = await direct(proxy, "/me/friends?limit=3")
    raw = json.loads(body)["paging"]["after"]
    status, _, body = await proxy.get(f"/me/friends?limit=3&after={raw}", token)
    assert (status, json.loads(body)["reason"]) == (400, "cursor_invalid")
    _, _, body = await proxy.get("/me?fields=friends{name}", token)
    after = json.loads(body)["friends"]["paging"]["after"]
    status, _, body = await proxy.get(f"/people/{HOLDER}/friends?limit=100&after={after}", token)
    assert status == 200
    assert [one["id"] for one in json.loads(body)["data"]] == whole[-len(json.loads(body)["data"]) :]
