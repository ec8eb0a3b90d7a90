"""What apps ask and are answered, in one order of time.

An *actor* is a generator: it yields pages that it asks for, is sent the answer to each, and ends when it wants no more.
"""

import heapq
from collections.abc import Collection, Generator, Iterable, Iterator
from typing import NamedTuple, Protocol

from audit_proxy.core.detection.findings import Action, Finding
from audit_proxy.core.policy import App

START = 1_767_225_600.0  # 2026-01-01, a Thursday, UTC
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


class Page(NamedTuple):
    """One page of people that an app asks for. ``at`` in seconds since the epoch."""

    at: float
    app: App
    holder: int | None  # None: an app-only token
    subjects: Collection[int]  # people in the answer, other than the holder
    granted: Collection[int] = ()  # those of them whose own grant the app has
    missing: Collection[int] = ()  # ids it looks up that are nobody's
    looked_up: bool = False  # whether it names the people it asks about
    hostile: bool = False  # known to the measurement, never to a guard
    operation: str = "getFriends"
    categories: frozenset[str] = frozenset({"user.name"})


class Answer(NamedTuple):
    """``people``: others than the holder whose data left. ``refusal``: what stopped the page, or None."""

    people: Collection[int]
    refusal: Action | None = None
    retry_after_s: float = 0.0
    findings: tuple[Finding, ...] = ()


Actor = Generator[Page, Answer, None]


class Guard(Protocol):
    """Stands between apps and people."""

    def judge(self, page: Page) -> Answer:
        """Called in order of time."""
        ...

    def status(self, app: App) -> str: ...


def lead(actors: Iterable[Actor], guard: Guard, until: float = float("inf")) -> Iterator[tuple[Page, Answer]]:
    """Every page and its answer, in order of time, to the last that is asked before ``until``."""
    waiting: list[tuple[float, int, Page, Actor]] = []
    for number, actor in enumerate(actors):
        page = next(actor, None)
        if page is not None:
            waiting.append((page.at, number, page, actor))
    heapq.heapify(waiting)
    while waiting and waiting[0][0] < until:
        _, number, page, actor = waiting[0]
        answer = guard.judge(page)
        yield page, answer
        try:
            following = actor.send(answer)
        except StopIteration:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (max(following.at, page.at), number, following, actor))
    for *_, actor in waiting:
        actor.close()
