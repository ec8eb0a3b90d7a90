"""The command tree."""

from typing import Annotated

import typer

from audit_proxy import __version__

app = typer.Typer(
    name="audit-proxy",
    help="A data-access auditing proxy for social APIs: consent per person, a record of every disclosure.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"audit-proxy {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    app()
