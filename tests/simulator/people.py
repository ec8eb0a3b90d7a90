"""A small platform description for tests: people, friends, search, a write, an export and a blob."""

import copy
from typing import Any


def _string(category: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "x-data-category": category, **more}


def _answers(schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    error = {"type": "object", "properties": {"error": _string("none")}}
    return {
        "200": {
            "description": "ok",
            "content": {media: {"schema": schema}},
            "headers": {"X-Page": {"x-data-category": "none"}},
        },
        "404": {"description": "no", "content": {"application/json": {"schema": error}}},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", **schema}}


PERSON_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]+$", "x-data-subject": ""},
}
PEOPLE = {
    "type": "object",
    "properties": {
        "data": {"type": "array", "items": _ref("Person")},
        "total": {"type": "integer", "x-data-category": "user.social", "x-aggregate": True},
        "next": _string("none"),
    },
}
READ = [{"oauth": ["read"]}]


def document() -> dict[str, Any]:
    """OpenAPI 3.1 with our extensions in place."""
    person = {
        "type": "object",
        "x-data-subject": "/id",
        "properties": {
            "id": _string("user.unique_id"),
            "name": _string("user.name"),
            "email": _string("user.contact.email", **{"x-required-scopes": ["email"]}),
            "score": {"type": "number", "x-data-category": "user.behavior"},
            "friends": {"type": "array", "items": _ref("Person")},
        },
    }
    post = {
        "type": "object",
        "x-data-subject": "/from/id",
        "x-public-when": {"visibility": ["public"]},
        "x-data-category": "user.content",
        "properties": {"text": {"type": "string"}, "visibility": _string("none"), "from": _ref("Person")},
    }
    operations: dict[str, Any] = {
        "/me": {
            "get": {
                "operationId": "getMe",
                "parameters": [_query("fields")],
                "x-fields-parameter": "fields",
                "responses": _answers(_ref("Person")),
            }
        },
        "/people/{id}": {
            "get": {"operationId": "getPerson", "parameters": [PERSON_ID], "responses": _answers(_ref("Person"))}
        },
        "/people/{id}/friends": {
            "get": {
                "operationId": "listFriends",
                "parameters": [PERSON_ID, _query("after")],
                "responses": _answers(PEOPLE),
            }
        },
        "/search": {
            "get": {
                "operationId": "search",
                "parameters": [
                    _query("email", **{"x-data-category": "user.contact.email", "x-required-scopes": ["email"]})
                ],
                "responses": _answers(PEOPLE),
            }
        },
        "/posts": {
            "get": {"operationId": "listPosts", "responses": _answers({"type": "array", "items": _ref("Post")})},
            "post": {
                "operationId": "createPost",
                "security": [{"oauth": ["write"]}],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"type": "object", "properties": {"text": {"type": "string"}}}}
                    }
                },
                "responses": _answers(_ref("Post")),
            },
        },
        "/export": {"get": {"operationId": "export", "responses": _answers(_ref("Person"), "application/x-ndjson")}},
        "/blob": {
            "get": {
                "operationId": "getBlob",
                "x-data-category": "none",
                "responses": {"200": {"description": "a blob"}},
            },
            "put": {
                "operationId": "putBlob",
                "x-data-category": "none",
                "responses": {"200": {"description": "stored"}},
            },
        },
        "/status": {
            "get": {
                "operationId": "status",
                "security": [],
                "responses": _answers(
                    {"type": "object", "properties": {"ok": {"type": "boolean", "x-data-category": "none"}}}
                ),
            }
        },
    }
    made = {
        "openapi": "3.1.0",
        "info": {"title": "people", "version": "1"},
        "security": READ,
        "paths": operations,
        "components": {"schemas": {"Person": person, "Post": post}},
    }
    return copy.deepcopy(made)  # tests change it
