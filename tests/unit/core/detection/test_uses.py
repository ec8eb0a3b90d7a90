"""From groups of people to the use that a page makes of them."""

import datetime as dt

from audit_proxy.core.detection.uses import use_in, use_of
from audit_proxy.core.policy import App
from audit_proxy.core.record import Group, Record, Would

QUIZ = App("quiz", "Quiz", "o", "c", "standard", "functional.service", frozenset())


def test_the_holder_is_nobody_the_app_reached():
    """Whatever leaves about the token's holder, or is looked up of them, counts for nothing."""
    made = use_of(QUIZ, 1, [("token", {1, 2}, ["user.name"])], [("no_grant", {1, 3}, [])], frozenset({1, 4}), "r")
    assert (made.third_parties, made.without_grant, made.missed) == ({2}, {3}, {4})


def test_public_content_is_without_a_grant():
    """It leaves, and the person gave none; who gave one for something else on the page did."""
    made = use_of(
        QUIZ, 1, [("grant", {2, 3}, ["a"]), ("public", {3, 4}, ["b"])], [("grant_scope", {2}, [])], frozenset(), "r"
    )
    assert (made.third_parties, made.without_grant, made.categories) == ({2, 3, 4}, {4}, {"a", "b"})


def test_outages_and_restrictions_are_no_attempts():
    """Who was withheld because the consent store failed says nothing of the app; who was held back is told apart."""
    withheld = [("consent_unavailable", {2}, []), ("app_restricted", {3}, []), ("withdrawn", {4}, [])]
    made = use_of(QUIZ, None, [], withheld, frozenset(), "r")
    assert (made.third_parties, made.without_grant, made.held_back) == (set(), {4}, {3})


def test_a_record_tells_the_same():
    """Of enforce what left, was withheld, and was looked up in vain; of monitor what would have been."""
    left = Group(("f",), ("user.name",), "third_party", "grant", ("22", "23"))
    own = Group(("f",), ("user.name",), "holder", "token", ("11",))
    kept = Group(("f",), ("user.name",), "third_party", "no_grant", ("44",))
    record = Record(
        v=1, id="r", ts=dt.datetime.now(dt.UTC), node="n", kind="access", app="quiz", holder="11",
        disclosed=(left, own), withheld=(kept,), asked=("22", "55"), found=("22",),
    )  # fmt: skip
    made = use_in(record, QUIZ, int)
    assert made == use_of(
        QUIZ, 11, [("grant", {22, 23}, ["user.name"])], [("no_grant", {44}, [])], frozenset({55}), "r"
    )
    passed = Record(
        v=1, id="r", ts=record.ts, node="n", kind="access", app="quiz", disclosed=(left,),
        would=Would(decision="redact", withheld=(kept,)),
    )  # fmt: skip
    assert use_in(passed, QUIZ, int).without_grant == {44}
