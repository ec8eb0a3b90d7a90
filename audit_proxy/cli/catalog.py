"""``audit-proxy catalog``: what is reviewed of the platform's API, by whom, and where traffic goes beyond it."""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from audit_proxy.cli.admin_api import wrong
from audit_proxy.cli.catalog_status import Entry, Status, facts_of, show, show_one
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, tell_problems
from audit_proxy.core.catalog import Catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.core.catalog_report import Gap, consequences, fields_of, gaps
from audit_proxy.settings.catalog import load_catalog
from audit_proxy.settings.files import replace_file
from audit_proxy.settings.load import ConfigProblems, Loaded, load, load_settings_only
from audit_proxy.settings.model import Settings
from audit_proxy.settings.reviews import NotReviewable, modes_of, not_reviewed, one_of_each_mode, reviewed
from audit_proxy.wiring import log as wiring

catalog_app = typer.Typer(
    name="catalog",
    help="The platform's API as the proxy understands it: what is reviewed, and what traffic goes beyond it.",
    no_args_is_help=True,
)

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@catalog_app.command()
def status(
    config: ConfigFile = DEFAULT,
    operation: Annotated[
        str | None,
        typer.Option("--operation", metavar="ID", help="Only this operation, with each field and each review."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How far back to read the log: 30m, 12h, 7d, 2w, or a date.")
    ] = "7d",
    directory: Annotated[
        list[Path],
        typer.Option("--dir", metavar="DIR", help="A log's directory; repeat for several. Else the configuration's."),
    ] = [],  # noqa: B006  (typer's way to a default list; never changed)
    json_output: AsJson = False,
) -> None:
    """Say what is reviewed, by whom and when, what enforce would refuse or drop, and what traffic held that nothing classifies.

    An operation is "reviewed" as long as it is described as it was then; "stale" once the vendor's file or the overlay changed it since; else "unreviewed". In enforce, the proxy starts with reviewed operations only, unless policy.yaml says unsafe_enforce_unreviewed. Mark one with 'audit-proxy catalog review'.

    Gaps in traffic are read from the audit log, with or without a proxy running. They are named by catalog path: "Person.?" stands for keys that nothing describes in a Person, whose names are not recorded, since such a key can be somebody's id.

    Exit codes: 0 fine; 1 an operation in enforce is unreviewed or stale; 2 wrong use.
    """
    loaded = _loaded(config)
    catalog = _catalog(loaded.settings)
    moment = _moment(since)
    entries = tuple(_entries(loaded, catalog))
    places = directory or [loaded.settings.audit.directory]
    found = _gaps(places, moment, catalog) if directory or places[0].is_dir() else None
    if operation is not None:
        entries = tuple(one for one in entries if one.operation.id == operation)
        found = None if found is None else [gap for gap in found if gap.operation == operation]
        if not entries:
            wrong(f"the catalog has no operation '{operation}'; 'audit-proxy catalog status' lists them")
    facts = Status(catalog, loaded.policy, entries, tuple(places), moment, found)
    if json_output:
        typer.echo(as_json(facts_of(facts)))
    elif operation is not None:
        show_one(facts)
    else:
        show(facts)
    raise typer.Exit(1 if any(one.refused for one in entries) else 0)


@catalog_app.command()
def review(
    names: Annotated[
        list[str],
        typer.Argument(metavar="OPERATION…", help="Operations; or components, such as '#/components/schemas/Person'."),
    ],
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="Who has looked: a name, a team, a ticket.")],
    at: Annotated[str | None, typer.Option("--at", metavar="DATE", help="When; today if not given.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put it into the overlay, instead of only printing it.")
    ] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Mark operations as reviewed, as they are described now: one line each at the end of the overlay (x-reviewed).

    Look first: 'audit-proxy catalog status --operation OPERATION' shows each field and its category. A review is of all that an operation's description refers to, vendor's file and overlay together; prose and examples do not count. It goes stale when any of that changes. A new review takes the place of the earlier one.

    A component with a review of its own is not part of the reviews of operations that refer to it: review one that many of them share, and its change asks for one new review. Review the component first, or all in one go.
    """
    settings = _settings(config)
    overlay = settings.platform.overlay
    if write and overlay is None:
        wrong("platform.overlay names no file to write into; without --write, what a file for it must hold is printed")
    try:
        made = reviewed(settings, names, by, at or dt.datetime.now(dt.UTC).date().isoformat())
        if write and overlay is not None:
            replace_file(overlay.resolve(), made.text)  # a link stays a link
    except (NotReviewable, CatalogError, OSError, UnicodeDecodeError) as error:
        typer.echo(str(error), err=True)
        for line in error.lines if isinstance(error, NotReviewable) else ():
            typer.echo(line)
        raise typer.Exit(2) from None
    if write:
        typer.echo(f"{len(made.lines)} review{'s' if len(made.lines) != 1 else ''} written to {overlay}.")
    elif overlay is None:
        typer.echo(made.text, nl=False)
        typer.echo("Not written: put this into a file and name it as platform.overlay.", err=True)
    else:
        for line in made.lines:
            typer.echo(line)
        typer.echo(f"Not written: add --write, or put this at the end of {overlay}.", err=True)
    for one in made.changed:
        typer.echo(f"{one.id}: {one.review_state}", err=True)


def _entries(loaded: Loaded, catalog: Catalog) -> Iterator[Entry]:
    policy, apps = loaded.policy, loaded.apps.values()
    everyone = [*apps, *([policy.unknown_app] if policy.unknown_app is not None else [])]
    approved = {catalog.expand(scopes) for scopes in {app.approved_scopes for app in everyone}}
    some = one_of_each_mode(policy, apps)
    refused = {one.id for one in not_reviewed(policy, apps, catalog)}
    for one in catalog.operations:
        fields = fields_of(one)
        modes = tuple(sorted(modes_of(policy, some, one.id)))
        yield Entry(one, modes, fields, one.id in refused, tuple(consequences(one, fields, policy, approved)))


def _gaps(places: Sequence[Path], since: dt.datetime, catalog: Catalog) -> list[Gap]:
    for place in places:
        if not place.is_dir():
            wrong(f"{place} is no directory")
    try:
        return gaps((line for place in places for _, line in wiring.LogReader(place).since(since)), since, catalog)
    except (OSError, ValueError) as error:
        wrong(f"cannot read the log: {error}; 'audit-proxy log verify' says what is wrong with it")


def _moment(text: str) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    found = re.fullmatch(r"([0-9]{1,5})([mhdw])", text)
    try:
        if found is not None:
            return now - dt.timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})
        moment = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        wrong("--since must be like 30m, 12h, 7d, 2w, or a date like 2026-11-25")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _loaded(config: Path) -> Loaded:
    try:
        return load(config)
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None


def _settings(config: Path) -> Settings:
    try:
        return load_settings_only(config)
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None


def _catalog(settings: Settings) -> Catalog:
    try:
        return load_catalog(settings)
    except CatalogError as error:
        wrong(str(error))
