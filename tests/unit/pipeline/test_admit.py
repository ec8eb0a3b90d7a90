"""Whether a request that was admitted would still be."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from audit_proxy.core.catalog.target import Target
from audit_proxy.core.consent import NOTHING_KNOWN, Standing
from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.errors import Refusal
from audit_proxy.core.exchange import Request
from audit_proxy.core.identity import Identity
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import App, AppStatus, Policy
from audit_proxy.pipeline.admit import Admission, Admitter
from audit_proxy.pipeline.permissions import Permissions
from audit_proxy.pipeline.standings import PeopleKeys, Standings
from tests.unit.core.catalog.documents import catalog

QUIZ = App("quiz", "Quiz", "o", "q@example.org", "standard", "p", frozenset({"read"}))


class Tokens:
    """Every token is the quiz app's, until 100."""

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        del token, now
        return Identity("i", "quiz", "person:1", frozenset({"read"}), 100.0)


class Apps:
    """One app, whose entry can change."""

    def __init__(self) -> None:
        self.entry: App | None = QUIZ

    def find(self, client_id: str) -> App | None:
        return self.entry if client_id == "quiz" else None


class Ids:
    """Every id is its person's."""

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        del app
        return {one: f"person:{one}" for one in ids}


class NoConsents:
    """Nobody permitted anything."""

    loaded = True

    async def standings(self, app: str, subjects: Collection[str]) -> Mapping[str, Standing]:
        del app
        return dict.fromkeys(subjects, NOTHING_KNOWN)


class Names:
    """Everybody is called as they are."""

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        return list(subjects)


def standings() -> Standings:
    """Of a platform where no app has reached anybody yet."""
    return Standings(Ledger(Budgets()), PeopleKeys(Names(), bytes(16)), None)


async def _no_body() -> bytes:
    return b""


def _admitted(apps: Apps) -> tuple[Admitter, Admission]:
    policy = Policy("h")
    admitter = Admitter(
        catalog(), policy, Tokens(), apps, Ids(), Permissions(policy, NoConsents(), standings()), standings()
    )
    request = Request("GET", "/me", {"authorization": "Bearer t"}, None)
    return admitter, asyncio.run(admitter.admit(request, "id", 1.0, _no_body))


def test_what_was_admitted_goes_on() -> None:
    """While the token holds and the app is active."""
    admitter, admission = _admitted(Apps())
    assert (admission.refusal, isinstance(admission.target, Target)) == (None, True)
    assert admitter.lapsed(admission, 99.0) is None


def test_an_app_that_was_suspended_meanwhile_gets_no_more() -> None:
    """Neither does one that was taken out, nor an expired token."""
    apps = Apps()
    admitter, admission = _admitted(apps)
    found = []
    for entry, now in ((replace(QUIZ, status=AppStatus.suspended), 2.0), (None, 2.0), (QUIZ, 100.0)):
        apps.entry = entry
        refusal = admitter.lapsed(admission, now)
        found.append(refusal.reason if refusal is not None else None)
    assert found == ["app_suspended", "app_unknown", "token_expired"]
