"""``audit-proxy init``: keys, admin tokens and a commented configuration."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from audit_proxy.cli.configuration import AsJson, as_json
from audit_proxy.settings.identity import Algorithm
from audit_proxy.settings.initial import ADMIN_TOKENS, Answers, FilesExist, Made, make
from audit_proxy.settings.load import FILL_IN


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if it does not exist.")] = Path(
        "config"
    ),
    upstream: Annotated[str | None, typer.Option(metavar="URL", help="The platform's API.")] = None,
    openapi: Annotated[Path | None, typer.Option(metavar="FILE", help="Its OpenAPI document.")] = None,
    overlay: Annotated[Path | None, typer.Option(metavar="FILE", help="The overlay on that document.")] = None,
    issuer: Annotated[str | None, typer.Option(metavar="URL", help='The exact "iss" of its tokens.')] = None,
    audience: Annotated[str | None, typer.Option(metavar="TEXT", help='The "aud" that means this API.')] = None,
    jwks_url: Annotated[str | None, typer.Option(metavar="URL", help="Where the issuer publishes its keys.")] = None,
    jwks_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Or a file with them.")] = None,
    algorithm: Annotated[list[str], typer.Option(metavar="NAME", help="Pinned; repeat for several.")] = ["RS256"],  # noqa: B006  (typer's way to a default list; never changed)
    json_output: AsJson = False,
) -> None:
    """Make keys, admin tokens and a commented configuration. What is not given stays to be filled in."""
    if jwks_url is not None and jwks_file is not None:
        raise typer.BadParameter("give --jwks-url or --jwks-file, not both")
    unknown = [name for name in algorithm if name not in get_args(Algorithm) or name.startswith("HS")]
    if unknown:
        raise typer.BadParameter(f"--algorithm: {', '.join(unknown)}: a shared secret is set up by hand, 'none' never")
    answers = Answers(upstream, openapi, overlay, issuer, audience, jwks_url, jwks_file, tuple(algorithm))
    try:
        made = make(directory, answers)
    except FilesExist as error:
        for file in error.files:
            typer.echo(f"{file} exists", err=True)
        typer.echo("Nothing was written. Choose another folder, or move these files away.", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"{error.filename or directory}: {error.strerror}; nothing was written.", err=True)
        raise typer.Exit(2) from None
    if json_output:
        typer.echo(as_json({"files": [str(file) for file in made.files], "admin_tokens": dict(made.tokens)}))
        return
    _tell(directory, made)


def _tell(directory: Path, made: Made) -> None:
    config = directory / "audit-proxy.yaml"
    typer.echo("Made, readable by you alone:")
    for file in made.files:
        typer.echo(f"  {file}")
    typer.echo("\nAdmin tokens. They are shown this once; the file holds only their hashes:")
    for name, token in made.tokens.items():
        typer.echo(f"  {name:16} {ADMIN_TOKENS[name]:8} {token}")
    steps = [
        f"audit-proxy app import APPS.csv -c {config}",
        f"audit-proxy catalog status -c {config}, then 'catalog review', or begin with 'mode: monitor' in policy.yaml",
        f"audit-proxy check-config -c {config}",
    ]
    if FILL_IN in config.read_text("utf-8").partition("\n\n")[2]:  # past the heading, which explains the word
        steps.insert(0, f"Fill in what only you know ({FILL_IN}) in {config}")
    typer.echo("\nNext:")
    for number, step in enumerate([*steps, f"audit-proxy serve -c {config}"], 1):
        typer.echo(f"  {number}. {step}")
    typer.echo("Keep copies of keys/ elsewhere: without pseudonym.key nobody can find a person's records again.")
