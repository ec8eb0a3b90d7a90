"""The command tree."""

from typing import Annotated

import typer

from audit_proxy import __version__
from audit_proxy.cli.apps import app_app
from audit_proxy.cli.check_config import check_config
from audit_proxy.cli.consent import consent_app
from audit_proxy.cli.demo import demo
from audit_proxy.cli.init import init
from audit_proxy.cli.log import log_app
from audit_proxy.cli.schema import schema
from audit_proxy.cli.serve import serve

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


app.command()(demo)
app.command()(serve)
app.command()(init)
app.command()(check_config)
app.command()(schema)
app.add_typer(app_app)
app.add_typer(consent_app)
app.add_typer(log_app)


def main() -> None:
    app()
