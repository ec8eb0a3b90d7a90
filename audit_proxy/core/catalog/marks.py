"""What is derived from a finished plan, over its cycles."""

from collections.abc import Iterator

from audit_proxy.core.catalog.expressions import Expression, parse_expression
from audit_proxy.core.catalog.model import ConsentRule, Field, ObjectPlan


def mark(root: Field) -> None:
    """Fills what is derived (``seeks``, ``pages``, ``seeking``, ``flat``, ``simple_subject``), over cycles too."""
    places = [*walk(root)]
    fields = [one for one, _ in places]
    plans = {id(plan): plan for _, inside in places for plan in inside}
    changed = True
    while changed:
        changed = False
        for one in fields:
            below = [
                child
                for plan in objects(one)
                for child in (*plan.fields.values(), *([plan.additional] if plan.additional else []))
            ]
            seeks = (
                one.subject_self
                or any(plan.subjects or plan.key for plan in objects(one))
                or (one.item is not None and one.item.seeks)
                or any(child.seeks for child in below)
            )
            if seeks and not one.seeks:
                one.seeks = changed = True
            pages = one.cursor is not None or any(
                child.pages for child in (*below, *([one.item] if one.item is not None else ()))
            )
            if pages and not one.pages:
                one.pages = changed = True
    for plan in plans.values():
        plan.seeking = tuple((key, one) for key, one in plan.fields.items() if one.seeks)
        plan.flat = plan.additional is None and all(
            one.object is None
            and one.item is None
            and one.variants is None
            and not (one.free or one.subject_self or one.about)
            for one in plan.fields.values()
        )
        lone = len(plan.subjects) == 1 and len(plan.subjects[0]) == 1 and not plan.about and plan.key is None
        plan.simple_subject = plan.subjects[0][0] if lone else None


def walk(root: Field) -> Iterator[tuple[Field, list[ObjectPlan]]]:
    """Every place of a plan, each once, with the objects that may stand there."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        inside = objects(one)
        yield one, inside
        if one.item is not None:
            todo.append(one.item)
        for plan in inside:
            todo.extend(plan.fields.values())
            todo.extend(place for place in (plan.additional, plan.key) if place is not None)


def named_in(root: Field) -> tuple[Expression, ...]:
    """The expressions by which a plan names people."""
    texts = {text: None for place, plans in walk(root) for text in (*place.about, *(t for p in plans for t in p.about))}
    return tuple(found for found in map(parse_expression, texts) if found is not None)


def opens_up(root: Field) -> bool:
    """Whether anything of a plan may leave against the word of the person it is about."""
    return any(
        place.rule is not ConsentRule.subject
        or any(plan.rule is not ConsentRule.subject or plan.public_when for plan in inside)
        for place, inside in walk(root)
    )


def objects(one: Field) -> list[ObjectPlan]:
    found = [one.object] if one.object is not None else []
    if one.variants is not None:
        found.extend(one.variants[1].values())
    return found
