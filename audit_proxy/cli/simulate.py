"""``audit-proxy simulate``."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from msgspec import structs

from audit_proxy.cli.configuration import tell_problems
from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.settings.budgets import parse_budgets
from audit_proxy.settings.files import ConfigProblems, read_yaml
from audit_proxy.simulation.events import Feed, Index, index, parse
from audit_proxy.simulation.measure import run
from audit_proxy.simulation.scenarios import SCENARIOS


def simulate(
    scenario: Annotated[str | None, typer.Option(help="Play one scenario (--list names them).")] = None,
    events: Annotated[Path | None, typer.Option(help="Feed the detector from a file of events, JSON Lines.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name all scenarios.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    size: Annotated[float, typer.Option(min=0.001, max=1000, help="Times the scenario's own size.")] = 1.0,
    population: Annotated[int | None, typer.Option(min=10, help="How many people the platform has.")] = None,
    consent: Annotated[
        bool,
        typer.Option(
            "--third-party-consent/--no-third-party-consent",
            help="Whether third parties without a grant are withheld. Without it everybody counts as having permitted.",
        ),
    ] = True,
    budgets: Annotated[Path | None, typer.Option(help="A budgets.yaml instead of the defaults.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Harvests and ordinary use against the detection, on a virtual clock: what left before it was stopped.

    All of it is synthetic, and nothing is sent anywhere. docs/detection.md has the scenarios and the format of events.
    """
    if list_ + (scenario is not None) + (events is not None) != 1:
        raise _wrong("choose one of --list, --scenario NAME and --events FILE")
    if list_:
        _list(json_output=json_output)
        return
    limits = _budgets(budgets)
    if events is not None:
        _events(events, limits, population, consent=consent, json_output=json_output)
        return
    assert scenario is not None
    if scenario not in SCENARIOS:
        close = difflib.get_close_matches(scenario, SCENARIOS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "--list names them"
        raise _wrong(f"there is no scenario '{scenario}': {hint}")
    outcome = run(SCENARIOS[scenario], seed, consent=consent, people=population, size=size, budgets=limits)
    facts = {**outcome.facts(), "third_party_consent": consent}
    if json_output:
        typer.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {_told(value)}")


def _told(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _list(*, json_output: bool) -> None:
    if json_output:
        facts = [
            {"name": one.name, "kind": one.kind.value, "group": one.group.value, "summary": one.summary}
            for one in SCENARIOS.values()
        ]
        typer.echo(json.dumps(facts))
        return
    for one in SCENARIOS.values():
        typer.echo(f"{one.name:<20} {one.kind.value:<8} {one.summary}")


def _events(path: Path, budgets: Budgets, population: int | None, *, consent: bool, json_output: bool) -> None:
    if population is not None:
        budgets = structs.replace(budgets, population=population)
    feed, findings = Feed(budgets, consent=consent), []
    try:
        with path.open("rb") as file:
            found = index(file)
            for line in _lines(file, found):
                for finding in feed.take(parse(line)):
                    findings.append({"app": finding.app, "at": finding.at, **finding.detail()})
                    if not json_output:
                        typer.echo(finding.sentence)
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror}") from None
    for bad in found.bad:
        typer.echo(f"{path}:{bad.line}: {bad.why}", err=True)
    for name, times in found.unknown.items():
        typer.echo(f"{path}: '{name}' is no field of events, passed over on {times} lines", err=True)
    apps = feed.facts()
    if json_output:
        facts = {
            "events": len(found.places),
            "bad_lines": [{"line": bad.line, "why": bad.why} for bad in found.bad],
            "unknown_fields": dict(found.unknown),
            "findings": findings,
            "apps": apps,
            "final_status": {name: one["status"] for name, one in apps.items()},
        }
        typer.echo(json.dumps(facts))
        return
    for name, one in apps.items():
        typer.echo(f"{name}: {one['status']}, {one['refused']:,} of {one['events']:,} events refused")


def _lines(file: BinaryIO, found: Index) -> Iterator[bytes]:
    """The lines of events, in order of time."""
    for _, offset in found.places:
        if file.tell() != offset:
            file.seek(offset)
        yield file.readline()


def _budgets(path: Path | None) -> Budgets:
    if path is None:
        return Budgets()
    try:
        return parse_budgets(read_yaml(path))
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None


def _wrong(text: str) -> typer.Exit:
    typer.echo(f"audit-proxy simulate: {text}.", err=True)
    return typer.Exit(2)
