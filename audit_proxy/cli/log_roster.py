"""``audit-proxy log roster``: which logs there have to be, under a signature."""

from pathlib import Path
from typing import Annotated

import typer

from audit_proxy.cli.configuration import AsJson, as_json
from audit_proxy.cli.log_place import wrong
from audit_proxy.core.merkle import note, roster
from audit_proxy.settings.initial import make_key
from audit_proxy.settings.secrets import SecretError, read_key
from audit_proxy.settings.shapes import Secret
from audit_proxy.wiring import log as wiring

roster_app = typer.Typer(
    name="roster",
    help="Which logs there have to be: a signed list of origins, so that a whole log is missed.",
    no_args_is_help=True,
)

Against = Annotated[
    list[Path],
    typer.Option(
        "--against",
        metavar="FILE",
        help="Checkpoints that were kept on another machine; repeat for several files.",
        show_default=False,
    ),
]


@roster_app.command()
def key(
    path: Annotated[Path, typer.Argument(metavar="KEY", help="The file to make; KEY.vkey is made beside it.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help='Whose key it is, e.g. "example.com/roster".')],
) -> None:
    """Make a key that signs rosters. Keep it away from the machines whose logs it lists; KEY.vkey is for everybody."""
    if not note.valid_name(name):
        wrong("--name: not empty, without spaces and '+'")
    try:
        made = note.verifier_key(name, make_key(path))
        wiring.write_whole(_vkey(path), note.encode_vkey(made).encode() + b"\n")
    except FileExistsError:
        wrong(f"{path} exists; nothing was written")
    except OSError as error:
        wrong(f"{error.filename or path}: {error.strerror}")
    typer.echo(f"{path} signs as {name}; {_vkey(path)} checks it.")


@roster_app.command()
def sign(
    key_file: Annotated[Path, typer.Option("--key", metavar="KEY", help="The key, made with 'log roster key'.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="ROSTER", help="The roster; replaced as a whole.")],
    origins: Annotated[
        list[Path],
        typer.Option(
            "--origins",
            metavar="FILE",
            help="A log's verifier key, which stands beside its directory (log.vkey); repeat for each log.",
            show_default=False,
        ),
    ] = [],  # noqa: B006  (typer's way to a default list; never changed)
    add_to: Annotated[
        Path | None,
        typer.Option(
            "--add-to",
            metavar="ROSTER",
            help="An earlier roster by the same key: what it lists stays.",
            show_default=False,
        ),
    ] = None,
    against: Against = [],  # noqa: B006
) -> None:
    """Sign a roster: every log's origin and verifier key, and with --against how many records each had at least."""
    try:
        seed = read_key(Secret(file=key_file))
        signer = wiring.read_vkey(_vkey(key_file))
        if note.verifier_key(signer.name, seed) != signer:
            wrong(f"{_vkey(key_file)} does not belong to {key_file}")
        former = wiring.read_roster(add_to, signer) if add_to is not None else None
        keys = [wiring.read_vkey(path) for path in origins]
        listed = roster.updated(former, keys, {})
        published = wiring.read_published(against, listed.keys.values())
        if published.strange:
            standing, origin = min(published.strange)
            wrong(f"kept checkpoints name {origin}, which is not listed with that key ({standing}): give its --origins")
        made = roster.updated(listed, [], published.sizes)
        wiring.write_whole(output, roster.sign_roster(made, signer.name, seed))
    except SecretError as error:
        wrong(str(error))
    except (OSError, ValueError) as error:
        wrong(f"no roster was signed: {error}")
    typer.echo(f"{output} lists {len(made.logs)} logs, signed by {signer.name}.")


@roster_app.command()
def verify(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR…", help="The logs' directories.")],
    roster_file: Annotated[Path, typer.Option("--roster", metavar="ROSTER", help="The roster.")],
    vkey: Annotated[
        Path, typer.Option("--vkey", metavar="FILE", help="The verifier key of who signs it, from a place you trust.")
    ],
    against: Against = [],  # noqa: B006  (typer's way to a default list; never changed)
    json_output: AsJson = False,
) -> None:
    """Say which log is missing, not listed or cut back. Exit code 1 if any is, or if the roster's signature does not hold.

    It looks at the logs' signed checkpoints alone; 'audit-proxy log verify' reads one log whole.
    """
    try:
        signer = wiring.read_vkey(vkey)
    except (OSError, ValueError) as error:
        wrong(f"cannot read the verifier key {vkey}: {error}")
    try:
        listed = wiring.read_roster(roster_file, signer)
    except OSError as error:
        wrong(f"cannot read the roster: {error}")
    except note.NoteInvalid as error:
        typer.echo(f"The roster {roster_file} does not hold: {error}.", err=True)
        raise typer.Exit(1) from None
    try:
        published = wiring.read_published(against, listed.keys.values())
        found, findings = roster.compare(listed, wiring.read_seen(directories), published)
    except (OSError, wiring.NothingPublished) as error:
        wrong(f"cannot compare: {error}")
    if json_output:
        problems = [{"kind": one.kind, "origin": one.origin, "text": one.text} for one in findings]
        logs = {origin: found.get(origin) for origin in listed.keys}
        typer.echo(as_json({"whole": not findings, "roster": signer.name, "logs": logs, "problems": problems}))
    else:
        _print(listed, found, findings)
    raise typer.Exit(1 if findings else 0)


def _print(listed: roster.Roster, found: dict[str, int], findings: list[roster.Finding]) -> None:
    if not findings:
        typer.echo(f"All {len(listed.logs)} logs on the roster are there:")
        for one in listed.logs:
            typer.echo(f"  {one.key.name}: {found[one.key.name]} records under its checkpoint")
        return
    typer.echo("NOT AS LISTED:")
    for finding in findings:
        typer.echo(f"  {finding.kind}: {finding.text}")


def _vkey(path: Path) -> Path:
    return path.with_name(path.name + ".vkey")
