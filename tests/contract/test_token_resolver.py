"""Signed JWTs as tokens (port ``TokenResolver``), attacked in every way; what all resolvers hold: test_token_resolvers.py.

Time is passed in, keys are made here, and tokens are made by PyJWT or, where it would refuse, by hand.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_proxy.adapters.keys_jwks import FixedKeys, KeysUnusable, key_set
from audit_proxy.adapters.tokens_jwt import IssuerConfig, JwtResolver
from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import ClaimRules, Identity
from audit_proxy.core.jose import TOKEN_MAX, KeySet, VerificationKey, hmac_keys
from audit_proxy.ports import IssuerKeys, TokenResolver

ALPHA, BETA = "https://alpha.example/", "https://beta.example/"
NOW = 1_000_000.0
SECRET = b"a shared secret of more than thirty-two bytes"


class Keyring:
    """One private key of each family, made once: RSA keys take long."""

    rsa_alpha = rsa.generate_private_key(65537, 2048)
    rsa_beta = rsa.generate_private_key(65537, 2048)
    p256 = ec.generate_private_key(ec.SECP256R1())
    p384 = ec.generate_private_key(ec.SECP384R1())
    p521 = ec.generate_private_key(ec.SECP521R1())
    ed = ed25519.Ed25519PrivateKey.generate()


def jwk(private: Any, **more: Any) -> dict[str, Any]:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True) | more
    if isinstance(public, ec.EllipticCurvePublicKey):
        return jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True) | more
    return jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True) | more


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def keys_of(algorithms: set[str], *keys: dict[str, Any]) -> FixedKeys:
    return FixedKeys(key_set(jwks(*keys), frozenset(algorithms)))


def issuer(name: str, algorithms: set[str], **more: Any) -> IssuerConfig:
    claims = ClaimRules(name, frozenset({"api"}), "person", **more.pop("claims", {}))
    return IssuerConfig(claims, frozenset(algorithms), **more)


def claims(iss: str = ALPHA, **changes: Any) -> dict[str, Any]:
    base = {"iss": iss, "aud": "api", "exp": int(NOW) + 600, "client_id": "quiz", "sub": "42", "scope": "profile"}
    return base | changes


def sign(
    private: Any = Keyring.rsa_alpha, algorithm: str = "RS256", kid: str | None = "a", header=(), **changes: Any
) -> str:
    headers = dict(header) | ({"kid": kid} if kid is not None else {})
    return jwt.encode(claims(**changes), private, algorithm, headers=headers)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: str | dict, body: str | dict, signer) -> str:
    """A token of exactly these texts; ``signer`` gives the signature of the signing input."""
    parts = [json.dumps(part) if isinstance(part, dict) else part for part in (header, body)]
    signing_input = ".".join(b64(part.encode()) for part in parts)
    return f"{signing_input}.{b64(signer(signing_input.encode()))}"


def rs256(data: bytes, private: Any = Keyring.rsa_alpha) -> bytes:
    return jwt.get_algorithm_by_name("RS256").sign(data, private)


@pytest.fixture
def resolver() -> TokenResolver:
    """Alpha signs RS256 with kid a; beta signs RS256 with kid a (another key) and ES256."""
    return JwtResolver(
        [issuer(ALPHA, {"RS256"}), issuer(BETA, {"RS256", "ES256"})],
        {
            ALPHA: keys_of({"RS256"}, jwk(Keyring.rsa_alpha, kid="a")),
            BETA: keys_of({"RS256", "ES256"}, jwk(Keyring.rsa_beta, kid="a"), jwk(Keyring.p256, kid="e")),
        },
    )


def one(algorithm: str, private: Any, **more: Any) -> JwtResolver:
    """A resolver of alpha alone, with one key without kid."""
    return JwtResolver([issuer(ALPHA, {algorithm}, **more)], {ALPHA: keys_of({algorithm}, jwk(private))})


async def accepted(resolver: TokenResolver, token: str, now: float = NOW) -> Identity:
    found = await resolver.resolve(token, now)
    assert isinstance(found, Identity), found
    return found


async def refused(resolver: TokenResolver, token: str, now: float = NOW) -> Reason:
    found = await resolver.resolve(token, now)
    assert isinstance(found, Refusal), found
    return found.reason


# --- what is accepted ---------------------------------------------------------------------------------------------------


async def test_a_good_token_gives_its_identity_the_first_and_the_second_time(resolver):
    """From the signature and from the cache alike."""
    token = sign()
    expected = Identity(ALPHA, "quiz", "person:42", frozenset({"profile"}), NOW + 600)
    assert await accepted(resolver, token) == expected
    assert await accepted(resolver, token) == expected


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [(name, Keyring.rsa_alpha) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")]
    + [("ES256", Keyring.p256), ("ES384", Keyring.p384), ("ES512", Keyring.p521), ("EdDSA", Keyring.ed)],
)
async def test_each_algorithm_verifies_its_own_tokens_only(algorithm, private):
    good = one(algorithm, private)
    token = sign(private, algorithm, kid=None)
    assert (await accepted(good, token)).app == "quiz"
    head, body, signature = token.split(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
    flipped[5] ^= 1
    assert await refused(good, f"{head}.{body}.{b64(bytes(flipped))}") is Reason.token_invalid
    assert await refused(good, f"{head}.{body}.{b64(bytes(flipped)[:-1])}") is Reason.token_invalid
    assert await refused(good, f"{head}.{body}.{b64(b'')}") is Reason.token_malformed


async def test_issuers_are_told_apart(resolver):
    assert (await accepted(resolver, sign(Keyring.rsa_beta, iss=BETA))).issuer == BETA
    assert (await accepted(resolver, sign(Keyring.p256, "ES256", kid="e", iss=BETA))).issuer == BETA


async def test_a_shared_secret_verifies_hmac():
    found = JwtResolver([issuer(ALPHA, {"HS256"})], {ALPHA: FixedKeys(hmac_keys(SECRET, frozenset({"HS256"})))})
    assert (await accepted(found, sign(SECRET, "HS256"))).app == "quiz"
    assert await refused(found, sign(SECRET + b"x", "HS256")) is Reason.token_invalid


# --- attacks on algorithm and key ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", "HS256", "RS512", "rs256", "ES256", "PS256", "EdDSA", "RS256 "]
)
async def test_only_the_pinned_algorithm_is_verified(resolver, alg):
    """With a signature, without one, and with one that would be right for the pinned algorithm."""
    for signature in (rs256, lambda _: b"", lambda _: b"x"):
        token = raw({"alg": alg, "kid": "a"}, claims(), signature)
        assert await refused(resolver, token) in (Reason.token_invalid, Reason.token_malformed)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("strip", [False, True])
async def test_a_public_key_used_as_a_shared_secret_is_refused(resolver, encoding, strip):
    """The classic confusion: HS256 with the RSA public key, which everybody has, as its secret."""
    public = Keyring.rsa_alpha.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    secret = public.strip() if strip else public
    token = raw({"alg": "HS256", "kid": "a"}, claims(), lambda data: hmac.new(secret, data, hashlib.sha256).digest())
    assert await refused(resolver, token) is Reason.token_invalid


async def test_a_key_set_s_symmetric_key_never_verifies():
    """Not even where a setting pins HMAC: secrets come from hmac_secret only."""
    with pytest.raises(KeysUnusable, match="symmetric"):
        keys_of({"HS256"}, {"kty": "oct", "k": b64(SECRET)})
    with pytest.raises(KeysUnusable, match="symmetric"):
        keys_of({"RS256"}, {"kty": "oct", "k": b64(SECRET), "alg": "RS256"})


async def test_a_point_off_its_curve_is_no_key():
    bad = jwk(Keyring.p256) | {"y": b64(b"\x01" * 32)}
    with pytest.raises(KeysUnusable, match="no key"):
        keys_of({"ES256"}, bad)


async def test_an_issuer_s_key_signs_for_that_issuer_only(resolver):
    """Beta's key, beta's algorithm and alpha's name, with every kid: each issuer's keys stay its own."""
    for kid in ("a", "e", None, "b"):
        assert await refused(resolver, sign(Keyring.rsa_beta, kid=kid)) is Reason.token_invalid
        assert await refused(resolver, sign(Keyring.rsa_alpha, kid=kid, iss=BETA)) is Reason.token_invalid
    assert await refused(resolver, sign(Keyring.p256, "ES256", kid="e")) is Reason.token_invalid


async def test_a_token_cannot_bring_its_own_key(resolver):
    mine = rsa.generate_private_key(65537, 2048)
    for header in (
        {"jwk": jwk(mine)},
        {"jku": "https://evil.example/"},
        {"x5u": "https://evil.example/"},
        {"x5c": ["MIIB"]},
    ):
        assert await refused(resolver, sign(mine, header=header)) is Reason.token_malformed
        assert await refused(resolver, sign(header=header)) is Reason.token_malformed


async def test_critical_extensions_and_unencoded_payloads_are_refused(resolver):
    for header in ({"crit": ["b64"], "b64": False}, {"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}):
        token = raw({"alg": "RS256", "kid": "a"} | header, claims(), rs256)
        assert await refused(resolver, token) is Reason.token_malformed


async def test_kid_selects_and_never_widens():
    """Two keys without a way to tell which is meant verify nothing; an unknown kid does not fall back."""
    both = JwtResolver(
        [issuer(ALPHA, {"RS256"})],
        {ALPHA: keys_of({"RS256"}, jwk(Keyring.rsa_alpha, kid="a"), jwk(Keyring.rsa_beta, kid="b"))},
    )
    await accepted(both, sign(kid="a"))
    await accepted(both, sign(Keyring.rsa_beta, kid="b"))
    for kid in (None, "b", "c", "", "../a", "a\x00"):
        assert await refused(both, sign(kid=kid)) is Reason.token_invalid


async def test_a_key_is_bound_to_its_own_alg():
    """An RSA key published for PS256 does not verify RS256, though both are pinned."""
    bound = JwtResolver(
        [issuer(ALPHA, {"RS256", "PS256"})],
        {ALPHA: keys_of({"RS256", "PS256"}, jwk(Keyring.rsa_alpha, alg="PS256"))},
    )
    await accepted(bound, sign(algorithm="PS256", kid=None))
    assert await refused(bound, sign(algorithm="RS256", kid=None)) is Reason.token_invalid


async def test_typ_is_required_where_configured():
    """Keeps ID tokens and other JWTs of the issuer out (RFC 9068 section 4)."""
    typed = one("RS256", Keyring.rsa_alpha, required_typ="at+jwt")
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        await accepted(typed, sign(header={"typ": typ}))
    for typ in ("JWT", "id+jwt", ""):
        assert await refused(typed, raw({"alg": "RS256", "typ": typ}, claims(), rs256)) is Reason.token_invalid
    assert await refused(typed, raw({"alg": "RS256"}, claims(), rs256)) is Reason.token_invalid


# --- attacks on claims and form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "iss", ["https://gamma.example/", ALPHA.rstrip("/"), ALPHA.upper(), "", None, 5, [ALPHA], {"a": ALPHA}]
)
async def test_an_issuer_that_is_not_configured_is_unknown(resolver, iss):
    assert (
        await refused(resolver, raw({"alg": "RS256", "kid": "a"}, claims() | {"iss": iss}, rs256))
        is Reason.issuer_unknown
    )


async def test_a_token_without_issuer_is_of_an_unknown_one(resolver):
    body = {name: value for name, value in claims().items() if name != "iss"}
    assert await refused(resolver, raw({"alg": "RS256", "kid": "a"}, body, rs256)) is Reason.issuer_unknown


async def test_claims_are_judged_with_the_issuer_s_rules(resolver):
    assert await refused(resolver, sign(aud="other")) is Reason.token_invalid
    assert await refused(resolver, sign(scope=5)) is Reason.token_malformed
    assert await refused(resolver, sign(scope="profile", scp=["profile", "friends"])) is Reason.token_malformed
    assert await refused(resolver, sign(scope={"profile": True})) is Reason.token_malformed
    assert (await accepted(resolver, sign(sub="quiz"))).holder is None


@pytest.mark.parametrize("name", ["iss", "scope", "sub", "aud", "exp"])
async def test_a_claim_named_twice_is_refused(resolver, name):
    """Parsers differ in which one they take; also when one of the two is spelled with an escape."""
    body = json.dumps(claims())[:-1]
    for twin in (f'"{name}"', f'"\\u{ord(name[0]):04x}{name[1:]}"'):
        token = raw({"alg": "RS256", "kid": "a"}, f"{body},{twin}:{json.dumps(claims()[name])}}}", rs256)
        assert await refused(resolver, token) is Reason.token_malformed
    token = raw('{"alg":"RS256","kid":"a","alg":"none"}', claims(), rs256)
    assert await refused(resolver, token) is Reason.token_malformed


@pytest.mark.parametrize(
    "mangle",
    [
        lambda t: t + ".", lambda t: t + ".x", lambda t: t + "=", lambda t: t + "\n", lambda t: " " + t, lambda t: t + "é",
        lambda t: t + "\ud800", lambda t: t.replace(".", "..", 1), lambda t: t.rsplit(".", 1)[0], lambda t: t[:-1] + "%",
        lambda t: t.rsplit(".", 1)[0] + ".", lambda t: "Bearer " + t, lambda t: t + "\x00", lambda t: "", lambda t: "opaque",
        lambda t: t + "A" * TOKEN_MAX, lambda t: "é" * (TOKEN_MAX - 1), lambda t: "." * 100,
    ],
)  # fmt: skip
async def test_a_mangled_token_is_malformed(resolver, mangle):
    """Also when the good one it was made of is in the cache."""
    token = sign()
    await accepted(resolver, token)
    assert await refused(resolver, mangle(token)) is Reason.token_malformed


async def test_a_second_spelling_of_a_cached_token_is_refused(resolver):
    """RSA signatures of 256 bytes leave four unused bits in the last character."""
    token = sign()
    await accepted(resolver, token)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(token[-1])
    assert at % 16 == 0
    for offset in range(1, 16):
        assert await refused(resolver, token[:-1] + alphabet[at + offset]) is Reason.token_malformed


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 0.9999), new=st.sampled_from("AZaz09-_.=%é\x00"), twice=st.booleans())
async def test_no_altered_token_passes(resolver, at, new, twice):
    """A character replaced or inserted anywhere: refused, and never an exception. PyJWT is the second opinion."""
    token = sign()
    place = int(at * len(token))
    altered = token[:place] + new + token[place + (0 if twice else 1) :]
    if altered == token:
        return
    await refused(resolver, altered)
    with pytest.raises((jwt.PyJWTError, ValueError)):
        jwt.decode(altered, Keyring.rsa_alpha.public_key(), ["RS256"], audience="api", options={"verify_exp": False})


# --- time and cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (-110.001, Reason.token_not_yet_valid), (-110.0, None), (609.999, None), (610.0, Reason.token_expired),
        (1e9, Reason.token_expired),
    ],
)  # fmt: skip
async def test_time_is_judged_afresh_to_the_edge_of_the_leeway(cached, offset, expected):
    """nbf - leeway is inside, exp + leeway is outside; a cached token is judged as strictly as a new one."""
    found = one("RS256", Keyring.rsa_alpha, leeway=10.0)
    token = sign(nbf=int(NOW) - 100)
    if cached:
        await accepted(found, token)
    result = await found.resolve(token, NOW + offset)
    assert (result.reason if isinstance(result, Refusal) else None) is expected
    if expected is Reason.token_not_yet_valid:
        await accepted(found, token)  # its time comes


async def test_an_expired_token_is_not_kept(resolver):
    token = sign()
    await accepted(resolver, token)
    assert len(resolver) == 1
    assert await refused(resolver, token, NOW + 700) is Reason.token_expired
    assert len(resolver) == 0


class Changing:
    """Keys that a test takes away or exchanges."""

    def __init__(self, keys: KeySet | None) -> None:
        self.current = keys
        self.newer: KeySet | None = keys  # what the source says when it is asked anew
        self.asked = 0

    async def renewed(self, seen: KeySet) -> KeySet | None:
        self.asked += 1
        self.current = self.newer if self.newer is not None else self.current
        return self.newer


class Counting:
    """A key that counts how often it verifies, through the RSA key it stands for."""

    def __init__(self, public: rsa.RSAPublicKey) -> None:
        self.public = public
        self.count = 0

    def verify(self, *args: Any) -> None:
        self.count += 1
        self.public.verify(*args)


def counting() -> tuple[Counting, Changing, JwtResolver]:
    key = Counting(Keyring.rsa_alpha.public_key())
    source = Changing(KeySet([VerificationKey("a", frozenset({"RS256"}), key)]))
    return key, source, JwtResolver([issuer(ALPHA, {"RS256"})], {ALPHA: source}, cache_entries=10)


async def test_a_token_is_verified_once_while_it_is_remembered():
    key, _, found = counting()
    token = sign()
    for _ in range(5):
        await accepted(found, token)
    assert key.count == 1


async def test_refusals_are_not_remembered():
    """Bad tokens take no room, and push no good one out."""
    key, _, found = counting()
    good = sign()
    await accepted(found, good)
    for number in range(50):
        await refused(found, sign(Keyring.rsa_beta, sub=str(number)))
    assert len(found) == 1
    before = key.count
    await accepted(found, good)
    assert key.count == before


async def test_the_cache_is_bounded_and_keeps_what_is_used():
    """Sixty tokens through a cache of ten leave at most ten, and a busy one is never verified again."""
    key, _, found = counting()
    busy = sign()
    await accepted(found, busy)
    others = [sign(sub=f"p{number}") for number in range(60)]
    for token in others:
        await accepted(found, token)
        await accepted(found, busy)
        assert len(found) <= 10
    assert key.count == 1 + len(others)


async def test_a_key_that_is_gone_takes_its_cached_tokens_with_it():
    """A compromised key's tokens end with the refresh that removes it, not with their exp."""
    _, source, found = counting()
    token = sign()
    await accepted(found, token)
    source.current = key_set(jwks(jwk(Keyring.rsa_beta, kid="a")), frozenset({"RS256"}))
    assert await refused(found, token) is Reason.token_invalid


async def test_a_token_of_a_newer_key_passes_once_the_keys_are_renewed():
    source = Changing(key_set(jwks(jwk(Keyring.rsa_beta, kid="b")), frozenset({"RS256"})))
    source.newer = key_set(jwks(jwk(Keyring.rsa_alpha, kid="a")), frozenset({"RS256"}))
    found = JwtResolver([issuer(ALPHA, {"RS256"})], {ALPHA: source})
    await accepted(found, sign())
    await accepted(found, sign())
    assert source.asked == 1


async def test_an_unknown_key_is_a_bad_token_where_the_keys_are_known_and_an_outage_where_not():
    """401 sends an app to its users for new tokens; an outage of ours must not."""
    source = Changing(key_set(jwks(jwk(Keyring.rsa_beta, kid="b")), frozenset({"RS256"})))
    found = JwtResolver([issuer(ALPHA, {"RS256"})], {ALPHA: source})
    assert await refused(found, sign()) is Reason.token_invalid
    source.newer = None
    assert await refused(found, sign()) is Reason.keys_unavailable
    await accepted(found, sign(Keyring.rsa_beta, kid="b"))


async def test_only_a_good_form_of_a_known_issuer_with_an_unknown_key_asks_for_keys():
    """Neither nonsense nor a wrong signature makes the source work."""
    source = Changing(key_set(jwks(jwk(Keyring.rsa_alpha, kid="a")), frozenset({"RS256"})))
    found = JwtResolver([issuer(ALPHA, {"RS256"}, required_typ="at+jwt")], {ALPHA: source})
    typed = {"typ": "at+jwt"}
    for token in (
        "nonsense",
        sign(iss=BETA, kid="x", header=typed),
        sign(kid="x"),
        sign(Keyring.rsa_beta, kid="a", header=typed),
        sign(Keyring.rsa_beta, kid=None, header=typed),
        sign(SECRET, "HS256", kid="x", header=typed),
    ):
        await refused(found, token)
    assert source.asked == 0
    await refused(found, sign(kid="x", header=typed))
    assert source.asked == 1


async def test_without_keys_nothing_passes_and_nobody_is_blamed():
    """keys_unavailable is our own matter (503), also for tokens verified before."""
    _, source, found = counting()
    token = sign()
    await accepted(found, token)
    keys, source.current = source.current, None
    assert await refused(found, token) is Reason.keys_unavailable
    assert await refused(found, sign(sub="43")) is Reason.keys_unavailable
    assert await refused(found, "nonsense") is Reason.token_malformed
    source.current = keys
    await accepted(found, token)


# --- set-up ---------------------------------------------------------------------------------------------------------------


def test_a_resolver_without_issuers_or_with_one_twice_is_not_made():
    keys: IssuerKeys = keys_of({"RS256"}, jwk(Keyring.rsa_alpha))
    with pytest.raises(ValueError, match="at least one"):
        JwtResolver([], {})
    with pytest.raises(ValueError, match="each once"):
        JwtResolver([issuer(ALPHA, {"RS256"}), issuer(ALPHA, {"RS256"})], {ALPHA: keys})


def test_unsigned_tokens_cannot_be_configured():
    with pytest.raises(ValueError, match="unsigned"):
        JwtResolver([issuer(ALPHA, {"none"})], {ALPHA: keys_of({"RS256"}, jwk(Keyring.rsa_alpha))})


async def test_no_refusal_quotes_the_token(resolver):
    """Details go to the app and to logs."""
    mark = "S3CRETMARK"
    for token in (sign(sub=5.5, scope=mark), sign(iss=mark), sign(kid=mark), raw({"alg": mark}, claims(), rs256), mark):
        found = await resolver.resolve(token, NOW)
        assert isinstance(found, Refusal)
        assert mark not in found.detail
        assert token not in found.detail
