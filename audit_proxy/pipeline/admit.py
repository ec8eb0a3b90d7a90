"""Admission: identity, operation, policy, app status, in that order (DESIGN section 3).

Invariants:

- Every request gets an ``Admission``, refused ones too, so that a denial is recorded like an access.
- Nothing is decided from a cache: tokens' facts may be cached behind the port, the decision never.
- In monitor mode the refusal is kept for the record and the request goes on. A cursor that is not sealed is then the
  platform's own, as monitor lets them out.
- The mode is final once ``identify`` returned. Who breaks off ``identify`` or ``judge`` has an ``Admission`` that names
  nobody wrongly, and decides nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import msgspec

from audit_proxy.core.bearer import PARAMETER, bearer_token
from audit_proxy.core.catalog.matcher import Match, Matcher
from audit_proxy.core.catalog.model import Catalog, Operation, Parameter
from audit_proxy.core.catalog.parameters import Asked, Opener, judge_parameters, open_cursors
from audit_proxy.core.catalog.target import Target, parse_target, without_parameter, without_values
from audit_proxy.core.consent import satisfies
from audit_proxy.core.cursors import Cursors, Reader
from audit_proxy.core.errors import Reason, Refusal, SubjectIdsUnavailable
from audit_proxy.core.exchange import Request
from audit_proxy.core.gateway import GatewayRules, gateway_identity
from audit_proxy.core.identity import Identity
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import App, AppStatus, Mode, Policy, RefusedThirdParty
from audit_proxy.pipeline.permissions import NOBODY_KNOWN, Asker, Permissions, refusal_of
from audit_proxy.pipeline.standings import Standings
from audit_proxy.ports import AppRegistry, SubjectIds, TokenResolver

BodyReader = Callable[[], Awaitable["bytes | Refusal"]]
NO_SCOPES: frozenset[str] = frozenset()


class Admission(msgspec.Struct, eq=False):
    """What is known of a request before the platform is asked. ``available``: approved scopes that the token carries."""

    id: str
    now: float  # seconds since the epoch, when the request began
    method: str
    mode: Mode
    refusal: Refusal | None = None
    identity: Identity | None = None
    app: App | None = None
    target: Target | None = None
    operation: Operation | None = None
    described: Match | Refusal | None = None  # the operation that was found, or why there is none
    asked: Asked | None = None
    available: frozenset[str] = NO_SCOPES
    requirements: tuple[frozenset[str], ...] = ()  # what every person's consent must contain, as an OR of ANDs
    missing: frozenset[str] = NO_SCOPES
    moved_token: str | None = None  # came in the query, goes on in the Authorization header
    by_gateway: bool = False  # identity came in headers of the gateway's
    people: Mapping[RawId, str] = {}  # whom the request's parameters name -> subject; who is not mapped is left out
    unmapped: int = 0  # ids of the request, the holder's included, that mean nobody we know
    app_holder: str | None = None  # the holder's id as the app knows it, where that is not the subject's
    opened: tuple[str, ...] = ()  # the platform's cursors that sealed ones held
    sent: str | None = None  # with some of them in the query: the target that monitor sends
    trace: str | None = None

    def __repr__(self) -> str:  # the token stays out of tracebacks
        return f"Admission({self.id})"

    @property
    def client_id(self) -> str:
        """The app as the platform knows it; "" where the request is nobody's."""
        return self.identity.app if self.identity is not None else ""

    @property
    def asker(self) -> Asker:
        """For whom people permit."""
        return Asker(self.app, self.identity.holder if self.identity is not None else None, self.available, self.now)

    @property
    def label(self) -> str:
        """The app's name in metrics."""
        return self.app.label if self.app is not None else "other"

    @property
    def reader(self) -> Reader:
        """For whom cursors are sealed."""
        return Reader(self.client_id, self.identity.holder if self.identity is not None else None)


class Admitter:
    """Holds what admission needs; one instance serves all requests."""

    def __init__(
        self,
        catalog: Catalog,
        policy: Policy,
        tokens: TokenResolver,
        apps: AppRegistry,
        ids: SubjectIds,
        permissions: Permissions,
        standings: Standings,
        *,
        unsafe_token_in_query: bool = False,
        gateway: GatewayRules | None = None,
        cursors: Cursors | None = None,
    ) -> None:
        self._catalog = catalog
        self._matcher = Matcher(catalog.operations)
        self._encoded_slash = any(
            parameter.encoded_slash for operation in catalog.operations for parameter in operation.parameters.values()
        )
        self._policy = policy
        self._tokens = tokens
        self._apps = apps
        self._ids = ids
        self._permissions = permissions
        self._standings = standings
        self._gateway = gateway
        self._cursors = cursors
        self._unsafe_token_in_query = unsafe_token_in_query
        self._available: dict[tuple[frozenset[str], frozenset[str]], frozenset[str]] = {}

    async def admit(self, request: Request, id: str, now: float, read_body: BodyReader) -> Admission:  # noqa: A002
        """Judges a request. ``read_body`` is awaited only where the body has to be judged."""
        admission = self.begin(request, id, now)
        await self.identify(request, admission)
        await self.judge(request, admission, read_body)
        return admission

    def begin(self, request: Request, id: str, now: float) -> Admission:  # noqa: A002
        """What is known before anybody is asked: operation, and mode as far as the app has no say in it."""
        admission = Admission(
            id, now, request.method, self._policy.mode, trace=_trace(request.headers.get("traceparent"))
        )
        target = parse_target(request.target, encoded_slash=self._encoded_slash)
        if isinstance(target, Target):
            admission.target = target
            admission.described = self._describe(request, target, admission)
        else:
            admission.described = target
        admission.mode = self._mode(admission)
        return admission

    def lapsed(self, admission: Admission, now: float) -> Refusal | None:
        """Why a request that was admitted would not be any more: for an answer that goes on and on."""
        identity = admission.identity
        if identity is None:
            return None
        if now >= identity.expires_at:
            return Refusal(Reason.token_expired, "the token has expired")
        app = self._app(identity.app)
        return self._barred(app) or self._blocked(app, identity, now)

    def _barred(self, app: App | None) -> Refusal | None:
        if app is None:
            return Refusal(Reason.app_unknown, "the app is not registered")
        if app.status is not AppStatus.active:
            return Refusal(Reason.app_suspended, "the app is suspended")
        return self._standings.barred(app)

    def _blocked(self, app: App | None, identity: Identity, now: float) -> Refusal | None:
        return None if app is None else self._standings.blocked(app, identity.holder, now)

    def _app(self, client_id: str) -> App | None:
        return self._apps.find(client_id) or self._policy.profile(client_id)

    async def identify(self, request: Request, admission: Admission) -> None:
        """Learns who asks, and the mode."""
        refusal = await self._identify(request, admission)
        admission.mode = self._mode(admission)
        described = admission.described
        if refusal is not None and refusal.reason is Reason.token_missing and isinstance(described, Match):
            refusal = None if described.operation.anonymous else _token_missing(described.operation)
        admission.refusal = refusal

    async def judge(self, request: Request, admission: Admission, read_body: BodyReader) -> None:
        """Judges the request of whoever was identified."""
        identity, described = admission.identity, admission.described
        unknown = await self._map_holder(identity, admission) if identity is not None and identity.app_scoped else None
        refusal = admission.refusal or unknown
        if refusal is None and admission.identity is not None:
            refusal = self._blocked(admission.app, admission.identity, admission.now)
        if refusal is None:
            refusal = (
                await self._judge(request, described, admission, read_body)
                if isinstance(described, Match)
                else described
            )
        admission.refusal = refusal

    def _mode(self, admission: Admission) -> Mode:
        return self._policy.mode_for(admission.app, admission.operation.id if admission.operation else None)

    async def _identify(self, request: Request, admission: Admission) -> Refusal | None:
        found = None
        if self._gateway is not None:
            found = gateway_identity(request.headers, request.peer, self._gateway)
            admission.by_gateway = found is not None
        if found is None:
            found = await self._verify(request, admission)
        if isinstance(found, Refusal):
            return found
        admission.identity = found
        admission.app = self._app(found.app)
        return self._barred(admission.app)

    async def _map_holder(self, identity: Identity, admission: Admission) -> Refusal | None:
        """Makes an app-scoped holder the subject that the id means; whoever is not mapped holds nothing."""
        if identity.holder is None:
            return None
        raw = admission.app_holder = identity.holder.partition(":")[2]
        refusal = None
        admission.identity = replace(identity, holder=None, app_scoped=False)  # until it is known whom the id means
        try:
            known = await self._ids.subjects(identity.app, (raw,))
        except SubjectIdsUnavailable as error:
            known = error.known
            refusal = Refusal(Reason.holder_unavailable, "who holds the token cannot be looked up now")
        admission.identity = replace(identity, holder=known.get(raw), app_scoped=False)
        admission.unmapped += raw not in known
        return None if raw in known else refusal

    async def _map_people(self, asked: Asked, admission: Admission) -> None:
        people = frozenset(asked.people)
        try:
            admission.people = await self._ids.subjects(admission.client_id, people)
        except SubjectIdsUnavailable as error:
            admission.people = error.known
        admission.unmapped += len(people) - len(admission.people)

    async def _verify(self, request: Request, admission: Admission) -> Identity | Refusal:
        """Who asks, by the request's token."""
        authorization, target = request.headers.get("authorization"), admission.target
        query = target.query if target is not None else ()
        token = bearer_token(authorization, query, unsafe_in_query=self._unsafe_token_in_query)
        if isinstance(token, Refusal):
            return token
        if authorization is None:
            assert target is not None  # the token stands in its query
            admission.moved_token = token
            admission.target = without_parameter(target, PARAMETER)
        return await self._tokens.resolve(token, admission.now)

    def _describe(self, request: Request, target: Target, admission: Admission) -> Match | Refusal:
        match = self._matcher.find(request.method, target.segments)
        if isinstance(match, Match):
            admission.operation = match.operation
        return match

    async def _judge(
        self, request: Request, match: Match, admission: Admission, read_body: BodyReader
    ) -> Refusal | None:
        operation = match.operation
        admission.available = self._scopes(admission)
        assert admission.target is not None  # a match has one
        if operation.unjudged:
            asked: Asked | Refusal = Asked()
        else:
            opener = None
            if operation.cursors:
                opener = self._opener(operation, admission)
                opened = open_cursors(operation, admission.target, opener)
                if isinstance(opened, Refusal):
                    return opened
                admission.target = opened
                admission.sent = opened.text if admission.opened else None
            body = await read_body()
            if isinstance(body, Refusal):
                return body
            asked = judge_parameters(match, admission.target, request.headers.get("content-type", ""), body, opener)
        if isinstance(asked, Refusal):
            return asked
        admission.asked = asked
        if asked.people:
            await self._map_people(asked, admission)
        extra = asked.scopes
        admission.requirements = (
            tuple(one | extra for one in operation.requirements) if extra else operation.requirements
        )
        needed = (
            tuple(one | asked.token_scopes for one in admission.requirements)
            if asked.token_scopes
            else admission.requirements
        )
        if not (satisfies(needed, admission.available) or (operation.unjudged and not needed)):
            return self._scope_refusal(needed, admission)
        if asked.people and operation.lists_people:
            return await self._ask_for_fewer(operation, admission, asked)
        return None

    async def _ask_for_fewer(self, operation: Operation, admission: Admission, asked: Asked) -> Refusal | None:
        """Takes out of arrays of people who refuses: the platform would say of them what it does not of an unknown id."""
        rule = self._policy.operations.get(operation.id)
        if ((rule and rule.refused_third_party) or self._policy.refused_third_party) is not RefusedThirdParty.drop:
            return None
        assert admission.target is not None  # a match has one
        permissions, _, _ = await self._permissions.of(admission.asker, admission.people)
        needed = admission.requirements
        refusing = {one for one in asked.people if refusal_of(permissions.get(one, NOBODY_KNOWN), needed) is not None}
        if refusing:
            fewer = without_values(admission.target, operation.lists_people, refusing)
            if fewer is None:
                return Refusal(Reason.not_found)
            admission.target = fewer
        return None

    def _opener(self, operation: Operation, admission: Admission) -> Opener:
        reader, monitor = admission.reader, admission.mode is Mode.monitor

        def opened(parameter: Parameter, text: str) -> str | None:
            found = self._cursors.opened(reader, operation, parameter, text) if self._cursors is not None else None
            if found is None:
                return text if monitor else None
            if found != text:
                admission.opened = (*admission.opened, found)
            return found

        return opened

    def _scopes(self, admission: Admission) -> frozenset[str]:
        if admission.identity is None or admission.app is None:
            return NO_SCOPES
        key = (admission.identity.scopes, admission.app.approved_scopes)
        found = self._available.get(key)
        if found is None:
            if len(self._available) > 10_000:
                self._available.clear()
            expand = self._catalog.expand
            found = self._available[key] = expand(key[0]) & expand(key[1])
        return found

    def _scope_refusal(self, needed: tuple[frozenset[str], ...], admission: Admission) -> Refusal:
        best = min(needed, key=lambda one: len(one - admission.available), default=NO_SCOPES)
        admission.missing = best - admission.available
        granted = self._catalog.expand(admission.identity.scopes) if admission.identity is not None else NO_SCOPES
        if needed and admission.missing <= granted:
            return Refusal(Reason.scope_not_approved, "the token has the scope, the app is not approved for it", best)
        return Refusal(Reason.scope_missing, "the token lacks a scope that the request needs", best)


def _token_missing(operation: Operation) -> Refusal:
    scopes = min(operation.requirements, key=len, default=NO_SCOPES)
    return Refusal(Reason.token_missing, "the operation needs a bearer token", scopes)


def _trace(header: str | None) -> str | None:
    """The trace-id of a W3C traceparent (version 00), or None."""
    if header is None or len(header) != 55 or header[2] != "-" or header[35] != "-":
        return None
    trace = header[3:35]
    return trace if all(c in "0123456789abcdef" for c in trace) else None
