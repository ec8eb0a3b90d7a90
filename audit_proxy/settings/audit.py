"""The section ``audit`` of ``audit-proxy.yaml``: the log, its keys, and what becomes of both over the years."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from audit_proxy.settings.shapes import Bytes, Model, Seconds, Secret, fetched_safely


class CheckpointTarget(Model):
    """Where checkpoints are pushed to: a file on another machine's disk, or a service."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")  # the label in metrics
    file: Path | None = None  # appended to, never made: it has to be there
    url: str | None = None  # POST of the signed note; 2xx says that it is kept
    secret: Secret | None = None  # sent to the service as a bearer token
    ca: Path | None = None  # authorities of the service's certificate (PEM); None: the system's
    unsafe_over_http: bool = False  # whoever is on the way could keep checkpoints from arriving, and say they had

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("give exactly one of 'file' and 'url'")
        if self.url is None and (self.secret is not None or self.ca is not None):
            raise ValueError("'secret' and 'ca' go with 'url'")
        if self.url is not None:
            fetched_safely(self.url, self.unsafe_over_http, "url", "unsafe_over_http")
        return self


class Checkpoints(Model):
    """Checkpoints that leave the machine: without them, who has the log and its key can rewrite both."""

    push_every_s: Seconds = 60.0
    timeout_s: Seconds = 10.0  # of one push
    targets: list[CheckpointTarget] = Field(default=[], max_length=8)

    @field_validator("targets")
    @classmethod
    def _once(cls, value: list[CheckpointTarget]) -> list[CheckpointTarget]:
        if len({one.name for one in value}) != len(value):
            raise ValueError("two targets have the same name")
        return value


class Audit(Model):
    """The audit log. ``origin`` names the log (and this node) in checkpoints."""

    directory: Path = Path("log")
    origin: str = Field(default="audit-proxy/node-1", pattern=r"^[!-*,-~]{1,200}$")  # no spaces, no "+" (signed note)
    signing_key: Secret
    pseudonym_key: Secret
    pseudonym_store: Path = Path("state/pseudonyms")  # the erasable half of the keys; serve makes and changes it
    pseudonym_epoch_days: int | None = Field(default=None, gt=0, le=36_500)  # null: a new epoch by command only
    durability: Literal["fsync", "buffered"] = "fsync"
    commit_interval_ms: float = Field(default=5.0, ge=0, le=1000)  # the least time between two flushes under load
    commit_timeout_s: Seconds = 5.0
    checkpoint_interval_s: Seconds = 1.0
    segment_bytes: Bytes = 256 * 1024 * 1024
    segment_hours: float = Field(default=24.0, gt=0, le=8_760)  # a segment is sealed after either
    pack_segments: bool = True  # sealed segments are compressed (zstd)
    retention_days: int | None = Field(default=None, gt=0, le=36_500)  # null: records are kept for ever
    max_pending_records: int = Field(default=10_000, gt=0)
    checkpoints: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _elsewhere(self) -> Self:
        if any(one.file is not None and one.file.is_relative_to(self.directory) for one in self.checkpoints.targets):
            raise ValueError("a target of 'checkpoints' lies in the log's own directory; it belongs on another machine")
        return self
