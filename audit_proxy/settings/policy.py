"""``policy.yaml``: the operator's choices about modes, refused people and unknown apps."""

from collections.abc import Collection
from hashlib import sha256

from pydantic import Field

from audit_proxy.core.policy import App, Mode, OperationRule, Policy, RefusedThirdParty, Unclassified
from audit_proxy.settings.apps import OTHER, Purpose, Scope, Tier
from audit_proxy.settings.files import Document, Problem
from audit_proxy.settings.shapes import Bytes, Model
from audit_proxy.settings.validate import unknown_names, validated

HASH_LENGTH = 16  # hexadecimal digits of SHA-256 that name a policy in every record


class UnknownApps(Model):
    """The default profile: what an app that is not in ``apps.yaml`` gets."""

    admit: bool = Field(default=False, description="Whether such apps are let in at all; else they get app_unknown.")
    tier: Tier = "unregistered"
    purpose: Purpose | None = Field(default=None, description="Without one, no third party's grant covers them.")
    approved_scopes: list[Scope] = Field(default=[])
    mode: Mode | None = None


class OperationEntry(Model):
    """Overrides for one operation, by its operationId in the catalog."""

    mode: Mode | None = Field(default=None, description="Beats the app's mode and the global one.")
    refused_third_party: RefusedThirdParty | None = None
    unclassified: Unclassified | None = None
    response_body_bytes: Bytes | None = Field(default=None, description="Instead of limits.response_body_bytes.")


class PolicyFile(Model):
    """``policy.yaml``."""

    mode: Mode = Field(default=Mode.enforce, description="For every request that no app's or operation's mode decides.")
    refused_third_party: RefusedThirdParty = Field(
        default=RefusedThirdParty.drop,
        description="drop: a person without a grant is not in the answer; minimal: only what is not personal stays.",
    )
    unclassified: Unclassified = Field(
        default=Unclassified.drop, description="What the catalog gives no category: drop, or pass (unsafe)."
    )
    unsafe_holder_passes_without_consent_store: bool = Field(
        default=False, description="Whether the holder's own data passes while it cannot be seen if they withdrew."
    )
    unsafe_enforce_unreviewed: bool = Field(
        default=False, description="Whether operations in enforce may be unreviewed, or changed since their review."
    )
    unknown_apps: UnknownApps = UnknownApps()
    operations: dict[str, OperationEntry] = Field(default={}, description="By operationId.")


def parse_policy(document: Document) -> Policy:
    """The policy and its hash, which is of the file's exact bytes. Raises ConfigProblems."""
    file = validated(PolicyFile, document)
    return Policy(
        hash=sha256(document.data).hexdigest()[:HASH_LENGTH],
        mode=file.mode,
        refused_third_party=file.refused_third_party,
        unclassified=file.unclassified,
        unsafe_holder_passes_without_consent_store=file.unsafe_holder_passes_without_consent_store,
        unsafe_enforce_unreviewed=file.unsafe_enforce_unreviewed,
        unknown_app=_profile(file.unknown_apps),
        operations={
            name: OperationRule(one.mode, one.refused_third_party, one.unclassified, one.response_body_bytes)
            for name, one in file.operations.items()
        },
    )


def unknown_operations(document: Document, known: Collection[str]) -> list[Problem]:
    """A problem for each rule of ``policy.yaml`` whose operation the catalog does not hold: it would never apply."""
    names = validated(PolicyFile, document).operations
    return unknown_names(document, "operations", names, known, "the catalog has no operation '{}'")


def _profile(unknown: UnknownApps) -> App | None:
    if not unknown.admit:
        return None
    return App(
        id=OTHER,
        name="unregistered",
        owner="",
        contact="",
        tier=unknown.tier,
        purpose=unknown.purpose or "",
        approved_scopes=frozenset(unknown.approved_scopes),
        mode=unknown.mode,
        label=OTHER,
    )
