"""The ledger of the proxy, asked as the proxy asks it."""

from collections.abc import Set as AbstractSet

from audit_proxy.core.detection.account import Status
from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.core.detection.findings import Verdict
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.detection.uses import NOBODY, Use
from audit_proxy.core.policy import App
from audit_proxy.simulation.people import People
from audit_proxy.simulation.traffic import Answer, Page


def ask(
    ledger: Ledger,
    at: float,
    app: App,
    holder: int | None,
    leaves: AbstractSet[int],
    withheld: AbstractSet[int],
    missed: AbstractSet[int],
    categories: AbstractSet[str],
) -> Verdict:
    """The verdict on a page, all people as keys. Of a restricted app all third parties are held back, as the proxy does."""
    restricted = ledger.status(app.id) is Status.restricted
    use = Use(
        app=app,
        holder=holder,
        third_parties=NOBODY if restricted else leaves,
        held_back=leaves if restricted else NOBODY,
        without_grant=withheld,
        missed=missed,
        categories=categories,
    )
    return ledger.reserve(at, use)


class LedgerGuard:
    """``consent``: third parties without a grant of their own are withheld, as ``enforce`` does. Without it everybody counts
    as having permitted, and budgets alone stand in the way.
    """

    def __init__(self, budgets: Budgets, people: People, *, consent: bool) -> None:
        self._ledger = Ledger(budgets)
        self._people = people
        self._consent = consent

    def judge(self, page: Page) -> Answer:
        key = self._people.key
        leaves = set(page.subjects)
        withheld: set[int] = set()
        if self._consent:
            withheld = leaves.difference(page.granted)
            leaves -= withheld
        missed = {*page.missing, *withheld} if page.looked_up else NOBODY
        before = self._ledger.status(page.app.id)
        verdict = ask(
            self._ledger,
            page.at,
            page.app,
            None if page.holder is None else key(page.holder),
            frozenset(map(key, leaves)),
            frozenset(map(key, withheld)),
            frozenset(map(key, missed)),
            page.categories,
        )
        if verdict.releases:
            return Answer(() if before is Status.restricted else leaves, None, 0.0, verdict.findings)
        return Answer((), verdict.action, float(verdict.retry_after_s), verdict.findings)

    def status(self, app: App) -> str:
        return self._ledger.status(app.id).value


class Open:
    """Nothing stands in the way: what an attack would have taken."""

    def judge(self, page: Page) -> Answer:
        return Answer(page.subjects)

    def status(self, app: App) -> str:  # noqa: ARG002  (the port's signature)
        return Status.active.value
