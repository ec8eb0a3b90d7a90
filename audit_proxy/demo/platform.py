"""The sample platform: a Graph-like social API that plays ``config/platforms/sample/openapi.yaml``.

It knows nothing of the proxy. Whoever holds a person's token sees what that person could see, as it was in 2014. It
trusts whoever stands before it to have verified the token, and only reads its ``sub``.

``python -m audit_proxy.demo.platform --port 9000`` runs it alone.
"""

import argparse
import asyncio
import base64
import bisect
import datetime as dt
import hashlib
import json
import signal
import sys
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import IO, Any

import msgspec
from aiohttp import web

from audit_proxy.demo import selection
from audit_proxy.demo.selection import Selection, SelectionInvalid
from audit_proxy.demo.views import EVERYTHING, PLAIN, CursorInvalid, Json, Views, offset_of, page
from audit_proxy.demo.world import Comment, Post, World

VERSION = "2.0"
_GZIP_FROM = 1024  # bytes; below it gzip saves nothing
_MAX_LIMIT = 100
_MEDIA_IN_MEMORY = 1024 * 1024
_BLOCK = 256 * 1024
_encode = msgspec.json.encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refused(Exception):  # noqa: N818  (an answer, not a fault)
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


_NOT_FOUND = _Refused(404, "not_found", "There is no such thing.")
_BAD_REQUEST = _Refused(400, "bad_request", "The request cannot be understood.")
_UNAUTHORIZED = _Refused(401, "unauthorized", "An access token of a person is needed.")


def make_app(world: World) -> web.Application:
    """The platform as an aiohttp application."""
    platform = _Platform(world)
    app = web.Application(middlewares=[_errors], client_max_size=1024 * 1024)
    app.router.add_get("/status", platform.status)
    app.router.add_get("/me", platform.me)
    app.router.add_get("/me/friends", platform.my_friends)
    app.router.add_get("/me/messages", platform.my_messages)
    app.router.add_post("/me/posts", platform.create_post)
    app.router.add_get("/people", platform.people)
    app.router.add_get("/people/{id}", platform.person)
    app.router.add_get("/people/{id}/friends", platform.friends)
    app.router.add_get("/people/{id}/likes", platform.likes)
    app.router.add_get("/people/{id}/posts", platform.posts)
    app.router.add_get("/people/{id}/photos", platform.photos)
    app.router.add_get("/posts/{id}", platform.post)
    app.router.add_delete("/posts/{id}", platform.delete_post)
    app.router.add_get("/posts/{id}/comments", platform.comments)
    app.router.add_post("/posts/{id}/comments", platform.create_comment)
    app.router.add_get("/search/people", platform.search)
    app.router.add_get("/export/people", platform.export)
    app.router.add_get("/media/{id}", platform.get_media)
    app.router.add_put("/media/{id}", platform.put_media)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Refused as refused:
        return _error(request, refused.status, refused.code, refused.message)
    except (SelectionInvalid, CursorInvalid):
        return _error(request, 400, "bad_request", _BAD_REQUEST.message)
    except web.HTTPNotFound:
        return _error(request, 404, "not_found", _NOT_FOUND.message)
    except web.HTTPMethodNotAllowed:
        return _error(request, 405, "method_not_allowed", "Not with this method.")


def _error(request: web.Request, status: int, code: str, message: str) -> web.Response:
    return _json(request, {"error": {"code": code, "message": message}}, status)


def _json(request: web.Request, value: Any, status: int = 200) -> web.Response:
    body = _encode(value)
    headers = {"X-Api-Version": VERSION}
    if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        squeezer = zlib.compressobj(1, wbits=31)
        body = squeezer.compress(body) + squeezer.flush()
        headers["Content-Encoding"] = "gzip"
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _subject(request: web.Request) -> str:
    """The ``sub`` of the bearer token, unverified: see the module."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        raise _UNAUTHORIZED
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError as error:
        raise _UNAUTHORIZED from error
    return str(claims.get("sub", "")) if isinstance(claims, dict) else ""


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "25")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_LIMIT):
        raise _BAD_REQUEST
    return int(text)


def _chosen(request: web.Request) -> Selection:
    text = request.query.get("fields")
    return PLAIN if text is None else selection.parse(text)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class _Platform:
    def __init__(self, world: World) -> None:
        self._world = world
        self._views = Views(world)
        self._by_email = {profile.email: one for one, profile in enumerate(world.profiles)}
        self._by_name = sorted((profile.name.casefold(), one) for one, profile in enumerate(world.profiles))
        self._media: dict[str, tuple[IO[bytes], int]] = {}
        self._serial = 0

    # -- who asks, and for whom --------------------------------------------------------------------------------------

    def _find(self, id: str) -> int | None:  # noqa: A002  (the API's word)
        if not (id.isascii() and id.isdigit() and len(id) < 20 and id[0] != "0"):
            return None
        return self._world.index_of(int(id))

    def _seer(self, request: web.Request) -> int | None:
        """The person whose token it is, None for an app's own token."""
        return self._find(_subject(request) or "-")

    def _holder(self, request: web.Request) -> int:
        holder = self._seer(request)
        if holder is None:
            raise _UNAUTHORIZED
        return holder

    def _named(self, request: web.Request) -> int:
        one = self._find(request.match_info["id"])
        if one is None:
            raise _NOT_FOUND
        return one

    def _page(self, request: web.Request, items: Sequence[Any], view: Callable[[Any], Json]) -> web.Response:
        return _json(request, page(items, offset_of(request.query.get("after")), _limit(request), view))

    # -- people ------------------------------------------------------------------------------------------------------

    async def status(self, request: web.Request) -> web.Response:
        return _json(request, {"status": "up", "version": VERSION})

    async def me(self, request: web.Request) -> web.Response:
        holder = self._holder(request)
        return _json(request, self._views.person(holder, _chosen(request), holder))

    async def person(self, request: web.Request) -> web.Response:
        seer = self._seer(request)
        return _json(request, self._views.person(self._named(request), _chosen(request), seer))

    async def people(self, request: web.Request) -> web.Response:
        seer, chosen = self._seer(request), _chosen(request)
        ids = request.query.get("ids", "").split(",")
        if not 1 <= len(ids) <= _MAX_LIMIT or "" in ids:
            raise _BAD_REQUEST
        found = {text: self._find(text) for text in ids}
        views = {text: self._views.person(one, chosen, seer) for text, one in found.items() if one is not None}
        return _json(request, views)

    async def my_friends(self, request: web.Request) -> web.Response:
        holder = self._holder(request)
        return self._friends(request, holder, holder)

    async def friends(self, request: web.Request) -> web.Response:
        seer = self._seer(request)
        return self._friends(request, self._named(request), seer)

    def _friends(self, request: web.Request, one: int, seer: int | None) -> web.Response:
        chosen = _chosen(request)
        return self._page(request, self._world.friends[one], lambda friend: self._views.person(friend, chosen, seer))

    async def likes(self, request: web.Request) -> web.Response:
        self._seer(request)
        one = self._named(request)
        return self._page(request, self._world.likes(one), lambda like: self._views.like(one, like))

    async def photos(self, request: web.Request) -> web.Response:
        self._seer(request)
        return self._page(request, self._world.photos(self._named(request)), self._views.photo)

    async def my_messages(self, request: web.Request) -> web.Response:
        return self._page(request, self._world.messages(self._holder(request)), self._views.message)

    async def search(self, request: web.Request) -> web.Response:
        seer, chosen = self._seer(request), _chosen(request)
        email, name = request.query.get("email"), request.query.get("name")
        if (email is None) == (name is None):
            raise _BAD_REQUEST
        if email is not None:
            found = [self._by_email[email.lower()]] if email.lower() in self._by_email else []
        else:
            assert name is not None  # one of the two
            found = self._named_so(name.casefold())
        return self._page(request, found, lambda one: self._views.person(one, chosen, seer))

    def _named_so(self, beginning: str) -> list[int]:
        if len(beginning) < 2:
            raise _BAD_REQUEST
        at = bisect.bisect_left(self._by_name, (beginning, 0))
        found = []
        while at < len(self._by_name) and self._by_name[at][0].startswith(beginning):
            found.append(self._by_name[at][1])
            at += 1
        return found

    async def export(self, request: web.Request) -> web.StreamResponse:
        seer = self._seer(request)
        text = request.query.get("limit", str(self._world.people))
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
            raise _BAD_REQUEST
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        everyone = range(min(int(text), self._world.people))
        for start in range(0, len(everyone), 200):
            lines = [_encode(self._views.person(one, EVERYTHING, seer)) for one in everyone[start : start + 200]]
            await response.write(b"\n".join(lines) + b"\n")
        await response.write_eof()
        return response

    # -- posts -------------------------------------------------------------------------------------------------------

    async def posts(self, request: web.Request) -> web.Response:
        seer = self._seer(request)
        found = self._views.posts(self._named(request), seer)
        return self._page(request, found, lambda post: self._views.post(post, seer))

    def _post(self, request: web.Request, seer: int | None) -> Post:
        post = self._views.find_post(request.match_info["id"], seer)
        if post is None:
            raise _NOT_FOUND
        return post

    async def post(self, request: web.Request) -> web.Response:
        seer = self._seer(request)
        return _json(request, self._views.post(self._post(request, seer), seer))

    async def comments(self, request: web.Request) -> web.Response:
        post = self._post(request, self._seer(request))
        return self._page(request, self._views.comments(post), self._views.comment)

    async def create_post(self, request: web.Request) -> web.Response:
        holder = self._holder(request)
        given = await _given(request)
        visibility = given.get("visibility", "friends")
        if visibility not in ("public", "friends", "private"):
            raise _BAD_REQUEST
        self._serial += 1
        post = Post(f"p{10**12 + self._serial}", holder, visibility, _text(given, 5000), _now(), None)
        self._views.written[post.id] = post
        return _json(request, self._views.post(post, holder), 201)

    async def create_comment(self, request: web.Request) -> web.Response:
        holder = self._holder(request)
        post = self._post(request, holder)
        self._serial += 1
        comment = Comment(f"{post.id}-n{self._serial}", holder, _text(await _given(request), 2000), _now())
        self._views.replies.setdefault(post.id, []).append(comment)
        return _json(request, self._views.comment(comment), 201)

    async def delete_post(self, request: web.Request) -> web.Response:
        holder = self._holder(request)
        post = self._post(request, holder)
        if post.owner != holder:
            raise _NOT_FOUND
        self._views.deleted.add(post.id)
        return _json(request, {"success": True})

    # -- blobs -------------------------------------------------------------------------------------------------------

    async def put_media(self, request: web.Request) -> web.Response:
        self._seer(request)
        size, digest = 0, hashlib.sha256()
        kept = tempfile.SpooledTemporaryFile(_MEDIA_IN_MEMORY)  # noqa: SIM115  (it is kept until the next upload)
        async for block in request.content.iter_any():
            size += len(block)
            digest.update(block)
            kept.write(block)
        self._media[request.match_info["id"]] = (kept, size)
        return _json(request, {"id": request.match_info["id"], "size": size, "sha256": digest.hexdigest()}, 201)

    async def get_media(self, request: web.Request) -> web.StreamResponse:
        self._seer(request)
        kept, size = self._media.get(request.match_info["id"], (None, 0))
        if kept is None:
            raise _NOT_FOUND
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = size
        await response.prepare(request)
        at = 0
        while at < size:
            kept.seek(at)  # another reader may have moved it
            block = kept.read(_BLOCK)
            at += len(block)
            await response.write(block)
        await response.write_eof()
        return response


async def _given(request: web.Request) -> Json:
    """The body of a write: a JSON object or a form."""
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post())
    try:
        given = await request.json()
    except ValueError as error:
        raise _BAD_REQUEST from error
    if not isinstance(given, dict):
        raise _BAD_REQUEST
    return given


def _text(given: Json, most: int) -> str:
    text = given.get("message")
    if not isinstance(text, str) or not 0 < len(text) <= most:
        raise _BAD_REQUEST
    return text


async def _serve(world: World, host: str, port: int, *, with_parent: bool) -> None:
    runner = web.AppRunner(make_app(world), access_log=None, keepalive_timeout=75)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), stop.set)  # end of file: the parent is gone
    print(json.dumps({"url": f"http://{host}:{runner.addresses[0][1]}", "people": world.people}), flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m audit_proxy.demo.platform", description="The sample platform.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0: any free one; the first line of output names it")
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    given = parser.parse_args()
    asyncio.run(_serve(World(given.people, given.seed), given.host, given.port, with_parent=given.with_parent))


if __name__ == "__main__":
    main()
