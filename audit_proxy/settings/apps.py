"""``apps.yaml``: the registered apps.

Invariants:

- An id stands once. ``other`` is no id: it is what metrics call every app that is not registered.
- An app without approved scopes is registered and may do nothing that needs a scope.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from audit_proxy.core.identity import parse_scopes
from audit_proxy.core.policy import App, AppStatus, Mode
from audit_proxy.settings.files import ConfigProblems, Document
from audit_proxy.settings.shapes import Model
from audit_proxy.settings.validate import validated

OTHER = "other"  # the metrics label of every app that is not registered

_CLIENT_ID = re.compile(r"[\x20-\x7E]+\Z")  # RFC 6749 appendix A.1
_PURPOSE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z")  # a fideslang data use's key
_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\Z")
_TIER = re.compile(r"[a-z][a-z0-9_-]*\Z")


def _client_id(value: str) -> str:
    if _CLIENT_ID.match(value) is None or value != value.strip():
        raise ValueError("must be printable ASCII (an OAuth client id), without spaces around it")
    if value == OTHER:
        raise ValueError(f"'{OTHER}' stands for every unregistered app in metrics; an app cannot be called so")
    return value


def _purpose(value: str) -> str:
    if _PURPOSE.match(value) is None:
        raise ValueError("must be a data use of the fideslang taxonomy, such as 'functional.service'")
    return value


def _tier(value: str) -> str:
    if _TIER.match(value) is None:
        raise ValueError("must be lower-case letters, digits, '-' and '_', beginning with a letter")
    return value


def _scope(value: str) -> str:
    if parse_scopes([value]) is None:
        raise ValueError("must be a scope of RFC 6749 section 3.3: visible ASCII without quotes and backslashes")
    return value


def _domain(value: str) -> str:
    if _DOMAIN.match(value) is None:
        raise ValueError("must be a host name in lower case, such as 'app.example.com'")
    return value


def _shown(value: str) -> str:
    if not value.isprintable() or not value.strip():
        raise ValueError("must be printable text that is not blank")
    return value


ClientId = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_client_id)]
Shown = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_shown)]
Tier = Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_tier)]
Purpose = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_purpose)]
Domain = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_domain)]
Scope = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_scope)]


class AppEntry(Model):
    """One registered app (OAuth client)."""

    id: ClientId = Field(description="The OAuth client id, as the issuer's tokens name it.")
    name: Shown = Field(description="What people call it.")
    owner: Shown = Field(description="Who answers for it; apps of one owner are watched together.")
    contact: Shown = Field(description="Where the owner is reached.")
    tier: Tier = Field(default="standard", description="How far it is trusted; budgets are by tier.")
    purpose: Purpose = Field(description="Declared purpose: a data use of the fideslang taxonomy.")
    approved_scopes: list[Scope] = Field(default=[], description="The most that a token of this app is worth.")
    redirect_domains: list[Domain] = Field(
        default=[], description="Hosts of its redirect URIs; a change of them resets its trust, as of its name."
    )
    mode: Mode | None = Field(default=None, description="Overrides policy.yaml's mode; an operation's overrides this.")
    status: AppStatus = Field(default=AppStatus.active, description="A suspended app is refused.")

    def app(self) -> App:
        """As the core knows it; a registered app is its own metrics label, until there are too many."""
        return App(
            id=self.id,
            name=self.name,
            owner=self.owner,
            contact=self.contact,
            tier=self.tier,
            purpose=self.purpose,
            approved_scopes=frozenset(self.approved_scopes),
            redirect_domains=frozenset(self.redirect_domains),
            mode=self.mode,
            status=self.status,
            label=self.id,
        )


class AppsFile(Model):
    """``apps.yaml``: registered apps and the scopes approved for them."""

    apps: list[AppEntry] = Field(default=[])


def parse_apps(document: Document) -> AppsFile:
    """The file's apps, each id once. Raises ConfigProblems."""
    file = validated(AppsFile, document)
    problems = []
    seen: set[str] = set()
    for number, entry in enumerate(file.apps):
        if entry.id in seen:
            loc = ("apps", number, "id")
            problems.append(document.problem(loc, "this app's id stands in the file a second time; remove one"))
        seen.add(entry.id)
    if problems:
        raise ConfigProblems(problems)
    return file
