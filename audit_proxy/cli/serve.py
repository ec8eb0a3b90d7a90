"""``audit-proxy serve``."""

import asyncio
import gc
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from audit_proxy.cli.configuration import tell_problems
from audit_proxy.core.errors import LogUnusable, Unavailable
from audit_proxy.settings.check import check
from audit_proxy.settings.files import ConfigProblems
from audit_proxy.wiring.logs import configure_logs
from audit_proxy.wiring.serve import Running
from audit_proxy.wiring.serve import serve as run

_log = structlog.get_logger("audit_proxy")


def serve(
    config: Annotated[
        Path, typer.Option("-c", "--config", help="The configuration; make one with 'audit-proxy init'.")
    ] = Path("config/audit-proxy.yaml"),
    ports_file: Annotated[
        Path | None, typer.Option(help="Write the bound ports here once serving (JSON); useful with port 0.")
    ] = None,
) -> None:
    """Serve: stand between apps and the platform's API, until SIGTERM (which drains what is in flight).

    Operational logs go to standard error as JSON lines; the audit log goes where the configuration says.
    """
    try:
        checked = check(config)
    except ConfigProblems as error:
        tell_problems(error.problems)
        raise typer.Exit(2) from None
    configure_logs(checked.loaded.settings.logging.level)

    def ready(running: Running) -> None:
        if ports_file is not None:
            ports_file.write_text(f'{{"data":{running.data_port},"admin":{running.admin_port}}}\n')

    # what start-up made lives as long as the process; requests make little cyclic garbage, so it is collected rarely
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            drained = runner.run(run(checked, ready=ready))
    except (
        LogUnusable,
        Unavailable,
        OSError,
        ValueError,
    ) as error:  # ValueError: secrets, keys; each says where
        typer.echo(f"audit-proxy: cannot start: {error}", err=True)
        raise typer.Exit(2) from None
    sys.exit(0 if drained else 1)
