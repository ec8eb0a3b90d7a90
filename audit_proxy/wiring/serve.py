"""Everything ``audit-proxy serve`` starts, joined and stopped in order."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from audit_proxy import __version__
from audit_proxy.adapters.apps_file import FileApps
from audit_proxy.adapters.clock_system import SystemClock
from audit_proxy.adapters.consent_of_erased import ConsentOfErased
from audit_proxy.adapters.consent_sqlite import open_consent_store
from audit_proxy.adapters.http_aiohttp import AiohttpClient
from audit_proxy.adapters.metrics_prometheus import PrometheusMetrics
from audit_proxy.frontends.admin import AdminFrontend
from audit_proxy.frontends.data_plane.headers import PeerTrust
from audit_proxy.frontends.data_plane.server import DataPlane
from audit_proxy.frontends.data_plane.stages import Stages, Wire
from audit_proxy.frontends.data_plane.upstream import Limits, UpstreamClient
from audit_proxy.pipeline.admit import Admitter
from audit_proxy.pipeline.app_control import AppControl
from audit_proxy.pipeline.permissions import Permissions
from audit_proxy.pipeline.record import Recorder
from audit_proxy.pipeline.reserve import Reserver
from audit_proxy.pipeline.review import Reviewer
from audit_proxy.settings import admin_tokens
from audit_proxy.settings.apps import OTHER
from audit_proxy.settings.check import Checked
from audit_proxy.settings.load import Loaded
from audit_proxy.settings.secrets import read_credential
from audit_proxy.wiring.audit import open_audit
from audit_proxy.wiring.certificates import Certificates
from audit_proxy.wiring.cursors import open_cursors
from audit_proxy.wiring.descriptors import connections_for
from audit_proxy.wiring.detection import open_detection, tell
from audit_proxy.wiring.identity import gateway_rules, open_tokens
from audit_proxy.wiring.subject_ids import open_subject_ids

READY_AFTER_FAILURE_S = 2.0  # a log that fails now and then, or cannot publish, is not ready meanwhile
_log = structlog.get_logger("audit_proxy")


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves: the ports it bound."""

    data_port: int
    admin_port: int


async def serve(
    checked: Checked, *, ready: Callable[[Running], None] | None = None, stop: asyncio.Event | None = None
) -> bool:
    """Serves until SIGTERM or SIGINT (or ``stop``), then drains; whether every request in flight ended. SIGHUP reads the
    listeners' certificates anew.

    ``ready`` is called once both listeners take connections. Raises OSError, LogUnusable, ConsentUnavailable,
    ValueError (a secret or a key) at start.
    """
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        running, plane = await _start(checked, stack)
        _log.info("serving", data_port=running.data_port, admin_port=running.admin_port, version=__version__)
        if ready is not None:
            ready(running)
        await stopping.wait()
        _log.info("draining", in_flight=plane.in_flight)
        drained = await plane.stop(checked.loaded.settings.data.drain_s)
        _log.info("stopped", drained=drained)
    return drained


async def _start(checked: Checked, stack: AsyncExitStack) -> tuple[Running, DataPlane]:
    loaded, catalog = checked.loaded, checked.catalog
    settings, policy = loaded.settings, loaded.policy
    for finding in catalog.findings:
        _log.warning("catalog", finding=finding)
    for doubt in checked.doubts:
        _log.warning("apps", doubt=doubt)
    connections = connections_for(settings.data.max_connections, settings.upstream.max_connections)
    if connections < settings.data.max_connections:
        _log.warning("connections_lowered", max_connections=connections, why="RLIMIT_NOFILE")
    clock = SystemClock()
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, __version__)
    node = settings.audit.origin
    failed_at = [float("-inf")]  # on the monotonic clock: the other one may jump

    def failed() -> None:
        metrics.audit_failure()
        failed_at[0] = time.monotonic()

    audit = await open_audit(settings.audit, clock, metrics, failed, stack)
    log, pseudonyms = audit.log, audit.pseudonyms
    consent = await open_consent_store(
        settings.consent.path,
        cache_entries=settings.consent.cache_entries,
        feed_interval_s=settings.consent.feed_interval_s,
        clock=clock,
        on_withdrawal=lambda _app, _subject, withdrawn_at, applied_at: metrics.withdrawal(
            max(0.0, applied_at - withdrawn_at)
        ),
    )
    stack.push_async_callback(consent.close)
    metrics.gauge(
        "consent_feed_age_seconds", "Since withdrawals were last looked for.", lambda: consent.heartbeat_age_s
    )
    client = await stack.enter_async_context(AiohttpClient())
    tokens = await open_tokens(settings.identity, client, stack, metrics.gauge)
    ids = await open_subject_ids(settings.platform, client, clock, stack)
    upstream = UpstreamClient(
        settings.upstream.url,
        Limits(
            settings.upstream.connect_timeout_s,
            settings.upstream.first_byte_timeout_s,
            settings.upstream.total_timeout_s,
            settings.upstream.max_connections,
        ),
    )
    await upstream.start()
    stack.push_async_callback(upstream.stop)
    recorder = Recorder(log, pseudonyms, catalog, policy, node)
    gateway = gateway_rules(settings.identity.gateway)
    apps = FileApps(loaded.apps)
    detection = await open_detection(loaded, apps, pseudonyms, clock, metrics, stack)
    ledger, standings = detection.ledger, detection.standings
    permissions = Permissions(policy, ConsentOfErased(consent, pseudonyms), standings)
    cursors = open_cursors(settings, catalog)
    stages = Stages(
        Admitter(
            catalog,
            policy,
            tokens,
            apps,
            ids,
            permissions,
            standings,
            unsafe_token_in_query=settings.identity.unsafe_token_in_query,
            gateway=gateway,
            cursors=cursors,
        ),
        Reviewer(policy, ids, permissions, settings.limits.response_depth, cursors),
        Reserver(ledger, detection.store, detection.keys, standings, recorder, metrics, tell),
        recorder,
        upstream,
        metrics,
        clock,
        _wire(loaded, catalog.dialect, gateway.headers if gateway is not None else frozenset()),
    )

    async def log_takes_records() -> bool:
        return log.takes_records and time.monotonic() - failed_at[0] >= READY_AFTER_FAILURE_S

    async def consent_answers() -> bool:
        await consent.standings("audit-proxy", ["health:check"])
        return True

    checks: dict[str, Callable[[], Awaitable[bool]]] = {"audit_log": log_takes_records, "consent": consent_answers}
    admin = AdminFrontend(
        consent,
        log,
        pseudonyms,
        audit.upkeep,
        AppControl(ledger, detection.store, loaded.apps, policy.unknown_app, clock),
        admin_tokens.load(settings.admin.tokens_file),
        registry,
        checks,
        clock,
        node,
        on_record=metrics.record,
    )
    certificates = Certificates()
    admin_port = await admin.start(settings.admin.host, settings.admin.port, certificates.context(settings.admin.tls))
    stack.push_async_callback(admin.stop)
    plane = DataPlane(
        stages,
        max_connections=connections,
        keepalive_s=settings.data.keepalive_s,
        app_timeout_s=settings.data.app_timeout_s,
        header_bytes=settings.limits.request_header_bytes,
        target_bytes=settings.limits.target_bytes,
    )
    unnamed = float(sum(app.label == OTHER for app in loaded.apps.values()))
    metrics.gauge("app_labels_truncated", "Registered apps that share the label other.", lambda: unnamed)
    metrics.gauge("connections", "Open connections of apps.", lambda: float(plane.connections))
    data_port = await plane.start(settings.data.host, settings.data.port, certificates.context(settings.data.tls))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificates.reload)
    return Running(data_port, admin_port), plane


def _wire(loaded: Loaded, dialect: str, gateway_headers: frozenset[str]) -> Wire:
    settings = loaded.settings
    credential = settings.upstream.service_credential
    return Wire(
        request_body=settings.limits.request_body_bytes,
        response_body=settings.limits.response_body_bytes,
        in_flight=settings.limits.in_flight_requests,
        trusted=PeerTrust(settings.data.trusted_proxies),
        via=settings.upstream.via,
        realm=settings.identity.realm,
        dialect=dialect,
        forward_token=settings.upstream.credential == "forward",
        credential=None if credential is None else read_credential(credential),
        monitor_delay_s=settings.monitor.max_delay_ms / 1000,
        gateway_headers=gateway_headers,
        debug=settings.logging.level == "debug",
    )
