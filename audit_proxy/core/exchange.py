"""One request and one response as values, free of any transport: an app's, and ours to the operator's services.

Values that are made for every request are msgspec Structs: frozen dataclasses whose constructor costs a tenth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection: a client whose certificate TLS verified against a configured authority.

    ``names``: its subject, alternative names and fingerprint, as ``subject:CN=gateway,O=Example`` (RFC 4514),
    ``dns:gateway.internal``, ``uri:spiffe://example/gateway``, ``sha256:`` and 64 hex digits of the whole certificate.
    """

    names: frozenset[str]


class Request(msgspec.Struct, frozen=True):
    """What an app asked. ``target`` is the request target as sent (origin form, raw); ``headers`` by lower-case name.

    ``body`` is None while it streams (operations marked ``none``) and b"" where there is none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = b""
    peer: Peer | None = None  # None: the connection showed no certificate that was verified


class Response(msgspec.Struct, frozen=True):
    """What the platform answered. ``headers`` by lower-case name; ``body`` with its content coding removed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to a service of the operator's. ``url`` is ASCII, percent-encoded as it is sent."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer of a service, whatever its status."""

    status: int
    body: bytes = field(repr=False)
