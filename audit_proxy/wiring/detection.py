"""Detection and budgets as ``serve`` runs them: what was kept, what the log tells since, and what is stored now and then."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from audit_proxy.adapters.budgets_sqlite import SqliteBudgetStore, open_budget_store
from audit_proxy.adapters.log_reader import LogReader
from audit_proxy.adapters.metrics_prometheus import PrometheusMetrics
from audit_proxy.core.detection.account import Status
from audit_proxy.core.detection.findings import Finding
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.detection.replay import replay_status, replay_use
from audit_proxy.core.detection.windows import WINDOWS
from audit_proxy.core.errors import DetectionUnavailable, DetectionUnusable
from audit_proxy.core.policy import App
from audit_proxy.core.record import Record, by_record, decode, join
from audit_proxy.pipeline.standings import PeopleKeys, Standings
from audit_proxy.ports import AppRegistry, Clock, Pseudonymizer
from audit_proxy.settings.load import Loaded

_OVERLAP_S = 300.0  # records older than what is stored are read again so far: a request can take its time
_AT_ONCE = 16  # apps in one transaction
_log = structlog.get_logger("audit_proxy.detection")


@dataclass(frozen=True, slots=True)
class Detection:
    ledger: Ledger
    store: SqliteBudgetStore
    keys: PeopleKeys
    standings: Standings


async def open_detection(
    loaded: Loaded,
    apps: AppRegistry,
    pseudonyms: Pseudonymizer,
    clock: Clock,
    metrics: PrometheusMetrics,
    stack: AsyncExitStack,
) -> Detection:
    """Takes up what was stored; it is stored again when ``stack`` ends. Raises DetectionUnusable, OSError."""
    settings, unregistered = loaded.settings, loaded.policy.unknown_app
    store = open_budget_store(settings.detection.state)
    stack.callback(store.close)
    keys = PeopleKeys(pseudonyms, store.secret)
    owners = Counter(app.owner for app in loaded.apps.values())
    ledger = Ledger(loaded.budgets, {owner for owner, many in owners.items() if many > 1})
    standings = Standings(ledger, keys, unregistered)

    def app_of(client_id: str) -> App | None:
        return apps.find(client_id) or unregistered

    _restore(ledger, store, apps, unregistered)
    for record in _records(settings.audit.directory, store.stored_at, clock.now()):
        app = app_of(record.app) if record.app is not None else None
        if app is None:
            continue
        if record.kind in ("access", "denial"):
            replay_use(ledger, record, app, keys.of_name)
        elif store.fresh:  # else what is stored is as new as the log
            replay_status(ledger, record, app)
    keeper = _Keeper(ledger, store, clock, settings.detection.snapshot_s)
    await keeper.store()
    task = asyncio.create_task(keeper.run())

    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await keeper.store()

    stack.push_async_callback(end)
    _export(ledger, metrics, clock, keeper)
    return Detection(ledger, store, keys, standings)


def tell(finding: Finding) -> None:
    """Says a finding on standard error."""
    _log.warning("finding", app=finding.app, detector=finding.detector.value, action=finding.action.value,
                 sentence=finding.sentence)  # fmt: skip


def _restore(ledger: Ledger, store: SqliteBudgetStore, apps: AppRegistry, unregistered: App | None) -> None:
    try:
        for kept, counters in store.load():
            app = apps.find(kept.app)
            if app is None and unregistered is not None and kept.app == unregistered.id:
                app = unregistered
            if app is not None:  # of an app that is registered no more what is stored stays as it is
                ledger.restore(app, kept, counters)
        ledger.restore_shared(store.load_shared())
    except ValueError as error:
        raise DetectionUnusable(f"counts that were stored cannot be read: {error}") from error


def _records(directory: Path, stored_at: float | None, now: float) -> Iterator[Record]:
    """The log's records since what is stored, or of the longest window."""
    since = now - max(WINDOWS.values()) if stored_at is None else stored_at - _OVERLAP_S
    moment = dt.datetime.fromtimestamp(max(0.0, since), dt.UTC)
    for lines in by_record(LogReader(directory).since(moment)):
        try:
            record = join([decode(line) for _, line in lines])
        except ValueError:  # cut off by a crash: nothing of it was released
            continue
        if record.ts >= moment:
            yield record


class _Keeper:
    """Stores what changed, now and then."""

    def __init__(self, ledger: Ledger, store: SqliteBudgetStore, clock: Clock, every_s: float) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self.well = True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.store()

    async def store(self) -> None:
        """Stores every app that changed. What cannot be stored is tried again the next time."""
        ledger, store = self._ledger, self._store
        changed, ledger.changed = sorted(ledger.changed), set()
        began = self._clock.now()
        try:
            for first in range(0, len(changed), _AT_ONCE):
                rows = [
                    (store.encoded(ledger.stored(app)), app, ledger.accounts[app].counters())
                    for app in changed[first : first + _AT_ONCE]
                ]
                await asyncio.to_thread(store.put_counts, rows, {}, None)
            await asyncio.to_thread(store.put_counts, (), ledger.shared() if changed else {}, began)
        except DetectionUnavailable as error:
            ledger.changed.update(changed)
            if self.well:
                _log.error("detection_unstored", error=str(error))
            self.well = False
            return
        self.well = True


def _export(ledger: Ledger, metrics: PrometheusMetrics, clock: Clock, keeper: _Keeper) -> None:
    def people() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for account in list(ledger.accounts.values()):
            for relation, counter in (("third_party", account.taken), ("holder", account.holders)):
                for window, many in counter.distinct.counts(clock.now()).items():
                    place = (account.app.label, relation, window)
                    found[place] = found.get(place, 0.0) + many
        return found

    def fan_out() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for account in list(ledger.accounts.values()):
            holders = account.holders.distinct.counts(clock.now())
            for window, many in account.taken.distinct.counts(clock.now()).items():
                if window in holders:
                    place = (account.app.label, window)
                    found[place] = max(found.get(place, 0.0), many / max(1.0, holders[window]))
        return found

    def used() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for account in list(ledger.accounts.values()):
            for window, share in ledger.used(account, clock.now()).items():
                place = (account.app.label, window)
                found[place] = max(found.get(place, 0.0), share)
        return found

    def statuses() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for account in list(ledger.accounts.values()):
            for status in Status:
                place = (account.app.label, status.value)
                found[place] = found.get(place, 0.0) + (account.kept.status is status)
        return found

    label = "Of apps that share the label 'other'"
    metrics.labelled_gauge(
        "distinct_subjects",
        f"People an app reached (third_party) and its users (holder). {label} the sum.",
        ("app", "relation", "window"),
        people,
    )
    metrics.labelled_gauge(
        "fanout_ratio", f"Third parties received for each user. {label} the highest.", ("app", "window"), fan_out
    )
    metrics.labelled_gauge(
        "budget_used_ratio", f"Highest share of a limit that is used. {label} the highest.", ("app", "window"), used
    )
    metrics.labelled_gauge("app_status", f"1 for the status an app has. {label} how many.", ("app", "status"), statuses)
    metrics.gauge("detector_up", "Whether detection counts and stores.", lambda: float(keeper.well))
