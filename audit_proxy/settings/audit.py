"""The section ``audit`` of ``audit-proxy.yaml``: the log, its keys, and what becomes of both over the years."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from audit_proxy.settings.shapes import Bytes, Model, Seconds, Secret


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
