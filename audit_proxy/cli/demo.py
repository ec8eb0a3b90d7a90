"""``audit-proxy demo``."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from audit_proxy.demo import report
from audit_proxy.demo.apps import Broken
from audit_proxy.demo.run import Options, run
from audit_proxy.settings.initial import FilesExist


def demo(
    people: Annotated[int, typer.Option(min=50, max=100_000, help="How many people the platform has.")] = 5000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people, ties and consents.")] = 1,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep everything here (configuration, keys, consents, log) for further commands."),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on standard output; progress goes to the other.")
    ] = False,
) -> None:
    """2014 once more: a quiz walks its installers' friends, without the proxy and with it. Runs on loopback alone.

    Exit code 0: nobody's data left without their consent, every disclosure is on record, and the log verifies.
    """
    console = Console(stderr=json_output, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(stderr=json_output, highlight=False, width=report.WIDTH)
    console.print(report.opening(people))
    options = Options(people, seed, directory)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcome = runner.run(
                run(options, report.Steps(console), lambda done: console.print(report.closing(done, directory)))
            )
    except FilesExist as error:
        typer.echo(f"{error.files[0]} exists: choose another --dir.", err=True)
        raise typer.Exit(2) from None
    except (Broken, OSError) as error:
        typer.echo(f"The demo broke off: {error}", err=True)
        raise typer.Exit(1) from None
    if json_output:
        typer.echo(json.dumps(outcome.facts()))
    raise typer.Exit(0 if outcome.good else 1)
