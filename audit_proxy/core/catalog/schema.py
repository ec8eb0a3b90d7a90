"""OpenAPI schemas to extraction plans: ``$ref`` (recursive ones too), ``allOf``, ``oneOf``, ``anyOf``, maps, arrays.

Invariants:

- Where several schemas describe one place, the strictest reading wins: every category, every scope and every subject
  that any of them names applies. Under ``oneOf``/``anyOf`` nothing tells which alternative an object is of: a place is
  classified only when every alternative that describes it classifies it, and what one alternative alone says (its
  category, that it is public) is no rule for the insides of the others.
- A category, required scopes and a consent rule are inherited downwards; a new subject context resets the consent rule.
- What no schema describes has no plan, and so is unclassified.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.core.catalog.model import KEY, NONE, ConsentRule, Field, ObjectPlan, Pointer, Withhold

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (),
    "object": (),
    "array": (),
}
_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_EXTENSIONS = frozenset(
    {
        "x-data-subject",
        "x-data-category",
        "x-required-scopes",
        "x-consent",
        "x-public-when",
        "x-withhold",
        "x-aggregate",
    }
)
_INSIDE = _EXTENSIONS | {"properties", "additionalProperties", "items", "required", "allOf", "oneOf", "anyOf"}
_UNREAD = frozenset({"patternProperties", "dependentSchemas", "if", "unevaluatedProperties"})
_UNRESOLVABLE = "/\x00unresolvable"  # a subject that no body can name: what is unknown fails closed
_LATER = frozenset({"x-cursor", "x-batch"})


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a schema takes from what encloses it."""

    categories: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    rule: ConsentRule = ConsentRule.subject


@dataclass(frozen=True, slots=True)
class Said:
    """What one alternative says of its place as a whole."""

    categories: list[tuple[str, ...]]
    rules: list[ConsentRule]
    public_when: dict[str, frozenset[Any]]


@dataclass(slots=True)
class Flat:
    """All schemas that describe one place, laid over one another."""

    component: str | None = None
    types: set[str] = field(default_factory=set)  # empty: any
    properties: dict[str, list[tuple[dict[str, Any], bool]]] = field(default_factory=dict)  # (schema, from a union)
    required: set[str] = field(default_factory=set)
    additional: list[dict[str, Any] | bool] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    min_items: int = 0
    categories: list[tuple[str, ...]] = field(default_factory=list)
    inward: list[tuple[str, ...]] = field(default_factory=list)  # those of ``categories`` that what is inside inherits
    unclassified_alternative: bool = False
    subjects: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    rules: list[ConsentRule] = field(default_factory=list)
    public_when: dict[str, frozenset[Any]] = field(default_factory=dict)
    withhold: Withhold | None = None
    aggregate: bool = False
    discriminator: tuple[str, dict[str, dict[str, Any]]] | None = None
    composite: bool = False


class SchemaCompiler:
    """Compiles the schemas of one document; object plans are shared by component and inherited context."""

    def __init__(
        self, resolve: Callable[[str], Any], categories: frozenset[str], report: Callable[[str, str], None]
    ) -> None:
        self._resolve = resolve
        self._known = categories
        self._report = report
        self._plans: dict[tuple[str, Inherited], ObjectPlan] = {}

    def root(self, schema: dict[str, Any], name: str) -> Field:
        """The plan of a whole body. ``name`` begins the catalog path of what has no component of its own."""
        made = self._field([(schema, False)], name, Inherited(), required=False)
        _mark(made)
        return made

    # -- one place ---------------------------------------------------------------------------------------------------

    def _field(
        self, schemas: list[tuple[dict[str, Any], bool]], name: str, inherited: Inherited, *, required: bool
    ) -> Field:
        flat = self._flatten(schemas, name)
        categories = self._categories(flat, inherited)
        scopes = inherited.scopes | flat.scopes
        opens = any(pointer != KEY for pointer in flat.subjects)
        rule = _strictest(flat.rules) if flat.rules else (ConsentRule.subject if flat.subjects else inherited.rule)
        below = Inherited(_merged(flat.inward) or inherited.categories, scopes, rule)
        scalars = _scalars(flat.types)
        made = Field(
            name=name,
            scalars=scalars,
            categories=categories,
            scopes=scopes,
            rule=rule,
            aggregate=flat.aggregate,
            withhold=flat.withhold or Withhold(),
            subject_self="" in flat.subjects,
        )
        may_be_object = not flat.types or "object" in flat.types
        described = bool(flat.properties or flat.additional or flat.discriminator)
        if may_be_object and flat.discriminator is not None:
            tag, choices = flat.discriminator
            made.variants = (
                tag,
                {value: self._object([(choice, False)], name, below) for value, choice in choices.items()},
            )
        elif may_be_object and (described or opens):
            made.object = self._object_of(flat, name, below)
        if flat.items and (not flat.types or "array" in flat.types):
            made.item = self._field([(item, flat.composite) for item in flat.items], f"{name}[]", below, required=False)
            if flat.min_items and made.item.personal:
                self._report(name, "minItems: dropping a refused person can make the list too short for its schema")
        undescribed = (
            may_be_object and not described and not flat.items and (not flat.types or flat.types & {"object", "array"})
        )
        made.free = bool(undescribed and not opens)
        if required and flat.withhold is None and (made.personal or made.object is not None) and not made.aggregate:
            self._report(
                name,
                "the schema requires it: choose x-withhold (null or a constant) or a withheld answer breaks the schema",
            )
        if not categories and made.object is None and made.item is None and made.variants is None:
            self._report(name, "unclassified: add x-data-category (or none)")
        return made

    def _categories(self, flat: Flat, inherited: Inherited) -> tuple[str, ...]:
        if flat.unclassified_alternative and not flat.inward:
            return _merged([*flat.categories, inherited.categories]) if inherited.categories else ()
        return _merged(flat.categories) or inherited.categories

    # -- the inside of an object -------------------------------------------------------------------------------------

    def _object(self, schemas: list[tuple[dict[str, Any], bool]], name: str, inherited: Inherited) -> ObjectPlan:
        flat = self._flatten(schemas, name)
        categories = _merged(flat.inward) or inherited.categories
        rule = _strictest(flat.rules) if flat.rules else (ConsentRule.subject if flat.subjects else inherited.rule)
        return self._object_of(flat, name, Inherited(categories, inherited.scopes | flat.scopes, rule))

    def _object_of(self, flat: Flat, name: str, inherited: Inherited) -> ObjectPlan:
        label = flat.component or name
        shared = (flat.component, inherited) if flat.component is not None else None
        if shared is not None and shared in self._plans:
            return self._plans[shared]
        plan = ObjectPlan(name=label, rule=inherited.rule, public_when=tuple(sorted(flat.public_when.items())))
        if shared is not None:
            self._plans[shared] = plan  # before its fields, so that recursion ends here
        plan.subjects = tuple(_pointer(text) for text in flat.subjects if text not in (KEY, ""))
        plan.subject_key = KEY in flat.subjects
        for key, schemas in flat.properties.items():
            plan.fields[key] = self._field(schemas, f"{label}.{key}", inherited, required=key in flat.required)
        described = [schema for schema in flat.additional if isinstance(schema, dict)]
        if described:
            plan.additional = self._field(
                [(schema, flat.composite) for schema in described], f"{label}.*", inherited, required=False
            )
        elif flat.additional and all(flat.additional) and inherited.categories:
            plan.additional = Field(
                f"{label}.*", _SCALARS, inherited.categories, inherited.scopes, inherited.rule, free=True
            )
        for key in flat.public_when:
            if key not in plan.fields:
                self._report(label, f"x-public-when names {key!r}, which is not a property")
        for pointer in plan.subjects:
            if pointer[0] not in plan.fields and plan.additional is None and pointer != _pointer(_UNRESOLVABLE):
                self._report(label, f"x-data-subject names {pointer[0]!r}, which is not a property")
        return plan

    # -- laying schemas over one another -----------------------------------------------------------------------------

    def _flatten(self, schemas: list[tuple[dict[str, Any], bool]], name: str) -> Flat:
        flat = Flat()
        flat.composite = len(schemas) > 1
        said: list[Said] = []
        for at, (schema, union) in enumerate(schemas):
            if union:
                said += self._alternative(flat, schema, name, first=at == 0, trail=())
            else:
                self._lay(flat, schema, name, union=False, first=at == 0, trail=())
        self._agree(flat, said, name)
        if flat.composite:
            flat.component = None
        return flat

    def _lay(self, flat: Flat, schema: Any, name: str, *, union: bool, first: bool, trail: tuple[str, ...]) -> None:
        if schema is True or schema == {}:
            return
        if not isinstance(schema, dict):
            self._report(name, "a schema must be an object")
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                self._report(name, f"$ref {reference} refers to itself")
                flat.subjects.append(_UNRESOLVABLE)
                return
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            if first and not flat.composite and not _INSIDE & rest.keys():
                flat.component = flat.component or _component(reference)
            target = self._resolve(reference)
            if target is None:
                self._report(name, f"$ref {reference} cannot be resolved")
                flat.subjects.append(_UNRESOLVABLE)
                return
            if rest.keys() & _EXTENSIONS and isinstance(target, dict) and "x-data-category" in rest:
                target = {key: value for key, value in target.items() if key != "x-data-category"}
            self._lay(flat, target, name, union=union, first=first, trail=(*trail, reference))
            if rest:
                self._lay(flat, rest, name, union=False, first=False, trail=trail)
            return
        self._types(flat, schema, union=union, first=first)
        for key, value in (schema.get("properties") or {}).items():
            flat.properties.setdefault(key, []).append((value, union))
        flat.required |= set(schema.get("required") or ())
        if "additionalProperties" in schema:
            flat.additional.append(schema["additionalProperties"])
        for unread in sorted(_UNREAD & schema.keys()):
            self._report(name, f"{unread} is not read: what it alone describes is unclassified")
            flat.additional.append(False)
        if isinstance(schema.get("items"), dict):
            flat.items.append(schema["items"])
        flat.min_items = max(flat.min_items, int(schema.get("minItems") or 0))
        self._extensions(flat, schema, name)
        for part in schema.get("allOf") or ():
            self._lay(flat, part, name, union=union, first=False, trail=trail)
        self._alternatives(flat, schema, name, trail)

    def _alternatives(self, flat: Flat, schema: dict[str, Any], name: str, trail: tuple[str, ...]) -> None:
        alternatives = [*(schema.get("oneOf") or ()), *(schema.get("anyOf") or ())]
        if not alternatives:
            return
        choice = schema.get("discriminator")
        if isinstance(choice, dict) and isinstance(choice.get("propertyName"), str):
            named = {
                a["$ref"].rsplit("/", 1)[-1]: a
                for a in alternatives
                if isinstance(a, dict) and isinstance(a.get("$ref"), str)
            }
            if len(named) == len(alternatives):
                mapping = choice.get("mapping") or {}
                values = {
                    value: {"$ref": ref} if ref.startswith("#") else named.get(ref, {})
                    for value, ref in mapping.items()
                }
                flat.discriminator = (choice["propertyName"], values or named)
                flat.types |= {"object"}
                return
        flat.composite = True
        said: list[Said] = []
        for part in alternatives:
            said += self._alternative(flat, part, name, first=False, trail=trail)
        self._agree(flat, said, name)

    def _alternative(self, flat: Flat, part: Any, name: str, *, first: bool, trail: tuple[str, ...]) -> list[Said]:
        """Lays an alternative; what it says of the place as a whole is handed back instead, unless it is null."""
        categories, rules, public_when = len(flat.inward), len(flat.rules), flat.public_when
        flat.public_when = {}
        self._lay(flat, part, name, union=True, first=first, trail=trail)
        said = Said(flat.inward[categories:], flat.rules[rules:], flat.public_when)
        del flat.inward[categories:], flat.rules[rules:]
        flat.public_when = public_when
        if _is_null(part):
            return []
        if not said.categories and not _structured(part, self._resolve):
            flat.unclassified_alternative = True
        return [said]

    def _agree(self, flat: Flat, said: list[Said], name: str) -> None:
        """Of what alternatives say of the whole place, what holds whichever of them an object is of."""
        if all(one.categories for one in said):
            flat.inward += [group for one in said for group in one.categories]
        if any(one.rules for one in said):
            if not flat.rules and not all(one.rules for one in said):
                self._report(name, "x-consent on some alternatives only: it holds for none without a discriminator")
                flat.rules.append(ConsentRule.subject)
            flat.rules += [rule for one in said for rule in one.rules]
        if all(one.public_when for one in said):
            for one in said:
                _narrow(flat.public_when, one.public_when)
        elif any(one.public_when for one in said):
            self._report(name, "x-public-when on some alternatives only: it holds for none without a discriminator")

    def _types(self, flat: Flat, schema: dict[str, Any], *, union: bool, first: bool) -> None:
        declared = schema.get("type")
        types = {declared} if isinstance(declared, str) else set(declared) if isinstance(declared, list) else set()
        if not types:
            if "properties" in schema or "additionalProperties" in schema:
                types = {"object"}
            elif "items" in schema:
                types = {"array"}
        if union or first or not flat.types:
            flat.types |= types
        elif types:
            flat.types = (flat.types & types) or (flat.types | types)

    def _extensions(self, flat: Flat, schema: dict[str, Any], name: str) -> None:
        category = schema.get("x-data-category")
        if category is not None:
            names = tuple(category) if isinstance(category, list) else (category,)
            unknown = [one for one in names if one not in self._known and one != "none"]
            if unknown:
                self._report(name, f"x-data-category {unknown[0]!r} is not in the fideslang taxonomy")
            else:
                flat.categories.append(names)
                flat.inward.append(names)
        subject = schema.get("x-data-subject")
        if subject is not None:
            for pointer in subject if isinstance(subject, list) else [subject]:
                self._subject(flat, pointer, name)
        flat.scopes |= set(schema.get("x-required-scopes") or ())
        rule = schema.get("x-consent")
        if rule is not None:
            try:
                flat.rules.append(ConsentRule(rule))
            except ValueError:
                self._report(name, f"x-consent {rule!r}: must be one of {', '.join(ConsentRule)}")
                flat.rules.append(ConsentRule.subject)
        when = (schema.get("x-public-when") or {}).items()
        _narrow(flat.public_when, {key: frozenset(one if isinstance(one, list) else [one]) for key, one in when})
        if "x-withhold" in schema:
            chosen = schema["x-withhold"]
            flat.withhold = Withhold(chosen) if chosen in ("drop", "null") else Withhold("constant", chosen)
        flat.aggregate = flat.aggregate or bool(schema.get("x-aggregate"))
        for later in _LATER & schema.keys():
            self._report(name, f"{later} is not supported yet; it has no effect")

    def _subject(self, flat: Flat, pointer: Any, name: str) -> None:
        if not isinstance(pointer, str) or (pointer not in ("", KEY) and not pointer.startswith("/")):
            self._report(
                name,
                f"x-data-subject {pointer!r}: must be a relative JSON Pointer, '' or '$key'; anyone it names counts as refused",
            )
            pointer = _UNRESOLVABLE
        if pointer not in flat.subjects:
            flat.subjects.append(pointer)


def _mark(root: Field) -> None:
    """Fills what is derived (``seeks``, ``seeking``, ``flat``, ``simple_subject``), over cycles too."""
    fields: list[Field] = []
    plans: dict[int, ObjectPlan] = {}
    todo = [root]
    while todo:
        one = todo.pop()
        fields.append(one)
        if one.item is not None:
            todo.append(one.item)
        for plan in _objects(one):
            if id(plan) not in plans:
                plans[id(plan)] = plan
                todo.extend(plan.fields.values())
                if plan.additional is not None:
                    todo.append(plan.additional)
    changed = True
    while changed:
        changed = False
        for one in fields:
            below = [
                child
                for plan in _objects(one)
                for child in (*plan.fields.values(), *([plan.additional] if plan.additional else []))
            ]
            seeks = (
                one.subject_self
                or any(plan.opens or plan.subject_key for plan in _objects(one))
                or (one.item is not None and one.item.seeks)
                or any(child.seeks for child in below)
            )
            if seeks and not one.seeks:
                one.seeks = changed = True
    for plan in plans.values():
        plan.seeking = tuple((key, one) for key, one in plan.fields.items() if one.seeks)
        plan.flat = plan.additional is None and all(
            one.object is None and one.item is None and one.variants is None and not one.free and not one.subject_self
            for one in plan.fields.values()
        )
        lone = len(plan.subjects) == 1 and len(plan.subjects[0]) == 1 and not plan.subject_key
        plan.simple_subject = plan.subjects[0][0] if lone else None


def _objects(one: Field) -> list[ObjectPlan]:
    found = [one.object] if one.object is not None else []
    if one.variants is not None:
        found.extend(one.variants[1].values())
    return found


def _scalars(types: set[str]) -> frozenset[type]:
    if not types:
        return _SCALARS
    found: set[type] = {type(None)}
    found.update(python for name in types for python in _TYPES.get(name, ()))
    return frozenset(found)


def _pointer(text: str) -> Pointer:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def _component(reference: str) -> str:
    """What a reference is called, and its plans are known by: a component's name, or the whole of any other reference."""
    name = reference.removeprefix("#/components/schemas/")
    return reference if "/" in name else name


def _merged(groups: list[tuple[str, ...]]) -> tuple[str, ...]:
    """All categories of these groups; ``none`` only where nothing else is among them."""
    found = sorted({category for group in groups for category in group})
    return tuple(category for category in found if category != "none") or (NONE if found else ())


def _narrow(public_when: dict[str, frozenset[Any]], by: dict[str, frozenset[Any]]) -> None:
    """Adds conditions: all must hold."""
    for key, values in by.items():
        public_when[key] = public_when.get(key, values) & values


def _strictest(rules: list[ConsentRule]) -> ConsentRule:
    order = [ConsentRule.subject, ConsentRule.unsafe_holder_speaks, ConsentRule.public]
    return min(rules, key=order.index)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _structured(schema: Any, resolve: Callable[[str], Any]) -> bool:
    """Whether an alternative's classification stands on its properties or items rather than on itself."""
    for _ in range(32):
        if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
            schema = resolve(schema["$ref"])
        else:
            break
    return isinstance(schema, dict) and bool(
        schema.keys() & {"properties", "items", "oneOf", "anyOf", "allOf", "additionalProperties"}
    )
