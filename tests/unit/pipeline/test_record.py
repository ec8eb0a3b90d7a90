"""What a stream's chunks add up to."""

from audit_proxy.core.inspection import RawId
from audit_proxy.pipeline.record import PEOPLE_REMEMBERED, StreamTotals
from audit_proxy.pipeline.review import Outcome


def _chunk(*ids: RawId, unmapped: int = 0) -> Outcome:
    people = {one: f"person:{one}" for one in ids if one != "nobody"}
    return Outcome(200, b"", people=people, found=set(ids), unmapped=unmapped)


def test_a_person_counts_once_in_a_stream() -> None:
    """In several chunks, by text and by number; whoever is not mapped is no person."""
    totals = StreamTotals(1)
    for chunk in (_chunk("1", "2"), _chunk(2, "2", "3"), _chunk("nobody", unmapped=1), _chunk()):
        totals.add(chunk, 10)
    assert totals.counts() == {"people": 3, "chunks": 4, "bytes": 40, "unmapped": 2}


def test_of_very_many_people_the_count_is_a_bound_and_says_so() -> None:
    """Memory is bounded: those who come after may count twice."""
    totals = StreamTotals(0)
    totals.add(_chunk(*range(PEOPLE_REMEMBERED)), 1)
    assert totals.counts()["people"] == PEOPLE_REMEMBERED
    for _ in range(2):
        totals.add(_chunk(5, PEOPLE_REMEMBERED + 1), 1)
    assert totals.counts() == {"people_at_most": PEOPLE_REMEMBERED + 2, "chunks": 3, "bytes": 3}
