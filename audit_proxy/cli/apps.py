"""``audit-proxy app``: registered apps."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from audit_proxy.cli.admin_api import Admin, TokenFile, call, talk, wrong
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, problem_json, tell_problems
from audit_proxy.settings.apps import AppEntry, parse_apps
from audit_proxy.settings.apps_import import import_apps
from audit_proxy.settings.files import ConfigProblems, read_yaml
from audit_proxy.settings.load import load_settings_only

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The OAuth client id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit log as it is given.")]
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
    client_id: ClientId,
    incident: Annotated[
        bool, typer.Option("--incident", help="Ask the running proxy whom it reached, and what to do.")
    ] = False,
    token_file: TokenFile | None = None,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """One registered app; exit code 1 if there is none of that id."""
    if incident:
        if token_file is None:
            wrong("--incident needs --token-file: the running proxy is asked")
        told = talk(admin, config, token_file, lambda client: call(client, "GET", _path(client_id)))
        typer.echo(as_json(told) if json_output else incident_screen(told))
        return
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


@app_app.command()
def status(
    token_file: TokenFile, admin: Admin = None, config: ConfigFile = DEFAULT, json_output: AsJson = False
) -> None:
    """All apps as the running proxy sees them: status, people reached, open findings."""
    told = talk(admin, config, token_file, lambda client: call(client, "GET", "/v1/apps"))
    if json_output:
        typer.echo(as_json(told["apps"]))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "owner", "tier", "status", "since", "people in 24 h", "open findings"):
        table.add_column(title, overflow="fold")
    for one in told["apps"]:
        people, open_findings = f"{one['people_24h']:,}", str(one["open_findings"])
        table.add_row(one["id"], one["owner"], one["tier"], one["status"], one["since"] or "-", people, open_findings)
    Console(highlight=False, markup=False).print(table)


@app_app.command()
def restrict(
    client_id: ClientId,
    reason: Reason,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Give an app the data of its own users only, until it is released."""
    _decide("restrict", client_id, {"reason": reason}, token_file, admin, config, json_output=json_output)


@app_app.command()
def quarantine(
    client_id: ClientId,
    reason: Reason,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Stop an app: all its tokens are refused, until it is released."""
    _decide("quarantine", client_id, {"reason": reason}, token_file, admin, config, json_output=json_output)


@app_app.command()
def release(
    client_id: ClientId,
    reason: Reason,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Let an app go on, blocked users too, with a new allowance on top of what it reached."""
    _decide("release", client_id, {"reason": reason}, token_file, admin, config, json_output=json_output)


@app_app.command()
def dismiss(
    client_id: ClientId,
    finding: Annotated[str, typer.Argument(metavar="FINDING", help="The id of the finding's record.")],
    reason: Reason,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Close a finding; the app keeps its status."""
    body = {"reason": reason, "finding": finding}
    _decide("dismiss", client_id, body, token_file, admin, config, json_output=json_output)


def _decide(
    verb: str,
    client_id: str,
    body: dict[str, str],
    token_file: Path,
    admin: str | None,
    config: Path,
    *,
    json_output: bool,
) -> None:
    told = talk(admin, config, token_file, lambda client: call(client, "POST", f"{_path(client_id)}/{verb}", body))
    typer.echo(as_json(told) if json_output else f"{told['id']} is {told['status']}.")


def _path(client_id: str) -> str:
    return f"/v1/apps/{quote(client_id, safe='')}"


def incident_screen(told: dict[str, Any]) -> str:
    """What to know of an app at three in the morning, and the command that stops it."""
    people, holders, name = told["people"], told["holders"], told["id"]
    lines = [
        f"{told['name']} ({name}), of {told['owner']}, tier {told['tier']}: {told['status'].upper()}"
        + (f" since {told['since']} by {told['status_by']}" if told["since"] else ""),
    ]
    if told["status_reason"]:
        lines.append(f"  {told['status_reason']}")
    leaking = "YES, within the last minutes" if told["still_leaking"] else "no"
    lines += [
        f"Still leaking   {leaking}; last page {told['last_at'] or 'never'}",
        f"People reached  {people['1h']:,} in an hour, {people['24h']:,} in 24 hours, {people['30d']:,} in 30 days",
        f"Without grant   {told['without_grant']['24h']:,} asked for or received in 24 hours",
        f"Looked up       {told['missed']['24h']:,} ids in vain in 24 hours",
        f"Categories      {', '.join(told['categories']) or 'none'}",
        f"Who breaks      {holders['1h']:,} users in the last hour, {holders['24h']:,} in 24 hours",
        f"Blocked users   {told['blocked_holders']:,}",
    ]
    for one in told["siblings"]:
        lines.append(f"Sibling app     {one['id']}: {one['status']}, {one['people_24h']:,} people in 24 hours")
    for one in told["findings"][:5]:
        lines.append(f"Finding         {one['at']}  {one['sentence']}  [{one['id']}]")
    if told["records"]:
        lines.append("Evidence        " + ", ".join(told["records"][-5:]))
    lines.append(
        f"Stop it         audit-proxy app quarantine {name} --reason '…'"
        if told["status"] != "quarantined"
        else f"Let it go on    audit-proxy app release {name} --reason '…'"
    )
    return "\n".join(lines)


def _entries(config: Path) -> list[AppEntry]:
    try:
        return parse_apps(read_yaml(load_settings_only(config).apps)).apps
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None
