"""Who is in a body: parse it, and find the ids of everyone its plan names.

Invariants:

- Parse or refuse: a body that is not exactly one JSON value (or one a line for NDJSON) in UTF-8 is refused, as is one
  nested deeper than the limit. Integers stay exact; a float that binary64 cannot hold is refused.
- What is later sent is encoded from this very parse, so no disagreement between parsers can carry data past it.
- Only a string or an integer is an id; ``True`` and ``1.0`` are not, although Python finds them equal to ``1``.
"""

from itertools import repeat
from typing import Any

import msgspec

from audit_proxy.core.catalog.model import Field, ObjectPlan
from audit_proxy.core.catalog.pointer import resolve
from audit_proxy.core.events import parse_events, render_events
from audit_proxy.core.identity import SUBJECT_ID_MAX

RawId = str | int

_DICTS = {dict}
_INTEGERS = {int}
_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class NotInspectable(Exception):  # noqa: N818  (a verdict on the body, turned into a refusal by review)
    """The body cannot be parsed or is nested too deeply. The text never quotes the body."""


def parse(body: bytes, *, lines: bool = False, events: bool = False) -> Any:
    """The JSON value of a body; for NDJSON a list of the lines' values, for events see there. Raises NotInspectable."""
    try:
        if events:
            return parse_events(body, _decoder.decode)
        if lines:
            return [_decoder.decode(line) for line in body.split(b"\n") if line.strip(b" \t\r")]
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotInspectable("the body is not valid JSON in UTF-8") from error


def render(value: Any, *, lines: bool = False, events: bool = False) -> bytes:
    """The bytes to send for a parsed and redacted value."""
    if events:
        return render_events(value, _encoder.encode)
    if lines:
        return b"".join(_encoder.encode(one) + b"\n" for one in value)
    return _encoder.encode(value)


def find_subjects(plan: Field, value: Any, max_depth: int) -> set[RawId]:
    """The raw ids of everyone the plan names in a parsed body. Raises NotInspectable past ``max_depth`` containers."""
    found: set[RawId] = set()
    _find(plan, value, found, max_depth)
    return found


def _find(place: Field, value: Any, found: set[RawId], depth: int) -> None:
    kind = value.__class__
    if kind is dict:
        if depth <= 0:
            raise NotInspectable("the body is nested too deeply")
        plan = object_plan(place, value)
        if plan is not None:
            _find_object(plan, value, found, depth)
    elif kind is list:
        if depth <= 0:
            raise NotInspectable("the body is nested too deeply")
        item = place.item
        if item is None or not item.seeks:
            return
        plan = item.object
        if plan is not None and plan.simple_subject is not None and not plan.seeking:
            key = plan.simple_subject
            objects = value if set(map(type, value)) == _DICTS else [one for one in value if one.__class__ is dict]
            named: list[Any] = [*map(dict.get, objects, repeat(key))]
            if set(map(type, named)) == _INTEGERS:  # all of them ids: the hot path
                found.update(named)
                return
            for raw, one in zip(named, objects, strict=True):
                if is_id(raw):
                    found.add(raw)
                elif raw.__class__ is list:
                    found.update(filter(is_id, subjects_of(plan, one)))
            return
        for one in value:
            _find(item, one, found, depth - 1)
    elif place.subject_self and is_id(value):
        found.add(value)


def _find_object(plan: ObjectPlan, value: dict[str, Any], found: set[RawId], depth: int) -> None:
    if plan.subjects:
        found.update(filter(is_id, subjects_of(plan, value)))
    for key, place in plan.seeking:
        inner = value.get(key)
        if inner is not None:
            _find(place, inner, found, depth - 1)
    additional = plan.additional
    if additional is not None and (additional.seeks or plan.key is not None):
        for key, inner in value.items():
            if key not in plan.fields:
                if plan.key is not None:
                    found.add(key)
                _find(additional, inner, found, depth - 1)


def object_plan(place: Field, value: dict[str, Any]) -> ObjectPlan | None:
    """The plan of an object at a place: the one its discriminator names, where there is one."""
    if place.variants is None:
        return place.object
    tag, choices = place.variants
    chosen = value.get(tag)
    return choices.get(chosen) if chosen.__class__ is str else None


def is_id(value: Any) -> bool:
    """Whether a value can be a canonical id at all."""
    kind = value.__class__
    return kind is int or (kind is str and 0 < len(value) <= SUBJECT_ID_MAX)


def subjects_of(plan: ObjectPlan, value: dict[str, Any]) -> list[Any]:
    """Whom an object is about: what its subject pointers reach. None stands for someone who cannot be resolved, also
    where a list of ids stands in a place that is not described as one.
    """
    found: list[Any] = []
    for pointer in plan.subjects:
        reached = resolve(value, pointer)
        place = plan.fields.get(pointer[0])
        if place is not None and place.item is None and value.get(pointer[0]).__class__ is list:
            reached = [None]
        found.extend(reached)
    return found
