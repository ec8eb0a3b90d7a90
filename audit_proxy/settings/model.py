"""The shape of ``audit-proxy.yaml``. Unknown keys are errors; every size and time carries its unit in its name.

Relative paths are relative to the file they stand in.
"""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from audit_proxy.settings.audit import Audit
from audit_proxy.settings.identity import Identity
from audit_proxy.settings.shapes import Bytes, Model, Namespace, Port, Seconds, Secret, fetched_safely, http_url
from audit_proxy.settings.tls import Tls


def _origin(value: str) -> str:
    parts = http_url(value)
    if parts.path not in ("", "/") or "?" in value or "#" in value:
        raise ValueError("must be http://host[:port] or https://host[:port], without a path")
    return value.rstrip("/")


class Listener(Model):
    host: str = "127.0.0.1"
    port: Port = 8080
    tls: Tls | None = None  # None: plain HTTP


class Data(Listener):
    """The data plane's listener."""

    public_url: str | None = None  # where apps reach this proxy: links in answers lead there; None: relative links
    trusted_proxies: list[str] = Field(default=[])  # networks (CIDR) whose Forwarded and X-Forwarded-* are believed
    max_connections: int = Field(default=10_000, gt=0)  # for one more, the one that has been idle longest is closed
    keepalive_s: Seconds = 75.0
    app_timeout_s: Seconds = 20.0  # a head that has begun is whole by then; bodies and answers move by 16 KiB in it
    drain_s: Seconds = 30.0

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        return None if value is None else _origin(value)

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
    first_byte_timeout_s: Seconds = 30.0  # from the asking, on top of connecting
    total_timeout_s: Seconds = 60.0
    max_connections: int = Field(default=256, gt=0)
    via: str = "audit-proxy"  # pseudonym in Via (RFC 9110 section 7.6.3)

    @field_validator("url")
    @classmethod
    def _without_path(cls, value: str) -> str:
        return _origin(value)

    @model_validator(mode="after")
    def _credential(self) -> Self:
        if (self.credential == "replace") != (self.service_credential is not None):
            raise ValueError("'service_credential' goes with credential: replace, and only with it")
        return self


class SubjectIds(Model):
    """Where each app has ids of its own for the same people: what says whom they mean, a table or a service."""

    table: Path | None = None  # .csv or .ndjson with app, id, subject; or .sqlite3 with the table subject_ids of these
    reload_s: Seconds = 10.0  # how often the table is looked at for changes; put a new one in its place whole
    url: str | None = None  # POST {"app": …, "ids": […]} → {"subjects": {id: subject or null}}
    unsafe_over_http: bool = (
        False  # whoever can change the answer on its way can give one person's data out as another's
    )
    secret: Secret | None = None  # sent to the service as a bearer token
    timeout_s: Seconds = 2.0
    cache_s: Seconds = 60.0
    unmapped_cache_s: Seconds = 5.0  # how long it is remembered that an id is nobody's
    cache_entries: int = Field(default=1_000_000, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.url is None):
            raise ValueError("give exactly one of 'table' and 'url'")
        if self.secret is not None and self.url is None:
            raise ValueError("'secret' goes with 'url'")
        if self.url is not None:
            fetched_safely(self.url, self.unsafe_over_http, "url", "unsafe_over_http")
        return self


class Platform(Model):
    """The catalog: the vendor's OpenAPI document and our overlay on it."""

    openapi: Path
    overlay: Path | None = None
    subject_namespace: Namespace = "person"  # namespace of the ids in responses
    subject_ids: SubjectIds | None = None  # None: an id means the same person to every app


class Cursors(Model):
    """The platform's paging state, sealed where the catalog says ``x-cursor``."""

    keys: list[Secret] = Field(default=[], max_length=8)  # the first seals, every one opens; the same on every replica


class ConsentSettings(Model):
    path: Path = Path("state/consent.sqlite3")
    cache_entries: int = Field(default=1_000_000, gt=0)
    feed_interval_s: float = Field(default=0.2, gt=0, le=0.5)


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


class Monitor(Model):
    """Mode monitor. What is not decided in time passes undecided, and is counted."""

    max_delay_ms: float = Field(default=1000.0, gt=0, le=60_000)  # of one request and its answer together, on our part


class Metrics(Model):
    """What ``/metrics`` may grow to: an app with a label of its own has up to some hundred series."""

    max_app_labels: int = Field(default=200, gt=0)  # the first in apps.yaml; the others share the label ``other``


class Detection(Model):
    """Where it is kept whom apps reached, and which of them are restricted or quarantined."""

    state: Path = Path("state/detection.sqlite3")
    snapshot_s: Seconds = 10.0  # how often the counts that changed are stored; statuses are stored at once


class Logging(Model):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Model):
    """``audit-proxy.yaml``."""

    data: Data = Data()
    upstream: Upstream
    platform: Platform
    policy: Path = Path("policy.yaml")
    apps: Path = Path("apps.yaml")
    budgets: Path = Path("budgets.yaml")  # without the file the default budgets hold
    identity: Identity
    cursors: Cursors = Cursors()
    consent: ConsentSettings = ConsentSettings()
    audit: Audit
    admin: Admin = Admin()
    limits: Limits = Limits()
    monitor: Monitor = Monitor()
    metrics: Metrics = Metrics()
    detection: Detection = Detection()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.data.port and (self.data.host, self.data.port) == (self.admin.host, self.admin.port):
            raise ValueError("'data' and 'admin' cannot listen at the same address; change one port")
        if self.identity.gateway is not None and (self.data.tls is None or self.data.tls.client_ca is None):
            raise ValueError(
                "'identity.gateway' needs 'data.tls.client_ca': a gateway is known by its certificate alone"
            )
        if self.platform.subject_namespace not in self.identity.holder_namespaces:
            raise ValueError("no issuer's 'holder_namespace' is 'platform.subject_namespace': nobody would be a holder")
        if self.platform.subject_ids is None and self.identity.app_scoped_namespaces:
            raise ValueError("'holder_app_scoped' needs 'platform.subject_ids', which says whom an app's ids mean")
        if self.identity.app_scoped_namespaces - {self.platform.subject_namespace}:
            raise ValueError("with 'holder_app_scoped', 'holder_namespace' is 'platform.subject_namespace'")
        return self
