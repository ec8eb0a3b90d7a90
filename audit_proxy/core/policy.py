"""Policy: apps, and the operator's choices for them.

Invariants:

- Mode: operation beats app beats global.
- An app that is not registered gets the operator's default profile, or is refused where there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Mode(StrEnum):
    enforce = "enforce"
    monitor = "monitor"


class AppStatus(StrEnum):
    active = "active"
    suspended = "suspended"


class RefusedThirdParty(StrEnum):
    """What becomes of a third party whose own grant is missing: the whole object goes, or its non-personal part stays."""

    drop = "drop"
    minimal = "minimal"


class Unclassified(StrEnum):
    drop = "drop"
    unsafe_pass = "pass"


@dataclass(frozen=True, slots=True)
class App:
    """A registered app (OAuth client). ``label`` is what metrics call it: the id, or ``other``."""

    id: str
    name: str
    owner: str
    contact: str
    tier: str
    purpose: str
    approved_scopes: frozenset[str]
    mode: Mode | None = None
    status: AppStatus = AppStatus.active
    label: str = "other"
    redirect_domains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OperationRule:
    """Overrides for one operation id; None means the global choice."""

    mode: Mode | None = None
    refused_third_party: RefusedThirdParty | None = None
    unclassified: Unclassified | None = None
    response_limit: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Policy:
    """``config/policy.yaml`` as a value; ``hash`` is SHA-256 of the file's bytes, in hex, first 16 characters."""

    hash: str
    mode: Mode = Mode.enforce
    refused_third_party: RefusedThirdParty = RefusedThirdParty.drop
    unclassified: Unclassified = Unclassified.drop
    unsafe_holder_passes_without_consent_store: bool = False
    unsafe_enforce_unreviewed: bool = False
    unknown_app: App | None = None  # the profile of apps that are not registered; None: they are refused
    operations: Mapping[str, OperationRule] = field(default_factory=dict)

    def profile(self, client_id: str) -> App | None:
        """What holds for an app that is not registered, or None where such apps are refused."""
        return None if self.unknown_app is None else replace(self.unknown_app, id=client_id)

    def mode_for(self, app: App | None, operation: str | None) -> Mode:
        rule = self.operations.get(operation) if operation is not None else None
        if rule is not None and rule.mode is not None:
            return rule.mode
        if app is not None and app.mode is not None:
            return app.mode
        return self.mode
