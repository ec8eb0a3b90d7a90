"""Harvests that are divided: among accounts, or among the apps of one owner."""

from collections.abc import Iterator

from audit_proxy.simulation.conduct import insist, wait
from audit_proxy.simulation.setting import Setting, app
from audit_proxy.simulation.traffic import DAY, Actor, Page


def holders(setting: Setting) -> list[Actor]:
    """400 accounts made for it in one app, each asks for 40 people a day that no other asks for."""
    draw, one = setting.draw("sybil holders"), app("crowd")
    many = setting.scaled(400)
    accounts = draw.sample(range(setting.people.count), min(many, setting.people.count // 2))
    first = draw.randrange(setting.people.count)

    def pages() -> Iterator[Page]:
        for day in range(14):
            moments = sorted((draw.random(), account, part) for account in accounts for part in range(2))
            for number, (moment, account, _) in enumerate(moments):
                at = first + (day * len(moments) + number) * 20
                people = [(at + n) % setting.people.count for n in range(20)]
                yield Page(setting.begin + (day + moment) * DAY, one, account, people, hostile=True, operation="search")

    return [insist(pages())]


def apps(setting: Setting) -> list[Actor]:
    """Up to 100 apps of one owner, each with a share of the people and ten users: 300 people a day, and it waits if told to."""
    draw = setting.draw("sybil apps")
    many = min(100, setting.scaled(draw.randint(40, 100)))
    first = draw.randrange(setting.people.count)
    end = setting.begin + 14 * DAY

    def pages(number: int) -> Iterator[Page]:
        own, one = setting.draw(f"sybil app {number}"), app(f"games-{number}", owner="Shell company")
        accounts = [own.randrange(setting.people.count) for _ in range(10)]
        for day in range(14):
            for part, moment in enumerate(sorted(own.random() for _ in range(15))):
                at = first + ((day * many + number) * 15 + part) * 20
                people = [(at + n) % setting.people.count for n in range(20)]
                yield Page(setting.begin + (day + moment) * DAY, one, own.choice(accounts), people, hostile=True)

    return [wait(pages(number), end) for number in range(many)]
