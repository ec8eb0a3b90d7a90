"""The values of redaction: contexts, verdict tables, and groups of what was disclosed or withheld."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.core.catalog.model import ObjectPlan
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import RawId

Notes = dict[tuple[Any, ...], list[tuple[RawId, ...]]]
"""(Table, *keys) or (Field, ground) -> the people of each object where those keys stood."""
GONE: Any = object()  # what stands for a value that is dropped
NOT_DESCRIBED: tuple[str, ...] = ("unclassified",)


@dataclass(slots=True, eq=False)
class Context:
    """What holds for the fields about one set of people: the scopes in force, and on what ground."""

    subjects: tuple[RawId, ...]  # empty: about nobody, or about people who cannot be resolved
    scopes: frozenset[str] | None  # None: refused
    ground: Consent
    public: bool = False
    tables: "dict[ObjectPlan, Table]" = field(default_factory=dict)  # shared by contexts with the same verdicts


Named = tuple[Consent, tuple[str, ...], tuple[str, ...]]  # ground, catalog paths, categories


@dataclass(slots=True, eq=False)
class Shape:
    """Objects with the same keys and types of values under one table: what of them stays and what goes."""

    disclosed: list[Named]
    withheld: list[Named]
    lost: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Table:
    """One object plan under one set of verdicts: which scalars pass as they are, and on what ground each field stands."""

    plan: ObjectPlan
    passing: dict[str, frozenset[type]]
    dropping: dict[str, frozenset[type]]  # classified scalars that are withheld by leaving them out
    grounds: Mapping[str, Consent]
    otherwise: Consent = Consent.unclassified  # the ground of keys that no property describes
    named: dict[tuple[str, ...], list[Named]] = field(default_factory=dict)  # keys that stood together -> what they are

    shapes: dict[Any, Shape | None] = field(default_factory=dict)  # (keys, types) -> shape, None: look at each field

    def shape(self, keys: tuple[str, ...], types: tuple[type, ...]) -> Shape | None:
        """The shape of an object, or None where one of its fields neither simply passes nor simply goes."""
        key = (keys, types)
        found = self.shapes.get(key)
        if found is None and key not in self.shapes:
            if len(self.shapes) >= MAX_NAMED:
                self.shapes.clear()
            found = self.shapes[key] = self._shape(keys, types)
        return found

    def _shape(self, keys: tuple[str, ...], types: tuple[type, ...]) -> Shape | None:
        kept: list[str] = []
        lost: list[str] = []
        for key, kind in zip(keys, types, strict=True):
            if kind in self.passing.get(key, ()):
                kept.append(key)
            elif kind in self.dropping.get(key, ()):
                lost.append(key)
            else:
                return None
        return Shape(self.names(tuple(kept)), self.names(tuple(lost)), tuple(lost))

    def refused_shape(self, keys: tuple[str, ...]) -> Shape:
        """The shape of an object that goes as a whole."""
        found = self.shapes.get(keys)
        if found is None:
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


TableCache = dict[tuple[Any, ...], dict[ObjectPlan, Table]]
"""Compiled verdict tables, kept between requests: a pure function of plan and verdict key, never of a person."""
MAX_TABLES = 1024
MAX_NAMED = 256


@dataclass(frozen=True, slots=True)
class Group:
    """Fields disclosed or withheld about people, on one ground. ``subjects`` are raw ids; () for nobody resolvable."""

    fields: tuple[str, ...]
    categories: tuple[str, ...]
    ground: Consent
    subjects: tuple[RawId, ...]


@dataclass(frozen=True, slots=True)
class Redacted:
    """``value`` is GONE when the root itself was refused."""

    value: Any
    disclosed: tuple[Group, ...]
    withheld: tuple[Group, ...]
    unclassified: int  # values withheld or passed because nothing classifies them


def groups(notes: Notes, shaped: Iterable[tuple[list[Named], list[RawId]]] = ()) -> tuple[Group, ...]:
    """Notes as groups: one for each ground and set of people, their fields together. ``shaped``: what stands (or went)
    in objects of one shape, and whom they are about.
    """
    merged: dict[tuple[Consent, tuple[RawId, ...]], list[Named]] = {}
    for named, ids in shaped:
        if named:
            subjects = tuple(dict.fromkeys(ids))
            for one in named:
                merged.setdefault((one[0], subjects), []).append(one)
    for key, people in notes.items():
        subjects = tuple({one: None for ids in people for one in ids})
        first = key[0]
        if first.__class__ is Table:
            named = first.names(key[1:])
        else:
            named = [(key[1], (first.name,), NOT_DESCRIBED if key[1] is Consent.unclassified else first.categories)]
        for one in named:
            merged.setdefault((one[0], subjects), []).append(one)
    return tuple(_group(ground, subjects, named) for (ground, subjects), named in merged.items())


def _group(ground: Consent, subjects: tuple[RawId, ...], named: list[Named]) -> Group:
    if len(named) == 1:
        return Group(named[0][1], named[0][2], ground, subjects)
    fields = {name for one in named for name in one[1]}
    kinds = {kind for one in named for kind in one[2]}
    return Group(tuple(sorted(fields)), tuple(sorted(kinds)), ground, subjects)
