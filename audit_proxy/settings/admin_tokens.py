"""``admin-tokens.yaml``: who may use the admin API.

Invariants:

- The file holds SHA-256 of each token, never a token: 256 random bits need no slow hash. A token is shown once, by ``create``.
- A file that its group or others can read, or that somebody else owns, is refused; so is a second entry with the same name
  or hash, an unknown key, and a file without entries.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field

from audit_proxy.settings.files import ConfigProblems, Problem, parse_yaml
from audit_proxy.settings.secrets import SecretError, read_private
from audit_proxy.settings.shapes import Model
from audit_proxy.settings.validate import validated

Role = Literal["consent", "reader", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
TOKEN_PREFIX = "apx_"  # lets scanners of repositories and logs find a token that got there


@dataclass(frozen=True, slots=True)
class AdminToken:
    """One token of the admin API. ``sha256``: digest of its ASCII text, 32 bytes."""

    name: str
    role: Role
    sha256: bytes


class TokenEntry(Model):
    """One token: its name in records, what it may do, and its hash."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = Field(
        description="What records call whoever uses it."
    )
    role: Role = Field(description="consent: put, withdraw, import; reader: get, metrics; admin: everything.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="SHA-256 of the token's text, in hex.")


class TokensFile(Model):
    """``admin-tokens.yaml``."""

    tokens: list[TokenEntry] = Field(min_length=1)


def create(names_roles: Mapping[str, Role]) -> tuple[str, dict[str, str]]:
    """A new file's text (to be written with mode 0600), and the token of each name, which is stored nowhere."""
    tokens = {name: TOKEN_PREFIX + secrets.token_urlsafe(32) for name in names_roles}
    entries = [
        TokenEntry(name=name, role=role, sha256=_digest(tokens[name]).hex()).model_dump()
        for name, role in names_roles.items()
    ]
    head = (
        "# Tokens of the admin API, as SHA-256 of each. Roles: consent (put, withdraw, import), reader (get, metrics),\n"
        "# admin (everything). Keep this file at mode 0600.\n"
    )
    return head + yaml.safe_dump({"tokens": entries}, sort_keys=False), tokens


def load(path: Path) -> tuple[AdminToken, ...]:
    """The file's tokens. Raises ConfigProblems, with all that is wrong."""
    try:
        document = parse_yaml(path, read_private(path))
    except SecretError as error:
        raise ConfigProblems([Problem(str(path), 0, 0, str(error))]) from None
    except OSError as error:
        raise ConfigProblems([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    entries = validated(TokensFile, document).tokens
    problems = [
        document.problem(("tokens", at, what), f"this {what} stands in the file a second time; remove one")
        for what in ("name", "sha256")
        for at, entry in enumerate(entries)
        if any(getattr(entry, what) == getattr(other, what) for other in entries[:at])
    ]
    if problems:
        raise ConfigProblems(sorted(problems))
    return tuple(AdminToken(entry.name, entry.role, bytes.fromhex(entry.sha256)) for entry in entries)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
