"""Where checkpoints are pushed to, from settings."""

from contextlib import AsyncExitStack

import structlog

from audit_proxy.adapters.checkpoints_file import CheckpointFile
from audit_proxy.adapters.checkpoints_http import CheckpointHttp
from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.http_aiohttp import AiohttpClient
from audit_proxy.adapters.metrics_prometheus import PrometheusMetrics
from audit_proxy.pipeline.checkpoints import CheckpointPusher, Target
from audit_proxy.settings.audit import Checkpoints, CheckpointTarget
from audit_proxy.settings.secrets import read_secret
from audit_proxy.settings.tls import trusting_context

FILE_BACKLOG = 1440  # checkpoints: a day of minutes, some 300 KB
_log = structlog.get_logger("audit_proxy")


async def open_pushes(settings: Checkpoints, metrics: PrometheusMetrics, stack: AsyncExitStack) -> CheckpointPusher:
    """Made before the log is opened, so that it closes after the log has: the last checkpoint is pushed too. Raises
    SecretError, TlsError, ValueError.
    """
    pusher = CheckpointPusher(
        [await _target(one, settings.timeout_s, stack) for one in settings.targets],
        every_s=settings.push_every_s,
        timeout_s=settings.timeout_s,
        counted=metrics.checkpoint_push,
        told=_tell,
    )
    stack.push_async_callback(pusher.close)
    if settings.targets:
        metrics.labelled_gauge(
            "audit_checkpoint_push_age_seconds",
            "Since a target was known to have the newest checkpoint.",
            ("target",),
            lambda: {(target,): age for target, age in pusher.ages().items()},
        )
    else:
        _log.warning("checkpoints_stay_here", why="audit.checkpoints.targets is empty")
    return pusher


async def _target(one: CheckpointTarget, timeout_s: float, stack: AsyncExitStack) -> Target:
    if one.file is not None:
        return Target(one.name, CheckpointFile(PosixFiles(one.file.parent), one.file.name), FILE_BACKLOG)
    assert one.url is not None  # settings give exactly one
    client = await stack.enter_async_context(AiohttpClient(connections=1, tls=trusting_context(one.ca)))
    secret = read_secret(one.secret).decode() if one.secret is not None else None
    return Target(one.name, CheckpointHttp(one.url, client, secret=secret, timeout_s=timeout_s))


def _tell(target: str, trouble: str | None) -> None:
    if trouble is None:
        _log.info("checkpoint_push_recovered", target=target)
    else:
        _log.error("checkpoint_push_failed", target=target, error=trouble)
