"""The sample platform as a server: it answers what its OpenAPI document says, and nothing else."""

import base64
import gzip
import hashlib
import io
import json
from types import SimpleNamespace

import aiohttp
import pytest
import yaml
from aiohttp.test_utils import TestServer
from jsonschema import Draft202012Validator

from audit_proxy.demo.platform import make_app
from audit_proxy.demo.world import World
from audit_proxy.settings.shipped import shipped

OPENAPI = yaml.safe_load((shipped() / "platforms" / "sample" / "openapi.yaml").read_text())
WORLD = World(300, 5)


def token(person):
    """As an issuer would make it, but for the signature: the platform trusts whoever stands before it."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": str(person)}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def closed(value):
    """The document with every object closed: a property that it does not describe makes an answer invalid."""
    if isinstance(value, dict):
        made = {key: closed(inner) for key, inner in value.items()}
        if made.get("type") == "object" and "properties" in made:
            made.setdefault("additionalProperties", False)
        return made
    return [closed(one) for one in value] if isinstance(value, list) else value


CLOSED = closed(OPENAPI)


def check(schema, value):
    """The value fits the schema of the document, which holds nothing more."""
    Draft202012Validator({**CLOSED, "$ref": f"#/components/schemas/{schema}"}).validate(value)


# somebody with many friends, likes, posts and photos
BUSY = max(
    range(WORLD.people),
    key=lambda one: min(len(WORLD.friends[one]), 60) + 10 * len(WORLD.posts(one)) + 10 * len(WORLD.photos(one)),
)


@pytest.fixture
async def platform():
    async with TestServer(make_app(WORLD)) as server, aiohttp.ClientSession(auto_decompress=False) as session:

        async def ask(method, path, person=BUSY, **options):
            headers = {"Authorization": f"Bearer {token(WORLD.id_of(person))}"} if person is not None else {}
            headers.update(options.pop("headers", {}))
            async with session.request(method, server.make_url(path), headers=headers, **options) as answer:
                body = await answer.read()
                plain = gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
                value = json.loads(plain) if answer.content_type == "application/json" else plain
                return SimpleNamespace(status=answer.status, headers=answer.headers, body=body, value=value)

        yield ask


ME = WORLD.id_of(BUSY)
POST = next(post for post in WORLD.posts(BUSY) if WORLD.comments(post))
ALL = "name,username,picture,verified,email,birthday,city,political_views"
READS = [
    ("/status", "Status"),
    ("/me", "Person"),
    (f"/me?fields={ALL}", "Person"),
    (f"/me?fields={ALL},likes{{page,created_time}},posts{{message,comments}},friends{{name,likes{{page}}}}", "Person"),
    ("/me/friends", "PersonList"),
    (f"/me/friends?limit=100&fields={ALL},posts,likes", "PersonList"),
    ("/me/messages?limit=100", "MessageList"),
    (f"/people?ids={ME},100001,999999", "PeopleById"),
    (f"/people/{ME}", "Person"),
    (f"/people/{ME}/friends?fields=friends", "PersonList"),
    (f"/people/{ME}/likes", "LikeList"),
    (f"/people/{ME}/posts", "PostList"),
    (f"/people/{ME}/photos", "PhotoList"),
    (f"/posts/{POST.id}", "Post"),
    (f"/posts/{POST.id}/comments", "CommentList"),
    ("/search/people?name=a&limit=3", "Error"),
    ("/search/people?name=an", "PersonList"),
    (f"/search/people?email={WORLD.profiles[0].email}", "PersonList"),
]


@pytest.mark.parametrize(("path", "schema"), READS)
async def test_answers_fit_the_description(platform, path, schema):
    """Each read answers exactly what the document describes, with no property more."""
    answer = await platform("GET", path)
    assert answer.status == (400 if schema == "Error" else 200)
    check(schema, answer.value)


async def test_the_selection_decides_what_comes_back(platform):
    """``fields`` gives the named properties and the id; without it, the plain ones."""
    chosen = await platform("GET", "/me?fields=name,friends{birthday}")
    assert chosen.value.keys() == {"id", "name", "friends"}
    assert all(one.keys() <= {"id", "birthday"} for one in chosen.value["friends"]["data"])
    plain = await platform("GET", "/me")
    assert plain.value.keys() == {"id", "name", "username", "picture", "verified"}


@pytest.mark.parametrize(
    "path",
    [
        "/me?fields=",
        "/me?fields=secrets",
        "/me?fields=name{x}",
        "/me?fields=friends{friends{friends{name}}}",
        "/me/friends?limit=0",
        "/me/friends?limit=101",
        "/me/friends?limit=x",
        "/me/friends?after=x",
        "/me/friends?after=AAAA",
        "/people?ids=",
        "/people",
        "/search/people",
        "/search/people?name=ab&email=x",
        "/export/people?limit=0",
    ],
)
async def test_what_cannot_be_understood_is_refused(platform, path):
    """A wrong parameter is a 400 with the described error body."""
    answer = await platform("GET", path)
    assert (answer.status, answer.value["error"]["code"]) == (400, "bad_request")
    check("Error", answer.value)


@pytest.mark.parametrize(
    "path", ["/people/1", "/people/0100001", "/people/x", "/people/1/likes", "/posts/p1", "/media/none", "/no"]
)
async def test_what_does_not_exist_is_not_found(platform, path):
    """Unknown ids and unknown paths are a 404 with the same described body."""
    answer = await platform("GET", path)
    assert (answer.status, answer.value["error"]["code"]) == (404, "not_found")
    check("Error", answer.value)


async def test_without_a_person_there_is_no_me(platform):
    """No token, and a token that means nobody, are a 401; the status needs none."""
    assert (await platform("GET", "/me", None)).status == 401
    assert (await platform("GET", "/me", None, headers={"Authorization": "Bearer a.b.c"})).status == 401
    assert (await platform("GET", "/me", None, headers={"Authorization": f"Bearer {token('an-app')}"})).status == 401
    assert (await platform("GET", "/status", None)).status == 200


async def test_pages_make_up_the_whole(platform):
    """Following ``paging.after`` gives every friend once, in one order; the total says how many; the cursor holds no id."""
    found, after = [], ""
    while True:
        answer = await platform("GET", "/me/friends?limit=7" + (f"&after={after}" if after else ""))
        found += [one["id"] for one in answer.value["data"]]
        assert answer.value["summary"]["total_count"] == len(WORLD.friends[BUSY])
        after = answer.value["paging"].get("after")
        if after is None:
            break
        assert found[-1].encode() not in base64.urlsafe_b64decode(after)
    assert found == [str(WORLD.id_of(one)) for one in WORLD.friends[BUSY]]


async def test_visibility_is_kept(platform):
    """Private posts are for their owner, posts for friends are for friends, public ones for everybody."""
    owner = next(
        one for one in range(WORLD.people) if {post.visibility for post in WORLD.posts(one)} >= {"private", "friends"}
    )
    stranger = next(one for one in range(WORLD.people) if one != owner and one not in WORLD.friends[owner])
    seen = {}
    for seer in (owner, WORLD.friends[owner][0], stranger):
        answer = await platform("GET", f"/people/{WORLD.id_of(owner)}/posts?limit=100", seer)
        seen[seer] = {post["visibility"] for post in answer.value["data"]}
        for post in WORLD.posts(owner):
            one = await platform("GET", f"/posts/{post.id}", seer)
            assert one.status == (200 if post.visibility in seen[seer] else 404)
    assert "private" in seen[owner]
    assert "private" not in seen[WORLD.friends[owner][0]]
    assert "friends" in seen[WORLD.friends[owner][0]]
    assert seen[stranger] <= {"public"}


async def test_a_post_can_be_written_answered_and_deleted(platform):
    """A write is seen by the next read; only the owner deletes; what is deleted is gone."""
    me, friend = BUSY, WORLD.friends[BUSY][0]
    made = await platform("POST", "/me/posts", me, json={"message": "a kite", "visibility": "friends"})
    assert made.status == 201
    check("Post", made.value)
    said = await platform("POST", f"/posts/{made.value['id']}/comments", friend, json={"message": "Ha!"})
    assert said.status == 201
    check("Comment", said.value)
    read = await platform("GET", f"/posts/{made.value['id']}", me)
    assert [one["message"] for one in read.value["comments"]["data"]] == ["Ha!"]
    assert (await platform("DELETE", f"/posts/{made.value['id']}", friend)).status == 404
    gone = await platform("DELETE", f"/posts/{made.value['id']}", me)
    assert gone.value == {"success": True}
    assert (await platform("GET", f"/posts/{made.value['id']}", me)).status == 404


@pytest.mark.parametrize("given", [{}, {"message": ""}, {"message": 1}, {"message": "x", "visibility": "all"}, []])
async def test_a_wrong_write_changes_nothing(platform, given):
    """A body that is no post is refused, and no post appears."""
    before = await platform("GET", f"/people/{ME}/posts")
    assert (await platform("POST", "/me/posts", json=given)).status == 400
    assert (await platform("GET", f"/people/{ME}/posts")).value == before.value


async def test_the_export_is_one_person_a_line(platform):
    """NDJSON: every line is a person, ids ascend, and the limit holds."""
    answer = await platform("GET", "/export/people?limit=210")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    people = [json.loads(line) for line in answer.value.splitlines()]
    assert [int(one["id"]) for one in people] == [WORLD.id_of(one) for one in range(210)]
    for one in people[:20]:
        check("Person", one)


async def test_gzip_is_for_those_who_ask(platform):
    """A long answer is gzip-coded where it is accepted, and the same when it is not."""
    coded = await platform("GET", "/me/friends?limit=100", headers={"Accept-Encoding": "gzip"})
    plain = await platform("GET", "/me/friends?limit=100", headers={"Accept-Encoding": "identity"})
    assert coded.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert len(coded.body) < len(plain.body)
    assert coded.value == plain.value


async def test_media_comes_back_as_it_went(platform):
    """Bytes of any kind are stored and returned unchanged, larger ones too."""
    blob = bytes(range(256)) * 12_000
    stored = await platform("PUT", "/media/clip", data=io.BytesIO(blob))
    check("Stored", stored.value)
    assert stored.value["sha256"] == hashlib.sha256(blob).hexdigest()
    assert (await platform("GET", "/media/clip")).body == blob


async def test_an_owners_number_and_a_persons_text_are_the_same_id(platform):
    """``owner_id`` is an integer, ``Person.id`` its decimal text."""
    posts = await platform("GET", f"/people/{ME}/posts")
    assert {post["owner_id"] for post in posts.value["data"]} == {ME}
    assert (await platform("GET", f"/people/{ME}")).value["id"] == str(ME)


def test_every_operation_is_played():
    """The server has a route for each operation of the document, and none beside."""
    described = {
        (method.upper(), path)
        for path, item in OPENAPI["paths"].items()
        for method in item
        if method in ("get", "put", "post", "delete")
    }
    routes = {(route.method, route.resource.canonical) for route in make_app(WORLD).router.routes() if route.resource}
    assert {route for route in routes if route[0] != "HEAD"} == described
