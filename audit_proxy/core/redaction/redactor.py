"""The walk over a parsed body: see the package for its invariants."""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import compress, repeat
from typing import Any

from audit_proxy.core.catalog.expressions import Named
from audit_proxy.core.catalog.model import Field, ObjectPlan
from audit_proxy.core.consent import Permission
from audit_proxy.core.errors import Consent
from audit_proxy.core.inspection import NotInspectable, RawId, is_id, object_plan, subjects_of
from audit_proxy.core.redaction.alike import ids_of_alike
from audit_proxy.core.redaction.tables import GONE, Context, Notes, Redacted, Shape, Table, groups
from audit_proxy.core.redaction.verdicts import Verdicts

_CONTAINERS = (dict, list)
NOBODY: Named = {}
Seal = Callable[[Field, str | int, tuple[RawId, ...]], str | None]
"""What leaves in place of paging state that stands at a place, inside what is about these people, who permit; None: nothing
can.
"""


class Redactor:
    """One body's redaction. ``permissions`` maps raw ids to what each person permits; unknown ids are refused."""

    def __init__(
        self,
        permissions: Mapping[RawId, Permission],
        verdicts: Verdicts,
        *,
        max_depth: int = 64,
        named: Named = NOBODY,
        seal: Seal | None = None,
    ) -> None:
        """``named``: whom the plan's expressions reach. Without ``seal`` all paging state is withheld."""
        self._permissions = permissions
        self._verdicts = verdicts
        self._pass_unclassified = verdicts.pass_unclassified
        self._nobody = verdicts.nobody
        self._max_depth = max_depth
        self._named = named
        self._seal = seal
        self._contexts: dict[tuple[RawId, ...], Context] = {}
        self._disclosed: Notes = {}
        self._withheld: Notes = {}
        self._shaped: dict[Shape, list[RawId]] = {}  # flat objects by shape -> whom each is about
        self._unclassified = 0

    def redact(self, plan: Field, value: Any) -> Redacted:
        """Redacts a parsed body. The value handed in may be changed; use only the one handed back."""
        result = self._value(plan, value, self._verdicts.root, self._max_depth)
        disclosed, withheld = groups(self._disclosed, self._withheld, self._shaped)
        return Redacted(result, disclosed, withheld, self._unclassified)

    # -- contexts ----------------------------------------------------------------------------------------------------

    def _context(self, ids: tuple[Any, ...]) -> Context:
        """The context of an object about these people: all of them must permit."""
        for raw in ids:
            if not is_id(raw):
                return self._nobody
        if len(ids) == 1:
            return self._verdicts.person(self._permissions.get(ids[0]))[0].about(ids)
        found = self._contexts.get(ids)
        if found is None:
            people = tuple(dict.fromkeys(ids))
            model = self._verdicts.joined([self._permissions.get(raw) for raw in people])
            found = self._contexts[ids] = model.about(people)
        return found

    def _opened(self, plan: ObjectPlan, value: dict[str, Any], context: Context) -> Context:
        if plan.opens:
            raw = value.get(plan.simple_subject) if plan.simple_subject is not None else None
            context = self._context((raw,) if is_id(raw) else self._people_of(plan, value))
        if plan.public_when and self._is_public(plan, value):
            public = self._verdicts.context(context.scopes, context.ground, public=True)
            context = public.about(context.subjects)
        return context

    def _people_of(self, plan: ObjectPlan, value: dict[str, Any]) -> tuple[Any, ...]:
        """Everyone an object is about: None among them for someone who cannot be resolved."""
        return (*subjects_of(plan, value), *self._reached(plan.about))

    def _reached(self, about: tuple[str, ...]) -> list[Any]:
        return [raw for text in about for raw in self._named.get(text) or (None,)]

    @staticmethod
    def _is_public(plan: ObjectPlan, value: dict[str, Any]) -> bool:
        return all(
            value.get(key).__class__ in (str, bool, int) and value[key] in values for key, values in plan.public_when
        )

    # -- walking -----------------------------------------------------------------------------------------------------

    def _value(self, place: Field, value: Any, context: Context, depth: int) -> Any:
        """The value that stands at a place afterwards, or GONE."""
        kind = value.__class__
        if place.about:
            context = self._context(tuple(self._reached(place.about)))
            if not self._verdicts.keeps(place, context):
                if self._stands(place, value):
                    return value
                self._refuse_value(place, value, context, depth)
                return GONE
        if place.cursor is not None and kind not in place.scalars:
            return value if self._stands(place, value) else self._unsealable(place, context)
        if kind is dict:
            return self._object(place, value, context, depth)
        if kind is list:
            return self._list(place, value, context, depth)
        if kind not in place.scalars:
            if self._stands(place, value):
                return value
            self._undescribed(place, context)
            return value if self._pass_unclassified else GONE
        if value is None and (place.object is not None or place.item is not None or place.variants is not None):
            return None  # a container that is null says nothing of anyone
        if place.subject_self and value is not None:
            context = self._context((value, *self._reached(place.about)))
        allowed, ground = self._verdicts.of(place, context)
        if not allowed and self._stands(place, value):
            return value
        if ground is Consent.unclassified:
            self._unclassified += 1
        if allowed and place.cursor is not None and value is not None:
            permitting = context.subjects if context.scopes is not None else ()
            value = self._seal(place, value, permitting) if self._seal is not None else None
            if value is None:
                return self._unsealable(place, context)
        self._note(allowed, place, ground, context)
        return value if allowed else GONE

    def _unsealable(self, place: Field, context: Context) -> Any:
        self._withheld.setdefault((place, Consent.cursor_unsealable), []).append(context.subjects)
        return GONE

    def _object(self, place: Field, value: dict[str, Any], context: Context, depth: int) -> Any:
        if depth <= 0:
            raise NotInspectable("the body is nested too deeply")
        plan = object_plan(place, value)
        if plan is None:
            return self._free(place, value, context)
        inner = self._opened(plan, value, context)
        if plan.opens and not self._verdicts.keeps(plan, inner):
            self._refuse(plan, value, inner, depth)
            return GONE
        return self._inside(self._verdicts.table(plan, inner), value, inner, inner.subjects, depth)

    def _inside(
        self, table: Table, value: dict[str, Any], context: Context, subjects: tuple[RawId, ...], depth: int
    ) -> dict[str, Any]:
        """The fields of an object that stay. ``subjects`` are the context's; its own are not looked at."""
        passing = table.passing
        dropping = table.dropping
        out: dict[str, Any] = {}
        lost: list[str] = []
        rest: list[str] = []
        for key, one in value.items():
            types = passing.get(key)
            if types is not None and one.__class__ in types:
                out[key] = one
            elif key in dropping and one.__class__ in dropping[key]:
                lost.append(key)
            else:
                rest.append(key)
        if out:
            self._disclosed.setdefault((table, *out), []).append(subjects)
        if lost:
            self._withheld.setdefault((table, *lost), []).append(subjects)
        if rest:
            if context.subjects is not subjects:
                context = context.about(subjects)
            kept = self._rest(table.plan, table, value, rest, context, depth)
            if kept:
                out |= kept
                if out.keys() != kept.keys():
                    out = {key: out[key] for key in value if key in out}  # the order of the original
        return out

    def _rest(
        self, plan: ObjectPlan, table: Table, value: dict[str, Any], keys: list[str], context: Context, depth: int
    ) -> dict[str, Any]:
        """The fields of an object that neither simply pass nor simply go: containers, stand-ins, the undescribed."""
        kept: dict[str, Any] = {}
        lost: list[str] = []
        passed: list[str] = []
        for key in keys:
            place = plan.fields.get(key)
            one = value[key]
            if place is None:
                if plan.additional is None:
                    self._unclassified += 1
                    if self._pass_unclassified:
                        passed.append(key)
                        kept[key] = one
                    else:
                        lost.append(key)
                    continue
                place = plan.additional
                if plan.key is not None:
                    result = self._keyed(plan.key, place, key, one, depth - 1)
                    if result is not GONE:
                        kept[key] = result
                    continue
                result = self._value(place, one, context, depth - 1)
            elif (
                one.__class__ in _CONTAINERS
                or place.subject_self
                or place.about
                or place.cursor is not None
                or one.__class__ not in place.scalars
            ):
                result = self._value(place, one, context, depth - 1)
            elif table.grounds[key] is Consent.unclassified and self._pass_unclassified:
                self._unclassified += 1
                passed.append(key)
                result = one
            elif self._stands(place, one):
                result = one
            else:
                self._unclassified += table.grounds[key] is Consent.unclassified
                lost.append(key)
                result = GONE
            if result is GONE:
                result = self._instead(place)
            if result is not GONE:
                kept[key] = result
        if lost:
            self._withheld.setdefault((table, *lost), []).append(context.subjects)
        if passed:
            self._disclosed.setdefault((table, *passed), []).append(context.subjects)
        return kept

    def _keyed(self, name: Field, place: Field, key: str, value: Any, depth: int) -> Any:
        """The value under a key that is a person's id, or GONE: the key leaves only where that person permits it."""
        about = self._context((key,))
        allowed, ground = self._verdicts.of(name, about)
        if not allowed:
            refused = self._verdicts.context(None, ground).about(about.subjects)
            self._note(False, name, ground, refused)
            self._refuse_value(place, value, refused, depth)
            return GONE
        result = self._value(place, value, about, depth)
        if result is GONE:
            result = self._instead(place)
        self._note(result is not GONE, name, ground, about)
        return result

    @staticmethod
    def _stands(place: Field, value: Any) -> bool:
        """Whether what would stand in a withheld value's place stands there already: then nothing is withheld."""
        action = place.withhold.action
        if action == "null":
            return value is None
        constant = place.withhold.constant
        return action == "constant" and value.__class__ is constant.__class__ and bool(value == constant)

    @staticmethod
    def _instead(place: Field) -> Any:
        action = place.withhold.action
        return GONE if action == "drop" else None if action == "null" else place.withhold.constant

    def _list(self, place: Field, value: list[Any], context: Context, depth: int) -> Any:
        if depth <= 0:
            raise NotInspectable("the body is nested too deeply")
        item = place.item
        if item is None:
            return self._free(place, value, context)
        plan = item.object
        if plan is not None and plan.flat and plan.simple_subject is not None and not plan.public_when and depth > 1:
            return self._people(item, plan, value, context, depth - 1)
        out = []
        for one in value:
            result = self._value(item, one, context, depth - 1)
            if result is not GONE:
                out.append(result)
        return out

    def _people(self, item: Field, plan: ObjectPlan, value: list[Any], context: Context, depth: int) -> list[Any]:
        """A list of flat objects, each about the one person its id names. Nearly always they are alike: the hot path, which
        takes all together. Does what ``_object`` does, which takes over where an element is not just that.
        """
        raws = ids_of_alike(value, plan.simple_subject)
        if raws is None:
            return self._one_by_one(item, plan, value, context, depth)
        keys = tuple(value[0])
        kind = (*keys, *map(type, value[0].values()))
        permissions = [*map(self._permissions.get, raws)]
        marks = [*map(id, permissions)]  # few differ, and they outlive the redactor
        found: list[tuple[int, bool, Shape]] = []
        for mark, permission in dict(zip(marks, permissions, strict=True)).items():
            keeps, table, _ = self._verdicts.flat(plan, permission)
            if keeps:
                shape = table.shapes.get(kind) or table.add_shape(value[0])
                if not shape.simple:
                    return self._one_by_one(item, plan, value, context, depth)
            else:
                shape = table.shapes.get(keys) or table.add_refused_shape(keys)
            found.append((mark, keeps, shape))
        for mark, keeps, shape in found:
            these = [*map(mark.__eq__, marks)]
            self._shaped.setdefault(shape, []).extend(compress(raws, these))
            if keeps:
                for lost in shape.lost:
                    deque(map(dict.__delitem__, compress(value, these), repeat(lost)), maxlen=0)
        staying = {mark: keeps for mark, keeps, _ in found}
        return [*compress(value, map(staying.__getitem__, marks))]

    def _one_by_one(self, item: Field, plan: ObjectPlan, value: list[Any], context: Context, depth: int) -> list[Any]:
        """The same for a list of objects that differ."""
        key = plan.simple_subject
        permissions = self._permissions
        shaped = self._shaped
        known: dict[int, tuple[bool, Table, Context]] = {}  # by identity: permissions outlive the redactor
        out: list[Any] = []
        for one in value:
            raw: Any = one.get(key) if one.__class__ is dict else None
            if raw.__class__ is not int and not is_id(raw):
                result = self._value(item, one, context, depth)
                if result is not GONE:
                    out.append(result)
                continue
            permission = permissions.get(raw)
            verdict = known.get(id(permission))
            if verdict is None:
                verdict = known[id(permission)] = self._verdicts.flat(plan, permission)
            keeps, table, model = verdict
            if keeps:
                shape = table.shapes.get((*one, *map(type, one.values()))) or table.add_shape(one)
                if not shape.simple:
                    out.append(self._inside(table, one, model, (raw,), depth))
                    continue
                for lost in shape.lost:
                    del one[lost]
                out.append(one)
            else:
                keys = tuple(one)
                shape = table.shapes.get(keys) or table.add_refused_shape(keys)
            if shape in shaped:
                shaped[shape].append(raw)
            else:
                shaped[shape] = [raw]
        return out

    def _free(self, place: Field, value: Any, context: Context) -> Any:
        """A container no plan describes the inside of: all of it under the place's category, or unclassified."""
        if value.__class__ not in place.free or not place.categories:
            self._undescribed(place, context)
            return value if self._pass_unclassified else GONE
        allowed, ground = self._verdicts.of(place, context)
        self._note(allowed, place, ground, context)
        return value if allowed else GONE

    # -- refused objects: everything inside is withheld, and listed --------------------------------------------------

    def _refuse(self, plan: ObjectPlan, value: dict[str, Any], context: Context, depth: int) -> None:
        refused = self._verdicts.refused_table(plan, context.ground)
        self._withheld.setdefault((refused, *value), []).append(context.subjects)
        if plan.flat:
            return
        for key, one in value.items():
            if one.__class__ in _CONTAINERS:
                place = plan.fields.get(key) or plan.additional
                if place is not None:
                    self._refuse_value(place, one, context, depth - 1)

    def _refuse_value(self, place: Field, value: Any, context: Context, depth: int) -> None:
        if depth <= 0:
            raise NotInspectable("the body is nested too deeply")
        if value.__class__ is list:
            for one in value:
                if place.item is not None:
                    self._refuse_value(place.item, one, context, depth - 1)
        elif value.__class__ is dict:
            plan = object_plan(place, value)
            if plan is not None:
                ids = self._people_of(plan, value)
                inner = context.about(ids) if ids and all(map(is_id, ids)) else context
                self._refuse(plan, value, inner, depth)
            else:
                self._note(False, place, context.ground, context)
        else:
            self._note(False, place, context.ground, context)

    # -- notes for the record ----------------------------------------------------------------------------------------

    def _undescribed(self, place: Field, context: Context) -> None:
        self._unclassified += 1
        side = self._disclosed if self._pass_unclassified else self._withheld
        side.setdefault((place, Consent.unclassified), []).append(context.subjects)

    def _note(self, allowed: bool, place: Field, ground: Consent, context: Context) -> None:
        if place.personal:
            (self._disclosed if allowed else self._withheld).setdefault((place, ground), []).append(context.subjects)
