"""``audit-proxy log``: read the audit log, verify it, prove what it holds."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len, set_cell_size

from audit_proxy.cli.admin_api import Admin, TokenFile, call, talk
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json
from audit_proxy.cli.log_place import Directory, VKeyFile, key_of, place_of, wrong
from audit_proxy.cli.log_roster import roster_app
from audit_proxy.cli.log_verify import verify
from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, proof
from audit_proxy.wiring import log as wiring

log_app = typer.Typer(
    name="log",
    help="The audit log: read it, verify that nothing was altered or removed, prove single records.",
    no_args_is_help=True,
)
log_app.add_typer(roster_app)


@log_app.command()
def tail(
    config: ConfigFile = DEFAULT,
    directory: Directory = None,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of the last records.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Then show records as they come; end with Ctrl-C.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the records' exact bytes, one a line.")] = False,
) -> None:
    """Show the last records: when, which app did what, what was decided, about how many people what was disclosed.

    Under DISCLOSED and WITHHELD stand numbers of people: the token's holder (h), third parties (t), and data about nobody in particular (·).
    """
    place, _ = place_of(config, directory)
    reader = wiring.LogReader(place)
    try:
        records = reader.last(count)
        next_index = records[-1][0] + 1 if records else 0
        if json_output:
            for _, line in records:
                _out(line)
        else:
            _print_table(records)
        if follow:
            coming = reader.follow(_next(reader) if not records else next_index)
            if json_output:
                for _, line in coming:
                    _out(line)
            for record in audit_record.by_record(coming):
                _print_table(record, header=False)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except (OSError, ValueError) as error:
        wrong(f"cannot read the log in {place}: {error}")


log_app.command()(verify)


@log_app.command()
def prove(
    record: Annotated[
        str | None, typer.Argument(metavar="INDEX|ID", help="The record: its number, or its id (X-Audit-Id).")
    ] = None,
    config: ConfigFile = DEFAULT,
    directory: Directory = None,
    vkey: VKeyFile = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write the proof; standard output if not given."),
    ] = None,
    record_output: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="Also write the record's exact bytes, which the proof is about."),
    ] = None,
    consistency: Annotated[
        int | None,
        typer.Option(
            "--consistency",
            metavar="OLD_SIZE",
            min=0,
            help="Instead: prove that the log of that many records is the beginning of the log of now.",
        ),
    ] = None,
) -> None:
    """Make a proof that anybody can check with the verifier key alone.

    For a record: a tlog-proof file (C2SP), holding the signed checkpoint and the hashes from the record up to its root.

    With --consistency: "old SIZE", the hashes and the checkpoint, the form in which witnesses take it (C2SP tlog-witness).
    """
    if (record is None) == (consistency is None):
        wrong("give either a record (INDEX or ID) or --consistency OLD_SIZE")
    place, _ = place_of(config, directory)
    key = key_of(place, vkey)
    reader = wiring.LogReader(place)
    try:
        if consistency is not None:
            made = proof.encode_consistency(reader.consistency(consistency, key))
        else:
            assert record is not None
            is_number = record.isascii() and record.isdigit()
            index, line = (int(record), reader.record(int(record))) if is_number else reader.find(record)
            made = proof.encode_inclusion(reader.inclusion(index, line, key))
            if record_output is not None:
                record_output.write_bytes(line)
        if output is None:
            _out(made, end=b"")
        else:
            output.write_bytes(made)
    except wiring.RecordNotFound as error:
        typer.echo(f"{error}.", err=True)
        raise typer.Exit(1) from None
    except note.NoteInvalid as error:
        typer.echo(f"The log does not prove it: {error}. Run 'audit-proxy log verify'.", err=True)
        raise typer.Exit(1) from None
    except (OSError, ValueError) as error:
        wrong(f"cannot read the log in {place}: {error}")


@log_app.command()
def prune(
    token_file: TokenFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    admin: Admin = None,
    config: ConfigFile = DEFAULT,
    json_output: AsJson = False,
) -> None:
    """Carry retention out now, through the admin API; the running proxy does so by itself as well.

    Segments whose records are all older than audit.retention_days are removed, once a signed record says so. The log still verifies and proves what it keeps: all hashes stay.
    """
    method, path = ("GET", "/v1/log/retention") if dry_run else ("POST", "/v1/log/prune")
    told = talk(admin, config, token_file, lambda client: call(client, method, path))
    if json_output:
        typer.echo(as_json(told))
    elif dry_run:
        records = told["would_be"] - told["minimum_index"]
        typer.echo(f"{records} records would be removed; the log would begin with record {told['would_be']}.")
    else:
        typer.echo(f"{told['removed']} records were removed; the log begins with record {told['minimum_index']}.")


def _out(data: bytes, end: bytes = b"\n") -> None:
    sys.stdout.buffer.write(data + end)
    sys.stdout.buffer.flush()


def _next(reader: wiring.LogReader) -> int:
    last = reader.last(1)
    return last[0][0] + 1 if last else 0


# Records

# Least widths, so that the columns of records that come one by one stand below one another.
_COLUMNS = (
    ("#", 5),
    ("TIME (UTC)", 14),
    ("APP", 8),
    ("OPERATION", 12),
    ("DECISION", 10),
    ("DISCLOSED", 9),
    ("WITHHELD", 8),
)
_SHRINKABLE = (3, 4, 2)  # columns that are cut where the terminal is too narrow for all
_YEAR_FITS = 100


def _print_table(records: Iterable[tuple[int, bytes]], *, header: bool = True) -> None:
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    rows = [_row(lines, year=room >= _YEAR_FITS) for lines in audit_record.by_record(records)]
    if header:
        rows.insert(0, [name for name, _ in _COLUMNS])
    widths = [least for _, least in _COLUMNS]
    for row in rows:
        widths = [max(width, cell_len(cell)) for width, cell in zip(widths, row, strict=False)] + widths[len(row) :]
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    for column in _SHRINKABLE:
        cut = min(max(excess, 0), widths[column] - _COLUMNS[column][1])
        widths[column] -= cut
        excess -= cut
    for row in rows:
        cells = [_fit(cell, width, right=n == 0) for n, (cell, width) in enumerate(zip(row, widths, strict=False))]
        typer.echo("  ".join(cells).rstrip())


def _fit(cell: str, width: int, *, right: bool) -> str:
    if cell_len(cell) > width:
        return set_cell_size(cell, width - 1) + "…"
    return cell.rjust(width) if right else set_cell_size(cell, width)


def _row(lines: list[tuple[int, bytes]], *, year: bool) -> list[str]:
    """One record's line or parts; of an incomplete one the first part there is."""
    index = lines[0][0]
    incomplete = ""
    try:
        parts = [audit_record.decode(line) for _, line in lines]
    except ValueError:
        return [str(index), "–", "–", "–", "no audit record: run 'audit-proxy log verify'"]
    try:
        record = audit_record.join(parts)
    except ValueError:
        record = parts[0]
        incomplete = f" (INCOMPLETE: {len(parts)} of {record.parts} parts)"
    what = record.operation or record.action or record.kind
    if record.kind == "gap":
        what = "gap"
        decision = str((record.detail or {}).get("reason", ""))
    else:
        decision = " ".join(part for part in (record.decision, record.reason) if part) or record.kind
    if record.phase is not None:
        decision += f" ({record.phase})"
    if record.mode == "monitor":
        decision += " (monitor)"
    decision += incomplete
    by = record.app or record.actor or ""
    cells = (
        str(index),
        f"{record.ts:{'%Y-' if year else ''}%m-%d %H:%M:%S}",
        by,
        what,
        decision,
        _people(record.disclosed),
        _people(record.withheld),
    )
    return [_printable(cell) for cell in cells]


def _people(groups: Iterable[audit_record.Group]) -> str:
    """``1h 25t``: how many different people, by relation; ``·`` for data about nobody the catalog names."""
    people: dict[str, set[str]] = {"holder": set(), "third_party": set()}
    nobody = False
    for group in groups:
        if group.relation == "none":
            nobody = True
        else:
            people[group.relation].update(group.subjects)
    parts = [
        f"{len(people[relation])}{mark}"
        for relation, mark in (("holder", "h"), ("third_party", "t"))
        if people[relation]
    ]
    return " ".join(parts + ["·"] * nobody) or "–"


def _printable(text: str) -> str:
    """Control characters in a record must not steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
