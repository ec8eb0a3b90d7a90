"""Writes: requests whose method is not a safe one (RFC 9110 section 9.2.1).

Invariants:

- A write is forwarded only after a record of the intent is durable.
- Once the platform has answered a write, the app gets the platform's status, whatever is refused and whatever fails: the
  body goes, ``X-Audit-Id`` stays, and nothing (502, 503, 404, ``Retry-After``) drives an app to repeat it.
"""

from aiohttp import web

from audit_proxy.core.errors import Refusal
from audit_proxy.frontends.data_plane.problems import proxy_status

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def is_write(method: str) -> bool:
    return method not in _SAFE


def withheld_response(via: str, refusal: Refusal, audit_id: str, received: int) -> web.Response:
    """The platform's status without its body. ``Proxy-Status`` says why."""
    headers = {
        "X-Audit-Id": audit_id,
        "Proxy-Status": proxy_status(via, refusal, received),
        "Cache-Control": "no-store",
    }
    return web.Response(status=received, headers=headers)
