"""``audit-proxy simulate``."""

import json

import pytest
from typer.testing import CliRunner

from audit_proxy.cli.app import app
from audit_proxy.simulation.scenarios import SCENARIOS

FACTS = {
    "scenario", "people", "requests", "subjects_wanted", "subjects_taken", "taken_before_block", "detected", "detector",
    "seconds_to_detection", "final_status",
}  # fmt: skip


def simulate(*arguments: str):
    return CliRunner().invoke(app, ["simulate", *arguments])


def test_the_list_names_every_scenario_with_its_kind() -> None:
    done = simulate("--list", "--json")
    assert {one["name"]: one["kind"] for one in json.loads(done.stdout)} == {
        name: one.kind.value for name, one in SCENARIOS.items()
    }
    assert all(name in simulate("--list").stdout for name in SCENARIOS)


def test_a_scenario_is_told_in_numbers() -> None:
    done = simulate("--scenario", "contact-importer", "--seed", "3", "--size", "0.1", "--json")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert facts.keys() >= FACTS
    assert (facts["detected"], facts["final_status"], facts["seed"]) == (True, "quarantined", 3)
    assert (facts["subjects_taken"], facts["third_party_consent"]) == (0, True)


def test_without_third_party_consent_budgets_alone_stand_in_the_way() -> None:
    arguments = ("--scenario", "whole-population", "--population", "50000", "--size", "0.1")
    done = simulate(*arguments, "--no-third-party-consent", "--json")
    assert 0 < json.loads(done.stdout)["subjects_taken"] <= 2_000 * 1.05 + 100
    assert "detected" in simulate(*arguments).stdout


def test_other_budgets_give_another_result(tmp_path) -> None:
    """A file as the proxy reads it; what is wrong in one is named."""
    file = tmp_path / "budgets.yaml"
    file.write_text("default:\n  third_parties: { 24h: 300 }\n  missed: {}\n")
    arguments = ("--scenario", "whole-population", "--no-third-party-consent", "--size", "0.1", "--json")
    facts = json.loads(simulate(*arguments, "--budgets", str(file)).stdout)
    assert 0 < facts["subjects_taken"] <= 300 * 1.05 + 100
    file.write_text("default:\n  third_party: { 24h: 300 }\n")
    done = simulate(*arguments, "--budgets", str(file))
    assert done.exit_code == 2
    assert "budgets.yaml:2" in done.stderr


def test_events_from_outside_give_findings_and_the_status_by_app(tmp_path) -> None:
    """Bad lines are named with their number; the rest counts."""
    file = tmp_path / "events.jsonl"
    rows = [
        json.dumps(
            {"ts": 1_767_225_600 + n, "app": "quiz", "holder": f"u{n}", "subjects": list(range(n * 25, n * 25 + 25))}
        )
        for n in range(200)
    ]
    rows += [json.dumps({"ts": 1_767_225_600, "app": "calm", "holder": "u1", "subjects": ["p1"]}), "{}"]
    file.write_text("\n".join(rows))
    done = simulate("--events", str(file), "--json", "--population", "100000")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert facts["events"] == 201
    assert [bad["line"] for bad in facts["bad_lines"]] == [202]
    assert facts["final_status"] == {"calm": "active", "quiz": "quarantined"}
    assert {one["app"] for one in facts["findings"]} == {"quiz"}
    assert all(one["sentence"].startswith("App quiz ") for one in facts["findings"])
    told = simulate("--events", str(file))
    assert "quiz: quarantined" in told.stdout
    assert f"{file}:202: " in told.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "choose one"),
        (("--list", "--scenario", "quiz-2014"), "choose one"),
        (("--scenario", "quiz-2015"), "did you mean 'quiz-2014'"),
        (("--scenario", "x"), "--list names them"),
        (("--events", "/nowhere/events.jsonl"), "cannot be read: No such file"),
    ],
)
def test_wrong_use_says_what_to_do(arguments, why) -> None:
    done = simulate(*arguments)
    assert done.exit_code == 2
    assert why in done.stderr
