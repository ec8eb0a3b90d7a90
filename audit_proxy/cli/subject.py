"""``audit-proxy subject``: one person's records, and their erasure."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from audit_proxy.cli.admin_api import Admin, TokenFile, call, talk, wrong
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, tell_problems
from audit_proxy.core.subject_report import Account, report
from audit_proxy.settings.load import ConfigProblems, load_settings_only
from audit_proxy.wiring import log as wiring

subject_app = typer.Typer(name="subject", help="One person: what apps received, and erasure.", no_args_is_help=True)

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="The person, as namespace:id.")]


@subject_app.command("report")
def report_(
    subject: Subject,
    token_file: TokenFile,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    directory: Annotated[
        list[Path],
        typer.Option("--dir", metavar="DIR", help="A log's directory; repeat for several. Else the configuration's."),
    ] = [],  # noqa: B006  (typer's way to a default list; never changed)
    json_output: AsJson = False,
) -> None:
    """Which apps received what about a person, on what ground, and what was withheld from them.

    The admin API tells the person's pseudonyms (which is recorded); the log is read here, in every live key epoch.
    """
    places = directory or [_configured(config)]
    path = f"/v1/subjects/{quote(subject, safe='')}/pseudonyms"
    names = talk(admin, config, token_file, lambda client: call(client, "GET", path))["pseudonyms"]
    try:
        accounts = report(_lines(places), frozenset(names.values()))
    except (OSError, ValueError) as error:
        wrong(f"cannot read the log: {error}")
    if json_output:
        facts = {app: _facts(account) for app, account in sorted(accounts.items())}
        typer.echo(as_json({"subject": subject, "epochs": sorted(map(int, names)), "apps": facts}))
        return
    if not names:
        typer.echo("The person was erased from every live key epoch: no record can be found to be about them.")
    for app, account in sorted(accounts.items()):
        _tell(app, account)
    if names and not accounts:
        typer.echo("No app asked for or received anything about this person.")


@subject_app.command()
def erase(
    subject: Subject,
    token_file: TokenFile,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Erase a person from the pseudonym keys: nobody can tell any more which records are about them. For ever.

    The log is not touched and still verifies. Until the next key epoch begins the person counts as withdrawn from every app, and stands in records as "erased". Make a report before, if the person wants one.
    """
    if not yes:
        if not sys.stdin.isatty():
            wrong("This cannot be undone; say --yes.")
        typer.confirm("This cannot be undone, and no report can be made afterwards. Erase?", abort=True)
    path = f"/v1/subjects/{quote(subject, safe='')}/erase"
    done = talk(admin, config, token_file, lambda client: call(client, "POST", path))
    if json_output:
        typer.echo(as_json(done))
    else:
        typer.echo("Erased." if done["epochs"] else "The person had been erased before.")


def _configured(config: Path) -> Path:
    try:
        return load_settings_only(config).audit.directory
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None


def _lines(places: list[Path]) -> Iterator[bytes]:
    for place in places:
        if not place.is_dir():
            raise FileNotFoundError(f"{place} is no directory")
        for _, line in wiring.LogReader(place).records():
            yield line


def _facts(account: Account) -> dict[str, Any]:
    return {
        "first": account.first.isoformat(),
        "last": account.last.isoformat(),
        "requests": account.requests,
        "as_holder": account.as_holder,
        "asked_for": account.asked_for,
        "disclosed": dict(sorted(account.disclosed.items())),
        "grounds": sorted(account.grounds),
        "withheld": dict(sorted(account.withheld.items())),
        "reasons": sorted(account.reasons),
    }


def _tell(app: str, account: Account) -> None:
    own = f", {account.as_holder} with the person's own token" if account.as_holder else ""
    named = f", {account.asked_for} that asked for exactly this person" if account.asked_for else ""
    typer.echo(f"{app}: {account.requests} requests{own}{named}, {account.first:%Y-%m-%d} to {account.last:%Y-%m-%d}")
    for word, found, why in (
        ("received", account.disclosed, account.grounds),
        ("withheld", account.withheld, account.reasons),
    ):
        if found:
            kinds = ", ".join(f"{category} ({times})" for category, times in sorted(found.items()))
            typer.echo(f"  {word}: {kinds}; {' '.join(sorted(why))}")
