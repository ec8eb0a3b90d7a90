"""``audit-proxy check-config``: everything that is wrong with a configuration, or what was understood."""

from collections import Counter
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json, problem_json, tell_problems
from audit_proxy.settings.check import check
from audit_proxy.settings.load import ConfigProblems, Loaded


def check_config(config: ConfigFile = DEFAULT, json_output: AsJson = False) -> None:
    """Say everything that is wrong with a configuration, with file and line; exit code 2 if anything is."""
    try:
        checked = check(config)
    except ConfigProblems as error:
        if json_output:
            typer.echo(as_json({"ok": False, "problems": [problem_json(one) for one in error.problems]}))
        else:
            tell_problems(error.problems)
        raise typer.Exit(2) from None
    understood = _understood(checked.loaded)
    if json_output:
        warnings = {"findings": list(checked.catalog.findings), "doubts": list(checked.doubts)}
        typer.echo(as_json({"ok": True, "problems": []} | warnings | {"understood": understood}))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in understood.items():
        table.add_row(name, Text(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    Console(highlight=False, markup=False, soft_wrap=True).print(table)
    for finding in checked.catalog.findings:
        typer.echo(f"catalog: {finding}", err=True)
    for doubt in checked.doubts:
        typer.echo(f"apps: {doubt}", err=True)
    typer.echo("The configuration is right.")


def _understood(loaded: Loaded) -> dict[str, Any]:
    settings, policy = loaded.settings, loaded.policy
    statuses = Counter(app.status.value for app in loaded.apps.values())
    modes = Counter(app.mode.value for app in loaded.apps.values() if app.mode is not None)
    by_operation = [f"{name}: {rule.mode.value}" for name, rule in policy.operations.items() if rule.mode is not None]
    return {
        "listens": f"http://{settings.data.host}:{settings.data.port}",
        "admin": f"http://{settings.admin.host}:{settings.admin.port}",
        "upstream": f"{settings.upstream.url} (app's token: {settings.upstream.credential})",
        "issuers": [f"{one.issuer} ({' '.join(one.algorithms)})" for one in settings.identity.issuers],
        "openapi": str(settings.platform.openapi),
        "overlay": str(settings.platform.overlay or "none"),
        "apps": [f"{len(loaded.apps)} registered"] + [f"{count} {name}" for name, count in sorted(statuses.items())],
        "unknown apps": "refused" if policy.unknown_app is None else "admitted by the default profile",
        "mode": policy.mode.value,
        "mode by app": [f"{count} {name}" for name, count in sorted(modes.items())] or ["none"],
        "mode by operation": by_operation or ["none"],
        "refused third party": policy.refused_third_party.value,
        "unclassified": policy.unclassified.value,
        "policy hash": policy.hash,
        "log": f"{settings.audit.directory} ({settings.audit.durability}), origin {settings.audit.origin}",
    }
