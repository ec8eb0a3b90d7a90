"""The sample world as the JSON that the sample platform answers: every shape of its OpenAPI document."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.demo.selection import Selection, SelectionInvalid
from audit_proxy.demo.world import Comment, Liked, Message, Photo, Post, World

Json = dict[str, Any]
PLAIN: Selection = {"name": {}, "username": {}, "picture": {}, "verified": {}}
EVERYTHING: Selection = {**PLAIN, "email": {}, "birthday": {}, "city": {}, "political_views": {}}
_LIKE: Selection = {"page": {}, "created_time": {}}
_POST: Selection = {"owner_name": {}, "message": {}, "created_time": {}, "shared": {}, "comments": {}}
_CONNECTIONS = frozenset({"friends", "likes", "posts"})
PAGE = 25
FIRST_COMMENTS = 5


class CursorInvalid(ValueError):  # noqa: N818  (an answer, not a fault)
    """Not a cursor of ours."""


def cursor(offset: int) -> str:
    """An opaque place in a list. It holds an offset, never an id."""
    return base64.urlsafe_b64encode(offset.to_bytes(6, "big")).decode()


def offset_of(text: str | None) -> int:
    """Where a cursor points. Raises CursorInvalid."""
    if text is None:
        return 0
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError as error:
        raise CursorInvalid from error
    if len(raw) != 6:
        raise CursorInvalid
    return int.from_bytes(raw, "big")


def page(items: Sequence[Any], offset: int, limit: int, view: Any) -> Json:
    """A page of a list: ``data``, ``paging.after`` where there is more, and how many there are in all."""
    end = offset + limit
    made: Json = {"data": [view(one) for one in items[offset:end]]}
    made["paging"] = {"after": cursor(end)} if end < len(items) else {}
    made["summary"] = {"total_count": len(items)}
    return made


@dataclass(slots=True)
class Views:
    """A world, and what was written on the platform since it began."""

    world: World
    written: dict[str, Post] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    replies: dict[str, list[Comment]] = field(default_factory=dict)

    # -- people ------------------------------------------------------------------------------------------------------

    def person(self, one: int, chosen: Selection, holder: int | None) -> Json:
        """A person with the chosen properties; ``id`` always. Raises SelectionInvalid."""
        profile = self.world.profiles[one]
        made: Json = {"id": str(profile.id)}
        for name, inner in chosen.items():
            if name in EVERYTHING:
                if inner:
                    raise SelectionInvalid
                value = getattr(profile, name)
                if value is not None:
                    made[name] = value
            elif name in _CONNECTIONS:
                made[name] = self._connection(one, name, inner, holder)
            elif name != "id" or inner:
                raise SelectionInvalid
        return made

    def _connection(self, one: int, name: str, inner: Selection, holder: int | None) -> Json:
        if name == "friends":
            chosen = inner or PLAIN
            return page(self.world.friends[one], 0, PAGE, lambda friend: self.person(friend, chosen, holder))
        if name == "likes":
            return page(self.world.likes(one), 0, PAGE, lambda like: self.like(one, like, inner))
        return page(self.posts(one, holder), 0, PAGE, lambda post: self.post(post, holder, inner))

    def like(self, one: int, like: Liked, chosen: Selection | None = None) -> Json:
        name, category = self.world.pages[like.page]
        made: Json = {"person_id": str(self.world.id_of(one))}
        for wanted, inner in (chosen or _LIKE).items():
            if inner or wanted not in ("page", "created_time", "person_id"):
                raise SelectionInvalid
            if wanted == "page":
                made["page"] = {"id": str(5000 + like.page), "name": name, "category": category}
            elif wanted == "created_time":
                made["created_time"] = like.at
        return made

    def author(self, one: int) -> Json:
        profile = self.world.profiles[one]
        return {"id": str(profile.id), "name": profile.name}

    # -- posts -------------------------------------------------------------------------------------------------------

    def posts(self, one: int, holder: int | None) -> list[Post]:
        """A person's posts that the holder may see, newest first."""
        new = [post for post in reversed(self.written.values()) if post.owner == one]
        return [
            post
            for post in (*new, *self.world.posts(one))
            if post.id not in self.deleted and self._visible(post, holder)
        ]

    def find_post(self, id: str, holder: int | None) -> Post | None:  # noqa: A002  (the API's word)
        found = self.written.get(id) or self.world.post(id)
        if found is None or found.id in self.deleted or not self._visible(found, holder):
            return None
        return found

    def _visible(self, post: Post, holder: int | None) -> bool:
        if post.visibility == "public" or post.owner == holder:
            return True
        return post.visibility == "friends" and holder is not None and holder in self.world.friends[post.owner]

    def post(self, post: Post, holder: int | None, chosen: Selection | None = None, *, inside: bool = False) -> Json:
        made: Json = {"id": post.id, "owner_id": self.world.id_of(post.owner), "visibility": post.visibility}
        for wanted, inner in (chosen or _POST).items():
            if inner or wanted not in (*_POST, *made):
                raise SelectionInvalid
            if wanted == "owner_name":
                made["owner_name"] = self.world.profiles[post.owner].name
            elif wanted == "message":
                made["message"] = post.message
            elif wanted == "created_time":
                made["created_time"] = post.at
            elif wanted == "shared" and post.shared is not None and not inside:
                shared = self.find_post(post.shared, holder)
                if shared is not None:
                    made["shared"] = self.post(shared, holder, inside=True)
            elif wanted == "comments" and not inside:
                made["comments"] = page(self.comments(post), 0, FIRST_COMMENTS, self.comment)
        return made

    def comments(self, post: Post) -> list[Comment]:
        own = self.world.comments(post) if post.id not in self.written else []
        return own + self.replies.get(post.id, [])

    def comment(self, comment: Comment) -> Json:
        return {
            "id": comment.id,
            "from": self.author(comment.author),
            "message": comment.message,
            "created_time": comment.at,
        }

    # -- messages and photos -----------------------------------------------------------------------------------------

    def message(self, message: Message) -> Json:
        return {
            "id": message.id,
            "from": self.author(message.sender),
            "to": self.author(message.recipient),
            "text": message.text,
            "sent_at": message.at,
        }

    def photo(self, photo: Photo) -> Json:
        made = {
            "id": photo.id,
            "owner": self.author(photo.owner),
            "url": f"https://media.sample.example/{photo.id}.jpg",
            "caption": photo.caption,
            "taken_at": photo.at,
            "tags": [{**self.author(one), "x": x, "y": y} for one, x, y in photo.tags],
        }
        if photo.place is not None:
            made["place"] = photo.place
        return made
