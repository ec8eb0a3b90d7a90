"""The command tree. A command's module is imported when the command is used."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from audit_proxy import __version__
from audit_proxy.cli.lazy import Lazy

COMMANDS = (
    Lazy(
        "demo",
        "2014 once more: a quiz walks its installers' friends, without the proxy and with it. Runs on loopback alone.",
        "audit_proxy.cli.demo:demo",
    ),
    Lazy(
        "serve",
        "Serve: stand between apps and the platform's API, until SIGTERM (which drains what is in flight).",
        "audit_proxy.cli.serve:serve",
    ),
    Lazy(
        "init",
        "Make keys, admin tokens and a commented configuration. What is not given stays to be filled in.",
        "audit_proxy.cli.init:init",
    ),
    Lazy(
        "check-config",
        "Say everything that is wrong with a configuration, with file and line; exit code 2 if anything is.",
        "audit_proxy.cli.check_config:check_config",
    ),
    Lazy("schema", "Print the JSON Schema of a configuration file.", "audit_proxy.cli.schema:schema"),
    Lazy(
        "catalog",
        "The platform's API as the proxy understands it: what is reviewed, and what traffic goes beyond it.",
        "audit_proxy.cli.catalog:catalog_app",
    ),
    Lazy("app", "Registered apps (OAuth clients).", "audit_proxy.cli.apps:app_app"),
    Lazy("consent", "People's grants and withdrawals, through the admin API.", "audit_proxy.cli.consent:consent_app"),
    Lazy("subject", "One person: what apps received, and erasure.", "audit_proxy.cli.subject:subject_app"),
    Lazy("keys", "The epochs of the pseudonym keys.", "audit_proxy.cli.keys:keys_app"),
    Lazy(
        "log",
        "The audit log: read it, verify that nothing was altered or removed, prove single records.",
        "audit_proxy.cli.log:log_app",
    ),
    Lazy(
        "simulate",
        "Harvests and ordinary use against the detection, on a virtual clock: what left before it was stopped.",
        "audit_proxy.cli.simulate:simulate",
    ),
)


class _Commands(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for one in COMMANDS:
            self.add_command(one)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's signature)
        return list(self.commands)  # in the order of the table


app = typer.Typer(
    name="audit-proxy",
    help="A data-access auditing proxy for social APIs: consent per person, a record of every disclosure.",
    cls=_Commands,
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
