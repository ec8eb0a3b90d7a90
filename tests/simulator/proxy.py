"""A whole proxy for tests: real listeners, real log, real consent store, over a folder of its own."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit_proxy.core.record import Record, by_record, decode, join
from audit_proxy.settings.admin_tokens import create
from audit_proxy.settings.check import check
from audit_proxy.wiring.pseudonyms import names_of
from audit_proxy.wiring.serve import Running, serve

ISSUER = "https://issuer.example.org"


def private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


@dataclass
class Proxy:
    """A proxy that runs. ``get``/``ask`` speak to its data plane with an app's token."""

    folder: Path
    running: Running
    key: Ed25519PrivateKey
    admin_token: str
    session: aiohttp.ClientSession
    stop: asyncio.Event
    task: "asyncio.Task[bool]"
    extra: dict[str, Any] = field(default_factory=dict)

    async def end(self) -> None:
        """Ends it before its time, as SIGTERM does; its folder can be read, or served again."""
        self.stop.set()
        await self.task

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.data_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.running.admin_port}"

    def token(self, holder: str = "1", scope: str = "read email", app: str = "quiz", **claims: Any) -> str:
        body = {
            "iss": ISSUER,
            "aud": "api",
            "sub": holder,
            "client_id": app,
            "scope": scope,
            "exp": int(time.time()) + 600,
        }
        return jwt.encode({**body, **claims}, self.key, algorithm="EdDSA", headers={"kid": "k"})

    async def ask(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        from yarl import URL

        target = URL(self.url + path, encoded=True)
        async with self.session.request(method, target, headers=headers, allow_redirects=False, **options) as answer:
            return answer.status, {name.title(): value for name, value in answer.headers.items()}, await answer.read()

    async def get(self, path: str, token: str | None = None, **options: Any) -> tuple[int, dict[str, str], bytes]:
        return await self.ask("GET", path, token, **options)

    async def admin(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.admin_token}", **options.pop("headers", {})}
        async with self.session.request(method, self.admin_url + path, headers=headers, **options) as answer:
            return answer.status, await answer.read()

    async def grant(self, *subjects: str, scopes: str = "read email", app: str = "quiz", **more: Any) -> None:
        """Imports grants; completes the first load."""
        rows = [
            {
                "app": app,
                "subject": f"person:{one}",
                "scopes": scopes,
                "purpose": "functional.service",
                "source": "t",
                "evidence": "t",
                **more,
            }
            for one in subjects
        ]
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        status, text = await self.admin(
            "POST", "/v1/consent/import", data=data, headers={"Content-Type": "application/x-ndjson"}
        )
        assert status == 200, text

    def records(self, *kinds: str) -> list[Record]:
        """All records of the journal, of these kinds (default: accesses and denials); those in parts as one."""
        wanted = kinds or ("access", "denial")
        lines = [
            line
            for path in sorted((self.folder / "log" / "journal").glob("*.jsonl"))
            for line in path.read_bytes().splitlines()
        ]
        read = [join([decode(line) for _, line in one]) for one in by_record(enumerate(lines))]
        return [one for one in read if one.kind in wanted]

    def pseudonym(self, person: str, epoch: int = 1) -> str:
        """What records call a person."""
        key = base64.b64decode((self.folder / "pseudonym.key").read_text())
        return names_of(self.folder / "state" / "pseudonyms", key, f"person:{person}")[epoch]

    def everything_written(self) -> bytes:
        """Every byte under the log's directory."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "log").rglob("*")) if path.is_file())


@contextlib.asynccontextmanager
async def running_proxy(
    folder: Path,
    origin: str,
    openapi: dict[str, Any],
    *,
    policy: str = "mode: enforce\n",
    app: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Proxy]:
    """Serves ``openapi`` in front of ``upstream``; ``settings`` are merged over the defaults, section by section."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "kid": "k",
        "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode(),
    }
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (folder / "openapi.json").write_text(json.dumps(openapi))
    (folder / "policy.yaml").write_text(policy)
    quiz = {
        "id": "quiz",
        "name": "Quiz",
        "owner": "o",
        "contact": "quiz@example.org",
        "tier": "standard",
        "purpose": "functional.service",
        "approved_scopes": ["read", "email", "write"],
        **(app or {}),
    }
    (folder / "apps.yaml").write_text(yaml.safe_dump({"apps": [quiz]}))
    for name in ("signing.key", "pseudonym.key"):
        private(folder / name, base64.b64encode(secrets.token_bytes(32)).decode())
    text, tokens = create({"tests": "admin"})
    private(folder / "admin-tokens.yaml", text)
    document: dict[str, Any] = {
        "data": {"port": 0},
        "admin": {"port": 0},
        "upstream": {"url": origin},
        "platform": {"openapi": "openapi.json"},
        "identity": {
            "issuers": [{"issuer": ISSUER, "audience": "api", "algorithms": ["EdDSA"], "jwks_file": "jwks.json"}]
        },
        "consent": {"path": "consent.sqlite3"},
        "audit": {
            "directory": "log",
            "signing_key": {"file": "signing.key"},
            "pseudonym_key": {"file": "pseudonym.key"},
        },
    }
    for section, values in settings.items():
        document[section] = {**document.get(section, {}), **values}
    private(folder / "audit-proxy.yaml", yaml.safe_dump(document))
    async with serving(folder, key, tokens["tests"]) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def serving(folder: Path, key: Ed25519PrivateKey, admin_token: str) -> AsyncIterator[Proxy]:
    """Serves what stands in a folder: for a proxy that was ended and starts again, ``serving(p.folder, p.key, p.admin_token)``."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(check(folder / "audit-proxy.yaml"), ready=ready.set_result, stop=stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        try:
            yield Proxy(folder, ready.result(), key, admin_token, session, stop, task)
        finally:
            stop.set()
            await task
    assert (folder / "log.vkey").exists()
