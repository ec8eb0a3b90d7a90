"""The values of redaction: contexts, verdict tables, and groups of what was disclosed or withheld."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from audit_proxy.core.catalog.model import ObjectPlan
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import RawId

Notes = dict[tuple[Any, ...], list[tuple[RawId, ...]]]
"""(Table, *keys) or (Field, ground) -> the people of each object where those keys stood."""
GONE: Any = object()  # what stands for a value that is dropped
MAX_NAMED = 256
NOT_DESCRIBED: tuple[str, ...] = ("unclassified",)


class Context(msgspec.Struct, eq=False):
    """What holds for the fields about one set of people: the scopes in force, and on what ground."""

    subjects: tuple[RawId, ...]  # empty: about nobody, or about people who cannot be resolved
    scopes: frozenset[str] | None  # None: refused
    ground: Consent
    public: bool
    tables: "dict[ObjectPlan, Table]"  # shared by contexts with the same verdicts

    def about(self, subjects: tuple[RawId, ...]) -> "Context":
        """The same verdicts, about these people."""
        return Context(subjects, self.scopes, self.ground, self.public, self.tables)


Named = tuple[Consent, tuple[str, ...], tuple[str, ...]]  # ground, catalog paths, categories


@dataclass(slots=True, eq=False)
class Shape:
    """Objects with the same keys and types of values under one table: what of them stays and what goes.

    ``simple``: every field simply passes or simply goes; where it is False, each field has to be looked at.
    """

    disclosed: list[Named]
    withheld: list[Named]
    lost: tuple[str, ...]
    simple: bool = True


_LOOK_CLOSER = Shape([], [], (), simple=False)


@dataclass(slots=True, eq=False)
class Table:
    """One object plan under one set of verdicts: which scalars pass as they are, and on what ground each field stands."""

    plan: ObjectPlan
    passing: dict[str, frozenset[type]]
    dropping: dict[str, frozenset[type]]  # classified scalars that are withheld by leaving them out
    grounds: Mapping[str, Consent]
    otherwise: Consent = Consent.unclassified  # the ground of keys that no property describes
    named: dict[tuple[str, ...], list[Named]] = field(default_factory=dict)  # keys that stood together -> what they are
    shapes: dict[tuple[Any, ...], Shape] = field(
        default_factory=dict
    )  # (*keys, *types), or the keys of what is refused

    def add_shape(self, value: dict[str, Any]) -> Shape:
        """The shape of an object that was not seen before."""
        if len(self.shapes) >= MAX_NAMED:
            self.shapes.clear()
        found = self.shapes[*value, *map(type, value.values())] = self._shape(value)
        return found

    def _shape(self, value: dict[str, Any]) -> Shape:
        kept: list[str] = []
        lost: list[str] = []
        for key, one in value.items():
            if one.__class__ in self.passing.get(key, ()):
                kept.append(key)
            elif one.__class__ in self.dropping.get(key, ()):
                lost.append(key)
            else:
                return _LOOK_CLOSER
        return Shape(self.names(tuple(kept)), self.names(tuple(lost)), tuple(lost))

    def add_refused_shape(self, keys: tuple[str, ...]) -> Shape:
        """The shape of an object that goes as a whole, not seen before."""
        if len(self.shapes) >= MAX_NAMED:
            self.shapes.clear()
        found = self.shapes[keys] = Shape([], self.names(keys), keys)
        return found

    def names(self, keys: tuple[str, ...]) -> list[Named]:
        """The personal fields among an object's keys, by ground."""
        found = self.named.get(keys)
        if found is None:
            if len(self.named) >= MAX_NAMED:
                self.named.clear()
            found = self.named[keys] = self._names(keys)
        return found

    def _names(self, keys: tuple[str, ...]) -> list[Named]:
        by_ground: dict[Consent, tuple[set[str], set[str]]] = {}
        for key in keys:
            place = self.plan.fields.get(key)
            ground = self.grounds.get(key, self.otherwise)
            if place is None:
                name, categories = f"{self.plan.name}.?", NOT_DESCRIBED
            elif place.object is not None or place.item is not None or place.variants is not None:
                continue  # what is inside has its own notes
            elif place.personal or ground in (Consent.scope_missing, Consent.aggregate):
                name, categories = place.name, place.categories or NOT_DESCRIBED
            else:
                continue
            fields, kinds = by_ground.setdefault(ground, (set(), set()))
            fields.add(name)
            kinds.update(categories)
        return [(ground, tuple(sorted(fields)), tuple(sorted(kinds))) for ground, (fields, kinds) in by_ground.items()]


class Group(msgspec.Struct, frozen=True):
    """Fields disclosed or withheld about people, on one ground. ``subjects`` are raw ids; () for nobody resolvable."""

    fields: tuple[str, ...]
    categories: tuple[str, ...]
    ground: Consent
    subjects: tuple[RawId, ...]


class Redacted(msgspec.Struct, frozen=True):
    """``value`` is GONE when the root itself was refused."""

    value: Any
    disclosed: tuple[Group, ...]
    withheld: tuple[Group, ...]
    unclassified: int  # values withheld or passed because nothing classifies them


_Merged = dict[tuple[Consent, tuple[RawId, ...]], list[Named]]


def groups(
    disclosed: Notes, withheld: Notes, shaped: Mapping[Shape, list[RawId]]
) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Notes as groups, disclosed and withheld: one for each ground and set of people, their fields together. ``shaped``:
    whom the objects of each shape are about.
    """
    stayed: _Merged = {}
    went: _Merged = {}
    for shape, ids in shaped.items():
        subjects = tuple(dict.fromkeys(ids))
        for one in shape.disclosed:
            stayed.setdefault((one[0], subjects), []).append(one)
        for one in shape.withheld:
            went.setdefault((one[0], subjects), []).append(one)
    return _grouped(disclosed, stayed), _grouped(withheld, went)


def _grouped(notes: Notes, merged: _Merged) -> tuple[Group, ...]:
    for key, people in notes.items():
        first = key[0]
        if first.__class__ is Table:
            named = first.names(key[1:])
        else:
            known = first.categories if key[1] is not Consent.unclassified else ()
            named = [(key[1], (first.name,), known or NOT_DESCRIBED)]
        if named:
            subjects = people[0] if len(people) == 1 else tuple({one: None for ids in people for one in ids})
            for one in named:
                merged.setdefault((one[0], subjects), []).append(one)
                if subjects and len(people) > 1 and () in people:  # some of it about people who cannot be resolved
                    merged.setdefault((one[0], ()), []).append(one)
    return tuple([_group(ground, subjects, named) for (ground, subjects), named in merged.items()])


def _group(ground: Consent, subjects: tuple[RawId, ...], named: list[Named]) -> Group:
    if len(named) == 1:
        return Group(named[0][1], named[0][2], ground, subjects)
    fields = {name for one in named for name in one[1]}
    kinds = {kind for one in named for kind in one[2]}
    return Group(tuple(sorted(fields)), tuple(sorted(kinds)), ground, subjects)
