"""Alert rules, their unit tests, their routes and their runbooks belong together."""

import re
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from audit_proxy.cli.app import app as cli
from audit_proxy.core.detection.budgets import Signal
from tests.simulator.monitoring import DEPLOY, needs, rules, run

ROOT = DEPLOY.parent
RUNBOOKS = ROOT / "docs/runbooks"
PARTS = (
    *("Meaning", "Who is affected", "Is it still leaking", "Evidence", "Benign look-alikes", "Act", "Classify"),
    "Verify",
)
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yaml"))
RULES = rules()


@needs("promtool")
async def test_prometheus_takes_the_configuration(tmp_path):
    """The configuration and every rule file in it."""
    shutil.copytree(DEPLOY / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "audit-proxy.token").write_text("t")
    told = await run("promtool", "check", "config", "prometheus.yaml", cwd=tmp_path)
    assert "3 rule files found" in told


@needs("promtool")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
async def test_rules_fire_and_stay_quiet(path):
    """promtool's unit tests of the rules."""
    await run("promtool", "test", "rules", path.name, cwd=path.parent)


def test_each_alert_is_tested_firing_and_quiet():
    """Somewhere in promtool's tests it fires, with all its texts, and somewhere it does not."""
    fires, quiet = set(), set()
    for path in TESTS:
        for group in yaml.safe_load(path.read_text())["tests"]:
            for one in group["alert_rule_test"]:
                (fires if one["exp_alerts"] else quiet).add(one["alertname"])
    assert fires == set(RULES)
    assert quiet == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_each_alert_says_what_to_do(name):
    """A severity (that of a finding is the finding's own), an area, and three texts, one of which leads to the runbook."""
    rule = RULES[name]
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"/runbooks/{name}.md")
    if "audit_proxy:findings:" in rule["expr"]:
        assert rule["labels"] == {"area": "harvest"}
    else:
        assert set(rule["labels"]) == {"severity", "area"}
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_each_detector_has_its_alert():
    """And what is none of these is an alert too, so that a new detector is not silent."""
    exprs = [rule["expr"] for rule in RULES.values() if "audit_proxy:findings:" in rule["expr"]]
    named = {found[1] for one in exprs if (found := re.search(r'detector="(\w+)"', one))}
    (others,) = (found[1] for one in exprs if (found := re.search(r'detector!~"([\w|]+)"', one)))
    assert named == {signal.value for signal in Signal} == set(others.split("|"))


def test_each_alert_has_its_runbook_and_the_reverse():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_runbooks_answer_the_same_questions(name):
    """In the same order, each with an answer; the evidence is a query."""
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    found = re.findall(r"^\*\*([^.?*]+)[.?]\*\*\s+(\S)", text, re.MULTILINE)
    assert [part for part, _ in found] == list(PARTS)
    assert "```promql\n" in text or "audit-proxy log tail" in text


def test_documentation_lists_every_alert():
    """The table of docs/monitoring.md: alert, severity, and nothing else."""
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| ([\w ]+) \|", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE
    )
    assert all(name == file for name, file, _ in rows)
    assert {name: severity for name, _, severity in rows} == {
        name: rule["labels"].get("severity", "of the finding") for name, rule in RULES.items()
    }


def test_documents_name_commands_that_exist():
    """Each ``audit-proxy …`` in runbooks and docs/monitoring.md."""
    texts = "".join(path.read_text() for path in [*RUNBOOKS.glob("*.md"), ROOT / "docs/monitoring.md"])
    named = set(re.findall(r"`audit-proxy ([a-z]+(?: [a-z]+)?)", texts))
    assert {"log tail", "log verify", "app list"} <= named
    for one in named:
        answer = CliRunner().invoke(cli, [*one.split(), "--help"])
        assert answer.exit_code == 0, one


@needs("amtool")
async def test_alertmanager_takes_the_configuration():
    assert "SUCCESS" in await run("amtool", "check-config", DEPLOY / "alertmanager/alertmanager.yaml")


@needs("amtool")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=DetectorBlind", "severity=critical", "area=detection"], "page"),
        (["alertname=AppQuarantined", "severity=critical", "area=harvest", "app=quiz"], "page"),
        (["alertname=FanOut", "severity=critical", "area=harvest", "app=quiz"], "page"),
        (["alertname=FanOut", "severity=serious", "area=harvest", "app=quiz"], "ticket"),
        (["alertname=SchemaDrift", "severity=warning", "area=catalog"], "ticket"),
    ],
)
async def test_critical_alerts_wake_somebody(labels, receiver):
    """And the others wait for the morning."""
    told = await run(
        "amtool", "config", "routes", "test", f"--config.file={DEPLOY}/alertmanager/alertmanager.yaml", *labels
    )
    assert told.splitlines()[-1] == receiver  # before it stands a warning that the file is used
