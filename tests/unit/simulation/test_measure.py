"""Runs of scenarios against the ledger."""

import math

import pytest

from audit_proxy.core.detection.budgets import DEFAULTS, Budgets, Signal
from audit_proxy.simulation.measure import Crossing, run
from audit_proxy.simulation.scenarios import SCENARIOS, Group
from audit_proxy.simulation.setting import app, operated
from audit_proxy.simulation.traffic import Page

BLATANT = [one for one in SCENARIOS.values() if one.group is Group.blatant]
HOUR_LIMIT = 2_000
SKETCH = 1.05  # what is counted beyond a few hundred people is an estimate


@pytest.mark.parametrize("consent", [True, False])
@pytest.mark.parametrize("scenario", BLATANT, ids=lambda one: one.name)
def test_a_blatant_harvest_is_stopped_within_the_budget_and_one_page(scenario, consent) -> None:
    """Before anybody acts by hand; with consent enforced the attempts alone raise the alarm, and next to nobody leaves."""
    outcome = run(scenario, 11, consent=consent, size=0.3, wanted=False)
    assert outcome.detected_at is not None
    assert outcome.status == "quarantined"
    assert outcome.taken <= HOUR_LIMIT * SKETCH + outcome.largest_page
    if outcome.crossed_at is not None:
        assert outcome.detected_at - outcome.crossed_at <= 5
    if consent:
        assert outcome.taken < 50


def test_without_limits_a_harvest_takes_what_it_wants() -> None:
    """The same run with budgets that never stop anybody: what is measured above is the ledger's doing."""
    unlimited = Budgets(default=dict.fromkeys(DEFAULTS, ()))
    outcome = run(SCENARIOS["whole-population"], 11, consent=False, size=0.1, budgets=unlimited)
    assert outcome.taken == outcome.wanted == 30_000
    assert outcome.detected_at is None
    assert outcome.status == "active"


def test_one_extracted_token_stops_itself_and_not_the_popular_app() -> None:
    outcome = run(SCENARIOS["extracted-token"], 11, consent=False, wanted=False)
    assert outcome.detector == "per_holder"
    assert outcome.status == "active"
    assert outcome.taken <= 1_000 * SKETCH + outcome.largest_page


@pytest.mark.parametrize("name", ["dashboard", "support-tool", "test-apps"])
def test_these_ordinary_uses_raise_no_alert(name) -> None:
    outcome = run(SCENARIOS[name], 11, size=0.2)
    assert outcome.requests > 1_000
    assert outcome.alerts == 0
    assert outcome.status == "active"


def test_a_run_is_its_seed() -> None:
    first, again = (run(SCENARIOS["contact-importer"], 4, consent=False, size=0.2).facts() for _ in range(2))
    assert first == again
    assert first["seed"] == 4
    assert math.isclose(first["subjects_wanted"], 24_000, rel_tol=0.1)


def test_a_crossing_is_found_by_exact_counts_that_slide() -> None:
    """2,000 people within an hour are no crossing, the next one is; after an hour nobody counts any more."""
    crossing = Crossing(operated(Budgets(), 1_000_000))
    one = app("any")
    crossing.look(Page(0.0, one, None, range(2_000)), consent=False)
    crossing.look(Page(3_599.0, one, None, range(500)), consent=False)
    assert crossing.at is None
    crossing.look(Page(7_300.0, one, None, range(2_000, 4_000)), consent=False)
    assert crossing.at is None
    crossing.look(Page(7_301.0, one, None, [4_000]), consent=False)
    assert crossing.at == 7_301.0


def test_what_is_withheld_counts_as_asked_for() -> None:
    """With consent enforced the limit that is crossed is that of people without a grant."""
    limits = {**dict.fromkeys(DEFAULTS, ()), Signal.without_grant: DEFAULTS[Signal.without_grant]}
    crossing = Crossing(Budgets(default=limits))
    crossing.look(Page(0.0, app("any"), None, range(2_001), granted=range(2_001)), consent=True)
    assert crossing.at is None
    crossing.look(Page(1.0, app("any"), None, range(2_001)), consent=True)
    assert crossing.at == 1.0
