"""An OpenAPI document, overlay applied, to a ``Catalog``.

Invariants:

- A document that cannot be compiled raises ``CatalogError``; what compiles but loses or endangers data is a finding.
- An operation without ``security`` (its own or the document's) is satisfied by no token: empty rule sets refuse.
"""

from dataclasses import replace
from typing import Any

from audit_proxy.core.catalog.describe import Describer
from audit_proxy.core.catalog.expressions import Expression
from audit_proxy.core.catalog.marks import named_in, opens_up
from audit_proxy.core.catalog.model import (
    NONE,
    BodyPlan,
    Catalog,
    Field,
    MediaPlan,
    Operation,
    Parameter,
    ResponsePlan,
)
from audit_proxy.core.catalog.overlay import OverlayError, apply_overlay
from audit_proxy.core.catalog.paging import cursor_inside, cursors_of, header_cursor, servers, taken_by
from audit_proxy.core.catalog.reviews import MARK, Reviews
from audit_proxy.core.catalog.schema import SchemaCompiler

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_REMADE = frozenset(
    {
        "accept-ranges", "content-digest", "content-encoding", "content-length", "content-md5", "content-range",
        "content-type", "date", "digest", "etag", "last-modified", "repr-digest", "want-digest",
    }
)  # fmt: skip
DIALECTS = ("problem", "graph", "mastodon", "x")


class CatalogError(ValueError):
    """The documents do not make a catalog. The text names the place."""


def compile_catalog(
    openapi: dict[str, Any],
    overlay: dict[str, Any] | None,
    *,
    hash: str,  # noqa: A002  (the field's name in records)
    categories: frozenset[str],
) -> Catalog:
    """Compiles a platform. ``categories`` are the known fideslang keys. Raises CatalogError."""
    findings: list[str] = []
    document = openapi
    if not str(openapi.get("openapi", "")).startswith(("3.0", "3.1")):
        raise CatalogError("openapi: must be 3.0.x or 3.1.x")
    if overlay is not None:
        try:
            document, findings = apply_overlay(openapi, overlay)
        except OverlayError as error:
            raise CatalogError(f"overlay: {error}") from error
        findings = [f"overlay: {finding}" for finding in findings]
    dialect = document.get("x-error-dialect", document.get("info", {}).get("x-error-dialect", "problem"))
    if dialect not in DIALECTS:
        raise CatalogError(f"x-error-dialect {dialect!r}: must be one of {', '.join(DIALECTS)}")
    try:
        compiler = _Compiler(document, categories, findings)
        operations = compiler.operations()
    except RecursionError as error:
        raise CatalogError("the document is nested too deeply, or describes an array of itself") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CatalogError(f"the document is not valid OpenAPI: {type(error).__name__}: {error}") from error
    if not operations:
        raise CatalogError("paths: no operation is described")
    return Catalog(
        hash,
        tuple(operations),
        compiler.implies,
        dialect,
        tuple(dict.fromkeys(findings)),
        servers=servers(document),
        pages=any(one.cursors or any(cursors_of(one)) for one in operations),
    )


class _Compiler:
    def __init__(self, document: dict[str, Any], categories: frozenset[str], findings: list[str]) -> None:
        self._document = document
        self._findings = findings
        self._where = ""
        self._describer = Describer(self._deref, categories, self._report)
        self._schemas = SchemaCompiler(self._resolve, categories, self._report)
        self.implies = self._scope_implies()
        self._reviews = Reviews(self._resolve, self.implies, self._report)

    def _report(self, place: str, text: str) -> None:
        self._findings.append(f"{self._where}: {place}: {text}" if self._where else f"{place}: {text}")

    def _resolve(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            return None
        at: Any = self._document
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict) and key in at:
                at = at[key]
            elif isinstance(at, list) and key.isdigit() and int(key) < len(at):
                at = at[int(key)]
            else:
                return None
        return at

    def _deref(self, value: Any) -> Any:
        for _ in range(16):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value
            resolved = self._resolve(value["$ref"])
            if resolved is None:
                raise CatalogError(f"{self._where}: $ref {value['$ref']} cannot be resolved")
            value = {**resolved, **{key: one for key, one in value.items() if key != "$ref"}}
        raise CatalogError(f"{self._where}: $ref refers to itself")

    def operations(self) -> list[Operation]:
        found: list[Operation] = []
        ids: set[str] = set()
        for route, raw in self._document.get("paths", {}).items():
            self._where = route
            item = self._deref(raw)
            for method in METHODS:
                if method not in item:
                    continue
                self._where = f"{method.upper()} {route}"
                operation = self._operation(route, method, item[method], item.get("parameters") or [])
                if operation.id in ids:
                    raise CatalogError(f"{self._where}: operationId {operation.id!r} is used twice")
                ids.add(operation.id)
                found.append(operation)
        by_id = {operation.id: operation for operation in found}
        for operation in found:
            self._where = f"{operation.method} {operation.route}"
            for place, cursor in cursors_of(operation):
                if not cursor.link and taken_by(cursor, operation, by_id) is None:
                    self._report(place, "x-cursor: not one parameter takes it, so it is withheld; say x-cursor-for")
        self._where = ""
        return found

    def _operation(self, route: str, method: str, raw: dict[str, Any], shared: list[Any]) -> Operation:
        name = raw.get("operationId") or f"{method} {route}"
        unjudged = raw.get("x-data-category") == "none"
        requirements, anonymous = self._security(raw)
        responses = {
            str(status).upper() if str(status) != "default" else "default": self._response(
                self._deref(answer), name, unjudged=unjudged
            )
            for status, answer in raw.get("responses", {}).items()
        }
        if not requirements and not unjudged:
            self._report(
                name, "no security is described: every request is refused (security: [] permits anonymous ones)"
            )
        parameters: dict[tuple[str, str], Parameter] = {}
        fields_parameter = raw.get("x-fields-parameter")
        for one in [*shared, *(raw.get("parameters") or [])]:
            parameter = self._parameter(self._deref(one), fields_parameter)
            parameters[parameter.place, parameter.name] = parameter
        if fields_parameter is not None and ("query", fields_parameter) not in parameters:
            self._report(name, f"x-fields-parameter names {fields_parameter!r}, which is not a query parameter")
        path_names = tuple(part[1:-1] for part in route.split("/") if part.startswith("{") and part.endswith("}"))
        if route.count("{") != len(path_names) or not route.startswith("/"):
            raise CatalogError(f"{self._where}: a path parameter must be a whole segment")
        for path_name in path_names:
            parameters.setdefault(("path", path_name), Parameter(path_name, "path", required=True))
        named = self._named(name, responses, parameters)
        body = self._body(raw, unjudged=unjudged)
        taking = [*parameters.values(), *(body.parameters.values() if body is not None else ())]
        closed = not any(opens_up(media.field) for plan in responses.values() for media in plan.media.values())
        described = {
            "route": route,
            "method": method,
            "operation": {key: one for key, one in raw.items() if key != MARK},
            "parameters": shared,
            "security": raw.get("security", self._document.get("security")),
        }
        return Operation(
            id=name,
            method=method.upper(),
            route=route,
            requirements=requirements,
            anonymous=anonymous,
            streams=any(media.lines for answer in responses.values() for media in answer.media.values()),
            unjudged=unjudged,
            parameters=parameters,
            path_names=path_names,
            responses=responses,
            body=body,
            fields_parameter=fields_parameter,
            named=named,
            unsaid=tuple(
                (key, one)
                for (place, key), one in parameters.items()
                if place == "query" and (one.required or one.default)
            ),
            describes_404=not responses.keys().isdisjoint(("404", "4XX")),
            closed=closed,
            lists_people=_lists_people(parameters, named) if closed and method in ("get", "head") else frozenset(),
            header_names=self._headers(name, parameters),
            cursors=() if unjudged else tuple(one for one in taking if one.cursor),
            units=self._reviews.operation(name, described, raw.get(MARK)),
        )

    def _headers(self, name: str, parameters: dict[tuple[str, str], Parameter]) -> frozenset[str]:
        """Described header parameters that go on. Headers are not judged, so none may ask by or for what is somebody's."""
        found: set[str] = set()
        for (place, header), one in parameters.items():
            if place != "header":
                continue
            if one.scopes or one.names_person or one.categories != NONE or any(one.by_value.values()):
                self._report(
                    name, f"header parameter {header!r} asks by personal data, which a header cannot; it is not sent on"
                )
            else:
                found.add(header.lower())
        return frozenset(found)

    def _named(
        self, name: str, responses: dict[str, ResponsePlan], parameters: dict[tuple[str, str], Parameter]
    ) -> tuple[Expression, ...]:
        """All expressions of an operation's answers. The parameters they read name a person from here on."""
        named = dict.fromkeys(
            one for plan in responses.values() for media in plan.media.values() for one in media.named
        )
        for one in named:
            if one.source not in ("path", "query"):
                continue
            parameter = parameters.get((one.source, one.name))
            if parameter is None:
                self._report(name, f"x-data-subject {one.text}: no such parameter; anyone it names counts as refused")
            else:
                parameters[one.source, one.name] = replace(parameter, names_person=True)
        return tuple(named)

    def _security(self, raw: dict[str, Any]) -> tuple[tuple[frozenset[str], ...], bool]:
        security = raw.get("security", self._document.get("security"))
        if security is None:
            return (), False
        if security == []:
            return (frozenset(),), True
        alternatives = [frozenset(scope for scopes in one.values() for scope in scopes) for one in security]
        return tuple(dict.fromkeys(alternatives)), any(one == {} for one in security)

    def _response(self, answer: dict[str, Any], name: str, *, unjudged: bool) -> ResponsePlan:
        headers = set()
        cursors = {}
        for header, raw in (answer.get("headers") or {}).items():
            described = self._deref(raw)
            cursor = None if unjudged else header_cursor(described, f"{name}.{header}", self._report)
            if cursor is not None:
                cursors[header.lower()] = cursor
            if (
                described.get("x-data-category") or self._deref(described.get("schema") or {}).get("x-data-category")
            ) == "none":
                if header.lower() in _REMADE:
                    self._report(name, f"header {header}: tells of the platform's own bytes; it never passes")
                else:
                    headers.add(header.lower())
        media: dict[str, MediaPlan] = {}
        for kind, raw in (answer.get("content") or {}).items():
            if unjudged:
                continue
            schema = raw.get("schema")
            if schema is None:
                self._report(name, f"{kind}: no schema, so nothing of it can leave")
                schema = {}
            own = {key: value for key, value in raw.items() if key.startswith("x-data-")}
            lowered = kind.lower().strip()
            events = lowered == "text/event-stream"
            described = {"allOf": [schema, own]} if own else schema
            plan = self._schemas.root(_event(described, raw) if events else described, name)
            lines = events or "ndjson" in lowered or "jsonl" in lowered
            if lines:  # a body of lines is judged as the list of its values
                plan = Field(plan.name, frozenset(), item=plan, seeks=plan.seeks, pages=plan.pages)
            media[lowered] = MediaPlan(plan, lines=lines, events=events, named=named_in(plan))
        return ResponsePlan(media, frozenset(headers), cursors, empty=not answer.get("content"))

    def _parameter(self, raw: dict[str, Any], fields_parameter: str | None) -> Parameter:
        schema = self._deref(raw.get("schema") or {})
        for content in (raw.get("content") or {}).values():  # JSON in a value: it demands all that stands in it
            schema = {"properties": {raw["name"]: content.get("schema") or {}}}
        place = raw["in"]
        selector = place == "query" and raw["name"] == fields_parameter
        described = {**schema, **{key: one for key, one in raw.items() if key.startswith("x-")}}
        return self._opened(
            self._describer.parameter(
                raw["name"], place, described, required=bool(raw.get("required")), selector=selector
            )
        )

    def _opened(self, parameter: Parameter) -> Parameter:
        """A parameter whose cursor, if it takes one, can be opened there."""
        if parameter.cursor and (parameter.place not in ("query", "body") or parameter.many):
            raise CatalogError(
                f"{self._where}: {parameter.name}: x-cursor goes on one value in the query or the body's top level"
            )
        return parameter

    def _body(self, raw: dict[str, Any], *, unjudged: bool) -> BodyPlan | None:
        described = self._deref(raw.get("requestBody")) if raw.get("requestBody") else None
        if described is None or unjudged:
            return None
        parameters: dict[str, Parameter] = {}
        free = False
        for content in (described.get("content") or {}).values():
            schema = self._deref(content.get("schema") or {})
            parts = [schema, *(self._deref(part) for part in schema.get("allOf") or ())]
            for part in parts:
                for name, one in (part.get("properties") or {}).items():
                    inner = self._deref(one)
                    if cursor_inside(inner, self._deref, set()):
                        self._report(name, "x-cursor: only the top level of a request's body is opened")
                    parameters[name] = self._opened(
                        self._describer.parameter(name, "body", inner, required=name in (part.get("required") or ()))
                    )
                free = free or part.get("additionalProperties") is True
        media = frozenset(kind.lower() for kind in described.get("content") or {})
        lowered = frozenset(map(str.lower, parameters))
        return BodyPlan(media, parameters, lowered, open=free, required=bool(described.get("required")))

    def _scope_implies(self) -> dict[str, frozenset[str]]:
        direct: dict[str, set[str]] = {}
        for scheme in (self._document.get("components", {}).get("securitySchemes") or {}).values():
            for scope, implied in (self._deref(scheme).get("x-scope-implies") or {}).items():
                direct.setdefault(scope, set()).update([implied] if isinstance(implied, str) else implied)
        closure: dict[str, frozenset[str]] = {}
        for scope in direct:
            seen: set[str] = set()
            todo = [scope]
            while todo:
                for implied in direct.get(todo.pop(), ()):
                    if implied not in seen:
                        seen.add(implied)
                        todo.append(implied)
            closure[scope] = frozenset(seen)
        return closure


def _lists_people(parameters: dict[tuple[str, str], Parameter], named: tuple[Expression, ...]) -> frozenset[str]:
    """Query arrays of people of whom those who refuse need not be asked for: where the answer is not about all of them
    together.
    """
    together = {one.name for one in named if one.source == "query"}
    return frozenset(
        name
        for (place, name), one in parameters.items()
        if place == "query" and one.many and one.names_person and name not in together
    )


def _event(data: dict[str, Any], media: dict[str, Any]) -> dict[str, Any]:
    """What describes one server-sent event: ``data`` by the media type's schema; name and id are data too, and leave only
    where ``x-event`` and ``x-event-id`` describe them.
    """
    return {
        "type": "object",
        "properties": {
            "data": data,
            "event": media.get("x-event") or {"type": "string"},
            "id": media.get("x-event-id") or {"type": "string"},
            "retry": {"type": "integer", "x-data-category": "none"},
        },
    }
