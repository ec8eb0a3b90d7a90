"""Events from outside."""

import json

import pytest

from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.simulation.events import Feed, index, parse


def line(**changes) -> bytes:
    event = {"ts": 1_767_225_600, "app": "quiz", "owner": "GSR", "holder": "u1", "subjects": ["p1", "p2"]}
    event |= {"consented": ["p1"], "categories": ["user.name"], "operation": "getFriends", "found": True}
    return json.dumps(event | changes).encode() + b"\n"


def test_a_full_event_and_one_with_the_least_are_read() -> None:
    event = parse(line(ts="2026-01-01T00:00:00Z", subjects=[1, "p2"]))
    assert (event.at, event.app, event.subjects, event.found) == (1_767_225_600.0, "quiz", [1, "p2"], True)
    least = parse(b'{"ts":0.5,"app":"a","subjects":[]}')
    assert (least.at, least.holder, least.consented, least.found) == (0.5, None, [], True)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "truncated"),
        (b"[]\n", "Expected `object`"),
        (b'{"ts":1,"app":"a"}', "missing required field `subjects`"),
        (line(app=""), "`$.app`"),
        (line(ts=-1), "seconds since 1970"),
        (line(ts=1_767_225_600_000), "seconds since 1970"),
        (line(ts="2026-01-01T00:00:00"), "offset from UTC"),
        (line(ts=True), "`$.ts`"),
        (line(subjects=[1.5]), "`$.subjects[0]`"),
        (line(subjects="p1"), "`$.subjects`"),
        (line(found="yes"), "`$.found`"),
        (b'{"ts":1,"app":"\xff","subjects":[]}', "UTF-8"),
    ],
)
def test_a_line_that_is_no_event_is_named_with_the_reason(bad, why) -> None:
    with pytest.raises(ValueError) as caught:
        parse(bad)
    assert why in str(caught.value)


def test_bad_lines_do_not_end_the_reading_and_order_is_by_time() -> None:
    lines = [line(ts=30), b"nonsense\n", b"\n", line(ts=10, colour="red"), line(ts=20)]
    found = index(lines)
    assert [at for at, _ in found.places] == [10.0, 20.0, 30.0]
    whole = b"".join(lines)
    assert [parse(whole[offset:].split(b"\n")[0]).at for _, offset in found.places] == [10.0, 20.0, 30.0]
    assert [bad.line for bad in found.bad] == [2]
    assert found.unknown == {"colour": 1}


def harvest(feed: Feed, **changes) -> list[str]:
    """The detectors that fire while 400 people an hour's third are taken with many tokens."""
    fired = []
    for number in range(300):
        people = [f"p{number * 25 + n}" for n in range(25)]
        event = parse(line(ts=1_767_225_600 + number * 5, holder=f"u{number}", subjects=people, **changes))
        fired += [finding.detector.value for finding in feed.take(event)]
    return fired


def test_attempts_alone_raise_the_alarm() -> None:
    """Nobody consented, nobody left, and the app is stopped."""
    feed = Feed(Budgets(), consent=True)
    assert set(harvest(feed, consented=[])) >= {"without_grant"}
    assert feed.facts()["quiz"]["status"] == "quarantined"


def test_without_consent_the_people_count_as_taken() -> None:
    feed = Feed(Budgets(), consent=False)
    assert "without_grant" not in set(harvest(feed, consented=[]))
    assert feed.facts()["quiz"]["status"] == "quarantined"


def test_ids_that_are_not_found_are_looked_up_in_vain() -> None:
    feed = Feed(Budgets(), consent=True)
    assert set(harvest(feed, found=False)) == {"missed"}


def test_the_holder_is_no_third_party_and_the_same_people_count_once() -> None:
    """Ten thousand requests for oneself and the same two friends are nothing."""
    feed = Feed(Budgets(), consent=False)
    for number in range(2_000):
        assert feed.take(parse(line(ts=1_767_225_600 + number, subjects=["u1", "p1", "p2"]))) == ()
    assert feed.facts()["quiz"] == {"status": "active", "events": 2_000, "refused": 0}
