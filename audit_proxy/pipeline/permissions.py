"""What people permit an app in one request: one batched consent look-up, and what follows where the store cannot say.

Invariants:

- Without a consent store third parties permit nothing; the holder neither, unless a named setting says otherwise.
- Whoever is asked about twice, by two raw ids, is one person.
"""

from collections.abc import Collection, Mapping

import msgspec

from audit_proxy.core.consent import (
    NOTHING_KNOWN,
    Permission,
    Standing,
    holder_permission,
    satisfies,
    third_party_permission,
)
from audit_proxy.core.errors import Consent, ConsentUnavailable
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import App, Policy
from audit_proxy.pipeline.standings import Standings
from audit_proxy.ports import ConsentStore

NOBODY_KNOWN = Permission(None, Consent.subject_unmapped)
RESTRICTED = Permission(None, Consent.app_restricted)


class Asker(msgspec.Struct, frozen=True):
    """For whom people permit. ``available``: approved scopes that the token carries; ``now`` in seconds since the epoch."""

    app: App | None
    holder: str | None  # a subject
    available: frozenset[str]
    now: float


class Permissions:
    """Holds what the look-up needs; one instance serves all requests."""

    def __init__(self, policy: Policy, consent: ConsentStore, standings: Standings) -> None:
        self._policy = policy
        self._standings = standings
        self._consent = consent

    async def of(
        self, asker: Asker, subjects: Mapping[RawId, str]
    ) -> tuple[dict[RawId, Permission], Collection[RawId], bool]:
        """What everyone permits, which ids mean the holder, and whether the holder still permits at all."""
        app, holder, available = asker.app, asker.holder, asker.available
        wanted = [*subjects.values()]
        if holder is not None:
            wanted.append(holder)
        if not wanted or app is None:
            nothing = Permission(None, Consent.no_grant)
            return dict.fromkeys(subjects, nothing), (), False
        standings: Mapping[str, Standing] = {}
        missing: Consent | None = None
        try:
            standings = await self._consent.standings(app.id, wanted)
            if not self._consent.loaded:
                missing = Consent.consent_not_loaded
        except ConsentUnavailable:
            missing = Consent.consent_unavailable
        if holder is None:
            own = Permission(None, Consent.no_grant)
        elif missing is Consent.consent_unavailable:
            passes = self._policy.unsafe_holder_passes_without_consent_store
            own = Permission(available, Consent.token) if passes else Permission(None, missing)
        else:
            own = holder_permission(standings.get(holder, NOTHING_KNOWN), available)
        mine = [raw for raw, name in subjects.items() if name == holder] if holder in subjects.values() else ()
        if missing is not None:
            refused = Permission(None, missing)
            return {**dict.fromkeys(subjects, refused), **dict.fromkeys(mine, own)}, mine, own.scopes is not None
        stands = [*map(standings.__getitem__, subjects.values())]
        marks = [*map(id, stands)]  # few differ
        permitted = {
            mark: third_party_permission(one, available, app.purpose, asker.now)
            for mark, one in dict(zip(marks, stands, strict=True)).items()
        }
        if self.restricts(app):
            permitted = {mark: one if one.scopes is None else RESTRICTED for mark, one in permitted.items()}
        found = dict(zip(subjects, map(permitted.__getitem__, marks), strict=True))
        for raw in mine:
            found[raw] = own
        return found, mine, own.scopes is not None

    def restricts(self, app: App | None) -> bool:
        """Whether the app gets the data of its tokens' holders only."""
        return self._standings.restricts(app)


def refusal_of(permission: Permission, requirements: tuple[frozenset[str], ...]) -> Consent | None:
    """Why a person does not permit what a request needs of everyone, or None where they do."""
    if permission.scopes is None:
        return permission.ground
    return None if satisfies(requirements, permission.scopes) else Consent.grant_scope
