"""The audit log on this machine's disk: opened to be written, verified, read and proved."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from audit_proxy.adapters.audit_journal import JournalAuditLog, JournalRetention, open_log
from audit_proxy.adapters.audit_journal.log import Options
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.log_reader import LogReader, RecordNotFound
from audit_proxy.adapters.log_roster import NothingPublished, read_published, read_roster, read_seen
from audit_proxy.adapters.log_verifier import Kept, NothingKept, Problem, Verdict, read_kept, verify_log
from audit_proxy.core.merkle.note import VerifierKey, encode_vkey, parse_vkey, verifier_key
from audit_proxy.ports import Clock

__all__ = [
    "Kept",
    "LogReader",
    "NothingKept",
    "NothingPublished",
    "Problem",
    "RecordNotFound",
    "Verdict",
    "open_audit_log",
    "read_kept",
    "read_published",
    "read_roster",
    "read_seen",
    "read_vkey",
    "retention_of",
    "verify_log",
    "vkey_path",
    "write_whole",
]


async def open_audit_log(
    directory: Path,
    origin: str,
    node: str,
    signing_key: bytes,
    *,
    clock: Clock,
    durability: Literal["fsync", "buffered"] = "fsync",
    commit_interval_ms: float = 5.0,
    commit_timeout_s: float = 5.0,
    checkpoint_interval_s: float = 1.0,
    segment_bytes: int = 256 * 1024 * 1024,
    segment_s: float = 86_400.0,
    max_pending_records: int = 10_000,
    on_commit: Callable[[float, int], None] | None = None,
    on_failure: Callable[[], None] | None = None,
) -> JournalAuditLog:
    """Opens (or makes) the log in ``directory`` and writes its verifier key beside it, as ``<directory>.vkey``.

    ``signing_key``: the 32-byte Ed25519 seed. Raises LogUnusable, OSError.
    """
    log = await open_log(
        PosixFiles(directory),
        origin,
        node,
        signing_key,
        clock,
        Options(
            durability=durability,
            commit_interval_ms=commit_interval_ms,
            commit_timeout_s=commit_timeout_s,
            checkpoint_interval_s=checkpoint_interval_s,
            segment_bytes=segment_bytes,
            segment_s=segment_s,
            max_pending_records=max_pending_records,
            on_commit=on_commit,
            on_failure=on_failure,
        ),
    )
    write_whole(vkey_path(directory), encode_vkey(verifier_key(origin, signing_key)).encode() + b"\n")
    return log


def retention_of(
    log: JournalAuditLog,
    directory: Path,
    origin: str,
    node: str,
    signing_key: bytes,
    clock: Clock,
    on_record: Callable[[str], None],
) -> JournalRetention:
    """What packs and prunes the log that is open in ``directory``."""
    key = verifier_key(origin, signing_key)
    return JournalRetention(log, PosixFiles(directory), key, clock, node, on_record)


def read_vkey(path: Path) -> VerifierKey:
    """A verifier key file. Raises OSError, NoteInvalid."""
    return parse_vkey(path.read_text())


def vkey_path(directory: Path) -> Path:
    """Where the verifier key (signed-note form) of the log in ``directory`` stands."""
    return directory.with_name(directory.name + ".vkey")


def write_whole(path: Path, data: bytes) -> None:
    """Left alone when it says the same, replaced as a whole otherwise, so that nobody reads half of it."""
    if path.exists() and path.read_bytes() == data:
        return
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
