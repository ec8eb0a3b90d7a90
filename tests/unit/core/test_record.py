"""Records longer than an entry: stored in parts that are records themselves, and whole again when read."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.record import (
    ENTRY_MAX,
    Group,
    Record,
    Scopes,
    Would,
    by_record,
    decode,
    encode,
    join,
    lines,
    timestamp,
    uuid7,
)
from audit_proxy.core.subject_report import report

NAMES = [f"{n:022d}" for n in range(20_000)]


ID = uuid7(1_800_000_000, b"x" * 10)


def record(*, id_=ID, **more):
    base = {"v": 1, "id": id_, "ts": timestamp(1_800_000_000.5), "node": "n", "kind": "access", "duration_ms": 7000.5}
    return Record(**{**base, **more})


def group(start, stop, *, fields=("/data/id",), relation="third_party", consent="grant"):
    return Group(fields, ("user.unique_id",), relation, consent, tuple(NAMES[start:stop]))


def parts(one):
    return [decode(line) for line in lines(one)]


def test_an_ordinary_record_is_one_line_as_ever():
    """Nothing of parts is in it."""
    one = record(disclosed=(group(0, 100),), counts={"people": 100}, bytes=5)
    assert lines(one) == (encode(one),)
    assert b'"part' not in encode(one)


def test_ten_thousand_people_are_stored_in_parts_that_are_records():
    """Each part fits an entry, decodes, has its exact form, and says who asked for what when; what is summed stands once."""
    one = record(disclosed=(group(0, 10_000),), app="quiz", counts={"people": 10_000}, bytes=77)
    stored = lines(one)
    assert len(stored) > 1
    assert all(len(line) <= ENTRY_MAX and encode(decode(line)) == line for line in stored)
    read = [decode(line) for line in stored]
    assert [(r.id, r.part, r.parts) for r in read] == [(one.id, n + 1, len(stored)) for n in range(len(stored))]
    assert {(r.app, r.ts, r.kind, r.duration_ms) for r in read} == {("quiz", one.ts, "access", 7000.5)}
    assert [(r.counts, r.bytes) for r in read] == [({"people": 10_000}, 77)] + [({}, None)] * (len(stored) - 1)
    assert join(read) == one


groups = st.lists(
    st.builds(
        group,
        st.integers(0, 10_000),
        st.integers(10_000, 14_000),
        fields=st.sampled_from([("a",), ("b", "c")]),
        relation=st.sampled_from(["holder", "third_party", "none"]),
        consent=st.sampled_from(["grant", "token", "no_grant"]),
    ),
    max_size=6,
    unique_by=lambda g: (g.fields, g.relation, g.consent),
).map(tuple)
names = st.integers(0, 9000).map(lambda n: tuple(NAMES[:n]))


@settings(max_examples=40, deadline=None)
@given(groups, groups, st.none() | groups, names, names)
def test_whatever_is_long_is_whole_when_read_back(disclosed, withheld, would, asked, found):
    """Every list that can be long is divided, and nothing is lost, doubled or moved."""
    one = record(
        disclosed=disclosed,
        withheld=withheld,
        would=None if would is None else Would(decision="redact", withheld=would),
        asked=asked,
        found=found,
        counts={"people": 1},
    )
    stored = lines(one)
    assert all(len(line) <= ENTRY_MAX for line in stored)
    assert join([decode(line) for line in stored]) == one


def test_one_person_with_very_many_fields_is_divided_by_fields():
    """No field is lost."""
    fields = tuple(f"/data/{n}/name" for n in range(9000))
    read = parts(record(disclosed=(group(0, 1, fields=fields),)))
    assert [field for r in read for g in r.disclosed for field in g.fields] == list(fields)


def test_what_cannot_be_divided_is_not_recorded_and_so_not_released():
    """Scopes are no people: a record that they alone make too long is refused like one that the disk does not take."""
    with pytest.raises(AuditUnavailable, match="65535 bytes long without the people"):
        lines(record(scopes=Scopes(granted=("x" * 70_000,)), disclosed=(group(0, 5),)))


@pytest.mark.parametrize(
    "change",
    [
        lambda read: read[:-1],
        lambda read: read[1:],
        lambda read: [read[1], read[0], *read[2:]],
        lambda read: [*read, read[-1]],
        lambda read: [read[0], *parts(record(id_="other", disclosed=(group(0, 10_000),)))[1:]],
        lambda read: [msgspec.structs.replace(read[0], part=None, parts=None), *read[1:]],
    ],
    ids=["last missing", "first missing", "swapped", "one twice", "of two records", "a whole one among them"],
)
def test_parts_that_are_not_all_of_one_record_are_never_a_record(change):
    """An incomplete record cannot be taken for a whole one."""
    with pytest.raises(ValueError):
        join(change(parts(record(disclosed=(group(0, 10_000),)))))


def test_lines_come_together_by_record():
    """Parts as soon as the last is there; an incomplete one ends where something else begins, or the log."""
    long = lines(record(disclosed=(group(0, 10_000),)))
    other = lines(record(id_="other", disclosed=(group(0, 10_000),)))
    plain = encode(record())
    log = [plain, *long, b"no record", *long[:2], plain, *long[1:], *other[:1], *long, *other[:2]]
    found = [[line for _, line in one] for one in by_record(enumerate(log))]
    assert found == [
        [plain],
        list(long),
        [b"no record"],
        list(long[:2]),
        [plain],
        list(long[1:]),
        list(other[:1]),
        list(long),
        list(other[:2]),
    ]
    coming = by_record(iter([(0, line) for line in long]))
    assert [line for _, line in next(coming)] == list(long)


def test_a_report_counts_a_record_in_parts_once():
    """Holder and people stand in several parts of it; it was one request."""
    one = record(app="quiz", holder="HOLDER", disclosed=(group(0, 10_000), group(0, 10_000, fields=("/data/name",))))
    (account,) = report(lines(one), ["HOLDER", NAMES[7]]).values()
    assert (account.requests, account.as_holder) == (1, 1)
    assert account.disclosed == {"user.unique_id": 1}
