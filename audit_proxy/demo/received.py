"""What an app received, by its own reading of the answers: the demo's measure, made without asking the proxy.

Invariants:

- This file knows the sample platform's fields and categories by a table of its own.
- A field that the table does not hold is an error, so nothing can arrive uncounted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Pair = tuple[str, str]  # (person, category)
NO_SCOPES: frozenset[str] = frozenset()

# property -> (category, the scope it takes beyond the operation's); None: about nobody
PERSON: dict[str, tuple[str, str | None] | None] = {
    "id": ("user.unique_id", None),
    "name": ("user.name", None),
    "username": ("user.account.username", None),
    "picture": ("user.content.self_image", None),
    "verified": None,
    "email": ("user.contact.email", "email.read"),
    "birthday": ("user.demographic.date_of_birth", "birthday.read"),
    "city": ("user.contact.address.city", "location.read"),
    "political_views": ("user.demographic.political_opinion", "views.read"),
}
LIKE: dict[str, tuple[str, str | None] | None] = {
    "person_id": ("user.unique_id", None),
    "page": ("user.behavior", None),
    "created_time": ("user.behavior", None),
}
CONNECTIONS = {"friends": "friends.read", "likes": "likes.read"}

PLAIN_WORDS = {
    "user.unique_id": "id",
    "user.name": "name",
    "user.account.username": "user name",
    "user.content.self_image": "picture",
    "user.contact.email": "e-mail",
    "user.demographic.date_of_birth": "birthday",
    "user.contact.address.city": "city",
    "user.demographic.political_opinion": "political views",
    "user.behavior": "likes",
    "user.social": "number of friends or likes",
}


class Unforeseen(Exception):  # noqa: N818  (the table is out of date; nothing can be said about the answer)
    """An answer held a field that the table does not know."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing an answer said about a person, and the scopes that such a thing takes."""

    person: str
    category: str
    scopes: frozenset[str]


def facts(answer: dict[str, Any], scopes: frozenset[str], owner: str | None = None) -> Iterator[Fact]:
    """Everything a person, a list of people or a list of likes says. ``scopes``: the operation's. ``owner``: the person
    whose list it is. Raises Unforeseen.
    """
    if "data" in answer:
        yield from _list(answer, scopes, owner)
    elif "person_id" in answer:
        yield from _plain(answer, LIKE, answer["person_id"], scopes)
    elif "id" in answer:
        person = answer["id"]
        nested = {name: answer[name] for name in CONNECTIONS if name in answer}
        yield from _plain({k: v for k, v in answer.items() if k not in nested}, PERSON, person, scopes)
        for name, inner in nested.items():
            yield from _list(inner, scopes | {CONNECTIONS[name]}, person)
    else:
        raise Unforeseen(", ".join(sorted(answer)))


def _list(answer: dict[str, Any], scopes: frozenset[str], owner: str | None) -> Iterator[Fact]:
    if not answer.keys() <= {"data", "paging", "summary"} or not answer.get("paging", {}).keys() <= {"after"}:
        raise Unforeseen(", ".join(sorted(answer)))
    for one in answer["data"]:
        yield from facts(one, scopes)
    if answer.get("summary"):
        if answer["summary"].keys() != {"total_count"}:
            raise Unforeseen("summary")
        yield Fact(owner or "", "user.social", scopes | {"totals.read"})


def _plain(
    answer: dict[str, Any], table: dict[str, tuple[str, str | None] | None], person: str, scopes: frozenset[str]
) -> Iterator[Fact]:
    for name, value in answer.items():
        if name not in table:
            raise Unforeseen(name)
        meaning = table[name]
        if meaning is not None and value is not None:
            category, extra = meaning
            yield Fact(person, category, scopes if extra is None else scopes | {extra})


@dataclass(slots=True)
class Received:
    """An app's book. ``by_answer``: audit id -> category -> people, for comparing record by record."""

    app: str
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    facts: set[tuple[str, Fact]] = field(default_factory=set)  # (holder, what was said)
    pairs: set[Pair] = field(default_factory=set)
    disclosures: int = 0  # (person, category) pairs, counted anew in every answer
    by_answer: dict[str, Counter[str]] = field(default_factory=dict)
    answers_without_audit_id: int = 0

    def take(
        self, holder: str, status: int, answer: dict[str, Any] | None, scopes: frozenset[str], audit_id: str | None,
        owner: str | None = None,
    ) -> None:  # fmt: skip
        """Books one answer. ``answer`` None: nothing about anybody (a refusal)."""
        self.requests += 1
        self.statuses[status] += 1
        said = set(facts(answer, scopes, owner)) if answer is not None else set()
        pairs = {(fact.person, fact.category) for fact in said}
        self.facts.update((holder, fact) for fact in said)
        self.pairs |= pairs
        self.disclosures += len(pairs)
        if audit_id is None:
            self.answers_without_audit_id += 1
        else:
            self.by_answer[audit_id] = Counter(category for _, category in pairs)

    @property
    def people(self) -> set[str]:
        return {person for person, _ in self.pairs if person}

    def categories(self) -> dict[str, int]:
        """Category -> how many people it was received of."""
        found: dict[str, set[str]] = defaultdict(set)
        for person, category in self.pairs:
            found[category].add(person)
        return {category: len(people) for category, people in found.items()}

    def about(self, person: str) -> set[str]:
        """The categories received about one person."""
        return {category for one, category in self.pairs if one == person}
