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


def test_blank_and_torn_lines_are_told_from_records():
    """Zeros that a crash left, and half a line, are no records."""
    assert segments.looks_whole(b'{"a":1}')
    for line in (b"", b'{"a":1', b'"a":1}', b"\x00\x00", b'{"a":\x00\x00}'):
        assert not segments.looks_whole(line)
