"""OpenAPI schemas to extraction plans: ``$ref`` (recursive ones too), ``allOf``, ``oneOf``, ``anyOf``, maps, arrays.

Invariants:

- Where several schemas describe one place, the strictest reading wins: every category, every scope and every subject
  that any of them names applies. Under ``oneOf``/``anyOf`` nothing tells which alternative an object is of: a place is
  classified only when every alternative that describes it classifies it, and what one alternative alone says (its
  category, that it is public) is no rule for the insides of the others.
- A category, required scopes, a consent rule and what cursors are for are inherited downwards; a new subject context
  resets the consent rule.
- What no schema describes has no plan, and so is unclassified.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from audit_proxy.core.catalog.layers import UNRESOLVABLE, Flat, Layers, merged
from audit_proxy.core.catalog.marks import mark
from audit_proxy.core.catalog.model import ANYTHING, KEY, ConsentRule, Cursor, CursorFor, Field, ObjectPlan, Withhold
from audit_proxy.core.catalog.pointer import parse_pointer

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (),
    "object": (),
    "array": (),
}
_CONTAINERS: dict[str, type] = {"object": dict, "array": list}
_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_CURSORS: frozenset[type] = frozenset({str, int, type(None)})
_IDS = ("user.unique_id",)  # what a map's keys are, where they are ids


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a schema takes from what encloses it."""

    categories: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    rule: ConsentRule = ConsentRule.subject
    cursor_for: CursorFor | None = None


class SchemaCompiler:
    """Compiles the schemas of one document; object plans are shared by component and inherited context."""

    def __init__(
        self, resolve: Callable[[str], Any], categories: frozenset[str], report: Callable[[str, str], None]
    ) -> None:
        self._report = report
        self._plans: dict[tuple[str, Inherited], ObjectPlan] = {}
        self._begun: dict[Any, ObjectPlan] = {}  # plans whose inside is being compiled, where no component names them
        self._layers = Layers(resolve, categories, report)

    def root(self, schema: dict[str, Any], name: str) -> Field:
        """The plan of a whole body. ``name`` begins the catalog path of what has no component of its own."""
        made = self._field([(schema, False)], name, Inherited(), required=False)
        mark(made)
        return made

    # -- one place ---------------------------------------------------------------------------------------------------

    def _field(
        self, schemas: list[tuple[dict[str, Any], bool]], name: str, inherited: Inherited, *, required: bool
    ) -> Field:
        flat = self._layers.flatten(schemas, name)
        categories = self._categories(flat, inherited)
        scopes = inherited.scopes | flat.scopes
        opens = any(pointer != KEY for pointer in flat.subjects)
        rule = _strictest(flat.rules) if flat.rules else (ConsentRule.subject if flat.opens else inherited.rule)
        cursor_for = flat.cursor_for or inherited.cursor_for
        below = Inherited(merged(flat.inward) or inherited.categories, scopes, rule, cursor_for)
        scalars = _scalars(flat.types)
        cursor = None
        if flat.cursors:  # a URL that some schema takes for a cursor as a whole is sealed as a whole
            cursor = Cursor(flat.cursors == {"url"}, cursor_for)
            scalars = _CURSORS
            self._judge_cursor(flat, name)
        made = Field(
            name=name,
            scalars=scalars,
            categories=categories,
            scopes=scopes,
            rule=rule,
            aggregate=flat.aggregate,
            withhold=flat.withhold or Withhold(),
            subject_self="" in flat.subjects,
            about=tuple(flat.about),
            cursor=cursor,
        )
        may_be_object = not flat.types or "object" in flat.types
        described = bool(flat.properties or flat.additional or flat.discriminator)
        if may_be_object and flat.discriminator is not None:
            tag, choices = flat.discriminator
            subjects = (*flat.subjects, *flat.about)
            own = [(self._layers.schema(subjects, {"x-data-subject": [*subjects]}), False)] if subjects else []
            made.variants = (
                tag,
                {value: self._object([(choice, False), *own], name, below) for value, choice in choices.items()},
            )
        elif may_be_object and (described or opens):
            made.object = self._object_of(flat, schemas, name, below)
        if flat.items and (not flat.types or "array" in flat.types):
            made.item = self._field([(item, flat.composite) for item in flat.items], f"{name}[]", below, required=False)
            if flat.min_items and made.item.personal:
                self._report(name, "minItems: dropping a refused person can make the list too short for its schema")
        undescribed = (
            may_be_object and not described and not flat.items and (not flat.types or flat.types & {"object", "array"})
        )
        if undescribed and not opens:
            made.free = frozenset(_CONTAINERS[one] for one in flat.types & _CONTAINERS.keys()) or ANYTHING
        if flat.types == {"object"} and not made.free:
            made.about = ()  # the object's plan has them
        for misplaced in (one for one in flat.subjects if not _fits(one, flat.types)):
            self._report(
                name, f"x-data-subject {misplaced!r} does not fit the type here; on a list, it goes on the items"
            )
        if required and flat.withhold is None and (made.personal or made.object is not None) and not made.aggregate:
            self._report(
                name,
                "the schema requires it: choose x-withhold (null or a constant) or a withheld answer breaks the schema",
            )
        if not categories and made.object is None and made.item is None and made.variants is None:
            self._report(name, "unclassified: add x-data-category (or none)")
        return made

    def _judge_cursor(self, flat: Flat, name: str) -> None:
        if flat.types - {"string", "integer", "null"}:
            self._report(name, "x-cursor goes on text or a whole number: anything else here is withheld")
        if "integer" in flat.types:
            self._report(name, "x-cursor on a number: the app gets text in its place")

    def _categories(self, flat: Flat, inherited: Inherited) -> tuple[str, ...]:
        if flat.unclassified_alternative and not flat.inward:
            return merged([*flat.categories, inherited.categories]) if inherited.categories else ()
        return merged(flat.categories) or inherited.categories

    # -- the inside of an object -------------------------------------------------------------------------------------

    def _object(self, schemas: list[tuple[dict[str, Any], bool]], name: str, inherited: Inherited) -> ObjectPlan:
        flat = self._layers.flatten(schemas, name)
        categories = merged(flat.inward) or inherited.categories
        rule = _strictest(flat.rules) if flat.rules else (ConsentRule.subject if flat.opens else inherited.rule)
        cursor_for = flat.cursor_for or inherited.cursor_for
        scopes = inherited.scopes | flat.scopes
        return self._object_of(flat, schemas, name, Inherited(categories, scopes, rule, cursor_for))

    def _object_of(
        self, flat: Flat, schemas: list[tuple[dict[str, Any], bool]], name: str, inherited: Inherited
    ) -> ObjectPlan:
        """The plan of an object. Known before its fields are, so that recursion ends here."""
        plan = ObjectPlan(
            name=flat.component or name, rule=inherited.rule, public_when=tuple(sorted(flat.public_when.items()))
        )
        if flat.component is not None:
            shared = self._plans.setdefault((flat.component, inherited), plan)
            if shared is plan:
                self._fill(plan, flat, inherited)
            return shared
        key = (tuple((id(schema), union) for schema, union in schemas), inherited)
        shared = self._begun.setdefault(key, plan)
        if shared is plan:
            self._fill(plan, flat, inherited)
            del self._begun[key]
        return shared

    def _fill(self, plan: ObjectPlan, flat: Flat, inherited: Inherited) -> None:
        label = plan.name
        plan.subjects = tuple(parse_pointer(text) for text in flat.subjects if text not in (KEY, ""))
        plan.about = tuple(flat.about)
        plan.opens = bool(plan.subjects or plan.about)
        if KEY in flat.subjects:
            plan.key = Field(f"{label}.{KEY}", _SCALARS, _IDS, inherited.scopes, inherited.rule)
        for key, schemas in flat.properties.items():
            plan.fields[key] = self._field(schemas, f"{label}.{key}", inherited, required=key in flat.required)
        described = [schema for schema in flat.additional if isinstance(schema, dict)]
        if described:
            plan.additional = self._field(
                [(schema, flat.composite) for schema in described], f"{label}.*", inherited, required=False
            )
        elif flat.additional and all(flat.additional) and inherited.categories:
            plan.additional = Field(
                f"{label}.*", _SCALARS, inherited.categories, inherited.scopes, inherited.rule, free=ANYTHING
            )
        for key in flat.public_when:
            if key not in plan.fields:
                self._report(label, f"x-public-when names {key!r}, which is not a property")
        for pointer in plan.subjects:
            if pointer[0] not in plan.fields and plan.additional is None and pointer != parse_pointer(UNRESOLVABLE):
                self._report(label, f"x-data-subject names {pointer[0]!r}, which is not a property")


def _scalars(types: set[str]) -> frozenset[type]:
    if not types:
        return _SCALARS
    found: set[type] = {type(None)}
    found.update(python for name in types for python in _TYPES.get(name, ()))
    return frozenset(found)


def _fits(subject: str, types: set[str]) -> bool:
    """Whether a schema's type can hold what its subject stands on: an id, or an object that names one."""
    wanted = {"string", "integer", "number"} if subject == "" else {"object"}
    return not types or bool(types & wanted)


def _strictest(rules: list[ConsentRule]) -> ConsentRule:
    order = [ConsentRule.subject, ConsentRule.unsafe_holder_speaks, ConsentRule.public]
    return min(rules, key=order.index)
