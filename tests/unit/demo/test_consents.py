"""Who permitted what in the demo, and the yardstick made of it."""

import json
from collections import Counter

import pytest

from audit_proxy.core.consent import Grant, Standing, holder_permission, third_party_permission
from audit_proxy.core.statements import GrantStatement, WithdrawalStatement, statement
from audit_proxy.demo.consents import ELSEWHERE, QUIZ, REMINDER, draw

NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def consents():
    return draw(5000, 1, NOW)


def test_the_same_seed_gives_the_same_consents(consents):
    """Statements are drawn from the seed alone."""
    assert draw(5000, 1, NOW).statements == consents.statements != draw(5000, 2, NOW).statements


def test_two_percent_installed_the_quiz(consents):
    """The installers are 2% of the people, and every kind of consent occurs beside them."""
    assert len(consents.installers) == 100
    kinds = Counter(consents.kinds.values())
    assert kinds["installed"] + kinds["installed, then withdrew"] == 100
    assert all(kinds[kind] > 10 for kind, _ in ELSEWHERE)
    assert kinds["installed, then withdrew"] > 0


@pytest.mark.parametrize("people", [2, 10, 49, 51])
def test_small_worlds_have_an_installer(people):
    """However few people there are, somebody uses each app."""
    few = draw(people, 1, NOW)
    assert few.installers
    assert few.reminded


def test_every_line_is_a_statement(consents):
    """The import takes each line as it stands, and none names a scope that its app does not ask for."""
    for line in consents.ndjson():
        taken = statement(line)
        assert isinstance(taken, GrantStatement | WithdrawalStatement)
        if isinstance(taken, GrantStatement):
            app = {one.id: one for one in (QUIZ, REMINDER)}[taken.app]
            assert set(taken.scopes.split()) <= set(app.scopes)


def test_the_yardstick_follows_the_statements(consents):
    """What the yardstick permits is exactly what the statements say, read anew from their lines."""
    grants, withdrawn = {}, set()
    for line in consents.ndjson():
        keys = json.loads(line)
        pair = (keys["app"], keys["subject"].removeprefix("person:"))
        if keys.get("withdrawn"):
            withdrawn.add(pair)
        else:
            grants.setdefault(pair, []).append(keys)
    for app in (QUIZ, REMINDER):
        everybody = {person for one, person in grants if one == app.id} | {"100001", "105000"}
        for person in everybody:
            standing = Standing(
                tuple(_grant(statement(json.dumps(one).encode())) for one in grants.get((app.id, person), ())),
                (app.id, person) in withdrawn,
            )
            scopes = frozenset(app.scopes)
            theirs = third_party_permission(standing, scopes, app.purpose, NOW).scopes
            assert consents.permitted(app, person) == (theirs or frozenset())
            own = holder_permission(standing, scopes).scopes
            assert consents.may_receive(app, person, person, scopes) == (own is not None)
            assert consents.may_receive(app, "0", person, frozenset({"profile.read"})) == (
                "profile.read" in (theirs or ())
            )


def _grant(taken):
    return Grant(frozenset(taken.scopes.split()), taken.purpose, taken.expires_at)


def test_silence_permits_nothing(consents):
    """Whoever said nothing permits a friend's app nothing at all, not even what takes no scope beyond the operation's."""
    silent = next(str(one) for one in range(100_001, 105_001) if str(one) not in consents.kinds)
    assert not consents.may_receive(QUIZ, "0", silent, frozenset({"friends.read"}))
