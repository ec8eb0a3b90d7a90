"""From a parsed file to a validated model, every problem with its line and what to do about it.

Invariant: no problem's text quotes a value, since a misplaced one may be a secret; it names the key.
"""

import difflib
import json
from collections.abc import Collection, Iterable, Iterator
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from audit_proxy.settings.files import ConfigProblems, Document, Loc, Problem

M = TypeVar("M", bound=BaseModel)

_TEXTS = {
    "missing": "is missing; add it",
    "extra_forbidden": "unknown key",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be a group of keys",
    "model_type": "must be a group of keys",
    "path_type": "must be a path",
}


def validated(model: type[M], document: Document) -> M:
    """The document as that model, without any coercion of types. Raises ConfigProblems with all that is wrong."""
    value = {} if document.value is None else document.value
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        problems = [
            _problem(model, document, detail) for detail in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigProblems(sorted(problems)) from None


def _problem(model: type[BaseModel], document: Document, detail: ErrorDetails) -> Problem:
    loc: Loc = detail["loc"]
    kind = detail["type"]
    if kind == "extra_forbidden":
        return document.problem(loc, _unknown(model, loc), key=True)
    name = document.named(loc)
    if kind == "missing":
        where = f" in '{name}'" if name else ""
        return document.problem(loc, f"'{loc[-1]}' is missing{where}; add it")
    text = problem_text(detail)
    return document.problem(loc, f"{name}: {text}" if name else text)


def problem_text(detail: ErrorDetails) -> str:
    """One of pydantic's errors in our words, without the value."""
    if detail["type"] in _TEXTS:
        return _TEXTS[detail["type"]]
    return detail["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should", "must")


def _unknown(model: type[BaseModel], loc: Loc) -> str:
    fields = [field for one in _models_at(model, loc[:-1]) for field in one.model_fields.items()]
    known = sorted({field.alias or name for name, field in fields})
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
    return f"unknown key '{loc[-1]}'; {hint}"


def _models_at(annotation: Any, loc: Loc) -> Iterator[type[BaseModel]]:
    """The models that a value at ``loc`` could be, walking annotations."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for one in arguments:
            yield from _models_at(one, loc)
    elif origin in (list, tuple) and loc:
        yield from _models_at(arguments[0], loc[1:])
    elif origin is dict and loc:
        yield from _models_at(arguments[1], loc[1:])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            yield annotation
        elif loc[0] in annotation.model_fields:
            yield from _models_at(annotation.model_fields[str(loc[0])].annotation, loc[1:])


def unknown_names(
    document: Document, key: str, names: Iterable[str], known: Collection[str], text: str
) -> list[Problem]:
    """A problem for each name under ``key`` that is not known. ``text``: what to say of it, with {} for the name."""
    problems = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            problems.append(document.problem((key, name), f"{key}: {text.format(name)}{hint}", key=True))
    return problems
