"""What an exchange goes through, the data plane's settings, and a refusal as an answer."""

from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from audit_proxy.core.errors import Refusal
from audit_proxy.core.redaction import Group
from audit_proxy.frontends.data_plane.headers import Headers, PeerTrust, judged_response
from audit_proxy.frontends.data_plane.problems import challenge, problem, proxy_status
from audit_proxy.frontends.data_plane.upstream import UpstreamClient
from audit_proxy.pipeline.admit import Admission, Admitter
from audit_proxy.pipeline.record import Recorder
from audit_proxy.pipeline.reserve import Reserver
from audit_proxy.pipeline.review import Reviewer
from audit_proxy.ports import Clock, Metrics


@dataclass(frozen=True, slots=True)
class Wire:
    """The data plane's own settings. Sizes in bytes, times in seconds."""

    request_body: int
    response_body: int
    in_flight: int
    trusted: PeerTrust
    via: str
    realm: str
    dialect: str
    forward_token: bool
    credential: str | None
    monitor_delay_s: float  # the most that monitor holds a request and its answer back
    gateway_headers: frozenset[str] = frozenset()  # in lower case; none: identity comes from tokens alone
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Stages:
    """What an exchange goes through."""

    admitter: Admitter
    reviewer: Reviewer
    reserver: Reserver
    recorder: Recorder
    upstream: UpstreamClient
    metrics: Metrics
    clock: Clock
    wire: Wire

    def passing(
        self, admission: Admission, status: int, headers: Headers
    ) -> tuple[CIMultiDict[str], tuple[Group, ...]]:
        """The headers of a judged answer that pass, and what of their paging state is withheld."""
        assert admission.operation is not None  # admitted
        described = admission.operation.response(status)
        passing = judged_response(headers, described.headers if described is not None else frozenset())
        if described is None or not described.cursors:
            return passing, ()
        sealed, lost = self.reviewer.headers(admission, status, passing.items())
        return CIMultiDict(sealed), lost


def problem_response(wire: Wire, refusal: Refusal, audit_id: str | None, received: int | None = None) -> web.Response:
    """A refusal as an answer."""
    status, headers, body = problem(refusal, wire.dialect)
    value = challenge(refusal, wire.realm)
    if value is not None:
        headers["WWW-Authenticate"] = value
    headers["Proxy-Status"] = proxy_status(wire.via, refusal, received)
    if audit_id is not None:
        headers["X-Audit-Id"] = audit_id
    if status == 503:
        headers["Retry-After"] = "1"
    elif refusal.retry_after_s:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(status=status, headers=headers, body=body)
