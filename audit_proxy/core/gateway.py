"""Identity in headers, from a gateway that has verified the app's token itself.

Invariants:

- Headers count only on a connection whose client certificate was verified and is one of the gateway's. On any other they
  say nothing, whatever they hold: identity then comes from a token.
- On the gateway's connection the headers alone say who asks; a token beside them is the gateway's to forward.
- A header that is there and malformed, or there twice, is a refusal, never a partial identity.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.exchange import Peer
from audit_proxy.core.identity import Identity, holder_subject, parse_scopes, valid_app

_MISSING = Refusal(Reason.token_missing, "the gateway names no app")


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """Whose headers are believed, and which. ``certificates``: names as ``Peer.names``; header names in lower case."""

    issuer: str
    certificates: frozenset[str]
    app_header: str
    holder_header: str
    scopes_header: str
    holder_namespace: str
    holder_app_scoped: bool = False

    @property
    def headers(self) -> frozenset[str]:
        return frozenset({self.app_header, self.holder_header, self.scopes_header})


def gateway_identity(headers: Mapping[str, str], peer: Peer | None, rules: GatewayRules) -> Identity | Refusal | None:
    """Who asks, as the gateway says; None where the connection is not the gateway's.

    ``headers`` by lower-case name, the values of one that stands twice joined by commas.
    """
    if peer is None or rules.certificates.isdisjoint(peer.names):
        return None
    named = headers.get(rules.app_header, "")
    if not named:
        return _MISSING
    app = None if "," in named else valid_app(named)
    if app is None:
        return _malformed(rules.app_header)
    scopes = parse_scopes(headers.get(rules.scopes_header, ""))
    if scopes is None or any("," in scope for scope in scopes):
        return _malformed(rules.scopes_header)
    holder, person = None, headers.get(rules.holder_header, "")
    if person and person != app:  # without one, or with the app's own id: app-only (RFC 9068)
        holder = None if "," in person else holder_subject(rules.holder_namespace, person)
        if holder is None:
            return _malformed(rules.holder_header)
    return Identity(rules.issuer, app, holder, scopes, math.inf, app_scoped=rules.holder_app_scoped)


def _malformed(header: str) -> Refusal:
    return Refusal(Reason.token_malformed, f"the gateway's header {header!r} is malformed, or stands twice")
