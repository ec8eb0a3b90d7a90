"""What the shapes of configuration files are made of."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from audit_proxy.core.identity import valid_namespace


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Secret(Model):
    """Where a secret is read from: a file (mode 0600 or stricter), or a command's standard output. Never inline."""

    file: Path | None = None
    command: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.command is None):
            raise ValueError("give exactly one of 'file' and 'command'")
        return self


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(gt=0)]


def _namespace(value: str) -> str:
    if not valid_namespace(value):
        raise ValueError("lower-case letters, digits, '_', '.', '-', beginning with a letter; at most 63 characters")
    return value


Namespace = Annotated[str, AfterValidator(_namespace)]  # of people's ids: a person is namespace:id


def http_url(value: str) -> SplitResult:
    """An http(s) URL without a user name. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with https:// (or http://) and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be ASCII without spaces")
    _ = parts.port  # raises ValueError where it is no number from 0 to 65535
    return parts


def fetched_safely(url: str, unsafe: bool, name: str, permission: str) -> None:
    """Raises ValueError where a URL is plain HTTP to another machine, and ``permission`` is not set."""
    parts = http_url(url)
    if parts.scheme == "http" and not unsafe and not _this_machine(parts.hostname or ""):
        raise ValueError(f"'{name}' must begin with https://, or set '{permission}: true'")


def _this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
