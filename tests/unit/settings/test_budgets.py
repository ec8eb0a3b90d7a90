"""``budgets.yaml``: what it means, and what is said of one that is wrong."""

import datetime as dt
from pathlib import Path

import pytest

from audit_proxy.core.detection.budgets import DEFAULTS, Budgets, Limit, Signal
from audit_proxy.core.policy import App
from audit_proxy.settings.budgets import budget_doubts, parse_budgets, unknown_apps
from audit_proxy.settings.files import ConfigProblems, parse_yaml
from audit_proxy.settings.shipped import shipped

FILE = Path("budgets.yaml")


def app(name: str = "quiz", tier: str = "standard") -> App:
    return App(name, name, "o", "o@example.org", tier, "functional.service", frozenset())


def parsed(text: str) -> Budgets:
    return parse_budgets(parse_yaml(FILE, text.encode()))


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def people(budgets: Budgets, one: App, signal: Signal, now: float = 0.0) -> dict[str, int]:
    return {limit.window: limit.people for limit in budgets.of(one, now)[0][signal]}


def test_the_shipped_file_shows_what_holds_without_one():
    """Every value in it is the default."""
    assert parsed((shipped() / "budgets.yaml").read_text()) == Budgets()
    assert parsed("") == Budgets()


def test_what_is_nearer_to_the_app_beats_what_is_farther():
    """App before class before tier before default, signal by signal; ``{}`` takes a limit away."""
    budgets = parsed(
        """
        default: {missed: {1h: 7}}
        tiers: {trusted: {third_parties: {24h: 100}, owner: {}}}
        classes: {backfill: {third_parties: {24h: 200}, without_grant: {24h: 300}}}
        apps: {loader: {class: backfill, until: 2026-12-24, limits: {without_grant: {1h: 400}}}}
        """
    )
    plain, trusted, loader = app(), app(tier="trusted"), app("loader", "trusted")
    assert people(budgets, plain, Signal.third_parties) == {"1h": 2000, "24h": 5000, "30d": 50000}
    assert people(budgets, trusted, Signal.third_parties) == {"24h": 100}
    assert people(budgets, trusted, Signal.owner) == {}
    assert people(budgets, loader, Signal.third_parties) == {"24h": 200}
    assert people(budgets, loader, Signal.without_grant) == {"1h": 400}
    assert people(budgets, loader, Signal.missed) == {"1h": 7}
    assert budgets.of(plain, 0.0)[0][Signal.fan_out] == DEFAULTS[Signal.fan_out]


def test_a_class_ends_with_its_last_day():
    """In UTC; from then on the limits of the tier hold, and the answer says until when its limits hold."""
    budgets = parsed(
        "classes: {backfill: {third_parties: {24h: 200}}}\napps: {loader: {class: backfill, until: 2026-12-24}}"
    )
    loader, end = app("loader"), at("2026-12-25T00:00:00+00:00")
    limits, until = budgets.of(loader, end - 1)
    assert limits[Signal.third_parties] == (Limit(Signal.third_parties, "24h", 200),)
    assert until == end
    assert budgets.of(loader, end)[0][Signal.third_parties] == DEFAULTS[Signal.third_parties]
    assert list(budget_doubts(budgets, {"loader": loader}, None, end - 1)) == []
    (doubt,) = budget_doubts(budgets, {"loader": loader}, None, end)
    assert "'loader' has ended" in doubt


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("tiers:\n  standard:\n    thirdparties: {1h: 1}", 3, "did you mean 'third_parties'?"),
        ("default:\n  missed:\n    2h: 1", 3, "1h"),
        ("default:\n  missed:\n    1h: 0", 3, "greater than 0"),
        ("default:\n  per_holder: {7d: 1}", 2, "24h"),
        ("apps:\n  quiz:\n    clas: x", 3, "did you mean 'class'?"),
        ("apps:\n  quiz:\n    class: x", 3, "'until'"),
        ("classes: {backfill: {}}\napps:\n  quiz:\n    class: backfil\n    until: 2026-12-24", 4, "'backfill'"),
        ("apps:\n  quiz:\n    until: soon\n    class: x", 3, "date"),
        ("warn_at: 1.5", 1, "less than or equal to 1"),
        ("restrict_at: 2.0\nquarantine_at: 1.5", 1, "'quarantine_at'"),
        ("default:\n  fan_out: {24h: {floor: 5}}", 2, "'per_holder' is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, line, said):
    """Unknown keys, windows there are not, limits that are none, classes that nobody declared."""
    with pytest.raises(ConfigProblems) as raised:
        parsed(text)
    assert any(said in one.text for one in raised.value.problems), raised.value.problems
    assert line in {one.line for one in raised.value.problems}


def test_an_app_that_is_not_registered_is_a_problem():
    """Its protection would never apply."""
    (problem,) = unknown_apps(parse_yaml(FILE, b"apps:\n  quizz: {protected: true}\n"), {"quiz"})
    assert (problem.line, "did you mean 'quiz'?" in problem.text) == (2, True)


def test_a_tier_that_no_app_is_of_is_doubted():
    """Nothing would be limited by it."""
    budgets = parsed("tiers: {trusted: {}, standard: {}}")
    (doubt,) = budget_doubts(budgets, {"quiz": app()}, None, 0.0)
    assert "'trusted'" in doubt
