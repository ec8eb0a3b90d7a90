"""``audit-proxy log verify``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json
from audit_proxy.cli.log_place import Directory, VKeyFile, key_of, place_of, wrong
from audit_proxy.core.merkle import note
from audit_proxy.wiring import log as wiring

Against = Annotated[
    list[Path],
    typer.Option(
        "--against",
        metavar="FILE",
        help="Checkpoints that were kept on another machine, one or more in a file; repeat for several files.",
        show_default=False,
    ),
]


def verify(
    config: ConfigFile = DEFAULT,
    directory: Directory = None,
    vkey: VKeyFile = None,
    against: Against = [],  # noqa: B006  (typer's way to a default list; never changed)
    json_output: AsJson = False,
) -> None:
    """Re-derive the whole log from its files and compare it with what was signed. Exit code 1 if anything differs.

    Every record must decode and be in its exact form; the Merkle tree over the records must have the root that the signed checkpoint names; every tile and entry bundle must hold what the journal gives. It needs no private key, and may run while the proxy writes.

    Whoever holds this machine and the signing key can write another history and sign it. Only checkpoints that left the machine (audit.checkpoints) show that: give them with --against. Each must be over no more records than the log has, and have the root that the log gives at that size. A FILE without any checkpoint of this log is exit code 2.
    """
    place, origin = place_of(config, directory)
    key = key_of(place, vkey)
    if origin is not None and key.name != origin:
        wrong(f"the verifier key belongs to {key.name}, the configuration says {origin}")
    if not place.is_dir():
        wrong(f"there is no log in {place}")
    try:
        kept = wiring.read_kept(against, key) if against else None
    except (OSError, wiring.NothingKept) as error:
        wrong(f"cannot compare with what was kept: {error}")
    try:
        verdict = _verify_with_progress(place, key, kept, quiet=json_output)
    except OSError as error:
        wrong(f"cannot read the log in {place}: {error}")
    if json_output:
        typer.echo(as_json(_verdict_json(verdict, key, kept)))
    else:
        _print_verdict(verdict, key, kept)
    raise typer.Exit(0 if verdict.whole else 1)


def _verify_with_progress(
    place: Path, key: note.VerifierKey, kept: wiring.Kept | None, *, quiet: bool
) -> wiring.Verdict:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return wiring.verify_log(place, key, against=kept)
    columns = TextColumn("verifying"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("verify", total=None)
        return wiring.verify_log(
            place, key, lambda done, total: progress.update(task, completed=done, total=total), kept
        )


def _verdict_json(verdict: wiring.Verdict, key: note.VerifierKey, kept: wiring.Kept | None) -> dict[str, Any]:
    return {
        "whole": verdict.whole,
        "origin": key.name,
        "first": verdict.first,
        "records": verdict.records,
        "signed": verdict.signed,
        "root": verdict.root.hex() if verdict.root is not None else None,
        "first_bad": _problem_json(verdict.first_bad) if verdict.first_bad is not None else None,
        "problems": [_problem_json(problem) for problem in verdict.problems],
        "problems_unshown": verdict.problems_unshown,
        "notes": list(verdict.notes),
        "against": None
        if kept is None
        else {
            "checkpoints": len(kept.places),
            "newest": kept.newest,
            "other_origins": dict(kept.others),
            "damaged": kept.damaged,
        },
    }


def _problem_json(problem: wiring.Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "text": problem.text,
        "index": problem.index,
        "place": problem.place,
        "id": problem.record_id,
    }


def _print_verdict(verdict: wiring.Verdict, key: note.VerifierKey, kept: wiring.Kept | None) -> None:
    for text in verdict.notes:
        typer.echo(f"note: {text}")
    if verdict.whole:
        since = f" from number {verdict.first} on (retention removed those before)" if verdict.first else ""
        typer.echo(
            f"The log {key.name} is whole: {verdict.records - verdict.first} records{since}, {verdict.signed} under the signed "
            "checkpoint, all tiles and bundles as they must be."
        )
        if kept is not None:
            typer.echo(
                f"It continues all {len(kept.places)} checkpoints kept elsewhere, the newest over {kept.newest} records."
            )
        return
    first = verdict.first_bad
    if first is not None:
        where = f" ({first.place})" if first.place else ""
        named = f", id {first.record_id}" if first.record_id else ""
        typer.echo(f"NOT WHOLE: the first bad record is number {first.index}{where}{named}: {first.text}.")
    else:
        typer.echo("NOT WHOLE:")
    for problem in verdict.problems:
        if problem is not first:
            number = f"record {problem.index}: " if problem.index is not None else ""
            typer.echo(f"  {problem.kind}: {number}{problem.text}")
    if verdict.problems_unshown:
        typer.echo(f"  … and {verdict.problems_unshown} more")
