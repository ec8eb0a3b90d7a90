"""``python -m benchmarks.detection``, in its smallest form."""

import math
from xml.etree import ElementTree as ET

import pytest

from audit_proxy.core.detection.budgets import Budgets, Signal
from audit_proxy.core.detection.findings import Action
from audit_proxy.simulation.scenarios import SCENARIOS, Kind
from audit_proxy.simulation.setting import app
from audit_proxy.simulation.traffic import Page
from benchmarks.detection import figures, report
from benchmarks.detection.__main__ import measure
from benchmarks.detection.limiter import RateLimiter
from benchmarks.detection.runs import REPORT_SEEDS, SMALL, TUNING_SEEDS, Task, play, scaled, shares


def test_the_small_form_reports_every_scenario_and_every_target() -> None:
    """In one process; a target that is missed is called so (sybils at a twentieth of their size stay within the budget)."""
    text, plot = measure(SMALL._replace(seeds=1, apps=3, days=2), 1, sweep=False)
    lines = text.splitlines()
    for name in SCENARIOS:
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1
    assert any(line.startswith("| blatant: recall ≥ 100%") and line.endswith("| yes |") for line in lines)
    assert any(line.startswith("| sybils: recall") and line.endswith("| **missed** |") for line in lines)
    assert plot == ""


def test_nothing_is_tuned_on_what_is_reported() -> None:
    assert not set(TUNING_SEEDS) & set(REPORT_SEEDS)


def test_intervals_are_those_of_the_tables() -> None:
    """Wilson's for 10 of 10 is 72 to 100 %; of no event in 3 units the exact upper bound is 3.69 / 3."""
    assert figures.wilson(10, 10) == pytest.approx((0.722, 1.0), abs=0.001)
    middle, low, high = figures.mean([1.0, 2.0, 3.0])
    assert (middle, low, high) == pytest.approx((2.0, 2 - 4.30 / math.sqrt(3), 2 + 4.30 / math.sqrt(3)))
    assert figures.rate(0, 3.0) == pytest.approx((0.0, 0.0, 3.69 / 3), abs=0.02)
    assert figures.rate(10, 1.0) == pytest.approx((10.0, 4.8, 18.4), abs=0.05)
    assert figures.mean([4.0])[1:] == (-math.inf, math.inf)


def test_the_limiter_counts_requests_of_an_hour_and_alarms_once() -> None:
    limiter, one = RateLimiter(2), app("any")
    answers = [limiter.judge(Page(7_200.0 + n, one, None, [n])) for n in range(4)]
    assert [answer.refusal for answer in answers] == [None, None, Action.throttle, Action.throttle]
    assert [len(answer.findings) for answer in answers] == [0, 0, 1, 0]
    assert answers[2].retry_after_s == 3_598.0
    assert limiter.judge(Page(10_800.0, one, None, [9])).people == [9]


def test_tighter_limits_let_less_leak() -> None:
    """The points of the plot: the same harvest against limits of a quarter and of four times."""
    tasks = [Task("whole-population", 1_001, consent=False, extent=SMALL, factor=one) for one in (0.25, 1.0, 4.0)]
    taken = [play(task).taken for task in tasks]
    assert 0 < taken[0] < taken[1] < taken[2]
    tight = scaled(Budgets(), 0.25)
    assert [limit.people for limit in tight.default[Signal.third_parties]] == [500, 1_250, 12_500]


def test_shares_are_of_what_was_wanted_and_of_app_days() -> None:
    attack = play(Task("whole-population", 1_001, consent=False, extent=SMALL))
    calm = play(Task("support-tool", 1_001, consent=True, extent=SMALL))
    calm.alerts, calm.app_days = 3, 500.0
    leak, alerts = shares([attack, calm], {("whole-population", 1_001): 4_000})
    assert calm.scenario.kind is Kind.benign
    assert (leak, alerts) == (attack.taken / 4_000, 6.0)


def test_the_plot_is_xml_and_names_every_point() -> None:
    plot = report.plot({"a <b>": [("×1", 0.01, 0.5), ("×2", 0.0, 5_000.0)]})
    texts = [one.text for one in ET.fromstring(plot).iter() if one.text]
    assert {"a <b>", "×1", "×2"} <= set(texts)
