"""``audit-proxy consent``: grants, through a running proxy's admin API."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from audit_proxy.cli.admin_api import Admin, AdminClient, Strange, TokenFile, answer, call, talk, wrong
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json

consent_app = typer.Typer(
    name="consent", help="People's grants and withdrawals, through the admin API.", no_args_is_help=True
)

_BLOCK = 64 * 1024  # bytes
_TOLD_MAX = 20  # refused lines told to people; --json tells all that the proxy did


class Form(StrEnum):
    csv = "csv"
    ndjson = "ndjson"


_MEDIA = {Form.csv: "text/csv", Form.ndjson: "application/x-ndjson"}

App = Annotated[str, typer.Argument(metavar="APP", help="The app's OAuth client id.")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="The person, as namespace:id.")]
Source = Annotated[str, typer.Option(help="Where the statement was collected.")]
Evidence = Annotated[str, typer.Option(help="What proves it, e.g. a form's version.")]


@consent_app.command("import")
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="NDJSON, or CSV with a heading; '-' reads standard input.")
    ],
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    form: Annotated[Form | None, typer.Option("--format", help="By the file's ending if not given.")] = None,
    json_output: AsJson = False,
) -> None:
    """Load grants and withdrawals from a file. Exit code 1 if any line was refused; the others are stored."""
    kind = form or _form_of(file)
    try:
        source: BinaryIO = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115  (closed below)
    except OSError as error:
        wrong(f"{file}: {error.strerror}")
    with source:
        size = None if file == "-" else Path(file).stat().st_size
        last = talk(admin, config, token_file, lambda client: _import(client, source, size or None, kind))
    problem = last.get("problem")
    if json_output:
        typer.echo(as_json(last))
    else:
        _tell_import(last)
    if problem is not None:
        wrong(f"{problem['reason']}: {problem.get('detail', problem['title'])}")
    if last["refused"]:
        raise typer.Exit(1)


@consent_app.command()
def show(
    app: App,
    subject: Subject,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """What is stored about one person's consent towards one app."""
    held = talk(admin, config, token_file, lambda client: call(client, "GET", _path(app, subject)))
    if json_output:
        typer.echo(as_json(held))
        return
    for one in held["grants"]:
        typer.echo(f"{one['purpose']}: {' '.join(one['scopes'])}{'' if one['in_effect'] else ' (withdrawn)'}")
        typer.echo(f"  given {one['granted_at'] or '(not said)'}, expires {one['expires_at'] or 'never'}")
        for name in ("source", "evidence"):
            if one[name]:
                typer.echo(f"  {name}: {one[name]}")
    if not held["grants"]:
        typer.echo("No grants.")
    for one in held["withdrawals"]:
        typer.echo(f"Withdrawn from {'all apps' if one['app'] == '*' else one['app']} at {one['withdrawn_at']}.")


@consent_app.command()
def put(
    app: App,
    subject: Subject,
    token_file: TokenFile,
    scope: Annotated[list[str], typer.Option(help="A scope; repeat for several.")],
    purpose: Annotated[str, typer.Option(help="A fideslang data use, such as marketing.advertising.")],
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339; without it: until withdrawn.")] = None,
    granted_at: Annotated[str | None, typer.Option(help="RFC 3339; without it: now, which lifts a withdrawal.")] = None,
    source: Source = "",
    evidence: Evidence = "",
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Store one grant, in place of the one for the same purpose."""
    body = {
        "scopes": scope,
        "purpose": purpose,
        "expires_at": expires_at,
        "granted_at": granted_at,
        "source": source,
        "evidence": evidence,
    }
    done = talk(admin, config, token_file, lambda client: call(client, "PUT", _path(app, subject), body))
    typer.echo(as_json(done) if json_output else "The grant is in force.")


@consent_app.command()
def withdraw(
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's OAuth client id, or '*' for all apps.")],
    subject: Subject,
    token_file: TokenFile,
    source: Source = "",
    evidence: Evidence = "",
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Withdraw one person's consent, in force everywhere within a second."""
    body = {"source": source, "evidence": evidence}
    path = _path(app, subject) + "/withdraw"
    done = talk(admin, config, token_file, lambda client: call(client, "POST", path, body))
    typer.echo(as_json(done) if json_output else f"Withdrawn at {done['withdrawn_at']}.")


def _form_of(file: str) -> Form:
    endings = {".csv": Form.csv, ".ndjson": Form.ndjson, ".jsonl": Form.ndjson}
    form = endings.get(Path(file).suffix.lower())
    if form is None:
        wrong("The format cannot be told from the file's ending; say --format csv or --format ndjson.")
    return form


def _path(app: str, subject: str) -> str:
    return f"/v1/consent/{quote(app, safe='')}/{quote(subject, safe='')}"


async def _import(client: AdminClient, source: BinaryIO, size: int | None, form: Form) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("reading", total=size)

        async def blocks() -> AsyncIterator[bytes]:
            while block := await asyncio.to_thread(source.read, _BLOCK):
                yield block
                progress.advance(bar, len(block))

        headers = {"Content-Type": _MEDIA[form]}
        async with client.request("POST", "/v1/consent/import", data=blocks(), headers=headers) as response:
            if response.status != 200:
                await answer(response)
            last: dict[str, Any] = {}
            async for line in response.content:
                last = json.loads(line)
                if not isinstance(last, dict) or "taken" not in last:
                    raise Strange
                progress.update(bar, description=f"{last['taken']} taken, {last['refused']} refused")
    if "problems" not in last:
        raise Strange
    return last


def _tell_import(last: dict[str, Any]) -> None:
    typer.echo(
        f"{last['lines']} lines: {last['taken']} taken, {last['unchanged']} unchanged, "
        f"{last['superseded']} superseded by a withdrawal or a newer grant, {last['refused']} refused."
    )
    for one in last["problems"][:_TOLD_MAX]:
        typer.echo(f"line {one['line']}: {one['reason']}", err=True)
    if last["refused"] > min(len(last["problems"]), _TOLD_MAX):
        typer.echo("More lines were refused than are told here.", err=True)
    if not last["loaded"]:
        typer.echo("The store does not count as loaded yet: third parties' data is withheld.", err=True)
