"""Harvests by one app. Each is a function of a setting, and gives the actors that carry it out.

What an attacker knows and wants is the family's own; none was written with a limit of ours in mind, save ``bounded`` and
``twice_the_budget``, which read the limits.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence

from audit_proxy.core.detection.budgets import Signal
from audit_proxy.core.detection.windows import BUCKETS, WINDOWS
from audit_proxy.core.policy import App
from audit_proxy.simulation.benign import social
from audit_proxy.simulation.conduct import PAGE, cut, insist, wait
from audit_proxy.simulation.setting import Setting, app, arrivals, renamed
from audit_proxy.simulation.traffic import DAY, HOUR, MINUTE, Actor, Page

_HIT_RATE = 0.0085  # of shuffled enumeration: the share of ids that were somebody's in the Clubhouse scrape of 2021


def _walk(setting: Setting, one: App, at: float, holder: int, granted: Collection[int] = ()) -> Iterator[Page]:
    """All friends of one holder, page by page."""
    for number, page in enumerate(cut(setting.people.friends(holder))):
        yield Page(at + number * 0.4, one, holder, page, [who for who in page if who in granted], hostile=True)


def _in_order(pages: Iterable[Page]) -> list[Page]:
    return sorted(pages, key=lambda page: page.at)


def quiz(setting: Setting) -> list[Actor]:
    """2014: installers for three weeks, and of each all friends at once. A few friends are installers too."""
    draw, one = setting.draw("quiz"), app("quiz")
    many = setting.scaled(5_000)
    days = 21
    curve = [(day + 1) * (days - day) for day in range(days)]
    rates = [many * height / sum(curve) for height in curve]
    times = list(arrivals(draw, setting.begin, rates))
    installers = [draw.randrange(setting.people.count) for _ in times]
    known = frozenset(installers)

    def pages() -> Iterator[Page]:
        waiting: list[Page] = []
        for at, installer in zip(times, installers, strict=True):
            due = [page for page in waiting if page.at <= at]
            waiting = [page for page in waiting if page.at > at]
            yield from _in_order(due)
            friends = [who for who in setting.people.friends(installer) if who in known]
            waiting += _walk(setting, one, at, installer, friends)
        yield from _in_order(waiting)

    return [insist(pages())]


def drift(setting: Setting) -> list[Actor]:
    """A month of ordinary use; then the app has another name, and takes the friends of all its users within four days."""
    draw, before = setting.draw("drift"), app("horoscope")
    users = draw.sample(range(setting.people.count), min(setting.scaled(900), setting.people.count // 2))
    after = renamed(before, "Voter insights")
    turn = setting.begin + 30 * DAY

    def pages() -> Iterator[Page]:
        yield from social(draw, before, users, setting.begin, 30)
        known = frozenset(users)
        walks = [
            page
            for user in users
            for page in _walk(setting, after, turn + draw.random() * 4 * DAY, user, known.intersection([user]))
        ]
        yield from _in_order(walks)

    return [insist(pages())]


def sequential(setting: Setting) -> list[Actor]:
    """Ids one after the other with an app-only token, 50 a request, one request a second; one id in ten is nobody's."""
    draw, one = setting.draw("sequential"), app("id-walker")
    begin, last = draw.randrange(setting.people.count // 2), setting.scaled(60_000)

    def pages() -> Iterator[Page]:
        at = setting.begin
        for first in range(begin, min(begin + last, setting.people.count), 50):
            ids = range(first, min(first + 50, setting.people.count))
            found = [who for who in ids if draw.random() < 0.9]
            nobody = [setting.people.count + who for who in set(ids).difference(found)]
            at += draw.uniform(0.9, 1.1)
            yield _lookup(at, one, None, found, nobody, "getUsers")

    return [insist(pages())]


def _lookup(at: float, one: App, holder: int | None, found: Sequence[int], missing: Sequence[int], name: str) -> Page:
    contact = frozenset({"user.name", "user.contact.phone_number"})
    categories = contact if name == "findByPhone" else frozenset({"user.name"})
    return Page(
        at, one, holder, found, (), missing, looked_up=True, hostile=True, operation=name, categories=categories
    )


def shuffled(setting: Setting) -> list[Actor]:
    """Ids in random order out of a sparse space: 0.85 % are somebody's. 50 a request, five requests a second, 20 tokens."""
    draw, one = setting.draw("shuffled"), app("id-lottery")
    tokens = draw.sample(range(setting.people.count), 20)

    def pages() -> Iterator[Page]:
        for number in range(setting.scaled(40_000)):
            hits = sum(draw.random() < _HIT_RATE for _ in range(50))
            found = [draw.randrange(setting.people.count) for _ in range(hits)]
            nobody = [draw.randrange(setting.people.count, setting.people.count * 100) for _ in range(50 - hits)]
            at = setting.begin + number * 0.2
            yield _lookup(at, one, draw.choice(tokens), found, nobody, "getUsers")

    return [insist(pages())]


def contacts(setting: Setting) -> list[Actor]:
    """Made-up address books: batches of 500 telephone numbers with five tokens, a batch of each every ten minutes."""
    return [_oracle(setting, "contact-importer", tokens=5, batch=500, hits=0.4, every=2 * MINUTE, batches=600)]


def oracle(setting: Setting) -> list[Actor]:
    """Telephone numbers and addresses one by one, two a second with 20 tokens, one in ten is somebody's."""
    return [_oracle(setting, "phone-oracle", tokens=20, batch=1, hits=0.1, every=0.5, batches=60_000)]


def _oracle(setting: Setting, name: str, tokens: int, batch: int, hits: float, every: float, batches: int) -> Actor:
    draw, one = setting.draw(name), app(name)
    holders = draw.sample(range(setting.people.count), tokens)

    def pages() -> Iterator[Page]:
        for number in range(setting.scaled(batches)):
            met = sum(draw.random() < hits for _ in range(batch))
            found = [draw.randrange(setting.people.count) for _ in range(met)]
            nobody = [draw.randrange(setting.people.count, setting.people.count * 100) for _ in range(batch - met)]
            yield _lookup(setting.begin + number * every, one, draw.choice(holders), found, nobody, "findByPhone")

    return insist(pages())


def hopping(setting: Setting) -> list[Actor]:
    """As in 2018: from each person whose friends it sees it gets the tokens of some of them, and goes on along the edges."""
    draw, one = setting.draw("hopping"), app("view-as")
    many = setting.scaled(4_000)

    def pages() -> Iterator[Page]:
        at, seen = setting.begin, set[int]()
        front = [draw.randrange(setting.people.count)]
        for _ in range(many):
            if not front:
                return
            holder = front.pop(draw.randrange(len(front)))
            seen.add(holder)
            for page in _walk(setting, one, at, holder):
                at = page.at
                yield page
            friends = setting.people.friends(holder)
            front += [who for who in draw.sample(friends, min(4, len(friends))) if who not in seen]
            at += draw.expovariate(1 / 30) + 1

    return [insist(pages())]


def whole(setting: Setting) -> list[Actor]:
    """The directory of everyone, 100 a page, with an app-only token, as fast as pages come."""
    draw, one = setting.draw("whole"), app("directory")
    first = draw.randrange(setting.people.count)
    last = min(setting.people.count, first + setting.scaled(300_000))

    def pages() -> Iterator[Page]:
        for number, at in enumerate(range(first, last, PAGE * 4)):
            people = range(at, min(at + PAGE * 4, last))
            yield Page(setting.begin + number * 0.2, one, None, people, hostile=True, operation="listUsers")

    return [insist(pages())]


def slow(setting: Setting) -> list[Actor]:
    """One page of friends of each of forty users a day, for five months, at any hour; it waits whenever it is told to."""
    draw, one = setting.draw("slow"), app("patient")
    end = setting.begin + 150 * DAY

    def pages() -> Iterator[Page]:
        for at in arrivals(draw, setting.begin, [setting.size * 40.0] * 150):
            holder = draw.randrange(setting.people.count)
            yield Page(at, one, holder, setting.people.friends(holder)[:PAGE], hostile=True)

    return [wait(pages(), end)]


def bounded(setting: Setting) -> list[Actor]:
    """Knows every limit and how windows turn, has as many tokens as it likes, and stays just under, for 90 days."""
    draw, one = setting.draw("bounded"), app("tightrope")
    daily = daily_allowance(setting, one)
    return [insist(_spread(setting, draw, one, daily, setting.scaled(90)))]


def twice_the_budget(setting: Setting) -> list[Actor]:
    """Asks for twice what its limits give it in a day, evenly, with as many tokens as it likes, for 30 days."""
    draw, one = setting.draw("twice"), app("double")
    limits, _ = setting.budgets.of(one, setting.begin)
    daily = min(limit.people for limit in limits[Signal.third_parties] if limit.window == "24h")
    return [insist(_spread(setting, draw, one, 2 * daily, setting.scaled(30)))]


def daily_allowance(setting: Setting, one: App) -> float:
    """People a day that no limit of an app forbids, with a window as long as its open bucket can make it."""
    limits, _ = setting.budgets.of(one, setting.begin)
    most, known = [], setting.budgets.population or 0
    for every in limits.values():
        for limit in every:
            if limit.signal is not Signal.per_holder:
                cap = max(limit.people, limit.per * known if limit.signal is Signal.coverage else 0)
                most.append(cap * DAY / (WINDOWS[limit.window] * (BUCKETS + 1) / BUCKETS))
    return min(most) * 0.99


def _spread(setting: Setting, draw: random.Random, one: App, daily: float, days: int) -> Iterator[Page]:
    """So many new people a day, evenly, ten a page, each page with the token of another user out of many."""
    tokens = [draw.randrange(setting.people.count) for _ in range(2_000)]
    first = draw.randrange(setting.people.count)
    for number in range(int(daily * days / 10)):
        people = [(first + number * 10 + n) * 7_919 % setting.people.count for n in range(10)]
        at = setting.begin + number * DAY * 10 / daily
        yield Page(at, one, tokens[number % len(tokens)], people, hostile=True)


def extracted(setting: Setting) -> list[Actor]:
    """A popular app in ordinary use, and somebody who took one user's token out of it and harvests with that."""
    draw, one = setting.draw("extracted"), app("popular")
    users = draw.sample(range(setting.people.count), min(setting.scaled(1_500), setting.people.count // 2))
    begin = setting.begin + 2 * DAY + HOUR

    def stolen() -> Iterator[Page]:
        for number in range(setting.scaled(2_000)):
            people = [draw.randrange(setting.people.count) for _ in range(PAGE)]
            yield Page(begin + number, one, users[0], people, hostile=True, operation="search")

    ordinary = social(setting.draw("ordinary"), one, users, setting.begin, 6)
    return [insist(stolen()), insist(ordinary)]
