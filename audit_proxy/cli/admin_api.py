"""What commands share that speak to a running proxy's admin API: options, the client, how its answers end a command."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import aiohttp
import typer
from yarl import URL

from audit_proxy.cli.configuration import tell_problems
from audit_proxy.settings.files import ConfigProblems
from audit_proxy.settings.load import load_settings_only

_LAST_LINE_MAX = 4 * 1024 * 1024  # bytes: an import's last line tells each refused line
_T = TypeVar("_T")

Admin = Annotated[
    str | None, typer.Option("--admin", metavar="URL", help="The admin listener; by default as the configuration says.")
]
TokenFile = Annotated[
    Path,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="AUDIT_PROXY_ADMIN_TOKEN_FILE",
        help="A file that holds an admin token whose role permits the command.",
    ),
]


class Denied(Exception):  # noqa: N818  (an answer of the admin API, not a fault)
    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("reason"))
        self.problem = problem


class Strange(Exception):  # noqa: N818  (as above)
    """What answers is no admin API."""


def wrong(text: str) -> NoReturn:
    """Ends the command: it was used wrongly, or cannot be carried out here."""
    typer.echo(text, err=True)
    raise typer.Exit(2)


def _base(admin: str | None, config: Path) -> str:
    if admin is not None:
        parts = urlsplit(admin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            wrong("--admin: http://HOST[:PORT] or https://HOST[:PORT]")
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
        wrong(f"{file}: {getattr(error, 'strerror', None) or 'holds no token'}")
    if not token.isprintable() or not 0 < len(token) <= 512 or " " in token:
        wrong(f"{file}: holds no token")
    return token


def talk(admin: str | None, config: Path, token_file: Path, work: Callable[["AdminClient"], Awaitable[_T]]) -> _T:
    """What ``work`` returns; ends the command where the admin API refuses (exit code 1: its answer is no) or is not there."""
    base, token = _base(admin, config), _token(token_file)

    async def conversation() -> _T:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, read_bufsize=_LAST_LINE_MAX) as session:
            return await work(AdminClient(session, base))

    try:
        return asyncio.run(conversation())
    except Denied as denied:
        problem = denied.problem
        typer.echo(f"{problem['reason']}: {problem.get('detail') or problem.get('title', '')}", err=True)
        if problem.get("applied"):
            typer.echo("It is in force, but was not recorded: repeat the command.", err=True)
        raise typer.Exit(1 if problem["reason"] == "superseded" else 2) from None
    except (aiohttp.ClientError, OSError, ValueError, Strange) as error:
        wrong(f"{base}: no answer of an admin API ({type(error).__name__})")


class AdminClient:
    """The admin API at one address, with one token."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    def request(self, method: str, path: str, **more: Any) -> Any:
        # No redirects: they would carry the token to wherever the answer says.
        return self._session.request(method, URL(self._base + path, encoded=True), allow_redirects=False, **more)


async def call(client: AdminClient, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call with a small body; its answer. Raises Denied, Strange."""
    async with client.request(method, path, **({"json": body} if body is not None else {})) as response:
        return await answer(response)


async def answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """An answer's body. Raises Denied, Strange."""
    body = json.loads(await response.read())
    if not isinstance(body, dict):
        raise Strange
    if response.status != 200:
        if "reason" not in body:
            raise Strange
        raise Denied(body)
    return body
