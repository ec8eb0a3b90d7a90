"""Files of kept checkpoints: entries are found whatever lies between them, and none passes for a log's own that is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import kept, note

SEED, OTHER_SEED = b"s" * 32, b"o" * 32
KEY = note.verifier_key("example.com/log", SEED)


def checkpoint(size, seed=SEED, origin=KEY.name):
    return note.sign_checkpoint(note.Checkpoint(origin, size, bytes(32)), seed)


NOTES = [checkpoint(n) for n in range(5)]


def entries(data):
    return list(kept.entries(data.splitlines(keepends=True)))


def standings(data):
    return [kept.judge(one, KEY).standing for one in entries(data)]


def test_notes_one_behind_the_other_are_each_an_entry():
    """With the number of their first line."""
    found = entries(b"".join(NOTES))
    assert [one.data for one in found] == NOTES
    assert [one.line for one in found] == [1, 6, 11, 16, 21]
    assert [kept.judge(one, KEY).checkpoint.size for one in found] == [0, 1, 2, 3, 4]
    assert entries(b"") == []


@pytest.mark.parametrize("cut", range(1, len(NOTES[1])))
def test_a_torn_entry_is_told_and_hides_no_other(cut):
    """Cut at any byte, and the next written as the file target does. One that lacks its last line break only is whole."""
    end = NOTES[0] + NOTES[1][:cut]
    data = end + (b"" if kept.ends_whole(end) else kept.SEPARATOR) + NOTES[2]
    first, *between, last = standings(data)
    assert (first, last) == ("own", "own")
    assert set(between) == ({"own"} if cut == len(NOTES[1]) - 1 else {"damaged"})


@given(
    st.lists(
        st.sampled_from([*NOTES, b"\n", b"x", "\u2014 a b\n".encode(), b"\x00", NOTES[0][:20]]) | st.binary(max_size=9)
    )
)
def test_whatever_lies_before_a_note_behind_a_separator_is_found(pieces):
    """No line is passed over, and the last entry is the note."""
    before = b"".join(pieces)
    data = before if kept.ends_whole(before) else before + kept.SEPARATOR
    lines = (data + NOTES[3]).split(b"\n")
    found = list(kept.entries([one + b"\n" for one in lines[:-1]]))
    assert found[-1].data == NOTES[3]
    told = [line for one in found for line in one.data.split(b"\n") if line]
    assert told == [line for line in lines if line]


def test_an_endless_text_takes_no_memory():
    """It is given in pieces, and what comes behind it is found."""
    data = b"line\n" * 10_000 + kept.SEPARATOR + NOTES[0]
    found = entries(data)
    assert max(len(one.data) for one in found) < 1000
    assert standings(data)[-1] == "own"


def test_what_is_not_the_log_s_own_is_told_apart():
    """A checkpoint of another log, one under the log's name by another key, one that was altered, and what is none."""
    altered = NOTES[2].replace(b"\n2\n", b"\n3\n")
    renamed = NOTES[2].replace(b"example.com/log\n", b"example.com/elsewhere\n", 1)
    data = b"".join([
        checkpoint(1, OTHER_SEED, "example.com/other"), checkpoint(1, OTHER_SEED), altered, renamed,
        note.sign("example.com/log\nno number\n", KEY.name, SEED), b"hello\n\n", NOTES[4],
    ])  # fmt: skip
    assert standings(data) == ["other", "unknown_key", "altered", "altered", "altered", "damaged", "own"]
    assert kept.judge(entries(data)[0], KEY).origin == "example.com/other"
