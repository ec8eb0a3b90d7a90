"""``x-data-subject`` by runtime expression: the people whom the request, or another place in the answer, names.

Invariants:

- An expression that reaches nothing means someone who cannot be resolved: ``[None]``, a third party without a grant.
- A parameter that an expression names is one that names a person.

Source: OpenAPI 3.1.0 section 4.8.20.3 (Runtime Expressions). ``$holder`` is ours: the person whose token it is, for answers
that say nothing of whom they are about (``/me/email``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from audit_proxy.core.catalog.pointer import Pointer, parse_pointer, resolve

HOLDER = "$holder"
HOLDER_ID = "\udfff"  # the holder's id among raw ids: no request or body in UTF-8 can spell it
_PARAMETERS: dict[str, Literal["path", "query"]] = {"$request.path.": "path", "$request.query.": "query"}
_BODIES: dict[str, Literal["sent", "answer"]] = {"$request.body#/": "sent", "$response.body#/": "answer"}

Named = Mapping[str, list[Any]]  # an expression's text -> the ids it reaches, None for someone not resolvable


@dataclass(frozen=True, slots=True)
class Expression:
    """``name`` of a parameter, or ``pointer`` into the request's or the answer's body."""

    text: str
    source: Literal["path", "query", "sent", "answer", "holder"]
    name: str = ""
    pointer: Pointer = ()


def parse_expression(text: str) -> Expression | None:
    """An expression, or None where it is none that names people."""
    if text == HOLDER:
        return Expression(text, "holder")
    for beginning, place in _PARAMETERS.items():
        if text.startswith(beginning) and len(text) > len(beginning):
            return Expression(text, place, name=text.removeprefix(beginning))
    for beginning, body in _BODIES.items():
        if text.startswith(beginning):
            return Expression(text, body, pointer=parse_pointer("/" + text.removeprefix(beginning)))
    return None


def in_request(
    expressions: Iterable[Expression], path: Mapping[str, str], query: Iterable[tuple[str, str]], sent: Any
) -> dict[str, list[Any]]:
    """What a request's expressions reach. ``query``: values one by one; ``sent``: the parsed body."""
    found: dict[str, list[Any]] = {}
    for one in expressions:
        if one.source == "path":
            found[one.text] = [path.get(one.name)]
        elif one.source == "query":
            found[one.text] = [value for name, value in query if name == one.name] or [None]
        elif one.source == "sent":
            found[one.text] = resolve(sent, one.pointer) or [None]
    return found


def in_answer(expressions: Iterable[Expression], asked: Named, holder: str | None, answer: Any) -> Named:
    """What a response's expressions reach. ``asked``: what those of the request do; ``holder``: the holder's raw id."""
    found: dict[str, list[Any]] = {}
    for one in expressions:
        if one.source == "answer":
            found[one.text] = resolve(answer, one.pointer) or [None]
        elif one.source == "holder":
            found[one.text] = [holder]
        else:
            found[one.text] = asked.get(one.text) or [None]
    return found
