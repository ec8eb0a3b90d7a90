"""Streams cut at whole lines and events, and events as values: whatever the platform's packets look like."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.core.events import CHUNK_MAX, Cutter, UnitTooLong, parse_events, render_events
from audit_proxy.core.inspection import NotInspectable, parse

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
FIELDS = st.sampled_from(
    [b"data: 1", b"data:2", b'data: {"a":', b"data: 3}", b"id: x", b"event: e", b"retry: 5", b": c", b""]
)


def _cut(data: bytes, cuts: list[int], *, events: bool) -> list[bytes]:
    cutter = Cutter(events=events)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = []
    for begin, end in pairwise(places):
        found += cutter.feed(data[begin:end])
        found.append(cutter.take())
    return [*found, cutter.end()]


@settings(deadline=None)
@given(st.lists(st.tuples(FIELDS, LINE_ENDS), max_size=30), st.lists(st.integers(0, 200), max_size=20))
def test_events_are_the_same_wherever_the_body_was_divided(lines, cuts) -> None:
    """Chunks read one by one give the events of the whole; none is lost, doubled or torn."""
    body = b"".join(field + end for field, end in lines)
    text = lambda data: data.decode()  # noqa: E731
    whole = parse_events(body, text)
    assert [event for chunk in _cut(body, cuts, events=True) for event in parse_events(chunk, text)] == whole


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9).map(lambda x: x + b"\n"), max_size=30), st.lists(st.integers(0, 200)))
def test_lines_are_whole_in_every_chunk(lines, cuts) -> None:
    """Nothing is lost, and each chunk but the last ends with a line break."""
    body = b"".join(lines) + b"rest"
    chunks = _cut(body, cuts, events=False)
    assert b"".join(chunks) == body
    assert all(chunk.endswith(b"\n") for chunk in chunks[:-1] if chunk)


@pytest.mark.parametrize("events", [False, True])
def test_a_chunk_is_never_larger_than_the_bound(events) -> None:
    """What fits exactly passes; one byte more in one line or event is refused, in small packets too."""
    end = b"\n\n" if events else b"\n"
    fits = b"data: " + b"x" * (CHUNK_MAX - 6 - len(end)) + end
    assert list(Cutter(events=events).feed(fits * 2)) == [fits, fits]
    cutter = Cutter(events=events)
    packets = [b"y" + fits[at : at + 1000] if at == 0 else fits[at : at + 1000] for at in range(0, len(fits), 1000)]
    with pytest.raises(UnitTooLong):
        [chunk for packet in packets for chunk in cutter.feed(packet)]


def test_the_end_of_a_body() -> None:
    """A last line needs no line break; an event without its blank line is none (WHATWG HTML section 9.2.6)."""
    for events, left in ((False, b"1"), (True, b"")):
        cutter = Cutter(events=events)
        assert not list(cutter.feed(b"1"))
        assert cutter.unfinished
        assert cutter.end() == left


def test_an_event_as_a_value() -> None:
    """Data lines are joined, one space after the colon goes, ids with NUL and retries that are no numbers are ignored."""
    body = b"\xef\xbb\xbfdata:  1\ndata:2\nid: a\0\nretry: x\nid: 7\nevent: e\nother: s\n\nid: alone\n\ndata: 3\n\n"
    assert parse_events(body, bytes.decode) == [{"data": " 1\n2", "id": "7", "event": "e"}, {"data": "3"}]


def test_what_is_no_json_is_refused() -> None:
    """Data that is no JSON, and fields that are no UTF-8."""
    for body in (b"data: [DONE]\n\n", b"data\n\n", b"id: \xff\ndata: 1\n\n"):
        with pytest.raises(NotInspectable):
            parse(body, events=True)


def test_a_value_cannot_bring_a_line_of_its_own() -> None:
    """A name or id with a line break is left out; an event that has lost its data is not sent."""

    def encode(value: object) -> bytes:
        return json.dumps(value).encode()

    made = render_events([{"data": "a\nb", "id": "1\ndata: 2", "event": "e"}, {"id": "9"}], encode)
    assert made == b'event: e\ndata: "a\\nb"\n\n'
