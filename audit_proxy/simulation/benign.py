"""Ordinary use. Each family is a function of a setting, and gives the actors that carry it out.

An honest app asks for people who use it too and who permitted it. A few of those that it meets did not: who comments
on a user's post need not know the app.
"""

import random
from collections.abc import Iterable, Iterator, Sequence

from audit_proxy.core.policy import App
from audit_proxy.simulation.conduct import PAGE, cut, pause, unaware
from audit_proxy.simulation.setting import Setting, app, arrivals
from audit_proxy.simulation.traffic import DAY, HOUR, MINUTE, Actor, Page

_STRANGERS = 0.02  # of the people on a page: those who do not use the app
_CARELESS = 0.3  # of apps: those that look at no answer
_WEEK = (1.0, 1.1, 1.25, 1.3, 0.95, 0.9, 0.9)  # from Thursday


def _crowd(draw: random.Random, setting: Setting, many: int) -> list[int]:
    return draw.sample(range(setting.people.count), min(many, setting.people.count // 2))


def circle(users: Sequence[int], place: int, most: int = 30) -> list[int]:
    """Who among the users is a friend of the one at ``place``: a few of those around it, the same ones each time."""
    own = random.Random(users[place])
    many = min(1 + int(own.paretovariate(1.3) * 3), most, len(users) - 1)
    near = {(place + round(own.gauss(0, 40))) % len(users) for _ in range(many)} - {place}
    return [users[one] for one in near]


def session(draw: random.Random, one: App, users: Sequence[int], at: float, strangers: int) -> Iterator[Page]:
    """One user looks at friends who use the app too, and at times meets strangers (ids below ``strangers``)."""
    place = draw.randrange(len(users))
    friends = circle(users, place)
    for number, page in enumerate(cut(friends)):
        met = [draw.randrange(strangers) for who in page if draw.random() < _STRANGERS] if strangers else []
        yield Page(at + number * 0.5, one, users[place], [*page, *met], page)


def social(
    draw: random.Random, one: App, users: Sequence[int], begin: float, days: int, daily: float = 0.15
) -> Iterator[Page]:
    """An app with users who come back: ``daily`` sessions a user and day, more in the evening and at the week's end."""
    rates = [len(users) * daily * _WEEK[day % 7] for day in range(days)]
    latest = begin
    for at in arrivals(draw, begin, rates):
        for page in session(draw, one, users, at, max(users)):
            latest = max(latest, page.at)
            yield page._replace(at=latest)


def led(draw: random.Random, pages: Iterable[Page]) -> Actor:
    """As carefully or carelessly written as apps are."""
    return unaware(pages) if draw.random() < _CARELESS else pause(pages)


def ordinary(setting: Setting, apps: int = 100, days: int = 30) -> list[Actor]:
    """Apps of all sizes: the number of users is Pareto-distributed from 10 up. The operator knows which of them are large."""
    found = []
    for number in range(setting.scaled(apps)):
        draw = setting.draw(f"ordinary {number}")
        many = min(int(10 * draw.paretovariate(1.1)), 20_000)
        one = app(f"app-{number}", tier="standard" if many < 2_000 else "medium")
        users = _crowd(draw, setting, many)
        found.append(led(draw, social(draw, one, users, setting.begin, days)))
    return found


def viral(setting: Setting) -> list[Actor]:
    """A new app that nobody expected: from ten to some 20,000 users within ten days, each with friends who use it too."""
    draw, one = setting.draw("viral"), app("overnight-hit")
    everyone = _crowd(draw, setting, setting.scaled(draw.randint(12_000, 25_000)))

    def pages() -> Iterator[Page]:
        for day in range(14):
            users = everyone[: max(10, int(len(everyone) / (1 + 400 * 0.35**day)))]
            yield from social(draw, one, users, setting.begin + day * DAY, 1, daily=0.5)

    return [led(draw, pages())]


def backfill(setting: Setting) -> list[Actor]:
    """An archive reads all of its own users within three days, with a token of its own. Declared beforehand."""
    draw, one = setting.draw("backfill"), app("archive", tier="medium")
    users = _crowd(draw, setting, setting.scaled(draw.randint(40_000, 150_000)))
    every = 3 * DAY / (len(users) / PAGE)
    pages = (Page(setting.begin + n * every, one, None, page, page) for n, page in enumerate(cut(users)))
    return [led(draw, pages)]


def finder(setting: Setting) -> list[Actor]:
    """People who look for their friends: real address books, at most a few a user, most numbers unknown. Declared."""
    draw, one = setting.draw("finder"), app("address-book")
    rate = setting.scaled(draw.randint(40, 110))

    def pages() -> Iterator[Page]:
        for at in arrivals(draw, setting.begin, [rate * _WEEK[day % 7] for day in range(30)]):
            holder = draw.randrange(setting.people.count)
            book = max(20, int(draw.lognormvariate(4.8, 0.6)))
            friends = setting.people.friends(holder)
            known = draw.sample(friends, min(len(friends), int(book * 0.45)))
            nobody = [
                draw.randrange(setting.people.count, setting.people.count * 100) for _ in range(book - len(known))
            ]
            granted = [who for who in known if draw.random() < 0.8]
            yield Page(at, one, holder, known, granted, nobody, looked_up=True, operation="findByPhone")

    return [led(draw, pages())]


def support(setting: Setting) -> list[Actor]:
    """Eight agents who look up whoever wrote to them, in working hours. Declared."""
    draw, one = setting.draw("support"), app("help-desk")
    agents = _crowd(draw, setting, setting.scaled(8))

    def pages() -> Iterator[Page]:
        for day in range(60):
            cases = 0 if day % 7 in (2, 3) else int(len(agents) * draw.uniform(30, 70))
            for moment in sorted(draw.uniform(9, 18) for _ in range(cases)):
                who = draw.randrange(setting.people.count)
                at = setting.begin + day * DAY + moment * HOUR
                nobody = [setting.people.count + who] if draw.random() < 0.05 else []
                found = [] if nobody else [who]
                yield Page(at, one, draw.choice(agents), found, found, nobody, looked_up=True, operation="getUser")

    return [led(draw, pages())]


def dashboard(setting: Setting) -> list[Actor]:
    """Five screens that ask for the same 200 people every five minutes, day and night."""
    draw, one = setting.draw("dashboard"), app("wallboard")
    shown, screens = _crowd(draw, setting, setting.scaled(200)), _crowd(draw, setting, 5)
    pages = (
        Page(setting.begin + turn * 5 * MINUTE + number + part * 0.1, one, screen, page, page)
        for turn in range(288 * 4)
        for number, screen in enumerate(screens)
        for part, page in enumerate(cut(shown, 100))
    )
    return [led(draw, pages)]


def outage(setting: Setting) -> list[Actor]:
    """An ordinary app; on the tenth day it was away for six hours, and then every user's client asks within half an hour."""
    draw, one = setting.draw("outage"), app("calendar")
    users = _crowd(draw, setting, setting.scaled(draw.randint(500, 1_900)))
    back = setting.begin + 10 * DAY

    def pages() -> Iterator[Page]:
        yield from (page for page in social(draw, one, users, setting.begin, 10) if page.at < back - 6 * HOUR)
        moments = sorted((draw.uniform(0, 30 * MINUTE), place) for place in range(len(users)))
        for moment, place in moments:
            friends = circle(users, place)
            yield Page(back + moment, one, users[place], friends, friends)
        yield from social(draw, one, users, back + HOUR, 5)

    return [led(draw, pages())]


def tests(setting: Setting) -> list[Actor]:
    """An owner with 30 apps for tests and five test accounts in each; all of them ask for the same few people, much and fast."""
    draw = setting.draw("test apps")
    crew = _crowd(draw, setting, 40)

    def pages(number: int) -> Iterator[Page]:
        own, one = setting.draw(f"test app {number}"), app(f"test-{number}", owner="Studio")
        for day in range(5):
            for moment in sorted(own.uniform(8, 20) for _ in range(own.randint(50, 400))):
                people = own.sample(crew, min(20, len(crew)))
                yield Page(setting.begin + day * DAY + moment * HOUR, one, own.choice(crew[:5]), people, people)

    return [led(draw, pages(number)) for number in range(setting.scaled(30))]
