"""Schemas of one place, laid over one another: what ``schema`` makes a plan of, whose invariants hold here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.core.catalog.expressions import parse_expression
from audit_proxy.core.catalog.model import KEY, NONE, ConsentRule, CursorFor, Withhold
from audit_proxy.core.catalog.paging import cursor_for, cursor_kind

_EXTENSIONS = frozenset(
    {
        "x-data-subject",
        "x-data-category",
        "x-required-scopes",
        "x-consent",
        "x-public-when",
        "x-withhold",
        "x-aggregate",
        "x-cursor",
        "x-cursor-for",
    }
)
_INSIDE = _EXTENSIONS | {"properties", "additionalProperties", "items", "required", "allOf", "oneOf", "anyOf"}
_UNREAD = frozenset({"patternProperties", "dependentSchemas", "if", "unevaluatedProperties"})
UNRESOLVABLE = "/\x00unresolvable"  # a subject that no body can name: what is unknown fails closed
_LATER = frozenset({"x-batch"})


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
    about: list[str] = field(default_factory=list)  # expressions
    scopes: set[str] = field(default_factory=set)
    rules: list[ConsentRule] = field(default_factory=list)
    public_when: dict[str, frozenset[Any]] = field(default_factory=dict)
    withhold: Withhold | None = None
    aggregate: bool = False
    cursors: set[str] = field(default_factory=set)  # x-cursor: "value", "url"
    cursor_for: CursorFor | None = None
    discriminator: tuple[str, dict[str, dict[str, Any]]] | None = None
    composite: bool = False

    @property
    def opens(self) -> bool:
        return bool(self.subjects or self.about)


class Layers:
    """Lays the schemas of one document. ``report`` takes a place and what is wrong there."""

    def __init__(
        self, resolve: Callable[[str], Any], categories: frozenset[str], report: Callable[[str, str], None]
    ) -> None:
        self._resolve = resolve
        self._known = categories
        self._report = report
        self._made: dict[Any, dict[str, Any]] = {}

    def schema(self, key: Any, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema of our own making, the same object each time: plans are known by their schemas."""
        return self._made.setdefault(key, schema)

    def flatten(self, schemas: list[tuple[dict[str, Any], bool]], name: str) -> Flat:
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
                flat.subjects.append(UNRESOLVABLE)
                return
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            if first and not flat.composite and not _INSIDE & rest.keys():
                flat.component = flat.component or _component(reference)
            target = self._resolve(reference)
            if target is None:
                self._report(name, f"$ref {reference} cannot be resolved")
                flat.subjects.append(UNRESOLVABLE)
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
                    value: self.schema(ref, {"$ref": ref}) if ref.startswith("#") else named.get(ref, {})
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
        if schema.get("x-cursor"):
            flat.cursors.add(cursor_kind(schema, name, self._report))
        flat.cursor_for = cursor_for(schema, name, self._report) or flat.cursor_for  # beside a $ref: the place's own
        for later in _LATER & schema.keys():
            self._report(name, f"{later} is not supported yet; it has no effect")

    def _subject(self, flat: Flat, pointer: Any, name: str) -> None:
        if isinstance(pointer, str) and parse_expression(pointer) is not None:
            if pointer not in flat.about:
                flat.about.append(pointer)
            return
        if not isinstance(pointer, str) or (pointer not in ("", KEY) and not pointer.startswith("/")):
            self._report(
                name,
                f"x-data-subject {pointer!r}: must be a relative JSON Pointer, '', '$key', '$holder' or a runtime "
                "expression ($request.path.x, $request.query.x, $request.body#/x, $response.body#/x); "
                "anyone it names counts as refused",
            )
            pointer = UNRESOLVABLE
        if pointer not in flat.subjects:
            flat.subjects.append(pointer)


def _component(reference: str) -> str:
    """What a reference is called, and its plans are known by: a component's name, or the whole of any other reference."""
    name = reference.removeprefix("#/components/schemas/")
    return reference if "/" in name else name


def merged(groups: list[tuple[str, ...]]) -> tuple[str, ...]:
    """All categories of these groups; ``none`` only where nothing else is among them."""
    found = sorted({category for group in groups for category in group})
    return tuple(category for category in found if category != "none") or (NONE if found else ())


def _narrow(public_when: dict[str, frozenset[Any]], by: dict[str, frozenset[Any]]) -> None:
    """Adds conditions: all must hold."""
    for key, values in by.items():
        public_when[key] = public_when.get(key, values) & values


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
