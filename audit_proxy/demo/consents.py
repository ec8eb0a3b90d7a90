"""Two apps, and what each person permitted them: the facts that go into the consent store, and the yardstick against
which the demo measures what the apps received. The yardstick is this file's own; the proxy's rules are not asked.
"""

import datetime as dt
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from audit_proxy.demo.world import World

INSTALLED = 0.02  # share of people who installed the quiz, as 270,000 of the platform's users in a small world
REMINDED = 0.06  # share of people who use the well-behaved app


@dataclass(frozen=True, slots=True)
class AppCard:
    """An app as it is registered."""

    id: str
    name: str
    owner: str
    contact: str
    tier: str
    purpose: str
    scopes: tuple[str, ...]


QUIZ = AppCard(
    "personality-quiz",
    "What Is Your Personality?",
    "Quizworks Ltd",
    "privacy@quizworks.example",
    "standard",
    "functional.service",
    ("profile.read", "friends.read", "birthday.read", "location.read", "views.read", "likes.read"),
)
REMINDER = AppCard(
    "birthday-reminder",
    "Birthday Reminder",
    "Cake Cooperative",
    "privacy@cake.example",
    "trusted",
    "essential.service.notifications",
    ("profile.read", "friends.read", "birthday.read"),
)
APPS = (QUIZ, REMINDER)

# What people who did not install the quiz said to it anyway, on the platform's consent page: (kind, share of people).
ELSEWHERE = (
    ("full", 0.03),
    ("partial", 0.03),
    ("expired", 0.015),
    ("other_purpose", 0.015),
    ("withdrawn", 0.01),
)
_WITHDREW_AFTER_INSTALLING = 0.04  # share of installers
_DAY = 86_400


@dataclass(slots=True)
class Consents:
    """``installers`` and ``reminded`` are people's ids, sorted. ``now`` in seconds since the epoch."""

    now: float
    installers: list[str] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)  # person -> what they said to the quiz
    _scopes: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _withdrew: set[tuple[str, str]] = field(default_factory=set)

    def permitted(self, app: AppCard, person: str) -> frozenset[str]:
        """The scopes that a person's own valid grants give the app; empty for nothing valid."""
        return self._scopes.get((app.id, person), frozenset())

    def withdrew(self, app: AppCard, person: str) -> bool:
        return (app.id, person) in self._withdrew

    def may_receive(self, app: AppCard, holder: str, person: str, scopes: frozenset[str]) -> bool:
        """Whether the app may have what takes these scopes about a person, with that holder's token."""
        if self.withdrew(app, person):
            return False
        return person == holder or scopes <= self.permitted(app, person)

    def ndjson(self) -> Iterator[bytes]:
        """The statements as lines for the import."""
        for statement in self.statements:
            yield json.dumps(statement, separators=(",", ":")).encode() + b"\n"

    # -- writing them down -------------------------------------------------------------------------------------------

    def grant(
        self, app: AppCard, person: str, scopes: tuple[str, ...], *, expires_in: int | None = None, purpose: str = ""
    ) -> None:
        """``expires_in`` seconds from now; below 0 it has expired. ``purpose`` if it is not the app's own."""
        statement: dict[str, Any] = {
            "app": app.id,
            "subject": f"person:{person}",
            "scopes": list(scopes),
            "purpose": purpose or app.purpose,
            "granted_at": _rfc3339(self.now - 200 * _DAY),
            "source": "consent page",
            "evidence": "consent-text-3",
        }
        if expires_in is not None:
            statement["expires_at"] = _rfc3339(self.now + expires_in)
        self.statements.append(statement)
        if (expires_in is None or expires_in > 0) and not purpose:
            self._scopes[app.id, person] = self.permitted(app, person) | frozenset(scopes)

    def withdraw(self, app: AppCard, person: str) -> None:
        at = _rfc3339(self.now - 10 * _DAY)
        self.statements.append(
            {
                "app": app.id,
                "subject": f"person:{person}",
                "withdrawn": True,
                "withdrawn_at": at,
                "source": "privacy settings",
            }
        )
        self._withdrew.add((app.id, person))
        self._scopes.pop((app.id, person), None)


def draw(people: int, seed: int, now: float) -> Consents:
    """Who installed what, and who said what, of a world of that size. At least one person uses each app."""
    chance = random.Random(f"{seed}:consents")
    ids = [str(World.id_of(one)) for one in range(people)]
    made = Consents(now)
    installers = set(chance.sample(ids, max(1, round(people * INSTALLED))))
    made.installers = sorted(installers, key=int)
    for number, person in enumerate(made.installers):
        made.kinds[person] = "installed"
        made.grant(QUIZ, person, QUIZ.scopes, expires_in=165 * _DAY)
        if number % round(1 / _WITHDREW_AFTER_INSTALLING) == 7:
            made.kinds[person] = "installed, then withdrew"
            made.withdraw(QUIZ, person)
    for person in ids:
        kind = _kind(chance.random())
        if person not in installers and kind is not None:
            made.kinds[person] = kind
            _say(made, person, kind)
    made.reminded = sorted(chance.sample(ids, max(1, round(people * REMINDED))), key=int)
    for person in made.reminded:
        made.grant(REMINDER, person, REMINDER.scopes)
    return made


def _kind(drawn: float) -> str | None:
    for kind, share in ELSEWHERE:
        if drawn < share:
            return kind
        drawn -= share
    return None


def _say(made: Consents, person: str, kind: str) -> None:
    if kind == "full":
        made.grant(QUIZ, person, QUIZ.scopes)
    elif kind == "partial":
        made.grant(QUIZ, person, ("profile.read", "friends.read"))
    elif kind == "expired":
        made.grant(QUIZ, person, QUIZ.scopes, expires_in=-30 * _DAY)
    elif kind == "other_purpose":
        made.grant(QUIZ, person, QUIZ.scopes, purpose="essential.fraud_detection")
    else:
        made.grant(QUIZ, person, QUIZ.scopes)
        made.withdraw(QUIZ, person)


def _rfc3339(seconds: float) -> str:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).isoformat().replace("+00:00", "Z")
