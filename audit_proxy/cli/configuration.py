"""What commands that read a configuration share: the option, and how problems are told."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from audit_proxy.settings.files import Problem

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="AUDIT_PROXY_CONFIG",
        help="The configuration; make one with 'audit-proxy init'.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT = Path("config/audit-proxy.yaml")


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def tell_problems(problems: Iterable[Problem]) -> None:
    """Each problem on a line of standard error, and how many there are."""
    count = 0
    for problem in problems:
        typer.echo(str(problem), err=True)
        count += 1
    typer.echo(f"{count} problem{'s' if count != 1 else ''}.", err=True)


def problem_json(problem: Problem) -> dict[str, str | int]:
    return {"file": problem.file, "line": problem.line, "column": problem.column, "text": problem.text}
