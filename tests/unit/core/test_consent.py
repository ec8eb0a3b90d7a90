"""Permissions from grants; policy choices; record bytes."""

import pytest

from audit_proxy.core.consent import Grant, Standing, holder_permission, satisfies, third_party_permission
from audit_proxy.core.errors import Consent
from audit_proxy.core.policy import App, Mode, OperationRule, Policy
from audit_proxy.core.record import Record, decode, encode, timestamp, uuid7

AVAILABLE = frozenset({"a", "b"})


def _grant(scopes="a", purpose="p", expires_at=None):
    return Grant(frozenset(scopes.split()), purpose, expires_at)


@pytest.mark.parametrize(
    ("standing", "ground", "scopes"),
    [
        (Standing(), Consent.no_grant, None),
        (Standing((_grant(),)), Consent.grant, {"a"}),
        (Standing((_grant("a z"), _grant("b"))), Consent.grant, {"a", "b"}),
        (Standing((_grant(expires_at=10.0),)), Consent.grant_expired, None),
        (Standing((_grant(expires_at=10.1),)), Consent.grant, {"a"}),
        (Standing((_grant(purpose="other"),)), Consent.grant_purpose, None),
        (Standing((_grant(purpose="pq"),)), Consent.grant_purpose, None),
        (Standing((_grant(), _grant(purpose="other"))), Consent.grant, {"a"}),
        (Standing((_grant(),), withdrawn=True), Consent.withdrawn, None),
    ],
)
def test_third_parties_permit_by_their_own_grants(standing, ground, scopes) -> None:
    """Scopes of unexpired grants for the purpose add up, cut with what the token has."""
    permission = third_party_permission(standing, AVAILABLE, "p", 10.0)
    assert (permission.ground, permission.scopes) == (ground, None if scopes is None else frozenset(scopes))


def test_a_purpose_covers_what_lies_under_it() -> None:
    """``marketing`` covers ``marketing.email``, not ``marketingx`` nor its own parent."""
    assert _grant(purpose="m").covers("m.x")
    assert not _grant(purpose="m").covers("mx")
    assert not _grant(purpose="m.x").covers("m")


def test_the_holder_speaks_by_the_token_until_withdrawal() -> None:
    """Then nothing is permitted."""
    assert holder_permission(Standing(), AVAILABLE).scopes == AVAILABLE
    assert holder_permission(Standing(withdrawn=True), AVAILABLE).scopes is None


def test_empty_requirements_refuse() -> None:
    """An OR of nothing is satisfied by nothing; an empty AND by everything."""
    assert not satisfies((), AVAILABLE)
    assert satisfies((frozenset(),), frozenset())


def test_modes_and_profiles() -> None:
    """Operation beats app beats global; an unknown app gets the profile or nothing."""
    app = App("x", "", "", "", "", "", frozenset(), mode=Mode.monitor)
    policy = Policy("h", operations={"o": OperationRule(mode=Mode.enforce), "n": OperationRule()}, unknown_app=app)
    assert policy.mode_for(app, "o") is Mode.enforce
    assert policy.mode_for(app, "n") is Mode.monitor
    assert policy.mode_for(None, None) is Mode.enforce
    found = policy.profile("stranger")
    assert found is not None
    assert found.id == "stranger"
    assert Policy("h").profile("stranger") is None


def test_records_are_exact() -> None:
    """A record comes back equal and gives the same bytes again; ids carry time and version."""
    record = Record(
        v=1,
        id=uuid7(1_700_000_000.5, b"\xff" * 10),
        ts=timestamp(1_700_000_000.123456),
        node="n",
        kind="access",
        counts={"people": 2},
    )
    line = encode(record)
    assert decode(line) == record
    assert encode(decode(line)) == line
    assert record.id == "018bcfe5-69f4-7fff-bfff-ffffffffffff"
    assert b"\n" not in line
    with pytest.raises(ValueError, match="missing required field"):
        decode(b'{"v":1}')
