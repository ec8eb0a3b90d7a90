"""What a request asks with: path, query and body parameters judged against the operation's description.

Invariants:

- A parameter that no operation describes is refused; so is one given twice that is not an array.
- Asking by a personal field demands that field's scopes, of the token and of every match.
- A person whom a parameter names must permit as one in the path does: anything but public content about a look-up, a
  filter or a sender leaves by that person's word too. Whoever of an array refuses is not asked for.
- A token in a body is refused, also where the body is described as open: the platform could take it for the request's.
- A cursor is judged as what it was before it was sealed; one that does not open is refused.
- What is forwarded is rebuilt from the parse that was judged, never the bytes as they came.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from audit_proxy.core.bearer import IN_BODY, PARAMETER
from audit_proxy.core.catalog.expressions import Named, in_request
from audit_proxy.core.catalog.fields import parse_fields, select
from audit_proxy.core.catalog.matcher import Match
from audit_proxy.core.catalog.model import NONE, BodyPlan, Field, Operation, Parameter
from audit_proxy.core.catalog.target import Target, encode_query, parse_query, with_query
from audit_proxy.core.errors import Reason, Refusal

NO_SCOPES: frozenset[str] = frozenset()
Opener = Callable[[Parameter, str], str | None]
"""The platform's own cursor in place of the sealed one that a parameter holds, or None where it does not open."""
UNOPENED = Refusal(
    Reason.cursor_invalid,
    "the cursor was not given to this app and holder for this parameter, or is too old: begin with the first page",
)
_decoder = msgspec.json.Decoder()
_INTEGER = re.compile(r"-?[0-9]{1,40}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?\Z")
JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


class Asked(msgspec.Struct):
    """What a request's parameters demand. ``people`` are raw ids that path and query name."""

    scopes: set[str] = msgspec.field(default_factory=set)  # of the token, and of every match
    token_scopes: set[str] = msgspec.field(default_factory=set)  # of the token alone (a fields selector's)
    by_field: bool = False  # looks up, filters or sorts by a personal field
    people: list[str] = msgspec.field(default_factory=list)
    must_permit: list[str] = msgspec.field(default_factory=list)  # those that stand alone: in the path, or as one value
    named: Named = {}  # whom the answers' expressions reach in this request
    body: bytes | None = None  # the body to forward, where it was judged
    sent: Any = None  # that body's value; a form's fields, each with its values


def open_cursors(operation: Operation, target: Target, opener: Opener) -> Target | Refusal:
    """The target with the platform's own cursors in its query."""
    query: list[tuple[str, str]] = []
    for name, value in target.query:
        parameter = operation.parameters.get(("query", name))
        opened = opener(parameter, value) if parameter is not None and parameter.cursor else value
        if opened is None:
            return UNOPENED
        query.append((name, opened))
    return with_query(target, tuple(query))


def judge_parameters(
    match: Match, target: Target, content_type: str, body: bytes, opener: Opener | None = None
) -> Asked | Refusal:
    """Judges all parameters of a request. ``target``: with its cursors opened; ``body``: the whole body, b"" where there
    is none, whose cursors ``opener`` opens.
    """
    operation = match.operation
    asked = Asked()
    for name, value in zip(operation.path_names, match.path_values, strict=True):
        parameter = operation.parameters["path", name]
        for one in value.split(",") if parameter.many else (value,):
            refused = _value(parameter, one)
            if refused is not None:
                return refused
            _demand(parameter, one, asked)
    refused = _query(operation, target, asked)
    if refused is not None:
        return refused
    judged = _body(operation.body, content_type, body, asked, opener)
    if operation.named and isinstance(judged, Asked):
        _name(match, target, judged)
    return judged


def _name(match: Match, target: Target, asked: Asked) -> None:
    """Notes whom the expressions of the operation's answers reach in this request."""
    operation = match.operation
    query = [
        (name, one)
        for name, value in target.query
        for one in (value.split(",") if operation.parameters["query", name].many else (value,))
    ]
    path = dict(zip(operation.path_names, match.path_values, strict=True))
    asked.named = in_request(operation.named, path, query, asked.sent)
    for one in operation.named:
        if one.source == "sent":
            asked.people += [str(raw) for raw in asked.named[one.text] if raw.__class__ in (str, int)]


def _demand(parameter: Parameter, value: str | None, asked: Asked) -> None:
    """``value``: None for one that is no text, and so nobody's id."""
    scopes = parameter.scopes
    if parameter.by_value and value is not None:
        scopes |= parameter.by_value.get(value, NO_SCOPES)
    asked.scopes |= scopes
    if scopes or (parameter.categories != NONE and not parameter.names_person):
        asked.by_field = True
    if parameter.names_person and value is not None:
        asked.people.append(value)
        if not parameter.many or parameter.place == "path":
            asked.must_permit.append(value)


def _query(operation: Operation, target: Target, asked: Asked) -> Refusal | None:
    seen: set[str] = set()
    for name, value in target.query:
        parameter = operation.parameters.get(("query", name))
        if parameter is None:
            return Refusal(Reason.parameter_not_described, "the operation describes no query parameter of this name")
        if name in seen and not parameter.many:
            return Refusal(Reason.parameter_invalid, f"query parameter {name!r} is given twice")
        seen.add(name)
        if parameter.fields_selector:
            refused = _selector(operation, value, asked)
            if refused is not None:
                return refused
            continue
        for one in value.split(",") if parameter.many else (value,):
            refused = _value(parameter, one)
            if refused is not None:
                return refused
            _demand(parameter, one, asked)
    for name, parameter in operation.unsaid:
        if name in seen:
            continue
        if parameter.required:
            return Refusal(Reason.parameter_invalid, f"query parameter {name!r} is required")
        for one in parameter.default:  # what the platform does where nothing is said
            _demand(parameter, one, asked)
    return None


def _selector(operation: Operation, value: str, asked: Asked) -> Refusal | None:
    tree = parse_fields(value)
    if tree is None:
        return Refusal(Reason.parameter_invalid, "the fields selector cannot be parsed")
    root = _success(operation)
    if root is None:
        return Refusal(Reason.field_not_described, "the operation describes no answer to select from")
    selection = select(root, tree)
    if selection.unknown:
        return Refusal(Reason.field_not_described, f"{len(selection.unknown)} selected field(s) are not described")
    asked.token_scopes |= selection.scopes
    return None


def _success(operation: Operation) -> Field | None:
    for status in ("200", "2XX", "201", "default"):
        plan = operation.responses.get(status)
        if plan is not None:
            for media in plan.media.values():
                return media.field
    return None


def _value(parameter: Parameter, value: str) -> Refusal | None:
    types = parameter.types
    good = (
        not types
        or "string" in types
        or ("integer" in types and _INTEGER.match(value) is not None)
        or ("number" in types and _NUMBER.match(value) is not None)
        or ("boolean" in types and value in ("true", "false"))
    )
    if not good:
        return Refusal(
            Reason.parameter_invalid, f"parameter {parameter.name!r} must be of type {' or '.join(sorted(types))}"
        )
    if parameter.bounds is not None and _NUMBER.match(value) is not None and not parameter.bounds.hold(float(value)):
        return Refusal(Reason.parameter_invalid, f"parameter {parameter.name!r} is out of its bounds")
    if parameter.enum and value not in parameter.enum:
        return Refusal(Reason.parameter_invalid, f"parameter {parameter.name!r} has a value that is not described")
    if parameter.pattern is not None and re.search(parameter.pattern, value) is None:
        return Refusal(Reason.parameter_invalid, f"parameter {parameter.name!r} does not match its pattern")
    return None


def _body(
    plan: BodyPlan | None, content_type: str, body: bytes, asked: Asked, opener: Opener | None
) -> Asked | Refusal:
    if not body:
        if plan is not None and plan.required:
            return Refusal(Reason.parameter_invalid, "a request body is required")
        asked.body = b""
        return asked
    if plan is None:
        return Refusal(Reason.parameter_not_described, "the operation describes no request body")
    media, _, options = content_type.partition(";")
    media = media.strip().lower()
    if media not in plan.media or ("charset" in options.lower() and "utf-8" not in options.lower()):
        return Refusal(Reason.request_not_inspectable, "the request body's media type is not described")
    if media == "application/x-www-form-urlencoded":
        return _form(plan, body, asked, opener)
    if media == "application/json" or media.endswith("+json"):
        return _json(plan, body, asked, opener)
    return Refusal(Reason.request_not_inspectable, "a request body of this media type cannot be inspected")


def _json(plan: BodyPlan, body: bytes, asked: Asked, opener: Opener | None) -> Asked | Refusal:
    try:
        value: Any = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Refusal(Reason.request_not_inspectable, "the request body is not valid JSON")
    if not isinstance(value, dict):
        return Refusal(Reason.request_not_inspectable, "the request body must be a JSON object")
    if PARAMETER in value:
        return IN_BODY
    for name, given in value.items():
        parameter = plan.parameters.get(name)
        if parameter is None:
            if plan.open and name.lower() not in plan.lowered:  # a platform may not tell case apart
                continue
            return Refusal(Reason.parameter_not_described, "the operation describes no body property of this name")
        if parameter.cursor and given is not None:
            if given.__class__ not in (str, int):
                return Refusal(Reason.parameter_invalid, f"body property {name!r} must be a cursor")
            one = _opened_json(parameter, given, opener)
            if one is None:
                return UNOPENED
            value[name] = one
        else:
            one = given
        if parameter.types and not parameter.many and not any(_is(one, kind) for kind in parameter.types):
            return Refusal(Reason.parameter_invalid, f"body property {name!r} has a type that is not described")
        refused = _sent(parameter, one, asked)
        if refused is not None:
            return refused
    asked.body, asked.sent = msgspec.json.encode(value), value
    return asked


def _sent(parameter: Parameter, value: Any, asked: Asked) -> Refusal | None:
    """Judges the values of a JSON body's property."""
    _demand(parameter, None, asked)
    for one in value if isinstance(value, list) else (value,):
        if one.__class__ in (str, int, float):
            refused = _value(parameter, str(one))
            if refused is not None:
                return refused
        if one.__class__ in (str, int):
            _demand(parameter, str(one), asked)
        elif parameter.names_person and one is not None:
            return Refusal(Reason.parameter_invalid, f"body property {parameter.name!r} must be an id")
    return None


def _opened_json(parameter: Parameter, given: str | int, opener: Opener | None) -> str | int | None:
    """A body's cursor, as text or as the whole number that it was."""
    opened = opener(parameter, str(given)) if opener is not None else None
    if opened is not None and "integer" in parameter.types and _INTEGER.match(opened) is not None:
        return int(opened)
    return opened


def _is(value: Any, kind: str) -> bool:
    expected = JSON_TYPES.get(kind)
    return expected is not None and isinstance(value, expected) and (kind == "boolean" or not isinstance(value, bool))


def _form(plan: BodyPlan, body: bytes, asked: Asked, opener: Opener | None) -> Asked | Refusal:
    try:
        pairs = parse_query(body.decode("ascii"))
    except UnicodeDecodeError:
        return Refusal(Reason.request_not_inspectable, "the form body is not percent-encoded")
    if isinstance(pairs, Refusal):
        return pairs
    if any(name == PARAMETER for name, _ in pairs):
        return IN_BODY
    seen: set[str] = set()
    sent: list[tuple[str, str]] = []
    for name, given in pairs:
        parameter = plan.parameters.get(name)
        if parameter is None:
            return Refusal(Reason.parameter_not_described, "the operation describes no form field of this name")
        value: str | None = given
        if parameter.cursor:
            value = opener(parameter, given) if opener is not None else None
        if value is None:
            return UNOPENED
        sent.append((name, value))
        if name in seen and not parameter.many:
            return Refusal(Reason.parameter_invalid, f"form field {name!r} is given twice")
        seen.add(name)
        refused = _value(parameter, value)
        if refused is not None:
            return refused
        _demand(parameter, value, asked)
    asked.body = encode_query(tuple(sent)).encode()
    asked.sent = {name: [value for key, value in sent if key == name] for name in seen}
    return asked
