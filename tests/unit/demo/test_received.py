"""An app's own book: what an answer says about whom, without asking the proxy."""

import pytest

from audit_proxy.demo.received import NO_SCOPES, Fact, Received, Unforeseen, facts

READ = frozenset({"profile.read"})


def test_each_value_is_a_fact_about_its_person():
    """A person's properties count under their categories, with the scope that each takes beyond the operation's."""
    said = set(facts({"id": "7", "name": "N", "verified": True, "birthday": "1990-01-01"}, READ))
    assert said == {
        Fact("7", "user.unique_id", READ),
        Fact("7", "user.name", READ),
        Fact("7", "user.demographic.date_of_birth", READ | {"birthday.read"}),
    }


def test_a_null_tells_nothing():
    """A withheld value's null is nobody's data."""
    assert {fact.category for fact in facts({"id": "7", "email": None}, READ)} == {"user.unique_id"}


def test_people_inside_people_are_their_own():
    """Friends and likes nested in a person count for whom they are about, and take their connection's scope."""
    answer = {
        "id": "7",
        "friends": {
            "data": [{"id": "8", "likes": {"data": [{"person_id": "8", "page": {"name": "p"}}]}}],
            "paging": {},
        },
    }
    said = set(facts(answer, READ))
    inner = READ | {"friends.read"}
    assert said == {
        Fact("7", "user.unique_id", READ),
        Fact("8", "user.unique_id", inner),
        Fact("8", "user.unique_id", inner | {"likes.read"}),
        Fact("8", "user.behavior", inner | {"likes.read"}),
    }


def test_a_total_is_about_the_lists_owner():
    """A count of friends says something about whose friends they are."""
    said = set(facts({"data": [], "summary": {"total_count": 3}}, READ, "7"))
    assert said == {Fact("7", "user.social", READ | {"totals.read"})}


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "7", "shoe_size": 43},
        {"data": [{"id": "7", "shoe_size": 43}]},
        {"data": [], "leak": ["8"]},
        {"data": [], "paging": {"after": "x", "ids": ["8"]}},
        {"data": [], "summary": {"total_count": 1, "names": ["N"]}},
        {"person_id": "7", "reason": "x"},
        {"id": "7", "friends": {"data": [], "more": 1}},
        {"hello": "world"},
    ],
)
def test_nothing_arrives_uncounted(answer):
    """A field that the table does not know stops the count: silence would hide a leak."""
    with pytest.raises(Unforeseen):
        list(facts(answer, READ))


def test_the_book_counts_pairs_once_an_answer():
    """Pairs are counted once in an answer, anew in the next; people and categories once over all."""
    book = Received("quiz")
    twice = {"data": [{"id": "8", "name": "N"}, {"id": "8", "name": "N"}], "paging": {}}
    book.take("7", 200, twice, READ, "a1")
    book.take("7", 200, twice, READ, "a2")
    book.take("7", 404, None, READ, "a3")
    assert (book.requests, book.disclosures, book.people) == (3, 4, {"8"})
    assert book.categories() == {"user.unique_id": 1, "user.name": 1}
    assert book.by_answer["a1"] == {"user.unique_id": 1, "user.name": 1}
    assert book.by_answer["a3"] == {}
    assert book.about("8") == {"user.unique_id", "user.name"}
    assert book.about("7") == set()


def test_answers_without_a_record_are_noticed():
    """An answer that names no record is counted: it cannot be matched."""
    book = Received("quiz")
    book.take("7", 200, {"id": "7"}, NO_SCOPES, None)
    assert book.answers_without_audit_id == 1
