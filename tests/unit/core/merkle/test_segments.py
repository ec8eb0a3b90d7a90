"""Names of the journal's files."""

import pytest

from audit_proxy.core.merkle import segments


def test_a_segment_s_name_ends_the_one_before():
    """All but the last segment hold as many records as the names say; other files are none."""
    names = ["00000000000000000007.jsonl", "00000000000000000000.jsonl", "00000000000000000009.cut", "x", "7.jsonl"]
    found = segments.segments(names)
    assert [(s.first, s.records) for s in found] == [(0, 7), (7, None)]
    assert found[1].path == "journal/00000000000000000007.jsonl"
    assert segments.segments([]) == []


def test_a_journal_without_its_beginning_is_refused():
    """A missing first segment does not pass for a log that begins later."""
    with pytest.raises(ValueError, match="begins with record 7"):
        segments.segments(["00000000000000000007.jsonl"])


def test_a_packed_segment_counts_where_the_plain_one_is_gone():
    """While both are there the packed one may be half written."""
    names = [f"{n:020d}.jsonl{end}" for n, end in ((0, ".zst"), (7, ""), (7, ".zst"), (9, ""))]
    found = segments.segments(names)
    assert [(s.first, s.records, s.packed) for s in found] == [(0, 7, True), (7, 2, False), (9, None, False)]
    assert found[0].path == "journal/00000000000000000000.jsonl.zst"


def test_after_retention_the_log_begins_with_its_minimum_index():
    """What lies before is no part of it, present or not; the segment of that name must be there."""
    names = [f"{n:020d}.jsonl" for n in (0, 7, 9)]
    assert [(s.first, s.records) for s in segments.segments(names, 7)] == [(7, 2), (9, None)]
    assert [(s.first, s.records) for s in segments.segments(names[1:], 7)] == [(7, 2), (9, None)]
    for given, minimum, told in (
        (names, 8, "begins with record 9"),
        (names[2:], 7, "before record 7 only"),
        ([], 7, "empty"),
    ):
        with pytest.raises(ValueError, match=told):
            segments.segments(given, minimum)


def test_names_of_the_journal_s_files_tell_their_record():
    """Of every kind; other files tell none."""
    for path in (segments.segment_path(7), segments.packed_path(7), segments.cut_path(7)):
        assert segments.first_of(path.removeprefix("journal/")) == 7
    for name in ("7.jsonl", "00000000000000000007.txt", "00000000000000000007.jsonl.tmp", "", "x" * 20 + ".cut"):
        assert segments.first_of(name) is None


def test_blank_and_torn_lines_are_told_from_records():
    """Zeros that a crash left, and half a line, are no records."""
    assert segments.looks_whole(b'{"a":1}')
    for line in (b"", b'{"a":1', b'"a":1}', b"\x00\x00", b'{"a":\x00\x00}'):
        assert not segments.looks_whole(line)
