"""YAML files, read strictly, with the line and column of everything in them.

Invariants:

- One document, UTF-8, of mappings with distinct text keys, sequences and scalars of YAML 1.2's core schema: ``yes``,
  ``no``, ``on``, ``off`` and dates are text, as is a number with leading zeros (an id like ``007`` stays itself).
- No tags, no merge keys; no control characters, which could end a path early or write to a terminal; aliases share their value, and all values together, aliases written out, are bounded.
- Values are built from events: a deeply nested file is refused, where composing it would exhaust the C stack.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import yaml

FILE_MAX = 64 * 1024 * 1024  # bytes
DEPTH_MAX = 40
FOREIGN_DEPTH_MAX = 200  # schemas inside schemas
VALUES_MAX = 5_000_000  # an aliased value counts wherever it stands

Loc = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STR_TAGS = (None, "!", "tag:yaml.org,2002:str")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIGITS_MAX = 300  # of a number; longer ones are text


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a file. ``line`` and ``column`` count from 1; 0 where the file as a whole is meant."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.text}"


class ConfigProblems(Exception):  # noqa: N818  (what a person has to put right, not a fault)
    """Everything that is wrong with a configuration, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class _Place:
    """Where a value stands, where its key does, and the same of what it holds."""

    line: int
    column: int
    key_line: int
    key_column: int
    inside: dict[str | int, "_Place"] = field(default_factory=dict)


@dataclass
class Document:
    """A file's parsed value, its exact bytes, and (found out only when asked) the place of each value."""

    path: Path
    data: bytes
    value: Any

    def problem(self, loc: Loc, text: str, *, key: bool = False) -> Problem:
        """A problem with the value at ``loc``, or with its key; at the nearest enclosing value where there is none."""
        place = self._places
        for part in loc:
            if part not in place.inside:
                key = False
                break
            place = place.inside[part]
        line, column = (place.key_line, place.key_column) if key else (place.line, place.column)
        return Problem(str(self.path), line, column, text)

    def named(self, loc: Loc) -> str:
        """``loc`` as people write it, ``identity.issuers[0].audience``, as far as the file has it."""
        place, name = self._places, ""
        for part in loc:
            if part not in place.inside:
                break
            place = place.inside[part]
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
        return name

    @cached_property
    def _places(self) -> _Place:
        return _Reader(self.path, self.data, places=True).read()[1] or _Place(1, 1, 1, 1)


def read_yaml(path: Path) -> Document:
    """Reads one YAML document. Raises ConfigProblems."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        raise ConfigProblems([Problem(str(path), 0, 0, "does not exist; 'audit-proxy init' makes one")]) from None
    except OSError as error:
        raise ConfigProblems([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(data) > FILE_MAX:
        raise ConfigProblems([Problem(str(path), 0, 0, f"is longer than {FILE_MAX} bytes")])
    return parse_yaml(path, data)


def replace_file(path: Path, text: str) -> None:
    """Puts ``text`` durably in the file's place, as a whole or not at all; its mode stays. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, path.stat().st_mode & 0o777)
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def parse_yaml(path: Path, data: bytes) -> Document:
    """Parses one YAML document; ``path`` only names it. Raises ConfigProblems."""
    return Document(path, data, _Reader(path, data, places=False).read()[0])


def foreign_yaml(path: Path, data: bytes) -> Any:
    """The value of a document that others wrote: as strict, but any scalar may be a key (``200:``), and is read as text.

    Raises ConfigProblems.
    """
    return _Reader(path, data, places=False, any_key=True, depth_max=FOREIGN_DEPTH_MAX).read()[0]


def core_scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar by YAML 1.2's core schema, less its infinities, NaN and numbers like ``010``."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789" and len(text) <= _DIGITS_MAX:
        if _INT.match(text):
            return int(text, 0)
        if _FLOAT.match(text):
            return float(text)
    return text


class _Reader:
    """One pass over a file's events. With ``places``, where each value stands is kept too."""

    def __init__(
        self, path: Path, data: bytes, *, places: bool, any_key: bool = False, depth_max: int = DEPTH_MAX
    ) -> None:
        self._any_key = any_key
        self._depth_max = depth_max
        self._path = path
        self._data = data
        self._keep = places
        self._problems: list[Problem] = []
        self._anchors: dict[str, tuple[Any, _Place | None, int]] = {}
        self._count = 0
        self._next: Callable[[], Any] = lambda: None

    def read(self) -> tuple[Any, _Place | None]:
        try:
            text = self._data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self._data.count(b"\n", 0, error.start) + 1
            raise ConfigProblems([Problem(str(self._path), line, 1, "is not UTF-8; save it as UTF-8")]) from None
        loader = None
        try:
            loader = _LOADER(text)  # the pure Python loader reads, and may refuse, already here
            self._next = loader.get_event
            result = self._document()
        except yaml.YAMLError as error:
            self._problems.append(self._syntax(error))
            raise ConfigProblems(self._problems) from None
        finally:
            if loader is not None:
                loader.dispose()
        if self._problems and not self._keep:
            raise ConfigProblems(self._problems)
        return result

    def _document(self) -> tuple[Any, _Place | None]:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):  # nothing but comments
            return None, None
        result = self._value(self._next(), 0, None)
        self._next()  # the document's end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._stop(event, "a second document begins here; one file holds one")
        return result

    def _value(self, event: Any, depth: int, key: Any) -> tuple[Any, _Place | None]:
        """The value that begins with ``event``; ``key`` is the event of the key it belongs to."""
        self._count += 1
        if self._count > VALUES_MAX:
            self._stop(event, f"more than {VALUES_MAX} values, aliases written out")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        place = None
        if self._keep:
            at, key_at = event.start_mark, (key or event).start_mark
            place = _Place(at.line + 1, at.column + 1, key_at.line + 1, key_at.column + 1)
        before = self._count
        if isinstance(event, yaml.ScalarEvent):
            value: Any = self._scalar(event)
        else:
            if event.tag is not None:
                self._stop(event, f"the tag {event.tag!r} is not understood; remove it")
            if depth >= self._depth_max:
                self._stop(event, f"nested deeper than {self._depth_max} levels")
            value = (
                self._mapping(depth, place) if isinstance(event, yaml.MappingStartEvent) else self._list(depth, place)
            )
        if event.anchor is not None:  # known only from here on: a value cannot hold itself
            self._anchors[event.anchor] = (value, place, self._count - before)
        return value, place

    def _alias(self, event: Any) -> tuple[Any, _Place | None]:
        if event.anchor not in self._anchors:
            self._stop(event, f"the alias *{event.anchor} names no complete value before it")
        value, place, size = self._anchors[event.anchor]
        self._count += size
        return value, place

    def _scalar(self, event: Any) -> Any:
        if event.implicit[0] and event.tag is None:
            return core_scalar(event.value)
        if event.tag not in _STR_TAGS:
            self._stop(event, f"the tag {event.tag!r} is not understood; remove it")
        if not self._any_key and _CONTROL.search(event.value):
            self._problem(event, "a control character is written here; remove it")
        return event.value

    def _key(self, event: Any) -> Any:
        return event.value if self._any_key else self._scalar(event)

    def _mapping(self, depth: int, place: _Place | None) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                self._stop(event, "a key must be text; put it in quotes")
            if key in result:
                self._problem(event, f"the key '{key}' stands here a second time; remove one")
            value, inside = self._value(self._next(), depth + 1, event)
            result[key] = value
            if place is not None and inside is not None:
                place.inside[key] = inside
        return result

    def _list(self, depth: int, place: _Place | None) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            value, inside = self._value(event, depth + 1, None)
            if place is not None and inside is not None:
                place.inside[len(result)] = inside
            result.append(value)
        return result

    def _problem(self, event: Any, text: str) -> None:
        mark = event.start_mark
        self._problems.append(Problem(str(self._path), mark.line + 1, mark.column + 1, text))

    def _stop(self, event: Any, text: str) -> NoReturn:
        self._problem(event, text)
        raise ConfigProblems(self._problems)

    def _syntax(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        return Problem(str(self._path), line, column, f"not valid YAML: {what}")
