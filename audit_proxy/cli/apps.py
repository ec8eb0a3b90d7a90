"""``audit-proxy app``: registered apps."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, problem_json, tell_problems
from audit_proxy.settings.apps import AppEntry, parse_apps
from audit_proxy.settings.apps_import import import_apps
from audit_proxy.settings.files import ConfigProblems, read_yaml
from audit_proxy.settings.load import load_settings_only

app_app = typer.Typer(name="app", help="Registered apps (OAuth clients).", no_args_is_help=True)


class Form(StrEnum):
    csv = "csv"
    ndjson = "ndjson"


@app_app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a heading, or NDJSON.")],
    config: ConfigFile = DEFAULT,
    form: Annotated[Form | None, typer.Option("--format", help="By the file's ending if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    json_output: AsJson = False,
) -> None:
    """Add and change many apps at once. A column that is absent keeps what stands. The next start of serve reads them."""
    try:
        outcome = import_apps(
            load_settings_only(config).apps, source, form.value if form is not None else None, dry_run=dry_run
        )
    except ConfigProblems as error:
        if json_output:
            typer.echo(as_json({"problems": [problem_json(one) for one in error.problems]}))
        else:
            tell_problems(error.problems)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    if json_output:
        facts = {"added": outcome.added, "changed": outcome.changed, "unchanged": outcome.unchanged}
        typer.echo(as_json({name: list(ids) for name, ids in facts.items()} | {"dry_run": dry_run}))
        return
    typer.echo(
        f"{len(outcome.added)} added, {len(outcome.changed)} changed, {len(outcome.unchanged)} unchanged"
        + (" (dry run: nothing was written)." if dry_run else ".")
    )
    if outcome.comments_lost:
        typer.echo("Comments between the apps are not kept; those at the file's beginning are.", err=True)


@app_app.command("list")
def list_(config: ConfigFile = DEFAULT, json_output: AsJson = False) -> None:
    """All registered apps."""
    entries = _entries(config)
    if json_output:
        typer.echo(as_json([entry.model_dump(mode="json") for entry in entries]))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "owner", "tier", "purpose", "mode", "status", "scopes"):
        table.add_column(title, overflow="fold")
    for one in entries:
        mode = one.mode.value if one.mode is not None else "-"
        scopes = str(len(one.approved_scopes))
        table.add_row(one.id, one.name, one.owner, one.tier, one.purpose, mode, one.status.value, scopes)
    Console(highlight=False, markup=False).print(table)


@app_app.command("show")
def show(
    client_id: Annotated[str, typer.Argument(metavar="ID", help="The OAuth client id.")],
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """One registered app; exit code 1 if there is none of that id."""
    entry = next((one for one in _entries(config) if one.id == client_id), None)
    if entry is None:
        typer.echo(f"no app {client_id!r} is registered", err=True)
        raise typer.Exit(1)
    facts = entry.model_dump(mode="json")
    if json_output:
        typer.echo(as_json(facts))
        return
    for name, value in facts.items():
        shown = " ".join(value) if isinstance(value, list) else value
        typer.echo(f"{name:16} {shown if shown not in (None, '') else '-'}")


def _entries(config: Path) -> list[AppEntry]:
    try:
        return parse_apps(read_yaml(load_settings_only(config).apps)).apps
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None
