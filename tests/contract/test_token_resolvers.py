"""What every token resolver must hold (port ``TokenResolver``), on each of them; attacks on JWTs have a file of their own.

Time is passed in. A platform that is asked answers through an ``HttpClient`` of the test's.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from audit_proxy.adapters.keys_jwks import FixedKeys
from audit_proxy.adapters.tokens_by_form import ResolverByForm
from audit_proxy.adapters.tokens_introspection import IntrospectionConfig, IntrospectionResolver
from audit_proxy.adapters.tokens_jwt import IssuerConfig, JwtResolver
from audit_proxy.core.errors import CallFailed, Reason, Refusal
from audit_proxy.core.exchange import Answer, Call
from audit_proxy.core.identity import ClaimRules, Identity
from audit_proxy.core.introspection import RFC_7662, Asking, Rules, parse_pointer
from audit_proxy.core.jose import KeySet, VerificationKey
from audit_proxy.ports import TokenResolver

ISSUER, NOW = "https://issuer.example/", 1_000_000.0
KEY = ed25519.Ed25519PrivateKey.generate()


@dataclass
class Platform:
    """An ``HttpClient`` that answers as RFC 7662 says, for tokens that were issued."""

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    out: bool = False
    asked: int = 0

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        self.asked += 1
        if self.out:
            raise CallFailed("out")
        assert call.body is not None
        token = call.body.decode().removeprefix("token=")
        return Answer(200, json.dumps(self.tokens.get(token, {"active": False})).encode())


@dataclass
class Subject:
    """A resolver under test. ``issue`` makes a good token with these facts."""

    resolver: TokenResolver
    platform: Platform
    signed: bool
    keys: FixedKeys
    prefix: str = ""

    def issue(self, **changes: Any) -> str:
        facts = {
            "iss": ISSUER,
            "aud": "api",
            "client_id": "quiz",
            "sub": "42",
            "scope": "read",
            "exp": NOW + 600,
        } | changes
        if self.signed:
            return jwt.encode(facts, KEY, "EdDSA", headers={"kid": "k"})
        token = f"{self.prefix}{len(self.platform.tokens)}"
        self.platform.tokens[token] = {"active": True} | facts
        return token

    def break_down(self) -> None:
        """Takes away what the resolver depends on."""
        self.platform.out = True
        self.keys.current = None


def introspecting(platform: Platform, **more: Any) -> IntrospectionResolver:
    facts = {name: parse_pointer(text) for name, text in RFC_7662.items()}
    one = Asking("POST", "https://auth.example/introspect", {}, {}, {"token": "{token}"}, None, facts)
    rules = Rules(ISSUER, "person", frozenset({"api"}))
    return IntrospectionResolver(IntrospectionConfig(rules, (one,), {}, **more), platform)


def make(kind: str) -> Subject:
    platform = Platform()
    keys = FixedKeys(KeySet([VerificationKey("k", frozenset({"EdDSA"}), KEY.public_key())]))
    signed = JwtResolver(
        [IssuerConfig(ClaimRules(ISSUER, frozenset({"api"}), "person"), frozenset({"EdDSA"}))], {ISSUER: keys}
    )
    opaque = introspecting(platform)
    match kind:
        case "jwt":
            return Subject(signed, platform, True, keys)
        case "introspection":
            return Subject(opaque, platform, False, keys)
        case "by form, signed":
            return Subject(ResolverByForm({}, signed, opaque), platform, True, keys)
        case "by form, opaque":
            return Subject(ResolverByForm({}, signed, opaque), platform, False, keys)
        case _:
            return Subject(ResolverByForm({"EAA": opaque}, signed, None), platform, False, keys, "EAA")


@pytest.fixture(params=["jwt", "introspection", "by form, signed", "by form, opaque", "by form, by beginning"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return make(request.param)


async def accepted(subject: Subject, token: str, now: float = NOW) -> Identity:
    found = await subject.resolver.resolve(token, now)
    assert isinstance(found, Identity), found
    return found


async def refused(subject: Subject, token: str, now: float = NOW) -> Reason:
    found = await subject.resolver.resolve(token, now)
    assert isinstance(found, Refusal), found
    assert token not in found.detail
    return found.reason


async def test_a_good_token_is_an_identity(subject):
    """Again from memory."""
    token = subject.issue()
    for _ in range(2):
        one = await accepted(subject, token)
        assert (one.issuer, one.app, one.holder, one.scopes) == (ISSUER, "quiz", "person:42", {"read"})
        assert one.expires_at == NOW + 600


async def test_tokens_are_told_apart(subject):
    first, second = subject.issue(), subject.issue(sub="43", scope="read email", client_id="poll")
    for _ in range(2):
        assert (await accepted(subject, first)).holder == "person:42"
        assert (await accepted(subject, second)).holder == "person:43"
        assert (await accepted(subject, second)).app == "poll"


async def test_an_expired_token_is_refused_however_fresh_its_memory(subject):
    token = subject.issue(exp=NOW + 5)
    await accepted(subject, token, NOW + 4.9)
    assert await refused(subject, token, NOW + 5) is Reason.token_expired


async def test_a_token_s_time_may_be_still_to_come(subject):
    token = subject.issue(nbf=NOW + 5)
    assert await refused(subject, token, NOW + 4.9) is Reason.token_not_yet_valid
    await accepted(subject, token, NOW + 5)


async def test_an_app_only_token_has_no_holder(subject):
    assert (await accepted(subject, subject.issue(sub="quiz"))).holder is None


async def test_a_token_for_another_api_or_of_another_issuer_is_refused(subject):
    assert await refused(subject, subject.issue(aud="other")) is Reason.token_invalid
    assert await refused(subject, subject.issue(iss="https://other.example/")) in (
        Reason.token_invalid,
        Reason.issuer_unknown,
    )


async def test_malformed_scopes_are_a_refusal(subject):
    assert await refused(subject, subject.issue(scope=["read", 5])) is Reason.token_malformed


async def test_a_token_that_nobody_issued_is_refused(subject):
    other = jwt.encode({"iss": ISSUER}, ed25519.Ed25519PrivateKey.generate(), "EdDSA")
    for token in ("nonsense", other, subject.issue() + "x", subject.issue()[:-1] + "%"):
        assert await refused(subject, token) in (Reason.token_invalid, Reason.token_malformed)


@pytest.mark.parametrize(
    "token", ["", " ", "a b", "a\nb", "é", "\ud800", "a" * 100_000, "." * 100, "..", "{token}", "ey.."]
)
async def test_nonsense_is_refused_and_never_raises(subject, token):
    found = await subject.resolver.resolve(token, NOW)
    assert isinstance(found, Refusal)
    assert found.reason in (Reason.token_invalid, Reason.token_malformed)


async def test_an_outage_is_never_the_token_s_fault(subject):
    """503, and over when it is over."""
    token = subject.issue()
    subject.break_down()
    assert await refused(subject, token) in (Reason.keys_unavailable, Reason.introspection_unavailable)
    subject.platform.out = False
    if not subject.signed:
        await accepted(subject, token)


# --- which resolver takes a token ----------------------------------------------------------------------------------------


@dataclass
class Named:
    """A resolver that says it was asked."""

    name: str

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        return Refusal(Reason.token_invalid, self.name)


async def taker(token: str, *, jwt: bool = True, others: bool = True) -> str:
    found = ResolverByForm(
        {"EAA": Named("graph"), "ghp_": Named("hub")},
        Named("jwt") if jwt else None,
        Named("others") if others else None,
    )
    answer = await found.resolve(token, NOW)
    assert isinstance(answer, Refusal)
    return answer.detail if answer.reason is Reason.token_invalid else "nobody"


JWT = jwt.encode({"iss": "x"}, KEY, "EdDSA")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("EAAB", "graph"), ("ghp_x", "hub"), (JWT, "jwt"), ("ewoiYWxnIjo.e30.x", "jwt"), ("ey..", "jwt"), ("eya.b", "others"),
        ("EA", "others"), ("MTk4.Cl2F.ZnCj", "others"), ("ey.a.b.c", "others"), (f"EAA{JWT}", "graph"), ("x" + JWT, "others"),
    ],
)  # fmt: skip
async def test_a_token_s_form_alone_says_who_takes_it(token, expected):
    assert await taker(token) == expected


async def test_without_issuers_of_jwts_the_platform_is_asked_about_them_too():
    assert await taker(JWT, jwt=False) == "others"


async def test_a_form_that_nobody_takes_is_malformed():
    assert await taker("opaque", others=False) == "nobody"
    assert await taker(JWT, others=False) == "jwt"


def test_beginnings_that_begin_one_another_are_not_made():
    with pytest.raises(ValueError, match="begins another's"):
        ResolverByForm({"E": Named("a"), "EA": Named("b")}, None, None)
