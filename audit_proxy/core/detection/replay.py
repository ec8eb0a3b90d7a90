"""The ledger out of the audit log: what records tell of people reached, and of what was decided about apps.

Counting is of distinct people, so a record that is told twice changes nothing. What no record holds does not come back:
looked-up ids that are nobody's, and how much was refused.
"""

from collections.abc import Callable

from audit_proxy.core.detection.account import Status
from audit_proxy.core.detection.findings import Action
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.detection.uses import use_in
from audit_proxy.core.policy import App
from audit_proxy.core.record import Record

ACTIONS = {
    "app.restrict": Status.restricted,
    "app.quarantine": Status.quarantined,
    "app.release": Status.active,
}
_BY_MACHINE = {Action.restrict.value: Status.restricted, Action.quarantine.value: Status.quarantined}


def replay_use(ledger: Ledger, record: Record, app: App, key: Callable[[str], int]) -> None:
    """Counts the people of a record of kind access or denial; ``key`` gives a pseudonym's key."""
    ledger.observe(record.ts.timestamp(), use_in(record, app, key))


def replay_status(ledger: Ledger, record: Record, app: App) -> None:
    """Takes over what a record of kind finding or admin decided about the app."""
    now, detail = record.ts.timestamp(), record.detail or {}
    if record.kind == "admin" and record.decision == "allow" and record.action in ACTIONS:
        why = (record.target or {}).get("reason", "")
        ledger.set_status(app, ACTIONS[record.action], now, record.actor or "", why)
    elif record.kind == "finding" and detail.get("enforced") and detail.get("action") in _BY_MACHINE:
        ledger.set_status(app, _BY_MACHINE[detail["action"]], now, "", str(detail.get("sentence", "")))
