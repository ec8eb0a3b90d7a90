"""The demo's reading of the log: what records say, compared with an app's own book."""

import json

import pytest

from audit_proxy.demo.log import about, matches, records, told
from audit_proxy.demo.received import Received

READ = frozenset({"profile.read"})


def name(person):
    return f"pseudonym-of-{person}"


def group(categories, *people, consent="grant"):
    return {
        "fields": ["Person.x"],
        "categories": categories,
        "relation": "third_party",
        "consent": consent,
        "subjects": [name(one) for one in people],
    }


def record(audit_id, *disclosed, app="quiz", kind="access", **more):
    return {
        "id": audit_id,
        "app": app,
        "kind": kind,
        "ts": "2026-03-01T12:00:00Z",
        "disclosed": list(disclosed),
        **more,
    }


@pytest.fixture
def book():
    """Two answers: one about two people, one about nobody."""
    made = Received("quiz")
    made.take("7", 200, {"data": [{"id": "8", "name": "N"}, {"id": "9"}], "paging": {}}, READ, "a1")
    made.take("7", 404, None, READ, "a2")
    return made


FIRST = record("a1", group(["user.unique_id", "user.name"], "8"), group(["user.unique_id"], "9"))
SECOND = record("a2")


def test_segments_are_read_in_order(tmp_path):
    """Records come oldest first, over all segments."""
    folder = tmp_path / "journal"
    folder.mkdir()
    for number in (2, 0, 1):
        (folder / f"{number:020d}.jsonl").write_text(json.dumps({"id": number}) + "\n")
    assert [one["id"] for one in records(tmp_path)] == [0, 1, 2]


def test_a_pair_in_two_groups_is_one(book):
    """A person and category that two groups of one record name count once."""
    assert told(record("a1", group(["user.name"], "8"), group(["user.name"], "8", consent="public"))) == {
        "user.name": 1
    }


def test_book_and_log_that_agree_match(book):
    """The same answers with the same numbers match; other apps' records and other kinds do not disturb."""
    assert matches(book, [FIRST, SECOND, record("b1", group(["user.name"], "1"), app="other"), {"kind": "gap"}])


@pytest.mark.parametrize(
    "log",
    [
        [FIRST],
        [FIRST, SECOND, record("a3")],
        [FIRST, SECOND, SECOND],
        [SECOND, record("a1", group(["user.unique_id", "user.name"], "8"))],
        [SECOND, record("a1", group(["user.unique_id", "user.name"], "8", "9"))],
        [FIRST, record("a2", group(["user.name"], "8"))],
        [],
    ],
    ids=["missing", "too many", "twice", "a person less", "a category more", "more than arrived", "empty"],
)
def test_book_and_log_that_differ_do_not_match(book, log):
    """A record missing, doubled, too many, or saying less or more than what arrived is noticed."""
    assert not matches(book, log)


def test_an_answer_without_a_record_never_matches(book):
    """An answer that named no record is a failure, whatever the log says."""
    book.take("7", 200, {"id": "7"}, READ, None)
    assert not matches(book, [FIRST, SECOND])


def test_one_persons_view():
    """Under their pseudonym a person's disclosures, refusals and look-ups are found by app; under another, nothing."""
    log = [
        FIRST,
        record("a2", withheld=[group(["user.name"], "8", consent="no_grant")], asked=[name("8")], holder=name("7")),
        record("b1", group(["user.name"], "9"), app="other"),
    ]
    sights = about(log, name("8"))
    assert sights.keys() == {"quiz"}
    sight = sights["quiz"]
    assert sight.received == {"user.unique_id": 1, "user.name": 1}
    assert (sight.withheld, sight.reasons, sight.grounds) == ({"user.name": 1}, {"no_grant"}, {"grant"})
    assert (sight.asked_for, sight.holders) == (1, {name("7")})
    assert about(log, name("10")) == {}


def test_a_record_in_parts_is_read_as_one(tmp_path):
    """Its people stand together; one of which parts are missing keeps the mark of a part."""
    (tmp_path / "journal").mkdir()
    first = record("1", group(["user.name"], "1"), part=1, parts=2)
    second = record("1", group(["user.name"], "2"), part=2, parts=2)
    lines = [first, second, record("2", phase="intent"), record("2"), {**first, "id": "3"}]
    (tmp_path / "journal" / f"{0:020d}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    whole, intent, plain, incomplete = records(tmp_path)
    assert told(whole) == {"user.name": 2}
    assert "part" not in whole
    assert (intent, plain) == (record("2", phase="intent"), record("2"))
    assert (incomplete["id"], incomplete["part"], incomplete["parts"]) == ("3", 1, 2)
