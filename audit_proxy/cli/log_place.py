"""What commands on a log's directory share: which log is meant, and the key that checks it."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from audit_proxy.cli.configuration import tell_problems
from audit_proxy.core.merkle import note
from audit_proxy.settings.load import ConfigProblems, load_settings_only
from audit_proxy.wiring import log as wiring

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", help="The log's directory, instead of the configuration's.", show_default=False
    ),
]
VKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--vkey",
        metavar="FILE",
        help="The log's verifier key (signed-note form); without it, the one that stands beside the directory. "
        "Keep a copy on another machine: who can write here can replace both.",
        show_default=False,
    ),
]


def place_of(config: Path, directory: Path | None) -> tuple[Path, str | None]:
    """The log's directory, and the origin that the configuration gives it."""
    if directory is not None:
        return directory, None
    try:
        settings = load_settings_only(config)
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None
    return settings.audit.directory, settings.audit.origin


def key_of(place: Path, vkey: Path | None) -> note.VerifierKey:
    """The log's verifier key; ends the command where it cannot be read."""
    path = vkey or wiring.vkey_path(place)
    try:
        return wiring.read_vkey(path)
    except (OSError, ValueError) as error:
        wrong(f"cannot read the verifier key {path}: {error}")


def wrong(text: str) -> NoReturn:
    """Ends the command: wrong use."""
    typer.echo(text, err=True)
    raise typer.Exit(2)
