"""What the log says about one person."""

import pytest

from audit_proxy.core import record as audit_record
from audit_proxy.core.record import Group
from audit_proxy.core.subject_report import report

NAMES = {"OLD", "NEW"}


def group(*subjects, relation="third_party", consent="grant", categories=("user.name",)):
    return Group(("Person.x",), tuple(categories), relation, consent, subjects)


def made(at=0, app="quiz", kind="access", **more):
    return audit_record.Record(
        v=1,
        id=audit_record.uuid7(1_800_000_000.0 + at, bytes(10)),
        ts=audit_record.timestamp(1_800_000_000 + at),
        node="n",
        kind=kind,
        app=app,
        **more,
    )


def line(*arguments, **more):
    return audit_record.encode(made(*arguments, **more))


def test_a_person_is_found_under_every_pseudonym_by_app():
    """Disclosed, withheld, as holder, asked for; each told apart, with first and last time; other people's are not counted."""
    accounts = report(
        [
            line(5, disclosed=(group("OLD", "X"),), withheld=(group("OLD", consent="grant_scope", categories=["user.contact"]),)),
            line(1, disclosed=(group("NEW", relation="holder", consent="token"), group("X")), holder="NEW"),
            line(9, app="other", kind="denial", asked=("NEW",), withheld=(group("NEW", consent="no_grant"),)),
            line(10, disclosed=(group("X"),), holder="Y", asked=("X",)),
            line(11, app=None, kind="gap", detail={"x": "OLD"}),
            line(12, kind="consent", target={"subject": "OLD"}),
        ],
        NAMES,
    )  # fmt: skip
    assert set(accounts) == {"quiz", "other"}
    quiz, other = accounts["quiz"], accounts["other"]
    assert (quiz.requests, quiz.as_holder, quiz.asked_for) == (2, 1, 0)
    assert (quiz.last - quiz.first).seconds == 4
    assert (quiz.disclosed, quiz.grounds) == ({"user.name": 2}, {"grant", "token"})
    assert (quiz.withheld, quiz.reasons) == ({"user.contact": 1}, {"grant_scope"})
    assert (other.requests, other.asked_for, other.disclosed, other.reasons) == (1, 1, {}, {"no_grant"})


def test_a_record_in_parts_is_one_request():
    """Whichever of its parts the person stands in."""
    people = [f"{n:022d}" for n in range(9000)]
    parts = audit_record.lines(made(disclosed=(group(*people, "OLD"),)))
    assert len(parts) > 2
    account = report([line(), *parts, line()], NAMES)["quiz"]
    assert (account.requests, account.disclosed) == (1, {"user.name": 1})


def test_nobody_has_no_account():
    """No pseudonyms, or none that stands anywhere."""
    assert report([line(disclosed=(group("X"),))], NAMES) == {}
    assert report([line(disclosed=(group("OLD"),))], set()) == {}


def test_a_line_that_is_no_record_is_told():
    """Where it may be about the person."""
    with pytest.raises(ValueError):
        report([b'{"OLD": "OLD"}'], NAMES)


def test_a_write_and_a_stream_are_one_request_each():
    """An intent or a chunk is no request of its own, though what a chunk disclosed counts."""
    about = {"holder": "NEW", "asked": ("OLD",)}
    account = report(
        [
            line(1, phase="intent", **about),
            line(1, **about),
            line(2, phase="chunk", seq=1, disclosed=(group("OLD"),), **about),
            line(2, **about),
        ],
        NAMES,
    )["quiz"]
    assert (account.requests, account.as_holder, account.asked_for, account.disclosed) == (2, 2, 2, {"user.name": 1})
