"""The admin listener: consent, metrics, health, on aiohttp.

Invariants:

- Every call is a record, refused ones too, and the record is durable before the answer (``consent`` says what a withdrawal
  does when the log is down). Not recorded: probes of ``/livez`` and ``/readyz``, and scrapes of ``/metrics`` that are let
  in; they come each few seconds, change nothing and tell of nobody.
- Nothing is done or told before the token is known and its role permits the action; only the probes take no token (and
  the metrics, where ``metrics_open`` says so).
- No answer may be stored, framed, or read by a page of another origin (no CORS).
"""

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from audit_proxy.core.detection.account import Status
from audit_proxy.frontends.admin.access import Access, Token, permits
from audit_proxy.frontends.admin.apps import AppsApi
from audit_proxy.frontends.admin.call import BODY_MAX, Call, answer
from audit_proxy.frontends.admin.consent import ConsentApi
from audit_proxy.frontends.admin.health import Check, Health
from audit_proxy.frontends.admin.keys import KeysApi, SubjectApi
from audit_proxy.frontends.admin.load import LoadApi
from audit_proxy.frontends.admin.openapi import openapi
from audit_proxy.frontends.admin.problems import AdminReason, Refused, problem
from audit_proxy.frontends.admin.retention import RetentionApi
from audit_proxy.frontends.admin.trail import OnRecord, Refusals, Trail
from audit_proxy.pipeline.app_control import AppControl
from audit_proxy.pipeline.upkeep import Upkeep
from audit_proxy.ports import AuditLog, Clock, ConsentAdmin, ConsentLoad, KeyEpochs, Pseudonymizer, SubjectKeys

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Server": "audit-proxy",
}
_DRAIN_S = 10.0

_log = structlog.get_logger("audit_proxy.admin")


class AdminStore(ConsentAdmin, ConsentLoad, Protocol):
    """What the admin API needs of the consent store."""


class AdminKeys(KeyEpochs, SubjectKeys, Pseudonymizer, Protocol):
    """What the admin API needs of the pseudonym keys."""


class AdminFrontend:
    """``checks``: what ``/readyz`` asks, by name; one that raises or returns False is not well. ``node``: what records call this process.

    ``on_record`` is told the kind of each record once it is durable, for ``audit_records_total``.
    """

    def __init__(
        self,
        store: AdminStore,
        log: AuditLog,
        keys: AdminKeys,
        upkeep: Upkeep,
        control: AppControl,
        tokens: Iterable[Token],
        registry: CollectorRegistry,
        checks: Mapping[str, Check],
        clock: Clock,
        node: str,
        *,
        metrics_open: bool = False,
        on_record: OnRecord = lambda _kind: None,
    ) -> None:
        self._trail = Trail(log, keys, clock, node, on_record)
        self._access = Access(tokens)
        self._registry = registry
        self._health = Health(checks)
        self._consent = ConsentApi(store, store)
        self._import = LoadApi(store)
        self._subjects = SubjectApi(keys)
        self._keys = KeysApi(keys)
        self._retention = RetentionApi(upkeep)
        self._apps = AppsApi(control)
        self._metrics_open = metrics_open
        self._runner: web.AppRunner | None = None

    def app(self) -> web.Application:
        """The application, for a server of the caller's own."""
        app = web.Application(middlewares=[self._judge], client_max_size=BODY_MAX)
        pair = "/v1/consent/{app}/{subject}"
        routes: tuple[tuple[str, str, str, Callable[[Call], Awaitable[web.StreamResponse]]], ...] = (
            ("PUT", pair, "consent.put", self._consent.put),
            ("GET", pair, "consent.get", self._consent.get),
            ("POST", pair + "/withdraw", "consent.withdraw", self._consent.withdraw),
            ("POST", "/v1/consent/import", "consent.import", self._import.load),
            ("POST", "/v1/consent/loaded", "consent.loaded", self._consent.loaded),
            ("POST", "/v1/subjects/{subject}/erase", "subject.erase", self._subjects.erase),
            ("GET", "/v1/subjects/{subject}/pseudonyms", "subject.pseudonyms", self._subjects.pseudonyms),
            ("GET", "/v1/keys", "keys.list", self._keys.list),
            ("POST", "/v1/keys/rotate", "keys.rotate", self._keys.rotate),
            ("GET", "/v1/log/retention", "log.retention", self._retention.look),
            ("POST", "/v1/log/prune", "log.prune", self._retention.prune),
            ("GET", "/v1/apps", "app.list", self._apps.list),
            ("GET", "/v1/apps/{app}", "app.show", self._apps.show),
            ("POST", "/v1/apps/{app}/restrict", "app.restrict", self._apps.decides(Status.restricted)),
            ("POST", "/v1/apps/{app}/quarantine", "app.quarantine", self._apps.decides(Status.quarantined)),
            ("POST", "/v1/apps/{app}/release", "app.release", self._apps.decides(Status.active)),
            ("POST", "/v1/apps/{app}/dismiss", "app.dismiss", self._apps.dismiss),
            ("GET", "/v1/openapi.json", "openapi.get", _openapi),
            ("GET", "/metrics", "metrics.get", self._metrics),
        )
        self._actions = {(method, path): (action, handler) for method, path, action, handler in routes}
        for method, path, _, _ in routes:
            app.router.add_route(method, path, _never)
        app.router.add_route("GET", "/livez", self._health.livez)
        app.router.add_route("GET", "/readyz", self._health.readyz)
        app.on_response_prepare.append(_headers)
        return app

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listens, plain HTTP without ``tls``; the port that was bound (``port`` 0 takes a free one). Raises OSError."""
        self._runner = web.AppRunner(self.app(), access_log=None, handle_signals=False, shutdown_timeout=_DRAIN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Lets running calls end, then writes what is still counted of refusals."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._trail.close()

    @web.middleware
    async def _judge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await self._judged(request, handler)
        except Refused as refused:
            return problem(refused.reason, refused.detail, **refused.members)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  (its text may hold what was sent, so only its type is told)
            _log.error("admin_failed", error=type(error).__name__)
            return problem(AdminReason.internal_error)

    async def _judged(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else ""
        if path in ("/livez", "/readyz"):
            return await handler(request)
        action, act = self._actions.get((request.method, path), ("unknown", _unknown))
        if action == "metrics.get" and self._metrics_open:
            return self._exposition(request)
        caller = self._access.caller(request.headers.getall("Authorization", []))
        if isinstance(caller, AdminReason):
            await self._trail.refused(Refusals(None, None), caller.value)
            return problem(caller)
        if not permits(caller, action):
            await self._trail.refused(Refusals(caller.name, action), AdminReason.role_insufficient.value)
            return problem(AdminReason.role_insufficient)
        call = Call(request, caller.name, action, self._trail)
        try:
            return await act(call)
        except Refused as refused:
            if refused.reason in _UNRECORDED:
                await call.record(reason=refused.reason)
            raise
        except ConnectionError:
            raise
        except Exception as error:
            _log.error("admin_call_failed", action=action, error=type(error).__name__)
            await call.record(reason=AdminReason.internal_error)
            raise Refused(AdminReason.internal_error) from error

    async def _metrics(self, call: Call) -> web.Response:
        return self._exposition(call.request)

    def _exposition(self, request: web.Request) -> web.Response:
        expose, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=expose(self._registry), headers={"Content-Type": content_type})


# Refusals that handlers raise before they have written any record of the call.
_UNRECORDED = frozenset(
    {
        AdminReason.request_too_large,
        AdminReason.request_timeout,
        AdminReason.media_type_unsupported,
        AdminReason.import_running,
    }
)


async def _openapi(call: Call) -> web.Response:
    return answer(openapi(), await call.record())


async def _unknown(call: Call) -> web.Response:
    wrong = call.request.match_info.http_exception
    reason = AdminReason.method_not_allowed if wrong is not None and wrong.status == 405 else AdminReason.not_found
    await call.record(reason=reason)
    response = problem(reason)
    if wrong is not None and "Allow" in wrong.headers:
        response.headers["Allow"] = wrong.headers["Allow"]
    return response


async def _never(_request: web.Request) -> web.StreamResponse:
    raise AssertionError("the middleware answers every call")


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
