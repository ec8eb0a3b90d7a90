"""The ledger of all apps: reserves each page against the budgets before it leaves.

Invariants:

- ``reserve`` judges and counts in one step, without anything in between: of two pages at the same moment the second sees the
  first. A page that would pass a limit does not leave; what is reserved is never given back.
- One holder's excess blocks that holder in that app. The app is restricted, then quarantined, only where several holders or
  an app-only token are behind an excess: nobody shuts an app down with one user's token.
- The first page over a limit is throttled, however large it is. An app that stops asking then is not taken further; one that
  goes on is judged by all it asked for.
- Only a person lifts a restriction or a quarantine; a protected app is never quarantined by a machine.
- Time never runs backwards: an earlier ``now`` than the last one counts as the last one.
"""

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet

from audit_proxy.core.detection.account import (
    FINDINGS_KEPT,
    LONG_WINDOWS,
    Account,
    Counter,
    Kept,
    OpenFinding,
    Status,
    fingerprint,
)
from audit_proxy.core.detection.budgets import DAY_S, Budgets, Limit, Signal
from audit_proxy.core.detection.distinct import Distinct
from audit_proxy.core.detection.findings import ALLOWED, Action, Finding, Verdict
from audit_proxy.core.detection.hits import Hit
from audit_proxy.core.detection.uses import Use
from audit_proxy.core.detection.windows import WINDOWS
from audit_proxy.core.policy import App

_TAKEN = (Signal.third_parties, Signal.fan_out, Signal.coverage)  # all of the people who left
_SEVERITY = {action: rank for rank, action in enumerate(Action)}
_BEHIND_MAX = 1_000  # holders remembered behind one excess
_EVERYONE = {"90d": WINDOWS["90d"]}
_ONE_IN = 64  # of all people is counted to know how many there are: keys are as good as random
_NOBODY = dict.fromkeys(WINDOWS, 0.0)


class Ledger:
    """All apps' accounts, and those of their owners and of the platform."""

    def __init__(self, budgets: Budgets, groups: Collection[str] | None = None) -> None:
        """``groups``: owners of several apps, whose apps are counted together; None: every owner's are."""
        self.budgets = budgets
        self._groups = groups
        self.accounts: dict[str, Account] = {}
        self._owners: dict[str, Counter] = {}
        self._everyone = Distinct(_EVERYONE, lg_k=14)
        self._now = float("-inf")
        self.changed: set[str] = set()  # apps with anything to be stored

    # -- the way of a page -------------------------------------------------------------------------------------------

    def reserve(self, now: float, use: Use, *, acts: bool = True) -> Verdict:
        """Judges a page that is about to leave, and counts it. ``acts`` False (monitor): it leaves whatever is found."""
        now = self._later(now)
        account = self.account(use.app, now)
        kept = account.kept
        if acts and kept.status is Status.quarantined:
            return Verdict(Action.quarantine)
        if acts and use.holder is not None and account.blocks(use.holder, now):
            return Verdict(Action.block_holder)
        self.changed.add(use.app.id)
        kept.last_at = now
        if use.holder is not None:
            holder = account.holders.unseen(now, {use.holder})
            if holder:
                account.holders.add(now, holder)
        restricted = acts and kept.status is Status.restricted
        pages = self._pages(now, account, use)
        hits = [hit for page in pages for hit in self._hits(now, account, use, *page)]
        verdict = self._judge(now, account, use, hits, acts=acts, restricted=restricted) if hits else ALLOWED
        if restricted and use.third_parties and verdict.releases:  # judged before the restriction came
            verdict = Verdict(Action.throttle, verdict.findings, self._wait("1h"))
        leaves = verdict.releases or not acts
        for counter, keys, _ in pages:
            if counter is not account.taken:
                counter.add(now, keys)
            elif leaves and (left := keys & use.third_parties):
                counter.add(now, left)
                if account.wanted is not None:
                    account.wanted.add(now, left)
        if leaves and use.categories:
            kept.categories.update(dict.fromkeys(use.categories, now))
        if pages:
            account.records.append(use.record)
        return verdict

    def observe(self, now: float, use: Use) -> None:
        """Counts a page that left, without judging it: what a log tells of it afterwards."""
        now = self._later(now)
        account = self.account(use.app, now)
        self.changed.add(use.app.id)
        account.kept.last_at = now
        if use.holder is not None:
            account.holders.add(now, {use.holder})
        for counter, keys, _ in self._pages(now, account, use):
            counter.add(now, keys if counter is not account.taken else keys & use.third_parties)
        account.kept.categories.update(dict.fromkeys(use.categories, now))
        account.records.append(use.record)

    def _pages(
        self, now: float, account: Account, use: Use
    ) -> list[tuple[Counter, AbstractSet[int], tuple[Limit, ...]]]:
        """The counters that the page touches, with the people who are new to each and the limits that hold of them."""
        limits = account.limits
        third = use.third_parties | use.held_back if use.held_back else use.third_parties
        reached = third | use.without_grant if use.without_grant else third
        pages: list[tuple[Counter, AbstractSet[int], tuple[Limit, ...]]] = []
        if third and (new := account.taken.unseen(now, third)):
            pages.append((account.taken, new, limits[Signal.third_parties]))
            if self.budgets.population is None and (some := [one for one in new if not one % _ONE_IN]):
                self._everyone.add(now, some)
        if use.without_grant and (new := account.attempts.unseen(now, use.without_grant)):
            pages.append((account.attempts, new, limits.get(Signal.without_grant, ())))
        if use.missed and (new := account.missed.unseen(now, use.missed)):
            pages.append((account.missed, new, limits.get(Signal.missed, ())))
        if reached:
            if use.holder is not None:
                watched = account.watched(now, use.holder, len(reached))
                if watched is not None and (new := watched.unseen(now, reached)):
                    pages.append((watched, new, limits.get(Signal.per_holder, ())))
            if use.app.owner and (self._groups is None or use.app.owner in self._groups):
                counter = self._owner(use.app.owner)
                if new := counter.unseen(now, reached):
                    pages.append((counter, new, limits.get(Signal.owner, ())))
        return pages

    def _hits(
        self,
        now: float,
        account: Account,
        use: Use,
        counter: Counter,
        keys: AbstractSet[int],
        limits: tuple[Limit, ...],
    ) -> Iterator[Hit]:
        """The limits that the page passes or comes near to."""
        if not limits:
            return
        counts, warn_at = counter.distinct.counts(now), self.budgets.warn_at
        carried = account.carries(now, use.holder) if limits[0].signal is Signal.per_holder else 0
        most = len(keys) + carried
        for limit in limits:
            if counts[limit.window] + most >= limit.people * warn_at:
                break
        else:
            return  # whoever of the page is new
        fresh = counter.distinct.fresh(now, keys)
        for limit in limits:
            new = fresh[limit.window]
            value = counts[limit.window] + new + carried
            if value < limit.people * warn_at:
                continue
            cap = self._cap(limit, account, now)
            if value >= cap * warn_at:
                yield Hit(limit, value, cap, new)

    def _cap(self, limit: Limit, account: Account, now: float) -> float:
        grows: float = 0.0
        if limit.signal is Signal.fan_out:
            grows = account.holders.distinct.counts(now)[limit.window]
        elif limit.signal is Signal.coverage:
            known = self.budgets.population
            grows = self._everyone.counts(now)["90d"] * _ONE_IN if known is None else known
        cap = max(limit.people, limit.per * grows)
        return cap + account.allowance(limit, now) if account.kept.allowances else cap

    def _judge(
        self, now: float, account: Account, use: Use, hits: list[Hit], *, acts: bool, restricted: bool
    ) -> Verdict:
        """The verdict on a page with hits, and what becomes of the app."""
        actions = {hit: Action.warn for hit in hits if not hit.over}
        over = [hit for hit in hits if hit.over]
        if over:
            self._blame(now, account, use)
            wanted = account.wants(now, use.third_parties | use.held_back)
            several = self._several(account, now, use)
            over = [hit.asking(wanted) if hit.limit.signal in _TAKEN else hit for hit in over]
            actions |= {hit: self._action(now, account, use, hit, several=several, acts=acts) for hit in over}
        worst = max(over, key=lambda hit: _SEVERITY[actions[hit]], default=None)
        action = Action.allow if worst is None else actions[worst]
        findings = tuple(self._findings(now, account, actions, acts=acts, restricted=restricted))
        if worst is None:
            return Verdict(Action.warn, findings) if findings else ALLOWED
        if acts:
            why = next((one.sentence for one in findings if one.action is action), "")
            self._act(now, account, use, action, why)
        if restricted and action in (Action.throttle, Action.restrict):
            action = Action.allow  # nothing about third parties is left in the page
        return Verdict(action, findings, self._wait(worst.limit.window))

    def _blame(self, now: float, account: Account, use: Use) -> None:
        """Notes who is behind an excess."""
        kept = account.kept
        if use.holder is None:
            kept.app_only_at = now
        elif use.holder in kept.behind or len(kept.behind) < _BEHIND_MAX:
            kept.behind[use.holder] = now

    def _several(self, account: Account, now: float, use: Use) -> bool:
        """Whether the app itself is behind an excess: app-only tokens, or several holders within a day."""
        kept = account.kept
        if use.holder is None or (kept.app_only_at is not None and now - kept.app_only_at < DAY_S):
            return True
        several = self.budgets.several_holders
        if len(kept.behind) < several:
            return False
        kept.behind = {holder: at for holder, at in kept.behind.items() if now - at < DAY_S}
        return len(kept.behind) >= several

    def _action(self, now: float, account: Account, use: Use, hit: Hit, *, several: bool, acts: bool) -> Action:
        """What a passed limit leads to."""
        if hit.limit.signal is Signal.per_holder:
            return Action.block_holder
        budgets = self.budgets
        throttled = account.told.get((hit.limit.signal, hit.limit.window, Action.throttle.value, acts))
        first = throttled is None or now - throttled >= WINDOWS[hit.limit.window]
        if first or hit.value < hit.cap * budgets.restrict_at:
            return Action.throttle
        if not several:
            return Action.block_holder
        if hit.value < hit.cap * budgets.quarantine_at or budgets.protects(use.app.id):
            return Action.throttle if account.kept.status is Status.restricted else Action.restrict
        return Action.quarantine

    def _act(self, now: float, account: Account, use: Use, action: Action, why: str) -> None:
        if action is Action.block_holder and use.holder is not None:
            blocked = {holder: until for holder, until in account.kept.blocked.items() if until > now}
            account.kept.blocked = {**blocked, use.holder: now + self.budgets.holder_block_s}
        elif action is Action.restrict:
            account.set_status(Status.restricted, now, "", why)
        elif action is Action.quarantine:
            account.set_status(Status.quarantined, now, "", why)

    def _findings(
        self, now: float, account: Account, actions: Mapping[Hit, Action], *, acts: bool, restricted: bool
    ) -> Iterator[Finding]:
        """What is worth telling: a step is told once in its window."""
        for hit, action in actions.items():
            limit = hit.limit
            if restricted and action is Action.throttle:
                continue
            key = (limit.signal, limit.window, action.value, acts)
            told = account.told.get(key)
            if told is not None and now - told < WINDOWS[limit.window] and action is not Action.block_holder:
                continue
            account.told[key] = now
            began = [at for (signal, window, _, _), at in account.told.items() if (signal, window) == key[:2]]
            yield Finding(
                app=account.app.id,
                detector=limit.signal,
                action=action,
                value=round(hit.value),
                limit=round(hit.cap),
                window=limit.window,
                at=now,
                since=min(began),
                records=tuple(account.records),
                enforced=acts,
                owner=account.app.owner,
            )

    # -- what holds of an app ----------------------------------------------------------------------------------------

    def status(self, app: str) -> Status:
        account = self.accounts.get(app)
        return Status.active if account is None else account.kept.status

    def blocks(self, app: str, holder: int, now: float) -> bool:
        """Whether one holder's tokens are blocked in an app."""
        account = self.accounts.get(app)
        return account is not None and account.blocks(holder, self._later(now))

    def blocks_any(self, app: str, now: float) -> bool:
        """Whether anybody's tokens are blocked in an app."""
        account = self.accounts.get(app)
        return account is not None and any(now < until for until in account.kept.blocked.values())

    def account(self, app: App, now: float) -> Account:
        """The app's account, with the limits of this moment."""
        account = self.accounts.get(app.id)
        if account is None:
            account = self.accounts[app.id] = Account(app, Kept(app=app.id, fingerprint=fingerprint(app)), {})
        if account.app is not app or now >= account.limits_until:
            self._renew(account, app, now)
        return account

    def _renew(self, account: Account, app: App, now: float) -> None:
        """Takes over the app's facts; where its trust rests on others than before, the trust begins anew."""
        account.app = app
        seen, kept = fingerprint(app), account.kept
        if seen != kept.fingerprint:
            kept.fingerprint, kept.changed_at = seen, now
        limits, until = self.budgets.of(app, now)
        if kept.changed_at is not None and now < kept.changed_at + self.budgets.trust_reset_s:
            until = min(until, kept.changed_at + self.budgets.trust_reset_s)
            factor = self.budgets.trust_factor
            limits = {signal: tuple(one.times(factor) for one in every) for signal, every in limits.items()}
        taken = tuple(one for signal in _TAKEN for one in limits.get(signal, ()))
        account.limits = {**limits, Signal.third_parties: taken}
        account.limits_until = until
        account.watch_from = min((one.people for one in limits.get(Signal.per_holder, ())), default=float("inf")) / 2

    # -- what people decide ------------------------------------------------------------------------------------------

    def set_status(self, app: App, status: Status, now: float, by: str, why: str) -> None:
        """Restricts or quarantines; ``active`` releases, with a new allowance."""
        now = self._later(now)
        account = self.account(app, now)
        if status is Status.active:
            account.release(now, by, why, self.reached(account, now))
        else:
            account.set_status(status, now, by, why)
        self.changed.add(app.id)

    def opened(self, finding: Finding, record: str) -> None:
        """A finding was recorded under this id: it is open until somebody closes it."""
        account = self.accounts[finding.app]
        account.kept.findings = [*account.kept.findings[1 - FINDINGS_KEPT :], OpenFinding(record, finding)]

    def dismiss(self, app: str, record: str) -> bool:
        """Closes a finding; whether there was one open."""
        account = self.accounts.get(app)
        if account is None or all(one.id != record for one in account.kept.findings):
            return False
        account.kept.findings = [one for one in account.kept.findings if one.id != record]
        self.changed.add(app)
        return True

    # -- numbers -----------------------------------------------------------------------------------------------------

    def reached(self, account: Account, now: float) -> Iterator[tuple[Limit, float]]:
        """What the app has used of each of its limits, save those of single holders."""
        taken, attempts = account.taken.distinct.counts(now), account.attempts.distinct.counts(now)
        missed, owners = account.missed.distinct.counts(now), self._owners.get(account.app.owner)
        owner = _NOBODY if owners is None else owners.distinct.counts(now)
        of = {Signal.without_grant: attempts, Signal.missed: missed, Signal.owner: owner}
        for signal, limits in account.limits.items():
            if signal not in (Signal.per_holder, Signal.fan_out, Signal.coverage):  # all that is taken stands in one
                for limit in limits:
                    yield limit, of.get(signal, taken)[limit.window]

    def used(self, account: Account, now: float) -> dict[str, float]:
        """The highest share of a limit that the app has used, by window."""
        shares: dict[str, float] = {}
        for limit, people in self.reached(account, now):
            share = people / self._cap(limit, account, now)
            shares[limit.window] = max(shares.get(limit.window, 0.0), share)
        return shares

    def _owner(self, owner: str) -> Counter:
        found = self._owners.get(owner)
        if found is None:
            found = self._owners[owner] = Counter(Distinct(LONG_WINDOWS), LONG_WINDOWS)
        return found

    @staticmethod
    def _wait(window: str) -> int:
        return round(WINDOWS[window] / 6)

    def _later(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    # -- what survives a restart -------------------------------------------------------------------------------------

    def restore(self, app: App, kept: Kept, counters: Mapping[str, bytes]) -> None:
        """Puts back what was stored of an app. Raises ValueError where a counter cannot be read."""
        self.accounts[app.id] = Account(app, kept, counters)

    def restore_shared(self, counters: Mapping[str, bytes]) -> None:
        """Puts back the owners' counters and the platform's. Raises ValueError."""
        for name, data in counters.items():
            if name == "everyone":
                self._everyone = Distinct.restore(data)
            else:
                self._owners[name.removeprefix("owner:")] = Counter(Distinct.restore(data), LONG_WINDOWS)

    def shared(self) -> dict[str, bytes]:
        """The owners' counters and the platform's, by name."""
        named = {f"owner:{owner}": one.distinct for owner, one in self._owners.items()}
        named["everyone"] = self._everyone
        return {name: distinct.snapshot() for name, distinct in named.items()}

    def stored(self, app: str) -> Kept:
        """What is to be stored of an app besides its counters."""
        account = self.accounts[app]
        account.kept.records = list(account.records)
        return account.kept
