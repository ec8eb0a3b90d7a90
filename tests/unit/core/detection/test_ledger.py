"""The ledger: who is stopped, when, and who is not."""

import dataclasses
import math

import msgspec
import pytest

from audit_proxy.core.detection.account import Kept, Status
from audit_proxy.core.detection.budgets import AppBudget, Budgets, Limit, Signal
from audit_proxy.core.detection.findings import Action
from audit_proxy.core.detection.keys import key
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.detection.uses import Use
from audit_proxy.core.policy import App

DAY = 86_400.0
NOW = 1_764_000_000.0
PAGE = 5


def app(name="quiz", owner="o", **more) -> App:
    return App(name, name, owner, "c@example.org", "standard", "functional.service", frozenset({"read"}), **more)


QUIZ = app()


def limits(**people):
    """One limit of a day for each signal that is named, and no other."""
    found = dict.fromkeys(Signal, ())
    for name, many in people.items():
        found[Signal(name)] = (Limit(Signal(name), "24h", many),)
    return found


def ledger(**people) -> Ledger:
    more = {name: people.pop(name) for name in list(people) if name in Budgets.__struct_fields__}
    return Ledger(Budgets(**{"default": limits(**people), **more}))


def people(first, count=PAGE):
    return frozenset(key(f"demo:{n}", b"detection secret") for n in range(first, first + count))


def use(taken=frozenset(), holder=1, of=QUIZ, **more) -> Use:
    return Use(app=of, holder=holder, third_parties=taken, record=f"r{len(taken)}", **more)


def harvest(book, pages, *, now=NOW, holders=100, of=QUIZ, start=1_000_000, step=1.0, what="third_parties", acts=True):
    """Pages of new people, one holder after the other; the verdicts. ``holders`` 0: an app-only token."""
    found = []
    for n in range(pages):
        page = use(holder=n % holders + 1 if holders else None, of=of)
        page = msgspec.structs.replace(page, **{what: people(start + n * PAGE)})
        found.append(book.reserve(now + n * step, page, acts=acts))
    return found


def actions(verdicts):
    return [one.action for one in verdicts]


def told(verdicts):
    return [(one.detector.value, one.action.value) for verdict in verdicts for one in verdict.findings]


def left(verdicts):
    return sum(PAGE for one in verdicts if one.releases)


def test_a_harvest_goes_through_the_steps_and_takes_no_more_than_its_budget():
    """Warned at 80%, throttled at the limit, then restricted, then quarantined for asking on; each step is told once."""
    book = ledger(third_parties=200)
    verdicts = harvest(book, 100)
    assert left(verdicts) == 200
    assert told(verdicts) == [("third_parties", step) for step in ("warn", "throttle", "restrict", "quarantine")]
    assert book.status("quiz") is Status.quarantined
    assert actions(verdicts).index(Action.restrict) == 40 + 10 - 1  # 1.25 times the limit was asked for
    assert actions(verdicts).index(Action.quarantine) == pytest.approx(
        60, abs=2
    )  # past 256 people counts are estimates
    throttled = verdicts[40]
    assert (throttled.action, throttled.retry_after_s) == (Action.throttle, 14_400)


def test_who_asks_on_while_restricted_is_quarantined():
    """Under restriction third parties are held back before; that they were asked for counts all the same."""
    book = ledger(third_parties=200)
    harvest(book, 50)
    assert book.status("quiz") is Status.restricted
    own = book.reserve(NOW + 200, use(frozenset(), holder=7))
    assert own.action is Action.allow
    verdicts = harvest(book, 30, now=NOW + 300, start=2_000_000, what="held_back")
    assert actions(verdicts)[:5] == [Action.allow] * 5
    assert actions(verdicts)[-1] is Action.quarantine
    assert told(verdicts) == [("third_parties", "quarantine")]
    assert book.status("quiz") is Status.quarantined
    assert book.reserve(NOW + 400, use(frozenset(), holder=7)).action is Action.quarantine


def test_who_stops_when_throttled_is_taken_no_further():
    """The same few who are over the limit are no growing excess, and those received last still come."""
    book = ledger(third_parties=200)
    harvest(book, 40)
    for n in range(200):
        assert book.reserve(NOW + 100 + n, use(people(5_000_000), holder=n)).action is Action.throttle
        assert book.reserve(NOW + 100 + n, use(people(1_000_195), holder=n)).releases
    assert book.status("quiz") is Status.active


def test_a_throttled_app_goes_on_when_the_window_has_room():
    """A day and a sixth later the window is empty, and nothing had to be released."""
    book = ledger(third_parties=200)
    assert harvest(book, 41)[-1].action is Action.throttle
    assert harvest(book, 1, now=NOW + DAY * 7 / 6 + 60, start=9_000_000)[0].action is Action.allow


def test_the_first_page_over_a_limit_is_throttled_however_large_it_is():
    """Nobody is quarantined without having been told to stop; who asks for the next one is."""
    book = ledger(third_parties=200)
    assert book.reserve(NOW, use(people(0, 350), holder=None)).action is Action.throttle
    assert book.reserve(NOW + 1, use(people(0, 350), holder=None)).action is Action.quarantine


def test_attempts_alone_raise_the_alarm():
    """People without a grant who were withheld count as much as those who left: the app is stopped, though nothing leaked."""
    book = ledger(without_grant=200)
    verdicts = harvest(book, 70, what="without_grant")
    assert told(verdicts) == [("without_grant", step) for step in ("warn", "throttle", "restrict", "quarantine")]
    assert book.status("quiz") is Status.quarantined


def test_ids_tried_out_raise_the_alarm():
    """Whatever their order, what was looked up in vain is counted once each."""
    book = ledger(missed=500)
    verdicts = [book.reserve(NOW + n, use(holder=n % 10, missed=people(n * 7919 % 10_007, 1))) for n in range(800)]
    assert ("missed", "quarantine") in told(verdicts)
    again = ledger(missed=500)
    assert all(again.reserve(NOW + n, use(holder=1, missed=people(n % 100, 1))).releases for n in range(800))


def test_one_holder_s_excess_blocks_that_holder_only():
    """The app's other users go on; a day later the block is over; the app itself is not touched."""
    book = ledger(third_parties=2000, per_holder=100)
    verdicts = harvest(book, 60, holders=1)
    assert left(verdicts) == 100
    assert verdicts[-1].action is Action.block_holder
    assert book.blocks_any("quiz", NOW + 100)
    assert book.blocks("quiz", 1, NOW + 100)
    assert not book.blocks("quiz", 2, NOW + 100)
    assert not book.blocks("other", 1, NOW + 100)
    assert book.reserve(NOW + 100, use(people(9_000), holder=2)).action is Action.allow
    assert book.status("quiz") is Status.active
    assert not book.blocks("quiz", 1, NOW + DAY + 100)


def test_one_extracted_token_cannot_shut_an_app_down():
    """Not even where one holder alone passes the app's limit, because holders have none of their own."""
    book = ledger(third_parties=200)
    verdicts = harvest(book, 200, holders=1)
    assert left(verdicts) == 200
    assert book.status("quiz") is Status.active
    assert book.blocks("quiz", 1, NOW + 200)
    for number in (2, 3, 4):  # nor three more of them
        assert not book.reserve(NOW + 300, use(people(number * 10_000_000), holder=number)).releases
    assert book.status("quiz") is Status.active


def test_an_app_only_token_is_the_app():
    """No user stands behind it: its excess is the app's, at once."""
    book = ledger(third_parties=200, per_holder=10)
    harvest(book, 50, holders=0)
    assert book.status("quiz") is Status.restricted


def test_a_protected_app_is_restricted_at_most():
    """Only a person quarantines it."""
    book = ledger(without_grant=200, apps={"quiz": AppBudget(protected=True)})
    verdicts = harvest(book, 200, what="without_grant")
    assert book.status("quiz") is Status.restricted
    assert Action.quarantine not in actions(verdicts)
    book.set_status(QUIZ, Status.quarantined, NOW + 300, "ada", "seen by hand")
    assert book.status("quiz") is Status.quarantined


def test_sibling_apps_divide_no_harvest():
    """All apps of one owner have one limit together, whoever of them takes the share."""
    book = ledger(third_parties=200, owner=300)
    many = [app(f"quiz-{n}") for n in range(10)]
    taken = sum(
        PAGE for n in range(400) if book.reserve(NOW + n, use(people(n * 100), holder=n, of=many[n % 10])).releases
    )
    assert taken <= 300 * 1.04
    assert book.reserve(NOW + 500, use(people(77_000_000), of=app("elsewhere", "another"))).action is Action.allow


def test_many_people_are_permitted_to_an_app_with_many_users():
    """Fan-out: the limit grows with the holders, and means nothing below its floor."""
    fan = {**limits(), Signal.fan_out: (Limit(Signal.fan_out, "24h", 100, 5.0),)}
    book = Ledger(Budgets(default=fan))
    wide = harvest(book, 40, holders=4)
    assert left(wide) == 100
    popular = app("popular")
    assert all(book.reserve(NOW + n, use(people(n * 3, 3), holder=n, of=popular)).releases for n in range(1000))


def test_coverage_counts_everyone_known():
    """The limit is a share of the platform's people, or of those whom all apps were seen to reach."""
    share = {**limits(), Signal.coverage: (Limit(Signal.coverage, "90d", 20, 0.01),)}
    named = Ledger(Budgets(default=share, population=10_000))
    assert left(harvest(named, 40)) == 100
    seen = Ledger(Budgets(default={**limits(), Signal.coverage: ()}, apps={"quiz": AppBudget(share)}))
    harvest(seen, 1000, of=app("directory"), start=50_000_000)
    assert 35 <= left(harvest(seen, 40, now=NOW + 2000)) <= 70  # one in 64 of 5,000 was counted


def test_concurrent_pages_cannot_overshoot():
    """What one page reserved the next one sees, at the very same moment."""
    book = ledger(third_parties=200)
    assert left(harvest(book, 100, step=0.0)) == 200


def test_the_same_people_again_cost_nothing():
    """A dashboard that polls the same few all day reaches nobody new."""
    book = ledger(third_parties=30)
    for n in range(500):
        assert book.reserve(NOW + n * 60, use(people(1), holder=1)).releases
    assert book.status("quiz") is Status.active


def test_monitor_counts_and_stops_nothing():
    """The verdict says what would be; the finding says that nothing was done; the app's status stays."""
    book = ledger(third_parties=200)
    verdicts = harvest(book, 100, acts=False)
    assert verdicts[40].action is Action.throttle
    assert book.status("quiz") is Status.active
    finding = verdicts[40].findings[0]
    assert not finding.enforced
    assert finding.sentence.endswith("in monitor mode nothing is stopped.")
    assert book.accounts["quiz"].taken.distinct.counts(NOW + 100)["24h"] == pytest.approx(100 * PAGE, rel=0.039)


def test_a_finding_names_numbers_and_records_and_reads_as_a_sentence():
    """Signal, value, limit, window, since when, and the last records behind it."""
    book = ledger(third_parties=200)
    verdicts = harvest(book, 41)
    finding = verdicts[-1].findings[0]
    assert (finding.detector, finding.value, finding.limit, finding.window) == (Signal.third_parties, 205, 200, "24h")
    assert finding.since < finding.at
    assert finding.records
    assert finding.sentence == (
        "App quiz reached for 205 people other than its users within 24 hours (limit 200): "
        "it gets no new people until the window has room."
    )


def test_a_person_s_release_gives_a_new_allowance():
    """The app goes on, blocked holders too, and is stopped again after as much as before."""
    book = ledger(without_grant=200)
    harvest(book, 80, what="without_grant")
    assert book.status("quiz") is Status.quarantined
    book.set_status(QUIZ, Status.active, NOW + 1000, "ada", "a false alarm")
    kept = book.stored("quiz")
    assert (kept.status, kept.by, kept.why) == (Status.active, "ada", "a false alarm")
    again = harvest(book, 100, now=NOW + 2000, start=5_000_000, what="without_grant")
    assert again[0].action is Action.allow
    assert 200 <= left(again) <= 340
    assert book.status("quiz") is Status.quarantined


def test_an_app_that_changes_is_trusted_less_for_a_time():
    """Another name, owner, redirect domain or scope: half the limits for 14 days."""
    for change in (
        {"name": "Birthday"},
        {"owner": "somebody"},
        {"redirect_domains": frozenset({"elsewhere.example"})},
        {"approved_scopes": frozenset({"read", "email"})},
    ):
        book = ledger(third_parties=200)
        book.reserve(NOW, use(people(1)))
        changed = dataclasses.replace(QUIZ, **change)
        assert left(harvest(book, 100, now=NOW + 1, of=changed)) + PAGE == 100, change
    book = ledger(third_parties=200)
    book.reserve(NOW, use(people(1)))
    book.reserve(NOW + 1, use(people(1), of=dataclasses.replace(QUIZ, name="Birthday")))
    late = harvest(book, 100, now=NOW + 14 * DAY + 2, of=dataclasses.replace(QUIZ, name="Birthday"))
    assert left(late) == 200
    same = ledger(third_parties=200)
    same.reserve(NOW, use(people(1)))
    assert left(harvest(same, 100, now=NOW + 1, of=dataclasses.replace(QUIZ, contact="new@example.org"))) == 200 - PAGE


def test_a_class_ends_while_the_app_is_at_work():
    """From its last moment on the limits of the tier hold, for the next page."""
    wide = limits(third_parties=1000)
    own = AppBudget(declared="backfill", until=NOW + 100)
    book = ledger(third_parties=100, classes={"backfill": wide}, apps={"quiz": own})
    assert left(harvest(book, 90)) == 90 * PAGE
    assert not book.reserve(NOW + 100, use(people(7_000_000))).releases


def test_a_clock_that_goes_backwards_frees_nothing():
    """Earlier times count as the latest one that was seen."""
    book = ledger(third_parties=200)
    harvest(book, 40)
    assert harvest(book, 1, now=NOW - 10 * DAY, start=9_000_000)[0].action is Action.throttle
    assert not math.isinf(book.accounts["quiz"].kept.last_at)


def test_an_app_that_was_not_there_at_the_start_has_a_budget():
    """An account begins with the first page."""
    book = ledger(third_parties=200)
    harvest(book, 10)
    assert left(harvest(book, 100, now=NOW + 60, of=app("new", "p"), start=3_000_000)) == 200


def test_what_is_stored_goes_on_where_it_was():
    """Counts, status, blocked holders and open findings come back from what was stored."""
    book = ledger(third_parties=200, per_holder=120, owner=400)
    harvest(book, 30, holders=1)
    harvest(book, 10, now=NOW + 100, holders=10, start=4_000_000)
    for verdict in harvest(book, 1, now=NOW + 150, start=6_000_000):
        for finding in verdict.findings:
            book.opened(finding, "record-1")
    kept = msgspec.json.decode(msgspec.json.encode(book.stored("quiz")), type=Kept)
    again = ledger(third_parties=200, per_holder=120, owner=400)
    again.restore(QUIZ, kept, book.accounts["quiz"].counters())
    again.restore_shared(book.shared())
    assert again.blocks("quiz", 1, NOW + 200)
    for now in (NOW + 200, NOW + DAY):
        there, here = (list(one.reached(one.account(QUIZ, now), now)) for one in (book, again))
        assert there == here
    assert again.accounts["quiz"].kept == book.accounts["quiz"].kept
    first, second = (harvest(one, 60, now=NOW + 200, start=8_000_000) for one in (again, book))
    assert [one.releases for one in first] == [one.releases for one in second]
    assert again.status("quiz") is book.status("quiz") is Status.quarantined


def test_an_app_s_memory_is_bounded():
    """All signals of one app, with many holders of whom some are watched, stay within a megabyte."""
    book = ledger(third_parties=10**9, without_grant=10**9, missed=10**9, per_holder=60, owner=10**9)
    for n in range(1500):
        page = use(people(n * 20, 20), holder=n % 30, without_grant=people(n * 20 + 10**6, 20), missed=people(n, 5))
        book.reserve(NOW + n * 400, page, acts=False)
    assert len(book.accounts["quiz"].by_holder) == 16
    assert book.accounts["quiz"].memory() < 1_000_000


def test_a_damaged_counter_is_no_counter():
    """What cannot be read raises; nothing begins at zero by mistake."""
    with pytest.raises(ValueError, match="snapshot"):
        ledger().restore(QUIZ, Kept(app="quiz", fingerprint=""), {"taken": b"apd1"})


def test_a_dismissed_finding_is_closed():
    """It is no longer open; one that is not open cannot be closed."""
    book = ledger(third_parties=200)
    (finding,) = (one for verdict in harvest(book, 33) for one in verdict.findings)
    book.opened(finding, "record-1")
    assert [one.id for one in book.stored("quiz").findings] == ["record-1"]
    assert book.dismiss("quiz", "record-1")
    assert book.stored("quiz").findings == []
    assert not book.dismiss("quiz", "record-1")
    assert not book.dismiss("nobody", "record-1")
