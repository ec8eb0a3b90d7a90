"""What an app does when it is refused. Whoever is quarantined gives up: nothing comes any more for anybody."""

from collections.abc import Iterable, Sequence

from audit_proxy.core.detection.findings import Action
from audit_proxy.simulation.traffic import Actor, Page

PAGE = 25


def insist(pages: Iterable[Page]) -> Actor:
    """Goes on whatever it is told, with other tokens where one is blocked."""
    blocked: set[int | None] = set()
    for page in pages:
        if page.holder not in blocked:
            answer = yield page
            if answer.refusal is Action.quarantine:
                return
            if answer.refusal is Action.block_holder:
                blocked.add(page.holder)


def wait(pages: Iterable[Page], until: float) -> Actor:
    """Asks again when it was told to, and goes on from there. ``until``: when it loses patience for good."""
    late = 0.0
    blocked: set[int | None] = set()
    for page in pages:
        while page.holder not in blocked:
            if page.at + late >= until:
                return
            answer = yield page._replace(at=page.at + late)
            if answer.refusal is Action.quarantine:
                return
            if answer.refusal is Action.block_holder:
                blocked.add(page.holder)
            elif answer.refusal is Action.throttle:
                late += answer.retry_after_s
                continue
            break


def pause(pages: Iterable[Page]) -> Actor:
    """Sends nothing for as long as it is told to wait; what its users wanted meanwhile is lost."""
    silent = float("-inf")
    for page in pages:
        if page.at >= silent:
            answer = yield page
            if answer.refusal is Action.throttle:
                silent = page.at + answer.retry_after_s


def unaware(pages: Iterable[Page]) -> Actor:
    """Sends what its users want and looks at no answer, as carelessly written apps do."""
    for page in pages:  # noqa: UP028  (an iterator that is no generator cannot be sent an answer)
        yield page


def cut(people: Sequence[int], size: int = PAGE) -> Iterable[Sequence[int]]:
    """Pages of at most ``size`` people."""
    return (people[at : at + size] for at in range(0, len(people), size))
