"""Who calls the admin API, and what that token may do.

Invariants:

- Every stored hash is compared, in constant time: how long it takes tells nothing about any of them.
- What no role names, no role may do.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Protocol

from audit_proxy.frontends.admin.problems import AdminReason

_TOKEN_MAX = 512  # characters

ACTIONS: dict[str, frozenset[str]] = {
    "consent.put": frozenset({"consent", "admin"}),
    "consent.withdraw": frozenset({"consent", "admin"}),
    "consent.import": frozenset({"consent", "admin"}),
    "consent.loaded": frozenset({"consent", "admin"}),
    "consent.get": frozenset({"reader", "admin"}),
    "subject.erase": frozenset({"admin"}),
    "subject.pseudonyms": frozenset({"reader", "admin"}),
    "keys.list": frozenset({"reader", "admin"}),
    "keys.rotate": frozenset({"admin"}),
    "log.retention": frozenset({"reader", "admin"}),
    "log.prune": frozenset({"admin"}),
    "app.list": frozenset({"reader", "admin"}),
    "app.show": frozenset({"reader", "admin"}),
    "app.restrict": frozenset({"admin"}),
    "app.quarantine": frozenset({"admin"}),
    "app.release": frozenset({"admin"}),
    "app.dismiss": frozenset({"admin"}),
    "metrics.get": frozenset({"reader", "admin"}),
    "openapi.get": frozenset({"consent", "reader", "admin"}),
    "unknown": frozenset({"consent", "reader", "admin"}),  # a path or method there is not: answered 404 or 405
}


class Token(Protocol):
    """A token as the settings hold it."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def sha256(self) -> bytes: ...


class Access:
    def __init__(self, tokens: Iterable[Token]) -> None:
        self._tokens = tuple(tokens)

    def caller(self, authorization: list[str]) -> Token | AdminReason:
        """The token that the request's ``Authorization`` fields carry, or why there is none."""
        if not authorization:
            return AdminReason.token_missing
        scheme, _, text = authorization[0].partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer" or not 0 < len(text) <= _TOKEN_MAX:
            return AdminReason.token_invalid
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return found[0] if found else AdminReason.token_invalid


def permits(token: Token, action: str) -> bool:
    return token.role in ACTIONS.get(action, frozenset())
