"""What a catalog compiles to: operations, parameters and extraction plans.

A plan is a graph of ``Field`` (a place that holds a value) and ``ObjectPlan`` (the inside of a JSON object, shared by
every place that refers to the same component). Plans are built by ``schema`` and never change afterwards.

Invariants:

- A field with empty ``categories`` is unclassified; ``("none",)`` is not personal.
- An object plan with ``subjects`` or ``about`` opens a new subject context; one without inherits its parent's.
- ``name`` is the catalog path of a field: ``Person.email``, ``Post.tags[].id``, ``listFriends.paging.next``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from audit_proxy.core.catalog.expressions import Expression
from audit_proxy.core.catalog.pointer import Pointer
from audit_proxy.core.catalog.reviews import ReviewState, Unit, state_of

NONE = ("none",)
KEY = "$key"  # x-data-subject: a map's keys are the ids
SELF = ""  # x-data-subject: the value itself is the id


class ConsentRule(StrEnum):
    """``x-consent``: whose consent a field needs."""

    subject = "subject"
    public = "public"
    unsafe_holder_speaks = "unsafe-holder-speaks-for-others"


@dataclass(frozen=True, slots=True)
class Withhold:
    """``x-withhold``: what stands in a withheld field's place. ``constant`` only with action ``constant``."""

    action: Literal["drop", "null", "constant"] = "drop"
    constant: Any = None


DROP = Withhold()


@dataclass(frozen=True, slots=True)
class CursorFor:
    """``x-cursor-for``: the operation whose parameter takes the cursors inside. ``parameter`` "": its only one."""

    operation: str
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """``x-cursor``: paging state, which leaves sealed. ``link``: in the query of a URL."""

    link: bool = False
    taken_by: CursorFor | None = None  # None: by the operation that answers


NOTHING: frozenset[type] = frozenset()
ANYTHING: frozenset[type] = frozenset({dict, list})


@dataclass(slots=True, eq=False)
class Field:
    """A place in a response that holds a value."""

    name: str
    scalars: frozenset[type]  # Python types of the scalars described here; NoneType is always among them
    categories: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()  # needed beyond the operation's
    rule: ConsentRule = ConsentRule.subject
    aggregate: bool = False
    withhold: Withhold = DROP
    free: frozenset[type] = (
        NOTHING  # containers (dict, list) of anything that are described here: the category covers it all
    )
    object: "ObjectPlan | None" = None
    variants: "tuple[str, Mapping[str, ObjectPlan]] | None" = None  # discriminator property, value -> plan
    item: "Field | None" = None
    subject_self: bool = False  # the value itself is a subject's id (x-data-subject: "")
    about: tuple[str, ...] = ()  # expressions for whom a list or a scalar is about; an object's are its plan's
    cursor: Cursor | None = None
    seeks: bool = False  # a subject context can begin here or below
    pages: bool = False  # a cursor can stand here or below

    @property
    def personal(self) -> bool:
        return self.categories != NONE


@dataclass(slots=True, eq=False)
class ObjectPlan:
    """The inside of a JSON object."""

    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    additional: Field | None = None  # for keys that no property describes
    subjects: tuple[Pointer, ...] = ()
    about: tuple[str, ...] = ()  # expressions for further people it is about
    opens: bool = False  # subjects or about: a subject context of its own
    key: Field | None = None  # a map's keys, where each is an id and its value about that person
    public_when: tuple[tuple[str, frozenset[Any]], ...] = ()
    rule: ConsentRule = ConsentRule.subject
    seeking: tuple[tuple[str, Field], ...] = ()  # the fields with ``seeks``
    simple_subject: str | None = None  # the one property holding the id, where that is the whole rule
    flat: bool = False  # scalars only: no container is described inside


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be. ``multiple``: of this."""

    least: float | None = None
    most: float | None = None
    multiple: float | None = None

    def hold(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.multiple is None or value % self.multiple == 0)
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query, path, header or body parameter. ``types`` are JSON type names, empty for any."""

    name: str
    place: Literal["path", "query", "header", "cookie", "body"]
    required: bool = False
    types: frozenset[str] = frozenset()
    enum: frozenset[str] = frozenset()
    pattern: str | None = None
    bounds: Bounds | None = None
    default: tuple[str, ...] = ()
    categories: tuple[str, ...] = NONE
    scopes: frozenset[str] = frozenset()  # what asking by this parameter needs of every match
    by_value: Mapping[str, frozenset[str]] = field(default_factory=dict)  # the same, of one value alone
    names_person: bool = False
    fields_selector: bool = False
    many: bool = False  # an array: comma-separated or repeated
    encoded_slash: bool = False  # in a path: may hold a slash, which is sent as %2F (x-allow-encoded-slash)
    cursor: bool = False  # takes a sealed cursor (x-cursor)
    plain: frozenset[str] = frozenset()  # cursors without state (the first page's, the end's): never sealed


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """One described media type of one status."""

    field: Field
    lines: bool = False  # many JSON values, judged as the list of them: one a line (NDJSON), or one an event
    events: bool = False  # text/event-stream
    named: tuple[Expression, ...] = ()  # whom its plan names by expression

    @property
    def kind(self) -> str:
        """The media type that is sent."""
        return "text/event-stream" if self.events else "application/x-ndjson" if self.lines else "application/json"


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """One described status: media types, and headers that may pass (lower case)."""

    media: Mapping[str, MediaPlan]
    headers: frozenset[str] = frozenset()
    cursors: Mapping[str, Cursor] = field(default_factory=dict)  # those headers that hold paging state
    empty: bool = False  # described without content


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """A described request body: property name -> parameter. ``media`` in lower case."""

    media: frozenset[str]
    parameters: Mapping[str, Parameter]
    lowered: frozenset[str] = frozenset()  # their names in lower case
    open: bool = False  # further properties are described as permitted
    required: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One method and path template."""

    id: str
    method: str
    route: str
    requirements: tuple[frozenset[str], ...]  # OR of ANDs; empty: nothing suffices
    anonymous: bool  # an alternative without any credential is described
    streams: bool  # some answer comes in lines or events
    unjudged: bool  # x-data-category: none on the whole operation
    parameters: Mapping[tuple[str, str], Parameter]  # by (place, name)
    path_names: tuple[str, ...]
    responses: Mapping[str, ResponsePlan]  # "200", "2XX", "default"
    body: BodyPlan | None = None
    fields_parameter: str | None = None
    named: tuple[Expression, ...] = ()  # all expressions of its answers
    describes_404: bool = False  # the platform says so where it finds nothing
    closed: bool = False  # nothing of its answers may leave against the word of the person it is about
    unsaid: tuple[tuple[str, Parameter], ...] = ()  # query parameters that mean something where they are not given
    lists_people: frozenset[str] = frozenset()  # query arrays of people, of whom those who refuse are not asked for
    header_names: frozenset[str] = frozenset()  # described header parameters, in lower case
    cursors: tuple[Parameter, ...] = ()  # the parameters that take cursors
    units: tuple[Unit, ...] = ()  # what is reviewed of it: itself first, then the components with reviews of their own

    @property
    def review_state(self) -> ReviewState:
        return state_of(self.units)

    def response(self, status: int) -> ResponsePlan | None:
        return (
            self.responses.get(str(status)) or self.responses.get(f"{status // 100}XX") or self.responses.get("default")
        )


@dataclass(slots=True, eq=False)
class Catalog:
    """A compiled platform. ``hash`` is SHA-256 over both documents, first 16 hex characters."""

    hash: str
    operations: tuple[Operation, ...]
    scope_implies: Mapping[str, frozenset[str]]  # transitive closure
    dialect: str = "problem"
    findings: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()  # absolute URLs that the platform says it is at
    pages: bool = False  # x-cursor stands somewhere in it

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """The scopes and all that they imply (``x-scope-implies``)."""
        if not self.scope_implies:
            return frozenset(scopes)
        result = set(scopes)
        for scope in tuple(result):
            result |= self.scope_implies.get(scope, frozenset())
        return frozenset(result)
