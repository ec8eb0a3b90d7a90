"""One request and one response as values, free of any transport."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What an app asked. ``target`` is the request target as sent (origin form, raw); ``headers`` by lower-case name.

    ``body`` is None while it streams (operations marked ``none``) and b"" where there is none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What the platform answered. ``headers`` by lower-case name; ``body`` with its content coding removed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
