"""What people ask and decide about apps: who was reached, what was found, and restrict, quarantine, release, dismiss.

Invariants:

- A decision has a reason and the name of whoever took it, and is stored before it is answered.
- Only here is an app released, or a finding closed.
"""

from collections.abc import Mapping
from typing import Any

from audit_proxy.core.detection.account import Account, Status
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.policy import App
from audit_proxy.core.record import timestamp
from audit_proxy.ports import BudgetStore, Clock


class AppControl:
    def __init__(
        self, ledger: Ledger, store: BudgetStore, apps: Mapping[str, App], unregistered: App | None, clock: Clock
    ) -> None:
        """``unregistered``: the profile that apps without a registration share."""
        self._ledger = ledger
        self._store = store
        self._apps = dict(apps) if unregistered is None else {**apps, unregistered.id: unregistered}
        self._clock = clock

    def knows(self, app: str) -> bool:
        return app in self._apps

    def every(self) -> list[dict[str, Any]]:
        """Each app's status in short."""
        now = self._clock.now()
        return [self._short(app, now) for app in self._apps.values()]

    def one(self, app: str) -> dict[str, Any]:
        """All that is known of an app: whom it reached, why it has its status, what would break if it were stopped."""
        now = self._clock.now()
        known = self._apps[app]
        account = self._ledger.account(known, now)
        kept = account.kept
        people = account.taken.distinct.counts(now)
        siblings = [one for one in self._apps.values() if one.owner == known.owner and one.id != app]
        return {
            **self._short(known, now),
            "protected": self._ledger.budgets.protects(app),
            "status_by": kept.by or ("machine" if kept.since else None),
            "status_reason": kept.why or None,
            "people": _whole(people),
            "holders": _whole(account.holders.distinct.counts(now)),
            "without_grant": _whole(account.attempts.distinct.counts(now)),
            "missed": _whole(account.missed.distinct.counts(now)),
            "budget_used": {window: round(share, 3) for window, share in self._ledger.used(account, now).items()},
            "still_leaking": kept.status is Status.active and people["5m"] > 0,
            "last_at": _time(kept.last_at),
            "trust_reset_at": _time(kept.changed_at),
            "blocked_holders": sum(now < until for until in kept.blocked.values()),
            "categories": {name: _time(at) for name, at in sorted(kept.categories.items())},
            "findings": [
                {"id": one.id, "at": _time(one.finding.at), **one.finding.detail()} for one in reversed(kept.findings)
            ],
            "records": list(account.records),
            "siblings": [self._short(one, now) for one in siblings],
        }

    def decide(self, app: str, status: Status, by: str, why: str) -> None:
        """Restricts, quarantines or (``active``) releases. Raises DetectionUnavailable where it could not be stored: it is in
        force until the next start only.
        """
        self._ledger.set_status(self._apps[app], status, self._clock.now(), by, why)
        self._store.put(self._ledger.stored(app))

    def dismiss(self, app: str, finding: str) -> bool:
        """Closes a finding; whether there was one open. Raises DetectionUnavailable."""
        closed = self._ledger.dismiss(app, finding)
        if closed:
            self._store.put(self._ledger.stored(app))
        return closed

    def _short(self, app: App, now: float) -> dict[str, Any]:
        account = self._ledger.accounts.get(app.id)
        return {
            "id": app.id,
            "name": app.name,
            "owner": app.owner,
            "tier": app.tier,
            "status": Status.active.value if account is None else account.kept.status.value,
            "since": None if account is None else _time(account.kept.since),
            "people_24h": 0 if account is None else round(account.taken.distinct.counts(now)["24h"]),
            "open_findings": 0 if account is None else _open(account),
        }


def _open(account: Account) -> int:
    return len(account.kept.findings)


def _whole(counts: Mapping[str, float]) -> dict[str, int]:
    return {window: round(many) for window, many in counts.items()}


def _time(seconds: float | None) -> str | None:
    """RFC 3339 in UTC; None for never."""
    return timestamp(seconds).isoformat().replace("+00:00", "Z") if seconds else None
