"""A whole proxy for tests: real listeners, real log, real consent store, over a folder of its own.

``running_proxy`` serves in the test's own process, ``proxy_process`` runs ``audit-proxy serve`` as an operator does.
"""

import asyncio
import base64
import contextlib
import copy
import json
import secrets
import signal
import sys
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

from audit_proxy.core.catalog import compile_catalog
from audit_proxy.core.record import Record, by_record, decode, join
from audit_proxy.settings.admin_tokens import create
from audit_proxy.settings.catalog import categories
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
    extra: dict[str, Any] = field(default_factory=dict)

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


@dataclass
class ProxyHere(Proxy):
    """A proxy in this process, ended by ``stop``."""

    stop: asyncio.Event = field(kw_only=True)
    task: "asyncio.Task[bool]" = field(kw_only=True)

    async def end(self) -> None:
        """Ends it before its time, as SIGTERM does; its folder can be read, or served again."""
        self.stop.set()
        await self.task


@dataclass
class ProxyProcess(Proxy):
    """``audit-proxy serve`` in a process of its own."""

    process: asyncio.subprocess.Process = field(kw_only=True)

    @property
    def output(self) -> bytes:
        """Everything it wrote to standard output and standard error so far."""
        return _output(self.folder).read_bytes()

    def memory(self) -> int:
        """The most memory that was resident at once since its start, in bytes (``VmHWM``)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024


def reviewed(openapi: dict[str, Any]) -> dict[str, Any]:
    """The description with every operation in it reviewed as it is, which ``enforce`` asks for."""
    marked = copy.deepcopy(openapi)
    for one in compile_catalog(openapi, None, hash="", categories=categories()).operations:
        review = {"by": "tests", "at": "2026-11-25", "of": one.units[0].of}
        marked["paths"][one.route][one.method.lower()]["x-reviewed"] = review
    return marked


@dataclass(frozen=True)
class Place:
    """A folder with everything that ``audit-proxy serve -c config`` reads."""

    folder: Path
    config: Path
    key: Ed25519PrivateKey
    admin_token: str


def configure(
    folder: Path,
    origin: str,
    openapi: dict[str, Any],
    *,
    policy: str = "mode: enforce\n",
    app: dict[str, Any] | None = None,
    **settings: Any,
) -> Place:
    """Writes a configuration for ``openapi`` in front of ``origin``; ``settings`` are merged over it, section by section."""
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
    (folder / "openapi.json").write_text(json.dumps(reviewed(openapi) if openapi else openapi))
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
    for name in ("signing.key", "pseudonym.key", "cursor.key"):
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
        "cursors": {"keys": [{"file": "cursor.key"}]},
        "consent": {"path": "consent.sqlite3"},
        "audit": {
            "directory": "log",
            "signing_key": {"file": "signing.key"},
            "pseudonym_key": {"file": "pseudonym.key"},
        },
    }
    for section, values in settings.items():
        document[section] = {**document.get(section, {}), **values}
    config = folder / "audit-proxy.yaml"
    private(config, yaml.safe_dump(document))
    return Place(folder, config, key, tokens["tests"])


@contextlib.asynccontextmanager
async def running_proxy(folder: Path, origin: str, openapi: dict[str, Any], **options: Any) -> AsyncIterator[ProxyHere]:
    """Serves in this process; ``options`` as for ``configure``."""
    place = configure(folder, origin, openapi, **options)
    async with serving(folder, place.key, place.admin_token) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def serving(folder: Path, key: Ed25519PrivateKey, admin_token: str) -> AsyncIterator[ProxyHere]:
    """Serves what stands in a folder: for a proxy that was ended and starts again, ``serving(p.folder, p.key, p.admin_token)``."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(check(folder / "audit-proxy.yaml"), ready=ready.set_result, stop=stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    async with _session() as session:
        try:
            yield ProxyHere(folder, ready.result(), key, admin_token, session, stop=stop, task=task)
        finally:
            stop.set()
            await task
    assert (folder / "log.vkey").exists()


@contextlib.asynccontextmanager
async def proxy_process(
    folder: Path, origin: str, openapi: dict[str, Any], *, exits: int = 0, **options: Any
) -> AsyncIterator[ProxyProcess]:
    """Runs ``audit-proxy serve`` in a folder that it configures; ``options`` as for ``configure``, ``exits`` as below."""
    async with process_of(configure(folder, origin, openapi, **options), exits=exits) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def process_of(place: Place, *, exits: int = 0) -> AsyncIterator[ProxyProcess]:
    """Runs ``audit-proxy serve`` until the block ends, or ends it with SIGTERM then; it must exit with ``exits``."""
    folder = place.folder
    ports = folder / "ports.json"
    with _output(folder).open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "audit_proxy", "serve", "-c", place.config, "--ports-file", ports),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(30):
            while not ports.exists() or not (bound := ports.read_text()):
                assert process.returncode is None, _output(folder).read_text()
                await asyncio.sleep(0.02)
            found = json.loads(bound)
            running = Running(found["data"], found["admin"])
        async with _session() as session:
            yield ProxyProcess(folder, running, place.key, place.admin_token, session, process=process)
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            code = await process.wait()
        assert code == exits, _output(folder).read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _output(folder: Path) -> Path:
    return folder / "proxy.out"


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
