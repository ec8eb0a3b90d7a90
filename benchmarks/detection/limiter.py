"""The peer: a plain limit of requests an hour for each app, as gateways have it."""

from audit_proxy.core.detection.budgets import Signal
from audit_proxy.core.detection.findings import Action, Finding
from audit_proxy.core.policy import App
from audit_proxy.simulation.traffic import HOUR, Answer, Page


class RateLimiter:
    """Refuses what is beyond ``hourly`` requests of an app until the hour is over; an alert once an hour. It never quarantines."""

    def __init__(self, hourly: float) -> None:
        self._hourly = hourly
        self._counts: dict[str, tuple[float, int]] = {}

    def judge(self, page: Page) -> Answer:
        hour = page.at // HOUR
        before, count = self._counts.get(page.app.id, (hour, 0))
        count = count + 1 if before == hour else 1
        self._counts[page.app.id] = (hour, count)
        if count <= self._hourly:
            return Answer(page.subjects)
        left = (hour + 1) * HOUR - page.at
        alert = (_alert(page, count, round(self._hourly)),) if count == int(self._hourly) + 1 else ()
        return Answer((), Action.throttle, left, alert)

    def status(self, app: App) -> str:  # noqa: ARG002  (the port's signature)
        return "active"


def _alert(page: Page, count: int, limit: int) -> Finding:
    """In the form of the ledger's findings; it has no signal for requests, so the detector it names is of no meaning."""
    return Finding(
        app=page.app.id,
        detector=Signal.third_parties,
        action=Action.throttle,
        value=count,
        limit=limit,
        window="1h",
        at=page.at,
        since=page.at,
    )
