"""Signed JWTs as access tokens (port ``TokenResolver``), verified with PyJWT's algorithms.

Invariants:

- Only facts are cached (the identity and its validity), under a hash of the token; time is judged afresh at every look.
- A cached token stands only while the key set that verified it is the issuer's current one: a key taken out of the
  set takes its tokens with it.
- Refusals are not cached, so that a flood of bad tokens cannot push good ones out.
- A token is verified with keys of the issuer it names and with an algorithm pinned for that issuer, and no other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt

from audit_proxy.core.cache import Generations
from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import ClaimRules, Identity, judge_time, read_claims
from audit_proxy.core.jose import TOKEN_MAX, CompactToken, KeySet, VerificationKey, parse_compact, same_typ
from audit_proxy.ports import IssuerKeys


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """One issuer. ``leeway`` in seconds; ``required_typ`` e.g. ``at+jwt`` (RFC 9068 section 2.1)."""

    claims: ClaimRules
    algorithms: frozenset[str]
    leeway: float = 0.0
    required_typ: str | None = None


@dataclass(frozen=True, slots=True)
class _Issuer:
    config: IssuerConfig
    keys: IssuerKeys


# identity, valid from, valid until (both with leeway), the key set that verified it, where the current one is
_Entry = tuple[Identity, float, float, KeySet, IssuerKeys]


class JwtResolver:
    """Tokens of several issuers. ``keys`` holds one source of keys for each issuer, by its exact ``iss``.

    ``cache_entries`` bounds the verified tokens remembered, about 700 bytes each.
    """

    def __init__(
        self, issuers: Sequence[IssuerConfig], keys: Mapping[str, IssuerKeys], *, cache_entries: int = 100_000
    ) -> None:
        self._issuers = {one.claims.issuer: _Issuer(one, keys[one.claims.issuer]) for one in issuers}
        if not issuers or len(self._issuers) != len(issuers):
            raise ValueError("issuers: at least one, and each once")
        pinned = {algorithm for one in issuers for algorithm in one.algorithms}
        self._verifiers: dict[str, Any] = {name: jwt.get_algorithm_by_name(name) for name in sorted(pinned)}
        if "none" in self._verifiers:
            raise ValueError("unsigned tokens are never accepted")
        self._verified: Generations[bytes, _Entry] = Generations(cache_entries)

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        """The port's method. A cached token costs one hash and one look-up."""
        if len(token) > TOKEN_MAX:
            return Refusal(Reason.token_malformed, f"the token is longer than {TOKEN_MAX} characters")
        try:
            digest = sha256(token.encode()).digest()
        except UnicodeEncodeError:  # bytes that were no UTF-8 arrive as lone surrogates
            return Refusal(Reason.token_malformed, "the token is not ASCII")
        entry = self._verified.get(digest)
        if entry is None:
            return await self._verify(token, digest, now)
        identity, since, until, keys, source = entry
        if since <= now < until and source.current is keys:
            return identity
        self._verified.discard(digest)
        return await self._verify(token, digest, now)

    def __len__(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._verified)

    async def _verify(self, token: str, digest: bytes, now: float) -> Identity | Refusal:
        parsed = parse_compact(token)
        if isinstance(parsed, Refusal):
            return parsed
        claimed = parsed.claims.get("iss")
        issuer = self._issuers.get(claimed) if isinstance(claimed, str) else None
        if issuer is None:
            return Refusal(Reason.issuer_unknown, "no configured issuer has this 'iss'")
        config = issuer.config
        if parsed.algorithm not in config.algorithms:
            return Refusal(Reason.token_invalid, "the token's 'alg' is not one that this issuer may use")
        if config.required_typ is not None and not same_typ(parsed.typ, config.required_typ):
            return Refusal(Reason.token_invalid, f"the token's 'typ' is not {config.required_typ}")
        keys = issuer.keys.current
        if keys is None:
            return Refusal(Reason.keys_unavailable, "the issuer's keys could not be fetched")
        candidates = keys.candidates(parsed.kid, parsed.algorithm)
        if not candidates and parsed.kid is not None:  # a key that is newer than the set, or none at all
            keys = await issuer.keys.renewed(keys)
            if keys is None:
                return Refusal(
                    Reason.keys_unavailable, "the token's key is unknown, and the keys cannot be fetched now"
                )
            candidates = keys.candidates(parsed.kid, parsed.algorithm)
        if not self._signed(parsed, candidates):
            return Refusal(Reason.token_invalid, "no key of the issuer verifies the token's signature")
        verified = read_claims(parsed.claims, config.claims)
        if isinstance(verified, Refusal):
            return verified
        identity, not_before = verified.identity, verified.not_before
        refusal = judge_time(identity.expires_at, not_before, config.leeway, now)
        if refusal is not None:
            return refusal
        until = identity.expires_at + config.leeway
        self._verified.put(digest, (identity, not_before - config.leeway, until, keys, issuer.keys))
        return identity

    def _signed(self, token: CompactToken, keys: Iterable[VerificationKey]) -> bool:
        # Algorithm.verify, not PyJWS.decode: the latter reads the token a second time, more leniently than parse_compact
        verifier = self._verifiers[token.algorithm]
        return any(verifier.verify(token.signing_input, key.material, token.signature) for key in keys)
