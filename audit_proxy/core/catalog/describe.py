"""One parameter's description, as it is judged: its schema, with ``allOf`` laid over it and alternatives told apart.

Invariants:

- What any part of a parameter's schema demands (scopes, a category, a person) it demands, wherever in the schema it stands.
- Only alternatives that each list their values (``const``, ``enum``) demand for those values alone: how a sort order or a
  filter is chosen (``oneOf: [{const: name}, {const: birthday, x-required-scopes: [birthday.read]}]``).
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal

from audit_proxy.core.catalog.layers import merged
from audit_proxy.core.catalog.model import NONE, Bounds, Parameter

_DEPTH = 16
Place = Literal["path", "query", "header", "cookie", "body"]


class Describer:
    """Describes the parameters of one document. ``deref`` resolves references; ``report`` takes a place and what is wrong."""

    def __init__(
        self, deref: Callable[[Any], Any], categories: frozenset[str], report: Callable[[str, str], None]
    ) -> None:
        self._deref = deref
        self._known = categories
        self._report = report

    def parameter(
        self, name: str, place: Place, raw: dict[str, Any], *, required: bool, selector: bool = False
    ) -> Parameter:
        """``raw``: the schema, with the extensions that stand beside it."""
        parts = [*self._parts(raw, 0)]
        types = _first(parts, "type")
        kinds = frozenset([types] if isinstance(types, str) else types or ())
        many = "array" in kinds
        items = [*self._parts(self._deref(_first(parts, "items") or {}), 0)] if many else parts
        by_value = self._by_value(items)
        one_of = () if by_value else ("oneOf", "anyOf")
        marked = [*parts, *(items if many else ()), *self._inside(items if many else parts, one_of, set())]
        found = merged([_listed(one["x-data-category"]) for one in marked if "x-data-category" in one]) or NONE
        scopes = frozenset(scope for one in marked for scope in one.get("x-required-scopes") or ())
        names_person = any(one.get("x-data-subject") is not None for one in (*parts, *(items if many else ())))
        self._doubt(name, marked, found, scopes, names_person=names_person)
        item_kinds = _first(items, "type") if many else kinds
        cursor = _first([*parts, *items] if place == "body" else marked, "x-cursor")
        enum = _first(items, "enum") or (_first(parts, "enum") if many else None) or ()
        return Parameter(
            name=name,
            place=place,
            required=required,
            types=frozenset([item_kinds] if isinstance(item_kinds, str) else item_kinds or ()),
            enum=frozenset(map(_text, enum)) | by_value.keys(),
            pattern=_first(items, "pattern") or _first(parts, "pattern"),
            bounds=_bounds(items),
            default=() if names_person else _default(_first(parts, "default")),
            categories=found,
            scopes=scopes,
            by_value=by_value,
            names_person=names_person,
            fields_selector=selector,
            many=many,
            encoded_slash=place == "path" and _first(parts, "x-allow-encoded-slash") is True,
            cursor=bool(cursor),
            plain=frozenset(map(str, cursor.get("plain") or ())) if isinstance(cursor, dict) else frozenset(),
        )

    def _parts(self, schema: Any, depth: int) -> Iterator[dict[str, Any]]:
        """A schema and all that ``allOf``, or an alternative to null, lays over it."""
        schema = self._deref(schema)
        if not isinstance(schema, dict) or depth > _DEPTH:
            return
        yield schema
        for one in schema.get("allOf") or ():
            yield from self._parts(one, depth + 1)
        for key in ("anyOf", "oneOf"):
            real = [one for one in schema.get(key) or () if self._deref(one).get("type") != "null"]
            if len(real) == 1:
                yield from self._parts(real[0], depth + 1)

    def _by_value(self, parts: list[dict[str, Any]]) -> dict[str, frozenset[str]]:
        """What each listed value demands, where the alternatives list theirs; else nothing."""
        found: dict[str, frozenset[str]] = {}
        for part in parts:
            for one in (*(part.get("oneOf") or ()), *(part.get("anyOf") or ())):
                choice = [*self._parts(one, 0)]
                if any(each.get("type") == "null" for each in choice):
                    continue
                listed = [each.get("enum") or ([each["const"]] if "const" in each else []) for each in choice]
                if not any(listed):
                    return {}
                scopes = frozenset(scope for each in choice for scope in each.get("x-required-scopes") or ())
                for value in map(_text, chain(*listed)):
                    found[value] = found.get(value, frozenset()) | scopes
        return found

    def _inside(
        self, parts: list[dict[str, Any]], alternatives: tuple[str, ...], seen: set[int]
    ) -> Iterator[dict[str, Any]]:
        """The schemas inside of a parameter's: alternatives that cannot be told apart, a body property's own properties."""
        for part in parts:
            within = [one for key in alternatives for one in part.get(key) or ()]
            within += (part.get("properties") or {}).values()
            within += [part[key] for key in ("items", "additionalProperties") if isinstance(part.get(key), dict)]
            for one in within:
                if id(one) in seen:  # the document's own, so a schema that contains itself ends here
                    continue
                seen.add(id(one))
                inner = [*self._parts(one, 0)]
                yield from inner
                yield from self._inside(inner, ("oneOf", "anyOf"), seen)

    def _doubt(
        self,
        name: str,
        marked: list[dict[str, Any]],
        found: tuple[str, ...],
        scopes: frozenset[str],
        *,
        names_person: bool,
    ) -> None:
        for one in found:
            if one != "none" and one not in self._known:
                self._report(name, f"x-data-category {one!r} is not in the fideslang taxonomy")
        if not names_person:
            if any(one.get("x-data-subject") is not None for one in marked):
                self._report(
                    name, "x-data-subject inside a body property names nobody; put $request.body#/… on what is answered"
                )
            elif found != NONE and not scopes:
                self._report(
                    name,
                    "asking by a personal field needs x-required-scopes, or every match's consent is the operation's alone",
                )


def _first(parts: list[dict[str, Any]], key: str) -> Any:
    return next((one[key] for one in parts if one.get(key) is not None), None)


def _listed(category: Any) -> tuple[str, ...]:
    return tuple(category) if isinstance(category, list) else (category,)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(value: Any) -> tuple[str, ...]:
    """What is meant where nothing is said."""
    return tuple(_text(one) for one in (value if isinstance(value, list) else [value]) if one not in (None, ""))


def _bounds(parts: list[dict[str, Any]]) -> Bounds | None:
    least, most, multiple = (_first(parts, key) for key in ("minimum", "maximum", "multipleOf"))
    return Bounds(least, most, multiple) if (least, most, multiple) != (None, None, None) else None
