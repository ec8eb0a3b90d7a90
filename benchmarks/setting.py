"""A proxy's whole configuration for the benchmark: a page of 25 people, a grant for every second one."""

import base64
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit_proxy.core.catalog import compile_catalog
from audit_proxy.settings.admin_tokens import create
from audit_proxy.settings.catalog import categories

WORDS = [
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
    "incididunt",
    "ut",
    "labore",
]
FIELDS = {
    "username": ("user.account.username", None),
    "display_name": ("user.name", None),
    "email": ("user.contact.email", "email"),
    "birthday": ("user.demographic.date_of_birth", "birthday"),
    "city": ("user.contact.address.city", None),
    "avatar": ("user.content.self_image", None),
    "bio": ("user.content", None),
}


@dataclass(frozen=True, slots=True)
class Setting:
    config: Path
    token: str
    admin_token: str
    grants: bytes  # NDJSON for the admin API's import: every second person


def person(i: int) -> dict[str, Any]:
    """One of them: 8 fields."""
    name = f"user{i:06d}"
    return {
        "id": 100000 + i,
        "username": name,
        "display_name": f"Person Number {i} Ünïcode",
        "email": f"{name}@example.org",
        "birthday": f"19{60 + i % 40}-0{1 + i % 9}-1{i % 10}",
        "city": ("Berlin", "Tōkyō", "São Paulo", "New York")[i % 4],
        "avatar": f"https://cdn.example.org/avatars/{i:08x}/original/{i * 7919:024x}.png",
        "bio": " ".join(WORDS[(i + k) % len(WORDS)] for k in range(8)),
    }


def page() -> bytes:
    """25 people, 8 fields each, 7.9 KB."""
    document = {"data": [person(i) for i in range(25)], "paging": {"next": "https://api.example.org/page?after=QVFIU"}}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _openapi() -> dict[str, Any]:
    person: dict[str, Any] = {"id": {"type": "integer", "x-data-category": "user.unique_id"}}
    for name, (category, scope) in FIELDS.items():
        person[name] = {
            "type": "string",
            "x-data-category": category,
            **({"x-required-scopes": [scope]} if scope else {}),
        }
    next_page = {"type": "object", "properties": {"next": {"type": "string", "x-data-category": "none"}}}
    people = {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
    schema = {"type": "object", "properties": {"data": people, "paging": next_page}}
    named = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "x-data-subject": ""}}

    def get(name: str, answer: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
        return {
            "get": {
                "operationId": name,
                "security": [{"oauth": ["friends.read"]}],
                "parameters": [*parameters],
                "responses": {"200": {"description": name, "content": {"application/json": {"schema": answer}}}},
            }
        }

    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "bench", "version": "1"},
        "paths": {
            "/page": get("page", schema),
            "/people/{id}": get("person", {"$ref": "#/components/schemas/Person"}, named),
            "/people/{id}/friends": get("friends", schema, named),
        },
        "components": {"schemas": {"Person": {"type": "object", "x-data-subject": "/id", "properties": person}}},
    }
    for one in compile_catalog(document, None, hash="", categories=categories()).operations:
        review = {"by": "bench", "at": "2026-11-25", "of": one.units[0].of}
        document["paths"][one.route][one.method.lower()]["x-reviewed"] = review
    return document


def _grants() -> bytes:
    scopes = ["friends.read", "email"]
    grant = {
        "app": "bench",
        "scopes": scopes,
        "purpose": "essential.service",
        "expires_at": None,
        "source": "bench",
        "evidence": "bench",
    }
    return b"".join(json.dumps({**grant, "subject": f"person:{100000 + i}"}).encode() + b"\n" for i in range(0, 25, 2))


def _private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_setting(folder: Path, upstream: str, *, durability: str = "fsync") -> Setting:
    """Writes configuration, keys and consents into ``folder``."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "kid": "bench",
        "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode(),
    }
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (folder / "openapi.json").write_text(json.dumps(_openapi()))
    (folder / "policy.yaml").write_text("mode: enforce\n")
    app = {
        "id": "bench",
        "name": "Bench",
        "owner": "bench",
        "contact": "bench@example.org",
        "tier": "standard",
        "purpose": "essential.service",
        "approved_scopes": ["friends.read", "email"],
    }
    (folder / "apps.yaml").write_text(yaml.safe_dump({"apps": [app]}))
    for name in ("signing.key", "pseudonym.key"):
        _private(folder / name, base64.b64encode(secrets.token_bytes(32)).decode())
    text, tokens = create({"bench": "admin"})
    _private(folder / "admin-tokens.yaml", text)
    settings = {
        "data": {"port": 0},
        "admin": {"port": 0, "tokens_file": "admin-tokens.yaml"},
        "upstream": {"url": upstream},
        "platform": {"openapi": "openapi.json"},
        "policy": "policy.yaml",
        "apps": "apps.yaml",
        "identity": {
            "issuers": [
                {
                    "issuer": "https://issuer.example.org",
                    "audience": "bench",
                    "algorithms": ["EdDSA"],
                    "jwks_file": "jwks.json",
                }
            ]
        },
        "consent": {"path": "consent.sqlite3"},
        "audit": {
            "directory": "log",
            "durability": durability,
            "signing_key": {"file": "signing.key"},
            "pseudonym_key": {"file": "pseudonym.key"},
        },
        "logging": {"level": "warning"},
    }
    config = folder / "audit-proxy.yaml"
    _private(config, yaml.safe_dump(settings))
    claims = {
        "iss": "https://issuer.example.org",
        "aud": "bench",
        "sub": "1",
        "client_id": "bench",
        "scope": "friends.read email",
        "exp": int(time.time()) + 86_400,
    }
    return Setting(
        config, jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "bench"}), tokens["bench"], _grants()
    )
