"""The demo from start to end: platform and proxy as processes of their own, two apps, and what came of it."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from audit_proxy.demo import processes
from audit_proxy.demo.apps import Broken, Client, Harvest, remind
from audit_proxy.demo.consents import QUIZ, REMINDER, AppCard, Consents, draw
from audit_proxy.demo.folder import Folder, prepare
from audit_proxy.demo.log import Record, Sight, about, matches, records
from audit_proxy.demo.received import Pair, Received

Tell = Callable[[int, str], None]  # (how much of the step is done, a note)
_USUAL = 3  # friends with the quiz; a person with about so many is shown


@dataclass(frozen=True, slots=True)
class Options:
    """``directory`` None: a temporary one, removed at the end."""

    people: int = 5000
    seed: int = 1
    directory: Path | None = None


class Progress(Protocol):
    """Who is told how far the demo is."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Tell]:
        """A step begins. Leaving it without an exception ends it well; the last note stays."""
        ...


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose view is shown."""

    id: str
    name: str
    without: frozenset[str]  # categories that the quiz received without the proxy
    through: int  # friends of theirs who had installed the quiz
    sights: dict[str, Sight]  # app -> what the log says


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the demo measured. Durations in seconds."""

    options: Options
    consents: Consents
    without: Received
    quiz: Received
    reminder: Received
    log: list[Record]
    person: Person | None
    metrics: str  # what the proxy's /metrics said before it ended
    verification: str  # what ``audit-proxy log verify`` printed
    verified: bool
    direct_s: float
    proxied_s: float
    total_s: float
    platform_url: str
    folder: Folder

    @property
    def unconsented(self) -> set[Pair]:
        return unconsented(self.consents, QUIZ, self.quiz) | unconsented(self.consents, REMINDER, self.reminder)

    @property
    def match(self) -> bool:
        """Whether each app's own book and the log's records of it agree, answer by answer."""
        return matches(self.quiz, self.log) and matches(self.reminder, self.log)

    @property
    def good(self) -> bool:
        """Whether everything that the proxy promises held."""
        return not self.unconsented and self.verified and self.match

    def grounds(self) -> Counter[str]:
        """Ground -> (person, category) pairs that the apps' records give it, disclosed and withheld."""
        found: Counter[str] = Counter()
        for record in self.log:
            for side in ("disclosed", "withheld"):
                for group in record.get(side, ()):
                    found[group["consent"]] += len(group["subjects"]) * len(group["categories"])
        return found

    def facts(self) -> dict[str, Any]:
        """The numbers, for ``--json``."""
        installers = set(self.consents.installers)
        return {
            "people": self.options.people,
            "seed": self.options.seed,
            "installers": len(installers),
            "requests": self.quiz.requests + self.reminder.requests,
            "requests_without_proxy": self.without.requests,
            "subjects_without_proxy": len(self.without.people),
            "subjects_with_proxy": len(self.quiz.people),
            "third_parties_without_proxy": len(self.without.people - installers),
            "third_parties_with_proxy": len(self.quiz.people - installers),
            "unconsented_without_proxy": len(unconsented(self.consents, QUIZ, self.without)),
            "unconsented_disclosed": len(self.unconsented),
            "disclosures_received": self.quiz.disclosures + self.reminder.disclosures,
            "records": len(self.log),
            "log_verified": self.verified,
            "records_match_received": self.match,
            "grounds": dict(sorted(self.grounds().items())),
            "seconds_without_proxy": round(self.direct_s, 2),
            "seconds_with_proxy": round(self.proxied_s, 2),
            "seconds": round(self.total_s, 2),
        }


def unconsented(consents: Consents, app: AppCard, book: Received) -> set[Pair]:
    """What an app received about people who did not permit it: by its own book and the people's own words."""
    return {
        (fact.person, fact.category)
        for holder, fact in book.facts
        if not consents.may_receive(app, holder, fact.person, fact.scopes)
    }


async def run(options: Options, progress: Progress, show: Callable[[Outcome], None]) -> Outcome:
    """Runs the demo; ``show`` is called while the folder still exists. Raises Broken, FilesExist, OSError."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        if options.directory is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-proxy-demo-")))
        else:
            path = options.directory.absolute()
        with progress.step(f"A social platform: {options.people:,} people and their friendships"):
            url = await stack.enter_async_context(processes.platform(options.people, options.seed))
        folder = prepare(path, url)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        consents = draw(options.people, options.seed, time.time())
        outcome = await _replay(options, progress, folder, url, session, consents, began)
        show(outcome)
        return outcome


async def _replay(
    options: Options,
    progress: Progress,
    folder: Folder,
    url: str,
    session: aiohttp.ClientSession,
    consents: Consents,
    began: float,
) -> Outcome:
    installers = consents.installers
    with progress.step("As in 2014, nothing in between: the quiz walks the friends", len(installers)) as tell:
        direct = Harvest(Client(QUIZ, session, url, folder.token, tell))
        started = time.monotonic()
        without = await direct.run(installers)
        direct_s = time.monotonic() - started
    async with AsyncExitStack() as stack:
        with progress.step("The proxy starts and takes in what people permitted") as tell:
            proxy_url, admin_url = await stack.enter_async_context(processes.proxy(folder))
            tell(0, f"{await _import(session, admin_url, folder, consents):,} statements")
        with progress.step("Through the proxy: the same walk, the old ids in hand", len(installers)) as tell:
            walk = Harvest(Client(QUIZ, session, proxy_url, folder.token, tell), direct.friends)
            started = time.monotonic()
            quiz = await walk.run(installers)
            proxied_s = time.monotonic() - started
        with progress.step("Through the proxy: a well-behaved app asks for birthdays", len(consents.reminded)) as tell:
            reminder = await remind(Client(REMINDER, session, proxy_url, folder.token, tell), consents.reminded)
        with progress.step("The proxy ends; its log is verified from the files alone") as tell:
            metrics = await _metrics(session, admin_url, folder)
            await stack.aclose()
            against = ("--against", str(folder.checkpoints))
            code, verification = await processes.command("log", "verify", "-c", str(folder.config), *against)
            log = list(records(folder.log))
            tell(0, f"{len(log):,} records")
    person = await _person(consents, direct, reminder, log, folder, url, session)
    return Outcome(
        options, consents, without, quiz, reminder, log, person, metrics, verification, code == 0,
        direct_s, proxied_s, time.monotonic() - began, url, folder,
    )  # fmt: skip


async def _import(session: aiohttp.ClientSession, admin_url: str, folder: Folder, consents: Consents) -> int:
    headers = {"Authorization": f"Bearer {folder.consent_token}", "Content-Type": "application/x-ndjson"}
    body = b"".join(consents.ndjson())
    async with session.post(f"{admin_url}/v1/consent/import", data=body, headers=headers) as answer:
        text = await answer.text()
    if answer.status != 200:
        raise Broken(f"the consents were not taken: HTTP {answer.status}: {text[:300]}")
    last = json.loads(text.splitlines()[-1])  # one line for each progress, the last one totals
    if not last["done"] or not last["loaded"] or last["refused"]:
        raise Broken(f"the consents were not all taken: {last}")
    return int(last["lines"])


async def _metrics(session: aiohttp.ClientSession, admin_url: str, folder: Folder) -> str:
    headers = {"Authorization": f"Bearer {folder.monitoring_token}"}
    async with session.get(f"{admin_url}/metrics", headers=headers) as answer:
        if answer.status != 200:
            raise Broken(f"the metrics were not served: HTTP {answer.status}")
        return await answer.text()


async def _person(
    consents: Consents,
    direct: Harvest,
    reminder: Received,
    log: list[Record],
    folder: Folder,
    url: str,
    session: aiohttp.ClientSession,
) -> Person | None:
    """Somebody who never said anything to the quiz, was harvested all the same, and lets the reminder have something."""
    through = Counter(friend for friends in direct.friends.values() for friend in set(friends))
    silent = [person for person in through if person not in consents.kinds]
    glad = [person for person in silent if reminder.about(person) and person in consents.reminded]
    chosen = min(glad or silent, key=lambda person: (abs(through[person] - _USUAL), int(person)), default=None)
    if chosen is None:
        return None
    client = Client(QUIZ, session, url, folder.token, lambda _done, _note: None)
    profile = await client.get(chosen, f"/people/{chosen}?fields=name", {"profile.read"})
    assert profile is not None  # the platform itself knows everybody
    seen = frozenset(direct.client.book.about(chosen)) - {"user.social"}
    sights = about(log, folder.pseudonym(f"person:{chosen}"))
    return Person(chosen, profile["name"], seen, through[chosen], sights)
