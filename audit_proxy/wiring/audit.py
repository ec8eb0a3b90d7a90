"""The audit log, its keys and their upkeep, as ``serve`` runs them."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from audit_proxy.adapters.audit_journal import JournalAuditLog
from audit_proxy.adapters.disk_space import DiskSpace
from audit_proxy.adapters.metrics_prometheus import PrometheusMetrics
from audit_proxy.pipeline.upkeep import Terms, Upkeep
from audit_proxy.ports import Clock
from audit_proxy.settings.audit import Audit
from audit_proxy.settings.secrets import read_key
from audit_proxy.wiring.checkpoints import open_pushes
from audit_proxy.wiring.log import open_audit_log, retention_of
from audit_proxy.wiring.pseudonyms import Keyring, open_pseudonyms

UPKEEP_S = 600.0  # between two rounds
_DAY_S = 86_400.0
_log = structlog.get_logger("audit_proxy")


@dataclass(frozen=True, slots=True)
class AuditParts:
    log: JournalAuditLog
    pseudonyms: Keyring
    upkeep: Upkeep


async def open_audit(
    settings: Audit, clock: Clock, metrics: PrometheusMetrics, on_failure: Callable[[], None], stack: AsyncExitStack
) -> AuditParts:
    """Opens everything; it is closed with ``stack``. Raises LogUnusable, KeysUnavailable, OSError, SecretError."""
    node, signing_key = settings.origin, read_key(settings.signing_key)
    pusher = await open_pushes(settings.checkpoints, metrics, stack)
    log = await open_audit_log(
        settings.directory,
        settings.origin,
        node,
        signing_key,
        durability=settings.durability,
        commit_interval_ms=settings.commit_interval_ms,
        commit_timeout_s=settings.commit_timeout_s,
        checkpoint_interval_s=settings.checkpoint_interval_s,
        segment_bytes=settings.segment_bytes,
        segment_s=settings.segment_hours * 3600,
        max_pending_records=settings.max_pending_records,
        clock=clock,
        on_commit=metrics.commit,
        on_failure=on_failure,
    )
    stack.push_async_callback(log.close)
    pusher.start(lambda: log.checkpoint)
    pseudonyms = await open_pseudonyms(
        settings.pseudonym_store,
        settings.directory,
        read_key(settings.pseudonym_key),
        clock,
        fresh=not log.size,
        on_failure=on_failure,
    )
    stack.push_async_callback(pseudonyms.close)
    space = DiskSpace(settings.directory)
    await space.start()
    stack.push_async_callback(space.close)
    metrics.gauge("audit_disk_free_bytes", "What may still be written where the audit log is.", lambda: space.free)
    metrics.gauge("audit_log_size", "Records in the audit log.", lambda: float(log.size))
    metrics.gauge(
        "audit_checkpoint_age_seconds",
        "Age of the newest published checkpoint.",
        lambda: max(0.0, clock.now() - log.checkpoint_at) if log.checkpoint_at else None,
    )

    def upkeep_failed(step: str, error: str) -> None:
        _log.error("upkeep_failed", step=step, error=error)
        on_failure()

    retention = retention_of(log, settings.directory, settings.origin, node, signing_key, clock, metrics.record)
    upkeep = Upkeep(log, retention, pseudonyms, clock, _terms(settings), node, metrics.record, upkeep_failed)
    task = asyncio.create_task(upkeep.run(UPKEEP_S))

    async def end_upkeep() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end_upkeep)
    return AuditParts(log, pseudonyms, upkeep)


def _terms(settings: Audit) -> Terms:
    retention, epoch = settings.retention_days, settings.pseudonym_epoch_days
    return Terms(
        pack=settings.pack_segments,
        retention_s=None if retention is None else retention * _DAY_S,
        epoch_s=None if epoch is None else epoch * _DAY_S,
    )
