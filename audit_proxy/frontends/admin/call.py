"""One authenticated admin call, as its handler sees it."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.record import Kind
from audit_proxy.frontends.admin.problems import AdminReason, Refused, encode
from audit_proxy.frontends.admin.trail import Trail

BODY_MAX = 64 * 1024  # bytes of a body, imports excepted
BODY_MAX_S = 10.0  # seconds for a body, imports excepted

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose token was accepted for ``action``. ``actor``: the token's name."""

    request: web.Request
    actor: str
    action: str
    trail: Trail

    @property
    def kind(self) -> Kind:
        return "consent" if self.action.startswith("consent.") and self.action != "consent.get" else "admin"

    async def record(
        self,
        *,
        app: str | None = None,
        target: dict[str, Any] | None = None,
        reason: AdminReason | None = None,
        counts: dict[str, int] | None = None,
    ) -> str:
        """The id of this call's record, once it is durable. Raises Refused (``audit_unavailable``)."""
        resource = self.request.match_info.route.resource
        trace = _TRACEPARENT.match(self.request.headers.get("traceparent", ""))
        try:
            return await self.trail.write(
                self.kind,
                self.action,
                self.actor,
                method=self.request.method if self.request.method in _METHODS else None,
                route=resource.canonical if resource is not None else None,
                app=app,
                target=target,
                reason=reason.value if reason is not None else None,
                counts=counts,
                trace=trace[1] if trace is not None else None,
            )
        except AuditUnavailable as error:
            raise Refused(AdminReason.audit_unavailable) from error

    async def body(self) -> bytes:
        """The whole body. Raises Refused."""
        self.no_coding()
        try:
            async with asyncio.timeout(BODY_MAX_S):
                return await self.request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Refused(AdminReason.request_too_large, f"at most {BODY_MAX} bytes") from error
        except TimeoutError as error:
            raise Refused(AdminReason.request_timeout) from error

    def no_coding(self) -> None:
        """Refuses content codings: nothing here needs them, and a small body could unpack to a large one."""
        if self.request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refused(AdminReason.media_type_unsupported, "send the body without a content coding")


def answer(body: Any, audit_id: str) -> web.Response:
    """A JSON answer that names its record."""
    return web.Response(body=encode(body), content_type="application/json", headers={"X-Audit-Id": audit_id})
