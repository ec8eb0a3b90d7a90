"""The shape of ``audit-proxy.yaml``. Unknown keys are errors; every size and time carries its unit in its name.

Relative paths are relative to the file they stand in.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from audit_proxy.core.identity import valid_namespace


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Secret(Model):
    """Where a secret is read from: a file (mode 0600 or stricter), or a command's standard output. Never inline."""

    file: Path | None = None
    command: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.command is None):
            raise ValueError("give exactly one of 'file' and 'command'")
        return self


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(gt=0)]


class Listener(Model):
    host: str = "127.0.0.1"
    port: Port = 8080


def _url(value: str) -> SplitResult:
    """An http(s) URL without a user name. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with https:// (or http://) and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be ASCII without spaces")
    _ = parts.port  # raises ValueError where it is no number from 0 to 65535
    return parts


class Data(Listener):
    """The data plane's listener."""

    trusted_proxies: list[str] = []  # networks (CIDR) whose Forwarded and X-Forwarded-* are believed
    max_connections: int = Field(default=10_000, gt=0)
    keepalive_s: Seconds = 75.0
    drain_s: Seconds = 30.0

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError("each must be a network such as 10.0.0.0/8, without host bits") from None
        return value


class Upstream(Model):
    """The platform's API."""

    url: str  # scheme://host[:port], no path
    credential: Literal["forward", "strip", "replace"] = "forward"  # what becomes of the app's token
    service_credential: Secret | None = None  # the Authorization value sent instead, with credential: replace
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds = 30.0
    total_timeout_s: Seconds = 60.0
    max_connections: int = Field(default=256, gt=0)
    via: str = "audit-proxy"  # pseudonym in Via (RFC 9110 section 7.6.3)

    @field_validator("url")
    @classmethod
    def _origin(cls, value: str) -> str:
        parts = _url(value)
        if parts.path not in ("", "/") or "?" in value or "#" in value:
            raise ValueError("must be http://host[:port] or https://host[:port], without a path")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _credential(self) -> Self:
        if (self.credential == "replace") != (self.service_credential is not None):
            raise ValueError("'service_credential' goes with credential: replace, and only with it")
        return self


class Platform(Model):
    """The catalog: the vendor's OpenAPI document and our overlay on it."""

    openapi: Path
    overlay: Path | None = None
    subject_namespace: str = "person"  # namespace of the ids in responses

    @field_validator("subject_namespace")
    @classmethod
    def _namespace(cls, value: str) -> str:
        if not valid_namespace(value):
            raise ValueError(
                "lower-case letters, digits, '_', '.', '-', beginning with a letter; at most 63 characters"
            )
        return value


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]


class Issuer(Model):
    """One issuer of tokens; algorithms are pinned."""

    issuer: str  # the exact ``iss``
    audience: str | list[str]
    algorithms: list[Algorithm] = Field(min_length=1)
    jwks_file: Path | None = None
    jwks_url: str | None = None  # https, or http on this very machine
    unsafe_jwks_over_http: bool = False  # whoever can change the answer on its way can sign tokens
    jwks_refresh_s: Seconds = 300.0
    jwks_max_age_s: Seconds = 14_400.0  # in an outage: how long the last good set serves; then 503 keys_unavailable
    jwks_refetch_interval_s: Seconds = 10.0  # tokens that name an unknown key cause at most one fetch in this time
    hmac_secret: Secret | None = None
    leeway_s: float = Field(default=0.0, ge=0, le=300)
    require_typ: str | None = None  # e.g. "at+jwt" (RFC 9068)
    app_claim: list[str] = Field(
        default=["client_id", "azp"], min_length=1
    )  # the first present; a claim name, as it is, before dots are a path
    holder_claim: str = "sub"
    holder_namespace: str = "person"
    app_only_claim: str | None = None  # a claim whose presence marks an app-only token (false and null: absent)
    app_only_value: str | None = None  # if set, only this value of that claim does, e.g. "client-credentials"
    scope_claim: list[str] = Field(default=["scope", "scp"], min_length=1)  # several present must agree

    @field_validator("holder_namespace")
    @classmethod
    def _namespace(cls, value: str) -> str:
        if not valid_namespace(value):
            raise ValueError(
                "lower-case letters, digits, '_', '.', '-', beginning with a letter; at most 63 characters"
            )
        return value

    @model_validator(mode="after")
    def _keys(self) -> Self:
        if [self.jwks_file, self.jwks_url, self.hmac_secret].count(None) != 2:
            raise ValueError("give exactly one of 'jwks_file', 'jwks_url' and 'hmac_secret'")
        if any(a.startswith("HS") != (self.hmac_secret is not None) for a in self.algorithms):
            raise ValueError("HS* algorithms go with 'hmac_secret', and only with it")
        if self.app_only_value is not None and self.app_only_claim is None:
            raise ValueError("'app_only_value' goes with 'app_only_claim'")
        return self

    @model_validator(mode="after")
    def _fetched_safely(self) -> Self:
        if self.jwks_url is None:
            return self
        parts = _url(self.jwks_url)
        if parts.scheme == "http" and not self.unsafe_jwks_over_http and not _this_machine(parts.hostname or ""):
            raise ValueError("'jwks_url' must begin with https://, or set 'unsafe_jwks_over_http: true'")
        if self.jwks_max_age_s <= self.jwks_refresh_s:
            raise ValueError("'jwks_max_age_s' must be longer than 'jwks_refresh_s', or keys end between two fetches")
        return self

    @field_validator("audience")
    @classmethod
    def _named(cls, value: str | list[str]) -> str | list[str]:
        if not value or (isinstance(value, list) and "" in value):
            raise ValueError("name at least one audience")
        return value


def _this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Identity(Model):
    issuers: list[Issuer] = Field(min_length=1)
    token_cache_entries: int = Field(default=100_000, gt=0)
    unsafe_token_in_query: bool = False  # accepts ?access_token= (RFC 6750 section 2.3); it goes on in the header
    realm: str = Field(default="api", pattern=r"^[ !#-\[\]-~]{1,100}$")  # of the WWW-Authenticate challenge

    @field_validator("issuers")
    @classmethod
    def _once(cls, value: list[Issuer]) -> list[Issuer]:
        if len({one.issuer for one in value}) != len(value):
            raise ValueError("each issuer stands here once; its tokens have one set of rules")
        return value


class ConsentSettings(Model):
    path: Path = Path("state/consent.sqlite3")
    cache_entries: int = Field(default=1_000_000, gt=0)
    feed_interval_s: float = Field(default=0.2, gt=0, le=0.5)


class Audit(Model):
    """The audit log. ``origin`` names the log (and this node) in checkpoints."""

    directory: Path = Path("log")
    origin: str = Field(default="audit-proxy/node-1", pattern=r"^[!-*,-~]{1,200}$")  # no spaces, no "+" (signed note)
    signing_key: Secret
    pseudonym_key: Secret
    durability: Literal["fsync", "buffered"] = "fsync"
    commit_interval_ms: float = Field(default=2.0, ge=0, le=1000)  # the least time between two flushes under load
    commit_timeout_s: Seconds = 5.0
    checkpoint_interval_s: Seconds = 1.0
    segment_bytes: Bytes = 256 * 1024 * 1024
    max_pending_records: int = Field(default=10_000, gt=0)


class Admin(Listener):
    port: Port = 8081
    tokens_file: Path = Path("admin-tokens.yaml")


class Limits(Model):
    """Sizes past which a request or an answer is refused."""

    request_body_bytes: Bytes = 1024 * 1024
    response_body_bytes: Bytes = 10 * 1024 * 1024  # after its content coding is removed
    request_header_bytes: Bytes = 16 * 1024
    target_bytes: Bytes = 8 * 1024
    response_depth: int = Field(default=64, gt=0, le=200)
    in_flight_requests: int = Field(default=2_000, gt=0)


class Logging(Model):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Model):
    """``audit-proxy.yaml``."""

    data: Data = Data()
    upstream: Upstream
    platform: Platform
    policy: Path = Path("policy.yaml")
    apps: Path = Path("apps.yaml")
    identity: Identity
    consent: ConsentSettings = ConsentSettings()
    audit: Audit
    admin: Admin = Admin()
    limits: Limits = Limits()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.data.port and (self.data.host, self.data.port) == (self.admin.host, self.admin.port):
            raise ValueError("'data' and 'admin' cannot listen at the same address; change one port")
        if all(one.holder_namespace != self.platform.subject_namespace for one in self.identity.issuers):
            raise ValueError("no issuer's 'holder_namespace' is 'platform.subject_namespace': nobody would be a holder")
        return self
