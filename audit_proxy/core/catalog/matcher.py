"""Path and method to operation: a trie over path segments.

Invariants:

- A literal segment beats a parameter; literals are compared exactly.
- A parameter never takes a value that differs only by case from a literal at its place (``/ME`` beside ``/me``): a
  server that ignores case would answer another operation than the one judged.
- HEAD is the GET operation of its path wherever there is one, so that it is judged by what GET would answer.
- A value with a slash in it is taken only by a parameter that the catalog lets hold one, and only where the same path with
  plain slashes is no operation: a server that decodes early would answer that one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from audit_proxy.core.catalog.model import Operation
from audit_proxy.core.errors import Reason, Refusal


@dataclass(slots=True)
class _Place:
    literals: dict[str, "_Place"] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    parameter: "_Place | None" = None
    operations: dict[str, Operation] = field(default_factory=dict)


class Match(msgspec.Struct, frozen=True, eq=False):
    operation: Operation
    path_values: tuple[str, ...]  # in the order of ``operation.path_names``


class Matcher:
    """Immutable after construction. Raises ValueError when two operations share method and path."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Place()
        for operation in operations:
            place = self._root
            for segment in operation.route[1:].split("/"):
                if segment.startswith("{"):
                    place.parameter = place.parameter or _Place()
                    place = place.parameter
                else:
                    place.folded.add(segment.casefold())
                    place = place.literals.setdefault(segment, _Place())
            if operation.method in place.operations:
                raise ValueError(f"{operation.method} {operation.route}: described twice")
            place.operations[operation.method] = operation
        self._heads(self._root)

    def _heads(self, place: _Place) -> None:
        if "GET" in place.operations:
            place.operations["HEAD"] = place.operations["GET"]
        for below in (*place.literals.values(), *([place.parameter] if place.parameter is not None else ())):
            self._heads(below)

    def find(self, method: str, segments: tuple[str, ...]) -> Match | Refusal:
        """The operation of a method and decoded path segments, or why there is none."""
        places = self._walk(self._root, segments, 0, ())
        if not places:
            return Refusal(Reason.operation_not_described, "no operation of the catalog has this path")
        for place, values in places:
            operation = place.operations.get(method)
            if operation is not None:
                return self._slashes(operation, segments, values) or Match(operation, values)
        return Refusal(Reason.method_not_described, "the catalog has this path, but not with this method")

    def _slashes(self, operation: Operation, segments: tuple[str, ...], values: tuple[str, ...]) -> Refusal | None:
        held = [name for name, value in zip(operation.path_names, values, strict=True) if "/" in value]
        if not held:
            return None
        if not all(operation.parameters["path", name].encoded_slash for name in held):
            return Refusal(Reason.path_not_normal, "the path has an encoded slash where the catalog permits none")
        if self._walk(self._root, tuple("/".join(segments).split("/")), 0, ()):
            return Refusal(Reason.path_not_normal, "the path would name another operation with its slashes decoded")
        return None

    def _walk(
        self, place: _Place, segments: tuple[str, ...], at: int, values: tuple[str, ...]
    ) -> list[tuple[_Place, tuple[str, ...]]]:
        if at == len(segments):
            return [(place, values)] if place.operations else []
        segment = segments[at]
        literal = place.literals.get(segment)
        if literal is not None:
            found = self._walk(literal, segments, at + 1, values)
            if found:
                return found
        if place.parameter is None or not segment or (literal is None and segment.casefold() in place.folded):
            return []
        return self._walk(place.parameter, segments, at + 1, (*values, segment))
