"""Who asks: what a verified token says, as values.

Invariants:

- A malformed scope claim is a refusal, never a partial grant.
- A person is ``namespace:canonical-id``; a namespace holds no colon, so the first colon ends it.
- An app-only token has no holder.
"""

import re
from dataclasses import dataclass

SUBJECT_ID_MAX = 256  # characters of a canonical id; a longer one is not resolvable
_NAMESPACE = re.compile(r"[a-z][a-z0-9_.-]{0,62}\Z")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+\Z")  # RFC 6749 section 3.3, NQCHAR


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified token's facts. ``expires_at`` and ``issued_at`` in seconds since the epoch."""

    issuer: str
    app: str
    holder: str | None  # "namespace:id", None for an app-only token
    scopes: frozenset[str]
    expires_at: float
    issued_at: float | None = None


def valid_namespace(text: str) -> bool:
    return _NAMESPACE.match(text) is not None


def subject(namespace: str, canonical_id: object) -> str | None:
    """``namespace:id`` for a string or integer id, else None (a third party without a grant, by the caller's rule)."""
    if canonical_id.__class__ is int:
        return f"{namespace}:{canonical_id}"
    if canonical_id.__class__ is str and 0 < len(canonical_id) <= SUBJECT_ID_MAX:  # type: ignore[arg-type]
        return f"{namespace}:{canonical_id}"
    return None


def parse_scopes(claim: object) -> frozenset[str] | None:
    """A ``scope`` string (RFC 8693 section 4.2: separated by single spaces) or an array of scope tokens; None when malformed."""
    if isinstance(claim, str):
        tokens: list[object] = list(claim.split(" ")) if claim else []
    elif isinstance(claim, list):
        tokens = claim
    else:
        return None
    scopes = set()
    for token in tokens:
        if not isinstance(token, str) or _SCOPE_TOKEN.match(token) is None:
            return None
        scopes.add(token)
    return frozenset(scopes)
