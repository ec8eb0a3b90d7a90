"""Small documents for the catalog's tests."""

from typing import Any

from audit_proxy.core.catalog import Catalog, compile_catalog
from tests.simulator.people import document as people

CATEGORIES = frozenset(
    {"user.name", "user.unique_id", "user.contact.email", "user.behavior", "user.content", "user.social"}
)


def build(document: dict[str, Any], overlay: dict[str, Any] | None = None) -> Catalog:
    return compile_catalog(document, overlay, hash="h", categories=CATEGORIES)


def catalog() -> Catalog:
    return build(people())


def answering(schema: dict[str, Any], components: dict[str, Any] | None = None, **operation: Any) -> dict[str, Any]:
    """A document of one operation that answers with ``schema``."""
    answers = {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "security": [{"o": ["read"]}],
        "paths": {"/x": {"get": {"operationId": "op", "responses": answers, **operation}}},
        "components": {"schemas": components or {}},
    }
