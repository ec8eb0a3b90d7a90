"""``audit-proxy consent``: grants, through a running proxy's admin API."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from yarl import URL

from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, tell_problems
from audit_proxy.settings.files import ConfigProblems
from audit_proxy.settings.load import load_settings_only

consent_app = typer.Typer(
    name="consent", help="People's grants and withdrawals, through the admin API.", no_args_is_help=True
)

_BLOCK = 64 * 1024  # bytes
_LAST_LINE_MAX = 4 * 1024 * 1024  # bytes: the last line tells each refused line
_TOLD_MAX = 20  # refused lines told to people; --json tells all that the proxy did
_T = TypeVar("_T")


class Form(StrEnum):
    csv = "csv"
    ndjson = "ndjson"


_MEDIA = {Form.csv: "text/csv", Form.ndjson: "application/x-ndjson"}

Admin = Annotated[
    str | None, typer.Option("--admin", metavar="URL", help="The admin listener; by default as the configuration says.")
]
TokenFile = Annotated[
    Path,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="AUDIT_PROXY_ADMIN_TOKEN_FILE",
        help="A file that holds an admin token of role consent or admin (reader for show).",
    ),
]
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
        _wrong(f"{file}: {error.strerror}")
    with source:
        size = None if file == "-" else Path(file).stat().st_size
        last = _talk(admin, config, token_file, lambda client: _import(client, source, size or None, kind))
    problem = last.get("problem")
    if json_output:
        typer.echo(as_json(last))
    else:
        _tell_import(last)
    if problem is not None:
        _wrong(f"{problem['reason']}: {problem.get('detail', problem['title'])}")
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
    held = _talk(admin, config, token_file, lambda client: _call(client, "GET", _path(app, subject)))
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
    done = _talk(admin, config, token_file, lambda client: _call(client, "PUT", _path(app, subject), body))
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
    done = _talk(admin, config, token_file, lambda client: _call(client, "POST", path, body))
    typer.echo(as_json(done) if json_output else f"Withdrawn at {done['withdrawn_at']}.")


class _Denied(Exception):  # noqa: N818  (an answer of the admin API, not a fault)
    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("reason"))
        self.problem = problem


class _Strange(Exception):  # noqa: N818  (as above)
    """What answers is no admin API."""


def _wrong(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(2)


def _form_of(file: str) -> Form:
    for form, ending in ((Form.csv, ".csv"), (Form.ndjson, ".ndjson"), (Form.ndjson, ".jsonl")):
        if file.lower().endswith(ending):
            return form
    _wrong("The format cannot be told from the file's ending; say --format csv or --format ndjson.")


def _path(app: str, subject: str) -> str:
    return f"/v1/consent/{quote(app, safe='')}/{quote(subject, safe='')}"


def _base(admin: str | None, config: Path) -> str:
    if admin is not None:
        parts = urlsplit(admin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            _wrong("--admin: http://HOST[:PORT] or https://HOST[:PORT]")
        return admin.rstrip("/")
    try:
        listener = load_settings_only(config).admin
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)  # noqa: S104  (compared, not bound)
    return f"http://[{host}]:{listener.port}" if ":" in host else f"http://{host}:{listener.port}"


def _token(file: Path) -> str:
    try:
        token = file.read_bytes().strip().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        _wrong(f"{file}: {getattr(error, 'strerror', None) or 'holds no token'}")
    if not token.isprintable() or not 0 < len(token) <= 512 or " " in token:
        _wrong(f"{file}: holds no token")
    return token


def _talk(admin: str | None, config: Path, token_file: Path, work: Callable[["_Client"], Awaitable[_T]]) -> _T:
    """What ``work`` returns; ends the command where the admin API refuses (exit code 1: its answer is no) or is not there."""
    base, token = _base(admin, config), _token(token_file)

    async def talk() -> _T:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, read_bufsize=_LAST_LINE_MAX) as session:
            return await work(_Client(session, base))

    try:
        return asyncio.run(talk())
    except _Denied as denied:
        problem = denied.problem
        typer.echo(f"{problem['reason']}: {problem.get('detail') or problem.get('title', '')}", err=True)
        if problem.get("applied"):
            typer.echo("It is in force, but was not recorded: repeat the command.", err=True)
        raise typer.Exit(1 if problem["reason"] == "superseded" else 2) from None
    except (aiohttp.ClientError, OSError, ValueError, _Strange) as error:
        _wrong(f"{base}: no answer of an admin API ({type(error).__name__})")


class _Client:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    def request(self, method: str, path: str, **more: Any) -> Any:
        # No redirects: they would carry the token to wherever the answer says.
        return self._session.request(method, URL(self._base + path, encoded=True), allow_redirects=False, **more)


async def _call(client: _Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    async with client.request(method, path, **({"json": body} if body is not None else {})) as response:
        return await _answer(response)


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    answer = json.loads(await response.read())
    if not isinstance(answer, dict):
        raise _Strange
    if response.status != 200:
        if "reason" not in answer:
            raise _Strange
        raise _Denied(answer)
    return answer


async def _import(client: _Client, source: BinaryIO, size: int | None, form: Form) -> dict[str, Any]:
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
                await _answer(response)
            last: dict[str, Any] = {}
            async for line in response.content:
                last = json.loads(line)
                if not isinstance(last, dict) or "taken" not in last:
                    raise _Strange
                progress.update(bar, description=f"{last['taken']} taken, {last['refused']} refused")
    if "problems" not in last:
        raise _Strange
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
