"""Which headers pass, in each direction.

Invariants:

- Hop-by-hop headers and those that ``Connection`` names never pass (RFC 9110 section 7.6.1).
- On judged operations both directions are allowlists: what could carry data, credentials or a second meaning of the
  request stays out. Conditional and range headers do not reach the platform.
- ``Forwarded`` and ``X-Forwarded-*`` of peers that are not configured as trusted are replaced, not extended.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from audit_proxy.frontends.data_plane.coding import ACCEPTED

Headers = CIMultiDictProxy[str]
AnyHeaders = Headers | CIMultiDict[str]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "http2-settings",
    }
)
_FORWARDED = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "via"}
)
_OURS = frozenset({"host", "content-length", "expect"}) | HOP_BY_HOP | _FORWARDED
_OVERRIDES = frozenset(
    {
        "x-audit-id", "proxy-status",
        "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-override-url",
        "x-original-uri", "x-forwarded-uri", "x-forwarded-path", "x-forwarded-prefix", "x-forwarded-method",
        "x-http-destinationurl", "x-proxy-url", "request-uri", "x-host", "x-http-host-override", "x-original-host",
        "x-forwarded-server", "x-forwarded", "proxy", "proxy-host", "proxy-url",
    }
)  # fmt: skip
_NEVER = (  # on judged operations, also where a catalog describes them
    _OURS | _OVERRIDES | {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"}
)
_REQUEST_ALLOWED = frozenset(
    {
        "accept",
        "accept-language",
        "authorization",
        "content-type",
        "user-agent",
        "traceparent",
        "tracestate",
        "idempotency-key",
        "origin",
        "dpop",
    }
)
_NONE: list[str] = []
_ALIVE = ["keep-alive"]  # nearly always
_RESPONSE_ALLOWED = frozenset({"retry-after", "deprecation", "sunset", "vary"})


class PeerTrust:
    """Networks whose forwarding headers are believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(one) for one in networks]

    def __contains__(self, peer: str | None) -> bool:
        if peer is None or not self._networks:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def as_spelled(request: web.BaseRequest) -> AnyHeaders:
    """A request's headers, each name as the app spelled it: the library's have a spelling of their own for names it knows."""
    return CIMultiDict((k.decode("latin-1"), v.decode("utf-8", "surrogateescape")) for k, v in request.raw_headers)


def named_by_connection(headers: AnyHeaders) -> frozenset[str]:
    """Further hop-by-hop headers: those that ``Connection`` names, in lower case."""
    values = headers.getall("Connection", _NONE)
    if values is _NONE or values == _ALIVE:
        return frozenset()
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def to_upstream(
    headers: AnyHeaders,
    *,
    judged: bool,
    described: frozenset[str],
    credential: str | None,
    forward_token: bool,
    unbelieved: frozenset[str] = frozenset(),
    overrides: bool = False,
) -> CIMultiDict[str]:
    """The request's headers for the platform. ``described``: header parameters of the operation, in lower case;
    ``credential``: the Authorization value that replaces the app's, or None; ``unbelieved``: those that only a gateway may
    send, and none did; ``overrides``: whether those pass that name another method, path or host.
    """
    dropped = named_by_connection(headers) | unbelieved
    result: CIMultiDict[str] = CIMultiDict()
    spelled: dict[str, str] = {}  # the client takes a repeated name in another spelling for a replacement
    for name, value in headers.items():
        lowered = name.lower()
        if judged:
            if lowered not in _REQUEST_ALLOWED and (lowered not in described or lowered in _NEVER):
                continue
        elif lowered in _OURS or (lowered in _OVERRIDES and not overrides):
            continue
        if lowered in dropped or (lowered == "authorization" and not forward_token):
            continue
        result.add(name if judged else spelled.setdefault(lowered, name), value)
    if credential is not None:
        result["Authorization"] = credential
    if judged:
        result["Accept-Encoding"] = ACCEPTED
    return result


def add_forwarding(
    result: CIMultiDict[str], incoming: Headers, peer: str | None, *, trusted: bool, via: str, scheme: str
) -> None:
    """Sets ``Forwarded`` (RFC 7239), ``X-Forwarded-*`` and ``Via`` (RFC 9110 section 7.6.3)."""
    address = peer or "unknown"
    node = f'"[{address}]"' if ":" in address else address
    host = incoming.get("Host", "")
    before: Sequence[str] = incoming.getall("Forwarded", []) if trusted else ()
    quoted = f';host="{host}"' if host and '"' not in host and "\\" not in host else ""
    result["Forwarded"] = ", ".join([*before, f"for={node};proto={scheme}{quoted}"])
    before = incoming.getall("X-Forwarded-For", []) if trusted else ()
    result["X-Forwarded-For"] = ", ".join([*before, address])
    result["X-Forwarded-Proto"] = incoming.get("X-Forwarded-Proto", scheme) if trusted else scheme
    if host:
        result["X-Forwarded-Host"] = incoming.get("X-Forwarded-Host", host) if trusted else host
    result["Via"] = ", ".join([*incoming.getall("Via", []), f"1.1 {via}"])


def judged_response(headers: Headers, described: frozenset[str]) -> CIMultiDict[str]:
    """The few of a judged answer's headers that pass: representation data is made anew by the caller."""
    dropped = named_by_connection(headers)
    result: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lowered = name.lower()
        if (
            (lowered in _RESPONSE_ALLOWED or lowered in described)
            and lowered not in dropped
            and lowered not in HOP_BY_HOP
        ):
            result.add(name, value)
    return result


def whole_response(headers: Headers) -> CIMultiDict[str]:
    """All end-to-end headers, for what passes unjudged."""
    dropped = named_by_connection(headers) | HOP_BY_HOP
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
