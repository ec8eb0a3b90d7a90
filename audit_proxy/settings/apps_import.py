"""Many apps at once into ``apps.yaml``, from CSV or NDJSON.

Invariants:

- Everything is validated before anything is written, and the file is replaced as a whole or not at all.
- A column (CSV) or member (NDJSON) that is absent keeps what stands, so that an export without ``status`` cannot
  un-suspend an app; one that is present, even empty, is the new value. Apps that the import does not name stay.
- The same import a second time writes nothing.
"""

import csv
import difflib
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from audit_proxy.core.jose import NotStrict, strict_object
from audit_proxy.settings.apps import AppEntry, parse_apps
from audit_proxy.settings.files import FILE_MAX, ConfigProblems, Problem, parse_yaml, read_yaml, replace_file
from audit_proxy.settings.validate import problem_text

Form = Literal["csv", "ndjson"]
_FIELDS = tuple(AppEntry.model_fields)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ids of the apps that an import named, by what became of them. ``comments_lost``: below the file's heading."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    comments_lost: bool = False


def import_apps(apps_file: Path, source: Path, form: Form | None = None, *, dry_run: bool = False) -> Outcome:
    """Adds and changes apps. ``form`` by the source's ending if None. Raises ConfigProblems, OSError."""
    problems: list[Problem] = []
    rows = list(_rows(source, form or _form_of(source), problems))
    apps_file = apps_file.resolve()  # a link stays a link: what it points to is replaced
    with _alone(apps_file):
        document = read_yaml(apps_file)
        present = {entry.id: entry for entry in parse_apps(document).apps}
        merged = dict(present)
        sorted_out: dict[str, list[str]] = {"added": [], "changed": [], "unchanged": []}
        named: dict[str, int] = {}
        for line, row in rows:
            try:
                entry = _merge(present, row)
            except ValidationError as error:
                problems += [
                    Problem(str(source), line, 1, f"{'.'.join(map(str, one['loc'])) or 'app'}: {problem_text(one)}")
                    for one in error.errors(include_input=False, include_url=False)
                ]
                continue
            if entry.id in named:
                problems.append(Problem(str(source), line, 1, f"id: the same app stands in line {named[entry.id]}"))
            named[entry.id] = line
            merged[entry.id] = entry
            before = present.get(entry.id)
            same = before is not None and before.app() == entry.app()  # an order of scopes means nothing
            sorted_out["added" if before is None else "unchanged" if same else "changed"].append(entry.id)
        if problems:
            raise ConfigProblems(sorted(problems))
        heading, comments_lost = _heading(document.data.decode("utf-8"))
        changes = bool(sorted_out["added"] or sorted_out["changed"])
        if changes and not dry_run:
            text = heading + apps_text(merged)
            parse_apps(parse_yaml(apps_file, text.encode("utf-8")))  # what is written is what a start will read
            replace_file(apps_file, text)
        return Outcome(
            tuple(sorted_out["added"]),
            tuple(sorted_out["changed"]),
            tuple(sorted_out["unchanged"]),
            comments_lost and changes,
        )


def apps_text(apps: Mapping[str, AppEntry]) -> str:
    """``apps.yaml`` without a heading. Texts are quoted as in JSON, so that every reader of YAML reads the same."""
    if not apps:
        return "apps: []\n"
    lines = ["apps:"]
    for entry in apps.values():
        values = entry.model_dump(mode="json", exclude_none=True)
        mark = "  - "
        for name in _FIELDS:
            if name in values:
                lines.append(f"{mark}{name}: {json.dumps(values[name], ensure_ascii=False)}")
                mark = "    "
    return "\n".join(lines) + "\n"


def _merge(present: Mapping[str, AppEntry], row: Mapping[str, Any]) -> AppEntry:
    before = present.get(row["id"]) if isinstance(row.get("id"), str) else None
    base = before.model_dump(mode="json") if before is not None else {}
    entry = AppEntry.model_validate_json(json.dumps({**base, **row}), strict=True)
    # one order, so that files compare
    sets = {
        "approved_scopes": sorted(set(entry.approved_scopes)),
        "redirect_domains": sorted(set(entry.redirect_domains)),
    }
    return entry.model_copy(update=sets)


def _form_of(source: Path) -> Form:
    match source.suffix.lower():
        case ".csv":
            return "csv"
        case ".ndjson" | ".jsonl":
            return "ndjson"
    raise ConfigProblems([Problem(str(source), 0, 0, "neither .csv nor .ndjson; say which with --format")])


def _rows(source: Path, form: Form, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and members of each app; lines that are none go to ``problems``. Raises ConfigProblems."""
    try:
        with source.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise ConfigProblems([Problem(str(source), 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(data) > FILE_MAX:
        raise ConfigProblems([Problem(str(source), 0, 0, f"is longer than {FILE_MAX} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigProblems([Problem(str(source), line, 1, "is not UTF-8; save it as UTF-8")]) from None
    return _csv_rows(source, text, problems) if form == "csv" else _ndjson_rows(source, text, problems)


def _ndjson_rows(source: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, strict_object(line.encode("utf-8"))
        except NotStrict as error:
            problems.append(Problem(str(source), number, 1, f"{error}; each line is one app"))


def _csv_rows(source: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(source, header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                what = f"{len(cells)} cells, where the heading has {len(header)}"
                problems.append(Problem(str(source), reader.line_num, 1, what))
                continue
            yield reader.line_num, {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        problems.append(Problem(str(source), reader.line_num, 1, f"not valid CSV: {error}"))


def _check_header(source: Path, header: list[str]) -> None:
    problems = []
    for name in header:
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(_FIELDS)}"
            problems.append(Problem(str(source), 1, 1, f"unknown column '{name}'; {hint}"))
    if len(set(header)) != len(header):
        problems.append(Problem(str(source), 1, 1, "a column stands there twice"))
    if "id" not in header:
        problems.append(Problem(str(source), 1, 1, "no column 'id'; the first line names the columns"))
    if problems:
        raise ConfigProblems(problems)


def _cell(name: str, cell: str) -> Any:
    if name in ("approved_scopes", "redirect_domains"):
        return cell.split()
    return None if name == "mode" and not cell else cell


def _heading(text: str) -> tuple[str, bool]:
    """The comments and blank lines that begin a file, and whether comments stand below them."""
    lines = text.splitlines(keepends=True)
    end = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[:end]), any(line.lstrip().startswith("#") for line in lines[end:])


@contextmanager
def _alone(apps_file: Path) -> Iterator[None]:
    """Keeps two imports from overwriting one another: the second is told so."""
    descriptor = os.open(apps_file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigProblems(
                [Problem(str(apps_file), 0, 0, "is being changed by another import; try again")]
            ) from None
        yield
    finally:
        os.close(descriptor)
