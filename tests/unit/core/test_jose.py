"""Compact tokens and key sets, before any cryptography."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.jose import (
    JWKS_MAX,
    TOKEN_MAX,
    CompactToken,
    KeySet,
    NotStrict,
    VerificationKey,
    canonical_base64url,
    hmac_keys,
    parse_compact,
    parse_jwks,
    same_typ,
    strict_object,
)


def b64(data: bytes | str) -> str:
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    header: bytes | str | dict = '{"alg":"RS256"}', claims: bytes | str = '{"iss":"i"}', signature: bytes = b"sig"
) -> str:
    header = json.dumps(header) if isinstance(header, dict) else header
    return f"{b64(header)}.{b64(claims)}.{b64(signature)}"


def refused(text: str) -> str:
    result = parse_compact(text)
    assert isinstance(result, Refusal), result
    assert result.reason is Reason.token_malformed
    return result.detail


def test_a_token_s_parts_are_read():
    parsed = parse_compact(token({"alg": "ES256", "kid": "k", "typ": "at+jwt", "x5t": "ignored"}, '{"iss":"i","n":1}'))
    assert isinstance(parsed, CompactToken)
    assert (parsed.algorithm, parsed.kid, parsed.typ) == ("ES256", "k", "at+jwt")
    assert parsed.claims == {"iss": "i", "n": 1}
    assert parsed.signature == b"sig"
    assert parsed.signing_input.count(b".") == 1


GOOD = token()


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a.b", GOOD + ".", GOOD + ".x", "." + GOOD, GOOD + " ", " " + GOOD, GOOD + "\n", GOOD + "=", GOOD + "!",
        GOOD.rsplit(".", 1)[0] + ".", GOOD.rsplit(".", 1)[0], GOOD.replace(".", "..", 1), GOOD.replace(".", ".\n", 1),
        GOOD + "\x00", GOOD + "é", GOOD.replace("e", "\u0435", 1), GOOD.replace(".", "+.", 1), "opaque-token",
        f"{GOOD}.{b64('x')}.{b64('y')}",
    ],
)  # fmt: skip
def test_only_three_parts_of_base64url_are_a_token(text):
    """No whitespace, padding, trailing garbage, other alphabet, look-alike letter, or fourth part."""
    refused(text)


def test_a_part_with_a_second_spelling_is_refused():
    """The unused low bits of the last character must be zero: else one token has many texts (RFC 4648 section 3.5)."""
    head, claims, signature = token(signature=b"s").split(".")
    assert len(signature) == 2
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [signature[0] + last for last in alphabet if last != signature[1]]
    same = [one for one in spellings if base64.urlsafe_b64decode(one + "==") == b"s"]
    assert len(same) == 15
    for one in same:
        assert "canonical" in refused(f"{head}.{claims}.{one}")


@given(st.binary(max_size=40))
def test_canonical_base64url_round_trips(data):
    assert canonical_base64url(b64(data)) == data


@given(st.text(alphabet="AZaz09-_+/= .\n", max_size=12))
def test_a_text_that_decodes_is_the_one_that_encodes(text):
    data = canonical_base64url(text)
    assert data is None or b64(data) == text


def test_a_token_past_the_size_limit_is_refused_before_anything_is_decoded():
    assert "longer" in refused("a" * (TOKEN_MAX + 1))
    padding = "x" * (TOKEN_MAX - len(token(claims='{"a":""}')))
    fits = token(claims=json.dumps({"a": padding[: len(padding) * 3 // 4 - 4]}, separators=(",", ":")))
    assert len(fits) <= TOKEN_MAX
    assert isinstance(parse_compact(fits), CompactToken)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"null", b"[]", b"1", b'"a"', b"{", b"{} {}", b'{"a":1}x', b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"a":2}}', b'{"x":[{"a":1,"a":2}]}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}',
        b"{'a':1}", b'{"a":1,}', b"\xef\xbb\xbf{}", b'{"a":"\xff"}', '{"a":1}'.encode("utf-16"), b'{"a":"\x01"}',
        b'{"a":' + b"[" * 100_000, b'{"a":' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_json_that_two_parsers_could_read_differently_is_refused(document):
    """Duplicate names at any depth and in any spelling, constants that are no JSON, other encodings, boundless nesting."""
    with pytest.raises(NotStrict):
        strict_object(document)
    refused(token(claims=document))
    refused(token(header=document))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256", "jwk": {}}, {"alg": "RS256", "jku": "https://evil.example/"}, {"alg": "RS256", "x5u": "https://e/"},
        {"alg": "RS256", "x5c": ["MIIB"]}, {"alg": "RS256", "crit": ["exp"], "exp": 1}, {"alg": "RS256", "crit": []}, {"alg": "RS256", "b64": False},
        {"alg": "RS256", "b64": True}, {"alg": "dir", "enc": "A256GCM"}, {"alg": "RS256", "zip": "DEF"},
        {"alg": "RS256", "jwk": None}, {}, {"alg": None}, {"alg": 5}, {"alg": ["RS256"]}, {"alg": "RS256", "kid": 5},
        {"alg": "RS256", "kid": None}, {"alg": "RS256", "kid": "k" * 513}, {"alg": "RS256", "typ": 5},
        {"alg": "RS256", "typ": None},
    ],
)  # fmt: skip
def test_headers_that_lead_elsewhere_or_mean_something_unknown_are_refused(header):
    """A token brings no key and no address of one, and asks for no extension."""
    refused(token(header))


@pytest.mark.parametrize(
    ("typ", "same"),
    [
        ("at+jwt", True),
        ("AT+JWT", True),
        ("application/at+jwt", True),
        ("JWT", False),
        (None, False),
        ("at+jwt2", False),
    ],
)
def test_typ_compares_as_a_media_type(typ, same):
    assert same_typ(typ, "at+jwt") is same


def key(kid, *algorithms) -> VerificationKey:
    return VerificationKey(kid, frozenset(algorithms), object())


def test_a_token_with_kid_gets_that_key_only():
    a, b = key("a", "RS256"), key("b", "RS256", "PS256")
    keys = KeySet([a, b])
    assert keys.candidates("a", "RS256") == (a,)
    assert keys.candidates("b", "PS256") == (b,)
    assert keys.candidates("a", "PS256") == ()
    assert keys.candidates("c", "RS256") == ()
    assert keys.candidates("", "RS256") == ()


def test_a_token_without_kid_gets_a_key_only_where_one_can_be_meant():
    a, b, c = key("a", "RS256"), key("b", "RS256"), key("c", "ES256")
    keys = KeySet([a, b, c])
    assert keys.candidates(None, "RS256") == ()
    assert keys.candidates(None, "ES256") == (c,)


def test_a_key_without_kid_serves_a_token_with_one_only_as_the_only_key():
    nameless, named = key(None, "RS256"), key("a", "RS256")
    assert KeySet([nameless]).candidates("x", "RS256") == (nameless,)
    assert KeySet([nameless, named]).candidates("x", "RS256") == ()
    assert KeySet([named]).candidates("x", "RS256") == ()


def rsa(bits: int = 2048, **more) -> dict:
    modulus = ((1 << (bits - 1)) | 1).to_bytes((bits + 7) // 8, "big")
    return {"kty": "RSA", "n": b64(modulus), "e": "AQAB"} | more


EC = {"kty": "EC", "crv": "P-256", "x": b64(b"x" * 32), "y": b64(b"y" * 32)}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": b64(b"x" * 32)}
PINNED = frozenset({"RS256", "PS256", "ES256", "EdDSA"})


def jwks(*keys) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_key_s_algorithms_are_those_of_its_family_that_are_pinned():
    usable, unusable = parse_jwks(
        jwks(rsa(kid="a"), EC, OKP, rsa(alg="PS256"), rsa(use="sig", key_ops=["verify"])), PINNED
    )
    assert [sorted(one.algorithms) for one in usable] == [
        ["PS256", "RS256"],
        ["ES256"],
        ["EdDSA"],
        ["PS256"],
        ["PS256", "RS256"],
    ]
    assert [one.kid for one in usable] == ["a", None, None, None, None]
    assert unusable == []


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        (rsa(2047), "2047 bits"), (rsa(1024), "1024 bits"), (rsa(8200), "8200 bits"), (rsa(e="AQ"), "'e'"),
        (rsa(e="AQAA"), "'e'"), (rsa(e="Af____8"), "'e'"), (rsa(n="AB"), "canonical"), (rsa(n=5), "canonical"),
        ({"kty": "RSA", "n": rsa()["n"]}, "'n' or 'e'"), (rsa(alg="RS512"), "pinned"), (rsa(alg="HS256"), "pinned"),
        (rsa(alg=5), "pinned"), (rsa(alg=None), "pinned"), (rsa(use="enc"), "'use'"), (rsa(use=None), "'use'"),
        (rsa(key_ops=["sign"]), "'key_ops'"), (rsa(key_ops="verify"), "'key_ops'"), (rsa(kid=5), "'kid'"),
        (rsa(d="AQAB"), "private"), (EC | {"d": "AQAB"}, "private"), (OKP | {"d": "AQAB"}, "private"),
        ({"kty": "oct", "k": b64(b"k" * 32)}, "symmetric"), ({"kty": "oct", "k": b64(b"k" * 32), "alg": "HS256"}, "symmetric"),
        (EC | {"crv": "P-224"}, "'crv'"), (EC | {"crv": "secp256k1"}, "'crv'"), (EC | {"crv": 5}, "'crv'"),
        (EC | {"crv": ["P-256"]}, "'crv'"), (EC | {"x": b64(b"x" * 31)}, "bad"), (EC | {"y": 5}, "bad"),
        (EC | {"crv": "P-384", "x": b64(b"x" * 48), "y": b64(b"x" * 48)}, "pinned"),
        (OKP | {"crv": "Ed448"}, "'crv'"), (OKP | {"crv": "X25519"}, "'crv'"), (OKP | {"x": b64(b"x" * 33)}, "bad"),
        ({"kty": "rsa"}, "'kty'"), ({}, "'kty'"), ({"kty": ["RSA"]}, "'kty'"), ("RSA", "not an object"), (None, "not an object"),
    ],
)  # fmt: skip
def test_unusable_keys_are_left_out_and_named(jwk, why):
    """Weak, private, symmetric, misfitting or malformed keys never verify anything; the good one beside them does."""
    usable, unusable = parse_jwks(jwks(jwk, OKP), PINNED)
    assert [sorted(one.algorithms) for one in usable] == [["EdDSA"]]
    assert len(unusable) == 1
    assert unusable[0].startswith("keys[0]: ")
    assert why in unusable[0]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[],"keys":[]}',
        jwks(*[OKP] * 101),
        b" " * (JWKS_MAX + 1),
    ],
)
def test_a_document_that_is_no_key_set_is_refused(document):
    with pytest.raises(NotStrict):
        parse_jwks(document, PINNED)


@pytest.mark.parametrize(
    ("size", "algorithms", "good"),
    [
        (31, {"HS256"}, False),
        (32, {"HS256"}, True),
        (32, {"HS256", "HS512"}, False),
        (64, {"HS512"}, True),
        (0, {"HS256"}, False),
    ],
)
def test_a_shared_secret_is_as_long_as_its_hash(size, algorithms, good):
    """RFC 7518 section 3.2."""
    if good:
        assert len(hmac_keys(b"s" * size, frozenset(algorithms)).candidates(None, min(algorithms))) == 1
    else:
        with pytest.raises(ValueError, match="shared secret"):
            hmac_keys(b"s" * size, frozenset(algorithms))


@pytest.mark.parametrize(
    "secret", [b"-----BEGIN PUBLIC KEY-----\nMII" + b"A" * 80, b"ssh-rsa " + b"A" * 80, b'{"kty":"RSA"' + b" " * 80]
)
def test_a_public_key_is_no_shared_secret(secret):
    """Everybody knows it, so everybody could sign."""
    with pytest.raises(ValueError, match="public key"):
        hmac_keys(secret, frozenset({"HS256"}))


@pytest.mark.parametrize("algorithms", [set(), {"RS256"}, {"HS256", "RS256"}])
def test_a_shared_secret_goes_with_hmac_only(algorithms):
    with pytest.raises(ValueError, match="HS256"):
        hmac_keys(b"s" * 64, frozenset(algorithms))
