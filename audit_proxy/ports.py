"""What the pipeline needs from outside, as Protocols. One contract suite a port runs against every adapter.

Adapters translate their vendor's exceptions into ``core.errors`` at one visible place.
"""

from asyncio import Future
from collections.abc import Mapping, Sequence
from typing import Protocol

from audit_proxy.core.consent import Standing
from audit_proxy.core.errors import Refusal
from audit_proxy.core.identity import Identity
from audit_proxy.core.jose import KeySet
from audit_proxy.core.policy import App


class TokenResolver(Protocol):
    """Verifies an app's credential. Facts may be cached by token hash, never past the token's expiry."""

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        """The token's identity, or why it is refused. ``now`` in seconds since the epoch. Raises nothing of its own."""
        ...


class IssuerKeys(Protocol):
    """The keys that verify one issuer's tokens."""

    @property
    def current(self) -> KeySet | None:
        """The set in force, or None while there is none (``keys_unavailable``). The same object until keys change."""
        ...


class AppRegistry(Protocol):
    """Registered apps."""

    def find(self, client_id: str) -> App | None:
        """The app with that OAuth client id, or None."""
        ...


class ConsentStore(Protocol):
    """Grants of subjects for apps."""

    @property
    def loaded(self) -> bool:
        """Whether a first load has completed; before, no third party is disclosed (``consent_not_loaded``)."""
        ...

    async def standings(self, app: str, subjects: Sequence[str]) -> Mapping[str, Standing]:
        """Every asked subject's standing towards the app, in one batched look-up; a subject the store does not know
        maps to ``NOTHING_KNOWN``. Equal standings should be the same object. Raises ConsentUnavailable."""
        ...


class AuditLog(Protocol):
    """The tamper-evident log of one writer."""

    def append(self, record: bytes) -> "Future[int]":
        """Takes one record (one JSON object, no line break, at most 65,535 bytes); the future gives its index in the
        log once it is durable, or raises AuditUnavailable. Records become durable in the order of their append."""
        ...


class Pseudonymizer(Protocol):
    """Keyed pseudonyms of subjects for records."""

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        """22 characters of base64url (128 bits) for each subject, in order."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...
