"""From claims to an identity."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import ClaimRules, Identity, Verified, claim_at, judge_time, parse_scopes, read_claims

RULES = ClaimRules(issuer="https://i/", audiences=frozenset({"api"}), holder_namespace="person")
CLAIMS = {"iss": "https://i/", "aud": "api", "exp": 2_000, "client_id": "quiz", "sub": "42", "scope": "profile friends"}


def read(changes=None, rules=RULES, without=()):
    claims = {name: value for name, value in (CLAIMS | (changes or {})).items() if name not in without}
    return read_claims(claims, rules)


def identity(*args, **kwargs) -> Identity:
    verified = read(*args, **kwargs)
    assert isinstance(verified, Verified), verified
    return verified.identity


def reason(*args, **kwargs) -> Reason:
    refusal = read(*args, **kwargs)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


def rules(**changes) -> ClaimRules:
    return dataclasses.replace(RULES, **changes)


def test_claims_become_an_identity():
    """App, holder with namespace, scopes and times are read from the standard claims."""
    verified = read({"nbf": 900, "iat": 1_000.5})
    assert verified == Verified(
        Identity("https://i/", "quiz", "person:42", frozenset({"profile", "friends"}), 2_000.0, 1_000.5), 900.0
    )


@pytest.mark.parametrize("iss", ["https://i", "https://I/", "https://i//", "", None, 1, ["https://i/"]])
def test_the_issuer_is_compared_exactly(iss):
    """No trailing slash, case or type is forgiven."""
    assert reason({"iss": iss}) is Reason.token_invalid


@pytest.mark.parametrize("aud", ["api", ["other", "api"]])
def test_one_of_several_audiences_suffices(aud):
    assert identity({"aud": aud}).app == "quiz"


@pytest.mark.parametrize("aud", ["other", "", [], ["ap", "i"], "api other"])
def test_a_token_for_another_audience_is_invalid(aud):
    """An audience is one text; a text that contains it is another."""
    assert reason({"aud": aud}) is Reason.token_invalid


@pytest.mark.parametrize("aud", [None, 1, {"api": 1}, ["api", 1], ["api", None]])
def test_a_malformed_audience_is_refused_as_a_whole(aud):
    assert reason({"aud": aud}) is Reason.token_malformed


def test_a_token_without_audience_is_refused():
    assert reason(without=["aud"]) is Reason.token_malformed


@pytest.mark.parametrize(
    "time", ["2000", None, True, [2000], {}, -1, float("inf"), float("nan"), 10**30, 253_402_300_800]
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_times_are_numbers_of_seconds_before_the_year_10000(claim, time):
    """Texts, booleans, infinities and milliseconds far off are no times; none is coerced."""
    assert reason({claim: time}) is Reason.token_malformed


def test_exp_is_required_and_the_other_times_are_not():
    assert reason(without=["exp"]) is Reason.token_malformed
    assert identity(without=["nbf", "iat"]).issued_at is None


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (89.999, Reason.token_not_yet_valid),
        (90.0, None),
        (209.999, None),
        (210.0, Reason.token_expired),
        (1e9, Reason.token_expired),
    ],
)
def test_leeway_widens_the_token_s_time_at_both_ends(now, expected):
    """Valid from nbf - leeway (inclusive) to exp + leeway (exclusive)."""
    refusal = judge_time(200.0, 100.0, 10.0, now)
    assert (refusal.reason if refusal else None) is expected


@pytest.mark.parametrize(
    "scope",
    [1, 1.5, True, None, {}, {"profile": 1}, ["profile", 1], ["profile", None], [["profile"]], ["a b"], "a  b", " a", "a ",
     "a\tb", "a\nb", 'a"b', "a\\b", "ä", "a\u00a0b", [""], ["a", ""]],
)  # fmt: skip
def test_a_malformed_scope_claim_is_a_refusal_never_a_partial_grant(scope):
    """One bad entry refuses the token, whatever the others say."""
    assert reason({"scope": scope}) is Reason.token_malformed


@pytest.mark.parametrize("claims", [{"scope": ""}, {"scope": []}, {"scp": ""}])
def test_an_empty_scope_claim_grants_nothing(claims):
    assert identity(claims, without=[] if "scope" in claims else ["scope"]).scopes == frozenset()


def test_no_scope_claim_grants_nothing():
    assert identity(without=["scope"]).scopes == frozenset()


@pytest.mark.parametrize("scp", ["profile friends", ["friends", "profile"], ["friends", "profile", "friends"]])
def test_scp_may_be_a_text_or_an_array(scp):
    assert identity({"scp": scp}, without=["scope"]).scopes == {"profile", "friends"}


@pytest.mark.parametrize("scp", ["profile", [], ["profile", "friends", "messages"], "", 5])
def test_scope_and_scp_that_disagree_are_refused(scp):
    """Neither the wider nor the narrower one is believed."""
    assert reason({"scp": scp}) is Reason.token_malformed
    assert identity({"scp": ["friends", "profile"]}).scopes == {"profile", "friends"}


def test_claim_names_are_literal_first_and_a_path_second():
    """A URL-like or dotted name is looked up as it stands before its dots are followed."""
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "https://example.com/scopes": 4}
    assert [claim_at(claims, name) for name in ("a.b", "a.c.d", "https://example.com/scopes")] == [1, 3, 4]


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("https://example.com/scopes", {"https://example.com/scopes": ["profile"]}),
        ("realm_access.scopes", {"realm_access": {"scopes": "profile"}}),
        ("realm.access.scopes", {"realm.access.scopes": "profile"}),
    ],
)
def test_scopes_can_stand_under_dotted_and_url_like_names(name, claims):
    assert identity(claims, rules(scope_claims=(name,))).scopes == {"profile"}


def test_the_first_present_app_claim_names_the_app():
    """Its being malformed is a refusal, not a reason to look at the next."""
    assert identity({"azp": "other"}).app == "quiz"
    assert identity({"azp": "other"}, without=["client_id"]).app == "other"
    assert reason({"client_id": None, "azp": "other"}) is Reason.token_malformed


@pytest.mark.parametrize("app", [1, True, "", "a" * 257, "a\nb", "ä", "a\x7f", [], {}])
def test_an_app_is_a_client_id_of_printable_ascii(app):
    """RFC 6749 appendix A.1; what reaches metrics and records is bounded."""
    assert reason({"client_id": app}) is Reason.token_malformed


def test_a_token_that_names_no_app_is_refused():
    assert reason(without=["client_id"]) is Reason.token_malformed


@pytest.mark.parametrize(
    ("sub", "holder"), [("42", "person:42"), (42, "person:42"), ("a:b", "person:a:b"), (-1, "person:-1")]
)
def test_a_holder_is_a_text_or_an_integer(sub, holder):
    """A number and its decimal text are one person, as in the platform's answers."""
    assert identity({"sub": sub}).holder == holder


@pytest.mark.parametrize(
    "sub", ["", "x" * 257, True, False, None, 4.0, [], ["42"], {}, 2**64, -(2**63) - 1, "a\nb", "a\ud800", "\x00"]
)
def test_a_holder_that_is_no_id_is_refused(sub):
    """No coercion, no unbounded ids, no control characters, no lone surrogates that could not be encoded later."""
    assert reason({"sub": sub}) is Reason.token_malformed


def test_a_token_that_names_neither_holder_nor_app_only_is_refused():
    assert reason(without=["sub"]) is Reason.token_malformed


@pytest.mark.parametrize(("app", "sub"), [("quiz", "quiz"), ("7", 7)])
def test_a_token_whose_sub_is_the_client_has_no_holder(app, sub):
    """RFC 9068 section 2.2, also where the one writes a number and the other a text."""
    assert identity({"client_id": app, "sub": sub}).holder is None
    renamed = rules(holder_claim="user_id")
    assert identity({"client_id": app, "sub": sub, "user_id": "42"}, renamed).holder is None


@pytest.mark.parametrize("mark", [True, "app", "", 0, [], {}])
def test_a_marked_token_has_no_holder_whatever_its_sub_says(mark):
    marked = rules(app_only_claim="app_only")
    assert identity({"app_only": mark}, marked).holder is None
    assert identity({"app_only": mark}, marked, without=["sub"]).holder is None


@pytest.mark.parametrize("mark", [False, None])
def test_a_mark_of_false_or_null_is_none(mark):
    assert identity({"app_only": mark}, rules(app_only_claim="app_only")).holder == "person:42"


def test_only_the_configured_value_marks_where_one_is_configured():
    marked = rules(app_only_claim="gty", app_only_value="client-credentials")
    assert identity({"gty": "client-credentials"}, marked).holder is None
    assert identity({"gty": "password"}, marked).holder == "person:42"
    assert identity({}, marked).holder == "person:42"


def test_the_holder_s_claim_and_namespace_are_the_issuer_s():
    other = rules(holder_claim="https://example.com/uid", holder_namespace="staff")
    assert identity({"https://example.com/uid": 9}, other).holder == "staff:9"


TEXT = st.text(alphabet='ab1: "\\\n\x00\x7fé\u2028\ud800', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "client_id", "azp", "sub", "scope", "scp"])


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_no_claims_whatever_raise_or_give_a_half_identity(changes):
    """Any JSON in any claim gives a refusal or an identity whose parts have their types."""
    verified = read(changes)
    if isinstance(verified, Refusal):
        assert verified.reason in (Reason.token_malformed, Reason.token_invalid)
        return
    found = verified.identity
    assert found.issuer == "https://i/"
    assert isinstance(found.app, str)
    assert found.app
    assert found.holder is None or (found.holder.startswith("person:") and found.holder.encode())
    assert all(isinstance(scope, str) and " " not in scope for scope in found.scopes)
    assert 0 <= found.expires_at < 253_402_300_800


@given(JSON)
def test_scopes_are_all_or_nothing(claim):
    """What parses has exactly the tokens that the claim holds."""
    scopes = parse_scopes(claim)
    if scopes is None:
        return
    assert scopes == frozenset(claim if isinstance(claim, list) else claim.split(" ") if claim else [])


def test_a_refusal_s_text_quotes_nothing_of_the_token():
    """Details go to the app and to logs; ids and scopes do not."""
    marked = "S3CRET-MARK"
    for name in ("iss", "aud", "exp", "nbf", "iat", "client_id", "sub", "scope"):
        for value in ([marked], {marked: 1}, marked, [[marked]]):
            refusal = read({name: value})
            if isinstance(refusal, Refusal):
                assert marked not in json.dumps(refusal.detail)
