"""``x-reviewed``: who looked at what of a catalog, when, and whether it still is what they saw.

Invariants:

- A review is of a *unit*: an operation, or a component that has a review of its own. A unit is its description with
  everything it refers to, down to components with reviews of their own, and the scopes that imply those it names.
- Vendor's file and overlay are reviewed together, as what they make. Prose and examples are no part of it: they bind nobody.
- An operation is reviewed when its unit and all those it reaches are; it is stale when one of them has changed since.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

MARK = "x-reviewed"
COMPONENTS = "#/components/"
_LENGTH = 32  # hexadecimal digits of SHA-256: a vendor cannot make two descriptions of one fingerprint
_PROSE = frozenset({"description", "summary", "title", "externalDocs", "tags", "example", "examples", MARK})
# keywords whose members are named by the vendor, and those whose values are data: what is called prose there is none
_NAMES = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "responses", "headers", "content"}
    | {"encoding", "links", "callbacks", "variables"}
)
_VALUES = frozenset({"enum", "const", "default", "mapping"})  # and extensions, but for those that hold schemas
_SCHEMAS = frozenset({"x-event", "x-event-id"})


class ReviewState(StrEnum):
    unreviewed = "unreviewed"
    stale = "stale"  # reviewed, but changed since
    reviewed = "reviewed"


@dataclass(frozen=True, slots=True)
class Review:
    """``by`` is whatever the reviewer wrote; ``at`` an ISO 8601 date; ``of`` the fingerprint of what they saw."""

    by: str
    at: str
    of: str

    @classmethod
    def parse(cls, value: Any) -> "Review | None":
        """The value of an ``x-reviewed``, None where it is malformed."""
        if not isinstance(value, dict) or value.keys() != {"by", "at", "of"}:
            return None
        if not all(isinstance(text, str) and text.strip() and text.isprintable() for text in value.values()):
            return None
        try:
            dt.date.fromisoformat(value["at"])
        except ValueError:
            return None
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is reviewed as one. ``name``: an operation's id or a component's reference; ``of``: its fingerprint now."""

    name: str
    of: str
    review: Review | None = None

    @property
    def state(self) -> ReviewState:
        if self.review is None:
            return ReviewState.unreviewed
        return ReviewState.reviewed if self.review.of == self.of else ReviewState.stale


def state_of(units: Iterable[Unit]) -> ReviewState:
    """The state of an operation with these units: the worst among them."""
    found = {unit.state for unit in units}
    return next((state for state in ReviewState if state in found), ReviewState.unreviewed)


@dataclass(frozen=True, slots=True)
class _Described:
    digest: str
    references: tuple[str, ...]
    implied: frozenset[str]  # scopes named here that others imply


class Reviews:
    """The units of one document, overlay applied. ``resolve`` gives what a reference names, None where nothing."""

    def __init__(
        self,
        resolve: Callable[[str], Any],
        implies: Mapping[str, frozenset[str]],
        report: Callable[[str, str], None],
    ) -> None:
        self._resolve = resolve
        self._implies = implies
        self._implied = {scope: json.dumps(scope, ensure_ascii=False) for some in implies.values() for scope in some}
        self._report = report
        self._components: dict[str, _Described] = {}

    def operation(self, name: str, described: dict[str, Any], mark: Any) -> tuple[Unit, ...]:
        """The operation's own unit, and then all that it reaches. ``mark`` is its ``x-reviewed``."""
        own, edges = self._unit(name, self._describe(name, described), mark)
        found: dict[str, Unit] = {}
        while edges:
            reference = edges.pop()
            if reference not in found:
                found[reference], more = self._component_unit(reference)
                edges += more
        return (own, *(found[reference] for reference in sorted(found)))

    def _component_unit(self, reference: str) -> tuple[Unit, list[str]]:
        return self._unit(reference, self._component(reference), self._resolve(reference).get(MARK))

    def _unit(self, name: str, first: _Described, mark: Any) -> tuple[Unit, list[str]]:
        """A unit, and the components with reviews of their own at its edges."""
        inside: dict[str, str] = {}
        edges: list[str] = []
        implied = set(first.implied)
        todo = [*first.references]
        while todo:
            reference = todo.pop()
            if reference in inside:
                continue
            component = self._resolve(reference)
            if reference == name or (
                isinstance(component, dict) and MARK in component and reference.startswith(COMPONENTS)
            ):
                inside[reference] = "by itself"
                if reference != name:
                    edges.append(reference)
                continue
            described = self._component(reference)
            inside[reference] = described.digest
            implied |= described.implied
            todo += described.references
        implying = sorted(
            (scope, sorted(some & implied)) for scope, some in self._implies.items() if not implied.isdisjoint(some)
        )
        of = _digest([first.digest, sorted(inside.items()), implying])[:_LENGTH]
        review = Review.parse(mark)
        if mark is not None and review is None:
            self._report(name, f"{MARK} must hold 'by', 'at' (a date) and 'of'; 'audit-proxy catalog review' writes it")
        return Unit(name, of, review), edges

    def _component(self, reference: str) -> _Described:
        found = self._components.get(reference)
        if found is None:
            found = self._components[reference] = self._describe(reference, self._resolve(reference))
        return found

    def _describe(self, name: str, value: Any) -> _Described:
        references: dict[str, None] = {}
        inner: list[Any] = []
        if isinstance(value, dict):
            value = {key: one for key, one in value.items() if key != MARK}
        plain = _plain(value, references, inner)
        if inner:
            self._report(name, f"{MARK} has no effect here: it goes on an operation or on a component")
        text = _canonical(plain)
        implied = frozenset(scope for scope, quoted in self._implied.items() if quoted in text)
        return _Described(_digest(plain), tuple(references), implied)


def target(name: str, route: str, method: str) -> str:
    """The JSONPath (RFC 9535) of an operation, or of the component that ``name`` refers to."""
    if not name.startswith("#/"):
        return f"$.paths[{_quoted(route)}].{method.lower()}"
    parts = [part.replace("~1", "/").replace("~0", "~") for part in name[2:].split("/")]
    return "$" + "".join(f".{part}" if re.fullmatch(r"[A-Za-z_]\w*", part) else f"[{_quoted(part)}]" for part in parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _plain(value: Any, references: dict[str, None], marks: list[Any], *, named: bool = False) -> Any:
    """A description without prose. Gathers what it refers to, and the reviews that stand inside it."""
    if isinstance(value, list):
        return [_plain(one, references, marks) for one in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, one in value.items():
        if named:
            result[key] = _plain(one, references, marks)
            continue
        if key == MARK:
            marks.append(one)
        if key in _PROSE:
            continue
        if key == "$ref" and isinstance(one, str):
            references[one] = None
        if key == "mapping" and isinstance(one, dict):
            references.update(dict.fromkeys(ref for ref in one.values() if isinstance(ref, str) and ref[:2] == "#/"))
        whole = key in _VALUES or (key.startswith("x-") and key not in _SCHEMAS)
        result[key] = one if whole else _plain(one, references, marks, named=key in _NAMES)
    return result


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _digest(value: Any) -> str:
    return sha256(_canonical(value).encode("utf-8", "surrogatepass")).hexdigest()
