"""JOSE as values: compact tokens, key sets, and which key may verify which token. No cryptography happens here.

Invariants:

- A token is exactly three parts of canonical, unpadded base64url (RFC 7515 section 2, RFC 4648 section 3.5), with a
  header and claims that are JSON objects in UTF-8 without a member named twice: no two parsers can read it differently.
- Nothing in a token's header leads to a key: ``jwk``, ``jku``, ``x5u`` and ``x5c`` are refused. No extension
  is understood, so ``crit`` (and ``b64``, RFC 7797) is refused.
- A key verifies only algorithms of its own family that the issuer's setting pins. Symmetric keys never come from a key
  set, and a key set's private keys are never used: whoever could read the set could sign with them.
- A token without ``kid`` is verified only where exactly one key can be meant.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from audit_proxy.core.errors import Reason, Refusal

TOKEN_MAX = 16 * 1024  # characters
KID_MAX = 512  # characters
JWKS_MAX = 512 * 1024  # bytes
JWKS_KEYS_MAX = 100
RSA_BITS = (2048, 8192)  # RFC 7518 section 3.3 asks for 2048; above 8192 a verification costs milliseconds
_RSA_EXPONENT_BYTES = 4  # as large as common keys need; larger ones make verification slow
HMAC_SECRET_MIN = 32  # bytes, RFC 7518 section 3.2 for HS256; the longer hashes ask for as much as they give

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")
PRIVATE_KEY = "holds a private key; publish the public part only, and replace the key"

_LEADING_ELSEWHERE = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip")
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_EC = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_HMAC = {"HS256": 32, "HS384": 48, "HS512": 64}


class NotStrict(ValueError):  # noqa: N818  (a verdict on the input, not a fault)
    """JSON that is not one object in UTF-8 with distinct names and finite numbers. The text never quotes the input."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("a member is named twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise NotStrict("NaN and Infinity are not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)


def strict_object(document: bytes) -> dict[str, Any]:
    """The JSON object of a document. Raises NotStrict."""
    try:
        value = _decoder.decode(document.decode("utf-8"))
    except NotStrict:
        raise
    except (ValueError, RecursionError) as error:  # RecursionError: nested past Python's limit
        raise NotStrict("not valid JSON in UTF-8") from error
    if value.__class__ is not dict:
        raise NotStrict("not a JSON object")
    return value


def canonical_base64url(text: str) -> bytes | None:
    """The bytes of unpadded base64url, None where another text would give the same bytes."""
    try:
        raw = text.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return data if base64.urlsafe_b64encode(data).rstrip(b"=") == raw else None


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A parsed, unverified JWS in compact form whose payload is a JSON object."""

    algorithm: str
    kid: str | None
    typ: str | None
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes


def parse_compact(token: str) -> CompactToken | Refusal:
    """The parts of a signed JWT (RFC 7519), nothing of it believed yet; else ``token_malformed``."""
    if len(token) > TOKEN_MAX:
        return _malformed(f"the token is longer than {TOKEN_MAX} characters")
    match = _COMPACT.match(token)
    if match is None:
        return _malformed("not a signed JWT: three parts of unpadded base64url, separated by dots")
    header_bytes, claims_bytes, signature = (canonical_base64url(part) for part in match.groups())
    if header_bytes is None or claims_bytes is None or signature is None:
        return _malformed("a part of the token is not canonical base64url")
    try:
        header = strict_object(header_bytes)
        claims = strict_object(claims_bytes)
    except NotStrict as error:
        return _malformed(f"header or claims: {error}")
    for name in _LEADING_ELSEWHERE:
        if name in header:
            return _malformed(f"a token with a {name!r} header is not accepted")
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        return _malformed("the header has no 'alg'")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= KID_MAX)) or ("kid" in header and kid is None):
        return _malformed("the header's 'kid' is not a text of bounded length")
    if not (typ is None or isinstance(typ, str)) or ("typ" in header and typ is None):
        return _malformed("the header's 'typ' is not a text")
    signing_input = token[: match.end(2)].encode("ascii")
    return CompactToken(algorithm, kid, typ, claims, signing_input, signature)


def same_typ(typ: str | None, required: str) -> bool:
    """Media types compare without case and may leave out ``application/`` (RFC 7515 section 4.1.9)."""
    return typ is not None and _short(typ) == _short(required)


def _short(typ: str) -> str:
    return typ.lower().removeprefix("application/")


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.token_malformed, detail)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key that verifies signatures. ``material`` is what the verifier takes: a public key object, or a secret's bytes."""

    kid: str | None
    algorithms: frozenset[str]
    material: Any


class KeySet:
    """The keys of one issuer at one time. Immutable; a refreshed set is a new object."""

    __slots__ = ("_by_algorithm", "_by_kid", "size")

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._by_kid: dict[tuple[str, str], tuple[VerificationKey, ...]] = {}
        self._by_algorithm: dict[str, tuple[VerificationKey, ...]] = {}
        self.size = 0
        for key in keys:
            self.size += 1
            for algorithm in key.algorithms:
                self._by_algorithm[algorithm] = (*self._by_algorithm.get(algorithm, ()), key)
                if key.kid is not None:
                    named = (key.kid, algorithm)
                    self._by_kid[named] = (*self._by_kid.get(named, ()), key)

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """Keys that may verify such a token: those of its ``kid``.

        Where the token or the set's only fitting key has no ``kid``: that key; none where several fit.
        """
        fitting = self._by_algorithm.get(algorithm, ())
        if kid is None:
            return fitting if len(fitting) == 1 else ()
        named = self._by_kid.get((kid, algorithm), ())
        if named:
            return named
        return fitting if len(fitting) == 1 and fitting[0].kid is None else ()


@dataclass(frozen=True, slots=True)
class Jwk:
    """A public key of a key set (RFC 7517), checked but not yet made into a key object."""

    kid: str | None
    algorithms: frozenset[str]
    members: Mapping[str, Any]


def parse_jwks(document: bytes, pinned: frozenset[str]) -> tuple[list[Jwk], list[str]]:
    """The usable keys of a JWK Set for an issuer that pins these algorithms, and for each unusable one why.

    Raises NotStrict where the document as a whole is unusable.
    """
    if len(document) > JWKS_MAX:
        raise NotStrict(f"longer than {JWKS_MAX} bytes")
    entries = strict_object(document).get("keys")
    if not isinstance(entries, list):
        raise NotStrict("not a JWK Set: it has no 'keys' array")
    if len(entries) > JWKS_KEYS_MAX:
        raise NotStrict(f"more than {JWKS_KEYS_MAX} keys")
    usable: list[Jwk] = []
    unusable: list[str] = []
    for number, members in enumerate(entries):
        jwk = _parse_jwk(members, pinned)
        if isinstance(jwk, Jwk):
            usable.append(jwk)
        else:
            unusable.append(f"keys[{number}]: {jwk}")
    return usable, unusable


def _parse_jwk(members: object, pinned: frozenset[str]) -> Jwk | str:
    if not isinstance(members, dict):
        return "not an object"
    kid = members.get("kid")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= KID_MAX)):
        return "its 'kid' is not a text of bounded length"
    if members.get("kty") == "oct":
        return "a symmetric key; those are read from 'hmac_secret' only"
    if any(name in members for name in _PRIVATE):
        return PRIVATE_KEY
    if members.get("use", "sig") != "sig":
        return "its 'use' is not 'sig'"
    operations = members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return "its 'key_ops' has no 'verify'"
    family = _family(members)
    if isinstance(family, str):
        return family
    algorithms = family & pinned
    if "alg" in members:
        algorithms &= {members["alg"]} if isinstance(members["alg"], str) else frozenset()
    if not algorithms:
        return f"fits none of the pinned algorithms ({', '.join(sorted(pinned))})"
    return Jwk(kid, algorithms, members)


def _family(members: Mapping[str, Any]) -> frozenset[str] | str:
    """The algorithms that a key's type and curve permit, or what is wrong with it."""
    kty = members.get("kty")
    if kty == "RSA":
        modulus, exponent = _number(members, "n"), _number(members, "e")
        if modulus is None or exponent is None:
            return "its 'n' or 'e' is not canonical base64url"
        if not RSA_BITS[0] <= modulus.bit_length() <= RSA_BITS[1]:
            return f"an RSA key of {modulus.bit_length()} bits; {RSA_BITS[0]} to {RSA_BITS[1]} are accepted"
        if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 8 * _RSA_EXPONENT_BYTES:
            return "its 'e' is not an odd number from 3 to 2^32"
        return _RSA
    if kty == "EC":
        algorithm, size = _EC.get(members["crv"] if isinstance(members.get("crv"), str) else "", ("", 0))
        if not algorithm:
            return "its 'crv' is none of P-256, P-384, P-521"
        return frozenset({algorithm}) if _sized(members, "x", size) and _sized(members, "y", size) else "bad 'x' or 'y'"
    if kty == "OKP":
        if members.get("crv") != "Ed25519":
            return "its 'crv' is not Ed25519"
        return frozenset({"EdDSA"}) if _sized(members, "x", 32) else "bad 'x'"
    return "its 'kty' is none of RSA, EC, OKP"


def _number(members: Mapping[str, Any], name: str) -> int | None:
    text = members.get(name)
    data = canonical_base64url(text) if isinstance(text, str) else None
    return int.from_bytes(data, "big") if data else None


def _sized(members: Mapping[str, Any], name: str, size: int) -> bool:
    text = members.get(name)
    data = canonical_base64url(text) if isinstance(text, str) else None
    return data is not None and len(data) == size


def hmac_keys(secret: bytes, pinned: frozenset[str]) -> KeySet:
    """A key set of one shared secret. Raises ValueError where the secret is shorter than a pinned hash (RFC 7518 3.2)."""
    if not pinned or not pinned <= _HMAC.keys():
        raise ValueError("a shared secret goes with HS256, HS384 and HS512 only")
    needed = max(_HMAC[algorithm] for algorithm in pinned)
    if len(secret) < max(needed, HMAC_SECRET_MIN):
        raise ValueError(f"the shared secret has {len(secret)} bytes; at least {needed} are needed")
    if secret.lstrip().startswith((b"-----BEGIN", b"ssh-", b"{")):
        raise ValueError("the shared secret is a key in PEM, SSH or JWK form; a public key must never be a secret")
    return KeySet([VerificationKey(None, pinned, secret)])
