"""The demo's folder: a whole configuration of the proxy, as ``audit-proxy init`` makes it, filled in for the demo."""

import base64
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit_proxy.demo.consents import APPS, AppCard
from audit_proxy.settings.initial import Answers, make
from audit_proxy.settings.shipped import shipped
from audit_proxy.wiring.pseudonyms import names_of

ISSUER = "https://login.sample.example/"
AUDIENCE = "https://api.sample.example"
TOKEN_LIFE_S = 3600
CHECKPOINTS = "checkpoints"  # stands for a disk elsewhere: what the proxy pushes there
_KID = "demo-1"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything stands, and what signs the apps' tokens."""

    path: Path
    consent_token: str
    monitoring_token: str
    _key: Ed25519PrivateKey

    @property
    def config(self) -> Path:
        return self.path / "audit-proxy.yaml"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def ports(self) -> Path:
        return self.path / "state" / "ports.json"

    @property
    def proxy_output(self) -> Path:
        return self.path / "state" / "proxy.stderr.jsonl"

    def pseudonym(self, subject: str) -> str:
        """A subject's pseudonym in the log, once the proxy has run."""
        key = base64.b64decode((self.path / "keys" / "pseudonym.key").read_text())
        return names_of(self.path / "state" / "pseudonyms", key, subject)[1]

    def token(self, app: AppCard, holder: str) -> str:
        """An access token as the platform's login would give the app for that person (RFC 9068)."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": holder,
            "client_id": app.id,
            "scope": " ".join(app.scopes),
            "iat": now,
            "exp": now + TOKEN_LIFE_S,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": _KID, "typ": "at+jwt"})


def prepare(path: Path, platform_url: str) -> Folder:
    """Makes the folder's files. Raises FilesExist where a demo (or a configuration) is there already."""
    documents = path / "platform"
    keys = path / "keys"
    made = make(
        path,
        Answers(
            upstream=platform_url,
            openapi=documents / "openapi.yaml",
            overlay=documents / "overlay.yaml",
            issuer=ISSUER,
            audience=AUDIENCE,
            jwks_file=keys / "issuer.jwks.json",
            algorithms=("EdDSA",),
        ),
    )
    documents.mkdir(exist_ok=True)
    for name in ("openapi.yaml", "overlay.yaml"):
        shutil.copyfile(shipped() / "platforms" / "sample" / name, documents / name)
    key = Ed25519PrivateKey.generate()
    public = base64.urlsafe_b64encode(
        key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )
    jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": _KID, "x": public.decode().rstrip("=")}
    (keys / "issuer.jwks.json").write_text(json.dumps({"keys": [jwk]}, indent=2) + "\n")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _private(keys / "issuer.key", pem.decode())
    for name, token in made.tokens.items():
        _private(keys / f"admin-{name}.token", token + "\n")
    config = path / "audit-proxy.yaml"
    text = config.read_text()
    for old, new in (
        ("  port: 8080\n", "  port: 0\n"),
        ("  port: 8081\n", "  port: 0\n"),
        ("origin: audit-proxy/node-1 ", "origin: audit-proxy/demo "),
        ("    targets: []\n", f"    targets: [{{ name: demo, file: {CHECKPOINTS} }}]\n"),
    ):
        if text.count(old) != 1:
            raise RuntimeError(f"the shipped configuration does not hold {old!r} once")
        text = text.replace(old, new)
    config.write_text(text)
    (path / CHECKPOINTS).touch()
    apps = [
        {
            "id": app.id,
            "name": app.name,
            "owner": app.owner,
            "contact": app.contact,
            "tier": app.tier,
            "purpose": app.purpose,
            "approved_scopes": list(app.scopes),
        }
        for app in APPS
    ]
    (path / "budgets.yaml").write_text(_NO_LIMITS)
    (path / "apps.yaml").write_text(yaml.safe_dump({"apps": apps}, sort_keys=False, allow_unicode=True))
    return Folder(path, made.tokens["consent-service"], made.tokens["monitoring"], key)


_NO_LIMITS = """\
# The demo shows what consent by itself keeps back: the quiz app may walk everybody's friends to the end. With the defaults (take
# this file away) it would be throttled on its way; `audit-proxy simulate --scenario quiz-2014` shows when.
default: { third_parties: {}, without_grant: {}, missed: {}, per_holder: {}, owner: {}, fan_out: {}, coverage: {} }
"""


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
