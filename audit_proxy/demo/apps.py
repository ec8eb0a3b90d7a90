"""The two apps: a quiz that walks every installer's friends, as in 2014, and a well-behaved birthday reminder."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from audit_proxy.demo.consents import AppCard
from audit_proxy.demo.received import Received

WORKERS = 16  # people whose tokens an app works with at a time
_decode = msgspec.json.Decoder().decode
Token = Callable[[AppCard, str], str]  # (app, holder) -> access token


class Broken(Exception):  # noqa: N818  (the demo cannot go on)
    """The API answered what it never should: the demo stops and says so."""


@dataclass(slots=True)
class Client:
    """One app talking to one API: the platform itself, or the proxy before it."""

    app: AppCard
    session: aiohttp.ClientSession
    url: str
    token: Token
    tell: Callable[[int, str], None]
    book: Received = field(init=False)
    holders_done: int = 0
    _tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.book = Received(self.app.id)

    async def get(self, holder: str, target: str, scopes: set[str], owner: str | None = None) -> dict[str, Any] | None:
        """One request with a holder's token; the answer, or None where the API has nothing to say (404)."""
        token = self._tokens.get(holder)
        if token is None:
            token = self._tokens[holder] = self.token(self.app, holder)
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"}
        async with self.session.get(self.url + target, headers=headers) as answer:
            body = await answer.read()
            status, audit_id = answer.status, answer.headers.get("X-Audit-Id")
        if status not in (200, 404):
            raise Broken(f"{self.app.name}: HTTP {status} for a request that should be answered: {body[:300]!r}")
        value: dict[str, Any] | None = _decode(body) if status == 200 else None
        self.book.take(holder, status, value, frozenset(scopes), audit_id, owner)
        self.tell(self.holders_done, self._note())
        return value

    def _note(self) -> str:
        return f"{self.book.requests:,} requests"

    async def for_each(self, holders: Iterable[str], work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """Does the work for every holder, for some of them at a time."""
        waiting = iter(list(holders))

        async def worker() -> None:
            for holder in waiting:
                await work(holder)
                self.holders_done += 1
                self.tell(self.holders_done, self._note())

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(worker())

    async def pages(self, holder: str, target: str, scopes: set[str], owner: str | None = None) -> list[dict[str, Any]]:
        """All pages of a list, as one list."""
        found: list[dict[str, Any]] = []
        mark = "&" if "?" in target else "?"
        after: str | None = ""
        while after is not None:
            page = await self.get(holder, f"{target}{mark}after={after}" if after else target, scopes, owner)
            if page is None:
                break
            found += page["data"]
            after = page.get("paging", {}).get("after")
        return found


@dataclass(slots=True)
class Harvest:
    """The quiz. ``known``: holder -> friends whose ids it has from before; it asks for them whatever it is shown."""

    client: Client
    known: dict[str, list[str]] = field(default_factory=dict)
    friends: dict[str, list[str]] = field(default_factory=dict)
    _walked: set[str] = field(default_factory=set)

    async def run(self, installers: Iterable[str]) -> Received:
        """For every installer: the person, all friends with all that friends have, and what each of them likes."""
        await self.client.for_each(installers, self._one)
        return self.client.book

    async def _one(self, holder: str) -> None:
        fields = "name,birthday,city,political_views"
        await self.client.get(holder, f"/me?fields={fields}", {"profile.read"}, holder)
        shown = await self.client.pages(holder, f"/me/friends?limit=100&fields={fields}", {"friends.read"}, holder)
        self.friends[holder] = [friend["id"] for friend in shown]
        wanted = dict.fromkeys([holder, *self.friends[holder], *self.known.get(holder, ())])
        for person in wanted:
            if person not in self._walked:
                self._walked.add(person)
                await self.client.pages(holder, f"/people/{person}/likes?limit=100", {"likes.read"}, person)


async def remind(client: Client, holders: Iterable[str]) -> Received:
    """The reminder: each holder's own profile, and the birthdays of those friends who want to be remembered."""

    async def one(holder: str) -> None:
        await client.get(holder, "/me?fields=name,birthday,friends{name,birthday}", {"profile.read"}, holder)
        await client.pages(holder, "/me/friends?limit=100&fields=name,birthday", {"friends.read"}, holder)

    await client.for_each(holders, one)
    return client.book
