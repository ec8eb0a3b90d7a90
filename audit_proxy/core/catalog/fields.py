"""``fields=name,friends{email}``: the selector that Graph-like platforms take, parsed and judged.

Grammar: ``list = item *("," item)``; ``item = name [ "{" list "}" ]``; a name is letters, digits, ``_`` and ``-``.
"""

import re
from dataclasses import dataclass, field

from audit_proxy.core.catalog.model import Field, ObjectPlan

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|[{},]")
MAX_DEPTH = 8
MAX_FIELDS = 500
_ENVELOPES = ("data", "items", "edges")  # properties that carry a list's people; a selector goes through them


Tree = list[tuple[str, "Tree"]]  # (name, children)


@dataclass(slots=True)
class Selection:
    """What a selector asks for: the scopes it needs, and names that no schema describes."""

    scopes: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)


def parse_fields(text: str) -> Tree | None:
    """The selector as a tree of (name, children), or None when it is not one."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        tokens.append(match[0])
        at = match.end()
    if not tokens or len(tokens) > 4 * MAX_FIELDS:
        return None
    tree, rest = _items(tokens, 0, 0)
    return tree if tree is not None and rest == len(tokens) else None


def _items(tokens: list[str], at: int, depth: int) -> tuple[Tree | None, int]:
    if depth > MAX_DEPTH:
        return None, at
    found: Tree = []
    while True:
        if at >= len(tokens) or tokens[at] in "{},":
            return None, at
        name = tokens[at]
        children: Tree = []
        at += 1
        if at < len(tokens) and tokens[at] == "{":
            inner, at = _items(tokens, at + 1, depth + 1)
            if inner is None or at >= len(tokens) or tokens[at] != "}":
                return None, at
            children = inner
            at += 1
        found.append((name, children))
        if at < len(tokens) and tokens[at] == ",":
            at += 1
            continue
        return found, at


def select(root: Field, tree: Tree) -> Selection:
    """Judges a parsed selector against a response plan."""
    selection = Selection()
    _judge(root, tree, selection)
    return selection


def _judge(place: Field, tree: Tree, selection: Selection) -> None:
    plans = _plans(place)
    for name, children in tree:
        found = [plan.fields[name] for plan in plans if name in plan.fields]
        if not found:
            selection.unknown.append(name)
            continue
        for one in found:
            selection.scopes |= one.scopes
            selection.fields.append(one.name)
            if children:
                _judge(one, children, selection)


def _plans(place: Field) -> list[ObjectPlan]:
    """The objects a selector's names may be properties of: through arrays, a list's envelope, and a map's values."""
    found: list[ObjectPlan] = []
    todo, seen = [place], {id(place)}  # a description may contain itself
    while todo:
        at: Field | None = todo.pop()
        while at is not None and at.item is not None and at.object is None:
            at = at.item
        if at is None:
            continue
        for plan in ([*at.variants[1].values()] if at.variants is not None else []) + (
            [at.object] if at.object else []
        ):
            carried = _carried(plan)
            if not carried:
                found.append(plan)
            todo += [one for one in carried if id(one) not in seen]
            seen.update(map(id, carried))
    return found


def _carried(plan: ObjectPlan) -> list[Field]:
    """The places inside an object that hold what its list or map is of; none for an object that is itself selected from."""
    if plan.additional is not None and (plan.key is not None or not plan.fields):
        return [plan.additional]
    if plan.opens:
        return []
    return [plan.fields[name] for name in _ENVELOPES if name in plan.fields and plan.fields[name].item is not None]
