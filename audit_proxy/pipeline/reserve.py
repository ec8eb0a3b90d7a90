"""Reserve: each page against the app's budget, once it is judged and before it is recorded (DESIGN section 8).

Invariants:

- Nothing is awaited between the look at the budget and the reservation: concurrent pages cannot overshoot.
- A page that is refused discloses nobody; whom it would have shown stands in the record, withheld on the ground ``over_budget``.
- A status that a page brings about is stored, and its finding is in the log before the page's own record, or the page does not
  leave at all.
- Of an answer that nobody was found for, what was looked up counts and nothing else: a person who refuses and an id that
  does not exist use up the same.
- In monitor mode a page is counted, and its record says what would have become of it.
"""

from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from audit_proxy.core.detection.findings import Action, Finding
from audit_proxy.core.detection.uses import NOBODY, About, Use, use_of
from audit_proxy.core.errors import AuditUnavailable, Consent, DetectionUnavailable, Reason, Refusal
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import Mode
from audit_proxy.core.record import RECORD_VERSION, Record, timestamp
from audit_proxy.core.redaction import Group
from audit_proxy.pipeline.admit import Admission
from audit_proxy.pipeline.record import Recorder
from audit_proxy.pipeline.review import Outcome
from audit_proxy.pipeline.standings import BLOCKED, QUARANTINED, PeopleKeys, Standings
from audit_proxy.ports import Budgets, BudgetStore, Metrics

_STATUS = {Action.throttle: 429, Action.restrict: 429, Action.block_holder: 403, Action.quarantine: 403}


class Reserver:
    """Holds what reserving needs; one instance serves all requests. ``on_finding`` is told each finding."""

    def __init__(
        self,
        budgets: Budgets,
        store: BudgetStore,
        keys: PeopleKeys,
        standings: Standings,
        recorder: Recorder,
        metrics: Metrics,
        on_finding: Callable[[Finding], None],
    ) -> None:
        self._budgets = budgets
        self._store = store
        self._keys = keys
        self._standings = standings
        self._recorder = recorder
        self._metrics = metrics
        self._on_finding = on_finding

    def reserve(self, admission: Admission, outcome: Outcome) -> None:
        """Counts the page, and makes the outcome a refusal where it may not leave. Raises AuditUnavailable."""
        use = self._use(admission, outcome)
        if use is None:
            return
        acts = admission.mode is Mode.enforce
        verdict = self._budgets.reserve(admission.now, use, acts=acts)
        if verdict.action is Action.allow and not verdict.findings:
            return
        holder = admission.identity.holder if admission.identity is not None else None
        for finding in verdict.findings:
            self._tell(admission, finding, holder)
        if acts and verdict.action in (Action.block_holder, Action.restrict, Action.quarantine):
            self._store_status(use.app.id)
        if not verdict.releases:
            _refuse(outcome, _refusal(verdict.action, verdict.retry_after_s), acts=acts)

    def _use(self, admission: Admission, outcome: Outcome) -> Use | None:
        """The use that the page makes; None where it is about nobody."""
        people = {**admission.people, **outcome.people} if admission.people else outcome.people
        asked = admission.asked
        looked_up = asked.people if asked is not None else ()
        unmatched = outcome.refusal is not None and outcome.refusal.reason is Reason.not_found
        if admission.app is None or not (people or looked_up or unmatched):
            return None
        keys: Mapping[RawId, int] = (
            dict(zip(people, self._keys.of(list(people.values())), strict=True)) if people else {}
        )
        missed: AbstractSet[int] = NOBODY
        if looked_up:
            named = {keys[raw] if raw in keys else self._keys.of_text(str(raw)) for raw in looked_up}
            missed = named if unmatched else named.difference(map(keys.get, outcome.found))
        elif unmatched and admission.target is not None:
            missed = frozenset((self._keys.of_text(admission.target.text),))
        holder = admission.identity.holder if admission.identity is not None else None
        return use_of(
            self._standings.account(admission.app),
            self._keys.of((holder,))[0] if holder is not None else None,
            _about(outcome.left if outcome.left is not None else outcome.disclosed, keys),
            () if unmatched else _about(outcome.withheld, keys),
            missed,
            admission.id,
        )

    def _tell(self, admission: Admission, finding: Finding, holder: str | None) -> None:
        """Hands the finding's record to the log, in front of the page's own. Raises AuditUnavailable."""
        blocks = finding.action is Action.block_holder and holder is not None
        record = Record(
            v=RECORD_VERSION,
            id=self._recorder.new_id(admission.now),
            ts=timestamp(admission.now),
            node=self._recorder.node,
            kind="finding",
            app=finding.app,
            holder=self._recorder.name(holder) if blocks and holder is not None else None,
            mode=admission.mode.value,
            detail=finding.detail(),
        )
        self._recorder.append(record).add_done_callback(_seen)
        self._budgets.opened(finding, record.id)
        self._metrics.record(record.kind)
        app = admission.app
        self._metrics.finding(app.label if app is not None else "other", finding.detector.value, finding.severity)
        self._on_finding(finding)

    def _store_status(self, app: str) -> None:
        """Makes the app's status durable before the page is answered. Raises AuditUnavailable."""
        try:
            self._store.put(self._budgets.stored(app))
        except DetectionUnavailable as error:
            raise AuditUnavailable("the app's status cannot be stored") from error


def _refusal(action: Action, retry_after_s: int) -> Refusal:
    if action is Action.quarantine:
        return QUARANTINED
    if action is Action.block_holder:
        return BLOCKED
    detail = "the app reaches more people than it may; people whom it reached before are still given"
    return Refusal(Reason.over_budget, detail, retry_after_s=retry_after_s)


def _refuse(outcome: Outcome, refusal: Refusal, *, acts: bool) -> None:
    """Makes it the outcome of a refused page. In monitor mode all that was found still leaves."""
    if not acts and outcome.left is None:
        outcome.left = (*outcome.disclosed, *outcome.withheld)
    over = [msgspec.structs.replace(group, ground=Consent.over_budget) for group in outcome.disclosed]
    outcome.disclosed, outcome.withheld = (), (*outcome.withheld, *over)
    outcome.refusal = refusal
    if acts:
        outcome.body = outcome.content_type = None


def _about(groups: Iterable[Group], keys: Mapping[RawId, int]) -> About:
    made = []
    for group in groups:
        if group.subjects:
            people = set(map(keys.get, group.subjects))
            people.discard(None)
            made.append((group.ground, people, group.categories))
    return made  # type: ignore[return-value]  # None is gone


def _seen(future: "Future[int]") -> None:
    """The page's own record comes behind it in the log, and says whether both are durable."""
    if not future.cancelled():
        future.exception()
