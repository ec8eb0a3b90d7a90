"""``fields=name,friends{name,likes{page}}``, as the sample platform understands it."""

import re
from functools import lru_cache

Selection = dict[str, "Selection"]  # property -> what of it; empty: its plain properties
MAX_DEPTH = 2  # braces inside one another
_TOKENS = re.compile(r"[a-z_]+|[{},]")


class SelectionInvalid(ValueError):  # noqa: N818  (an answer, not a fault)
    """Not a selection, or nested too deeply."""


@lru_cache(maxsize=1024)
def parse(text: str) -> Selection:
    """The selection that a ``fields`` parameter spells. Shared between callers: never change it."""
    tokens = _TOKENS.findall(text)
    if "".join(tokens) != text or not tokens:
        raise SelectionInvalid
    selection, rest = _list(tokens, 0, 0)
    if rest != len(tokens):
        raise SelectionInvalid
    return selection


def _list(tokens: list[str], at: int, depth: int) -> tuple[Selection, int]:
    if depth > MAX_DEPTH:
        raise SelectionInvalid
    found: Selection = {}
    while True:
        if at >= len(tokens) or tokens[at] in "{},":
            raise SelectionInvalid
        name = tokens[at]
        found[name] = {}
        at += 1
        if at < len(tokens) and tokens[at] == "{":
            found[name], at = _list(tokens, at + 1, depth + 1)
            if at >= len(tokens) or tokens[at] != "}":
                raise SelectionInvalid
            at += 1
        if at >= len(tokens) or tokens[at] != ",":
            return found, at
        at += 1
