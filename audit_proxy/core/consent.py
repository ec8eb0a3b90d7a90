"""Consent: what a subject permitted an app, and which scopes that leaves for one request.

Invariants (DESIGN section 6):

- Permission about a subject = the app's approved scopes, cut with the token's, cut with the subject's own consent.
- The holder's consent is the token, until it is withdrawn. A third party's is that person's own unexpired grant whose
  purpose covers the app's declared one. Scopes of several such grants add up.
- Nothing known, nothing permitted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from audit_proxy.core.errors import Consent


@dataclass(frozen=True, slots=True)
class Grant:
    """One consent of a subject for an app. ``expires_at`` in seconds since the epoch, None: until withdrawn."""

    scopes: frozenset[str]
    purpose: str
    expires_at: float | None = None

    def covers(self, purpose: str) -> bool:
        """A purpose covers itself and what lies under it in the dotted taxonomy: ``marketing`` covers ``marketing.email``."""
        return purpose == self.purpose or purpose.startswith(self.purpose + ".")


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the store knows of one subject towards one app."""

    grants: tuple[Grant, ...] = ()
    withdrawn: bool = False


NOTHING_KNOWN = Standing()
NO_SCOPES: frozenset[str] = frozenset()


class Permission(msgspec.Struct, frozen=True):
    """What one subject lets leave in this request: the scopes in force, and the ground (or why there is none)."""

    scopes: frozenset[str] | None  # None: refused, not even the operation's own scopes
    ground: Consent


def holder_permission(standing: Standing, available: frozenset[str]) -> Permission:
    """The holder's token speaks for the holder unless consent was withdrawn."""
    if standing.withdrawn:
        return Permission(None, Consent.withdrawn)
    return Permission(available, Consent.token)


def third_party_permission(standing: Standing, available: frozenset[str], purpose: str, now: float) -> Permission:
    """Scopes that a third party's own grants leave of ``available`` (approved and in the token)."""
    if standing.withdrawn:
        return Permission(None, Consent.withdrawn)
    if not standing.grants:
        return Permission(None, Consent.no_grant)
    valid: list[Grant] = []
    why = Consent.grant_expired
    for grant in standing.grants:
        if grant.expires_at is not None and grant.expires_at <= now:
            continue
        if grant.covers(purpose):
            valid.append(grant)
        else:
            why = Consent.grant_purpose
    if not valid:
        return Permission(None, why)
    return Permission(available.intersection(scope for grant in valid for scope in grant.scopes), Consent.grant)


def satisfies(requirements: Iterable[frozenset[str]], scopes: frozenset[str]) -> bool:
    """OpenAPI ``security``: an OR of ANDs. An empty list of alternatives is satisfied by nothing."""
    for alternative in requirements:  # noqa: SIM110  (a generator costs more than the comparison)
        if alternative <= scopes:
            return True
    return False
