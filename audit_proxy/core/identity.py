"""Who asks: what a verified token says, as values.

``ClaimRules`` and ``read_claims`` turn the claims of a token whose signature holds into an ``Identity``; ``judge_time``
says whether it is valid now.

Invariants:

- A malformed scope claim is a refusal, never a partial grant.
- A person is ``namespace:canonical-id``; a namespace holds no colon, so the first colon ends it.
- A holder's id may be app-scoped (the issuer's setting says so): whom it means, ``SubjectIds`` says.
- An app-only token has no holder, whatever its ``sub`` says; a token that names neither is refused.
- Claims are never coerced: a time is a number, an app a text, a holder a text or an integer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit_proxy.core.errors import Reason, Refusal

SUBJECT_ID_MAX = 256  # characters of a canonical id; a longer one is not resolvable
_NAMESPACE = re.compile(r"[a-z][a-z0-9_.-]{0,62}\Z")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+\Z")  # RFC 6749 section 3.3, NQCHAR


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified token's facts. ``expires_at`` and ``issued_at`` in seconds since the epoch."""

    issuer: str
    app: str
    holder: str | None  # "namespace:id", None for an app-only token; where it is app-scoped, not yet a subject
    scopes: frozenset[str]
    expires_at: float
    issued_at: float | None = None
    app_scoped: bool = False  # the holder's id is one that only this app knows the person by


def valid_namespace(text: str) -> bool:
    return _NAMESPACE.match(text) is not None


def subject(namespace: str, canonical_id: object) -> str | None:
    """``namespace:id`` for a string or integer id, else None (a third party without a grant, by the caller's rule)."""
    if canonical_id.__class__ is int:
        return f"{namespace}:{canonical_id}"
    if canonical_id.__class__ is str and 0 < len(canonical_id) <= SUBJECT_ID_MAX:
        return f"{namespace}:{canonical_id}"
    return None


def holder_subject(namespace: str, value: object) -> str | None:
    """``namespace:id`` of a token's holder, None where the value is no id: a text of printable characters or an integer."""
    if isinstance(value, int) and not -_HOLDER_INT <= value < 2 * _HOLDER_INT:
        return None
    if isinstance(value, str) and not value.isprintable():  # control characters, lone surrogates
        return None
    return subject(namespace, value)


def valid_app(value: object) -> str | None:
    """A client id from a text or an integer, None where the value is none (RFC 6749 appendix A.1)."""
    if value.__class__ is int:
        value = str(value)
    return value if isinstance(value, str) and _APP_ID.match(value) is not None else None


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


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """How one issuer's claims are read. Claim names are taken literally first, then as a dotted path of objects."""

    issuer: str
    audiences: frozenset[str]
    holder_namespace: str
    app_claims: tuple[str, ...] = ("client_id", "azp")  # the first present names the app
    holder_claim: str = "sub"
    holder_app_scoped: bool = False
    app_only_claim: str | None = None  # its presence marks an app-only token; false and null count as absent
    app_only_value: str | None = None  # if set, only this value of it does
    scope_claims: tuple[str, ...] = ("scope", "scp")  # several present must agree


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verified token says, and from when it says so (seconds since the epoch, 0.0: always)."""

    identity: Identity
    not_before: float


_APP_ID = re.compile(r"[\x20-\x7E]{1,256}\Z")  # RFC 6749 appendix A.1, VSCHAR, bounded
_HOLDER_INT = 2**63
TIME_MAX = 253_402_300_800.0  # the year 10000: what lies past it is a mistake of units
_ABSENT = object()


def read_claims(claims: Mapping[str, Any], rules: ClaimRules) -> Verified | Refusal:
    """The identity in the claims of a token whose signature holds (RFC 7519 section 4.1, RFC 9068 section 2.2).

    Judges everything but time: see ``judge_time``.
    """
    if claims.get("iss") != rules.issuer:
        return Refusal(Reason.token_invalid, "the token is of another issuer")
    audience = _audience(claims.get("aud"))
    if audience is None:
        return _malformed("'aud' is neither a text nor an array of texts")
    if not audience & rules.audiences:
        return Refusal(Reason.token_invalid, "the token is not meant for this API ('aud')")
    expires_at, not_before, issued_at = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires_at is None or "exp" not in claims:
        return _malformed("'exp' is missing or not a time in seconds")
    if not_before is None or issued_at is None:
        return _malformed("'nbf' or 'iat' is not a time in seconds")
    app = _app(claims, rules)
    if app is None:
        return _malformed("the claim that names the app is missing or not a client id")
    scopes = _scopes(claims, rules)
    if scopes is None:
        return _malformed("a scope claim is malformed, or two of them disagree")
    holder = _holder(claims, rules, app)
    if holder is None:
        return _malformed("the claim that names the holder is missing or not an id")
    return Verified(
        Identity(
            issuer=rules.issuer,
            app=app,
            holder=holder or None,
            scopes=scopes,
            expires_at=expires_at,
            issued_at=issued_at if "iat" in claims else None,
            app_scoped=rules.holder_app_scoped,
        ),
        not_before,
    )


def judge_time(expires_at: float, not_before: float, leeway: float, now: float) -> Refusal | None:
    """Why a token is not valid now: on or after ``exp`` plus leeway, or before ``nbf`` minus leeway (RFC 7519 4.1.4-5)."""
    if now >= expires_at + leeway:
        return Refusal(Reason.token_expired, "the token has expired")
    if now < not_before - leeway:
        return Refusal(Reason.token_not_yet_valid, "the token is not valid yet ('nbf')")
    return None


def claim_at(claims: Mapping[str, Any], name: str) -> object:
    """The claim of that very name (URL-like names hold dots), else the one at that dotted path, else ``_ABSENT``."""
    if name in claims:
        return claims[name]
    place: object = claims
    for part in name.split("."):
        if not isinstance(place, dict) or part not in place:
            return _ABSENT
        place = place[part]
    return place


def _audience(claim: object) -> frozenset[str] | None:
    if isinstance(claim, str):
        return frozenset({claim})
    if isinstance(claim, list) and all(isinstance(one, str) for one in claim):
        return frozenset(claim)
    return None


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate; 0.0 where the claim is absent, None where it is no time."""
    value = claims.get(name, 0.0)
    if value.__class__ not in (int, float) or not 0 <= value < TIME_MAX:
        return None
    return float(value)


def _app(claims: Mapping[str, Any], rules: ClaimRules) -> str | None:
    for name in rules.app_claims:
        value = claim_at(claims, name)
        if value is not _ABSENT:
            return valid_app(value) if isinstance(value, str) else None
    return None


def _scopes(claims: Mapping[str, Any], rules: ClaimRules) -> frozenset[str] | None:
    found: frozenset[str] | None = None
    for name in rules.scope_claims:
        value = claim_at(claims, name)
        if value is _ABSENT:
            continue
        scopes = parse_scopes(value)
        if scopes is None or (found is not None and scopes != found):
            return None
        found = scopes
    return frozenset() if found is None else found


def _holder(claims: Mapping[str, Any], rules: ClaimRules, app: str) -> str | None:
    """``namespace:id``, "" for an app-only token, None where the claim is missing or no id."""
    if rules.app_only_claim is not None:
        mark = claim_at(claims, rules.app_only_claim)
        if mark == rules.app_only_value if rules.app_only_value is not None else _marks(mark):
            return ""
    value = claim_at(claims, rules.holder_claim)
    # RFC 9068 section 2.2: without a resource owner, sub is the client; an id may be a number here and a text there
    if str(value) == app or str(claims.get("sub")) == app:
        return ""
    return holder_subject(rules.holder_namespace, value)


def _marks(mark: object) -> bool:
    return mark is not _ABSENT and mark is not None and mark is not False


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.token_malformed, detail)
