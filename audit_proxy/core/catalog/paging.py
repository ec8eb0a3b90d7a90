"""What a catalog says of paging state: ``x-cursor`` (where it stands, what takes it) and ``x-cursor-for``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from audit_proxy.core.catalog.marks import walk
from audit_proxy.core.catalog.model import Cursor, CursorFor, Operation, Parameter

Report = Callable[[str, str], None]  # a place, and what is wrong there


def cursor_kind(described: dict[str, Any], name: str, report: Report) -> Literal["value", "url"]:
    """What ``x-cursor`` says a place or a header holds."""
    said = described["x-cursor"]
    if said not in (True, "value", "url"):
        report(name, f"x-cursor {said!r}: must be true (the value is the cursor) or url (a URL holds it)")
    return "url" if said == "url" else "value"


def cursor_for(described: dict[str, Any], name: str, report: Report) -> CursorFor | None:
    """What ``x-cursor-for`` says: an operationId, or one with the name of a parameter."""
    said = described.get("x-cursor-for")
    if isinstance(said, str):
        return CursorFor(said)
    if isinstance(said, dict) and isinstance(said.get("operation"), str) and isinstance(said.get("parameter", ""), str):
        return CursorFor(said["operation"], said.get("parameter", ""))
    if said is not None:
        report(name, f"x-cursor-for {said!r}: must be an operationId, or {{operation: operationId, parameter: name}}")
        return CursorFor("")  # no operation's: what it is for is withheld
    return None


def header_cursor(described: dict[str, Any], name: str, report: Report) -> Cursor | None:
    """What a response header's description says of paging state."""
    if not described.get("x-cursor"):
        return None
    return Cursor(cursor_kind(described, name, report) == "url", cursor_for(described, name, report))


def taken_by(
    cursor: Cursor, answering: Operation, operations: Mapping[str, Operation]
) -> tuple[Operation, Parameter] | None:
    """The operation and the parameter that take a cursor of an answer; None: no one, so it cannot leave."""
    wanted = cursor.taken_by
    operation = answering if wanted is None else operations.get(wanted.operation)
    name = "" if wanted is None else wanted.parameter
    takers = [one for one in operation.cursors if name in ("", one.name)] if operation is not None else []
    return (operation, takers[0]) if operation is not None and len(takers) == 1 else None


def cursors_of(operation: Operation) -> Iterator[tuple[str, Cursor]]:
    """The places of an operation's answers that hold paging state."""
    for response in operation.responses.values():
        for name, cursor in response.cursors.items():
            yield f"{operation.id}.{name}", cursor
        for media in response.media.values():
            if media.field.pages:
                yield from ((place.name, place.cursor) for place, _ in walk(media.field) if place.cursor is not None)


def cursor_inside(schema: dict[str, Any], deref: Callable[[Any], Any], seen: set[int]) -> bool:
    """Whether a request's schema has a cursor below itself. ``seen``: what is looked into already, as the document has it."""
    parts = [part for kind in ("allOf", "oneOf", "anyOf") for part in schema.get(kind) or ()]
    for one in (*(schema.get("properties") or {}).values(), schema.get("items"), *parts):
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        inner = deref(one)
        if inner.get("x-cursor") or cursor_inside(inner, deref, seen):
            return True
    return False


def servers(document: dict[str, Any]) -> tuple[str, ...]:
    """The absolute URLs that the platform says it is at."""
    urls = [str(one.get("url", "")) for one in document.get("servers") or ()]
    return tuple(url for url in urls if url.startswith(("http://", "https://")) and "{" not in url)
