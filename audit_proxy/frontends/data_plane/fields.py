"""What a request's fields come to. A connection keeps it for its next request, which nearly always brings the same.

Invariants:

- Only what fields, connection and settings alone decide is kept: target, token and every decision are judged anew.
- Large fields are kept no longer than their request: a connection that is idle holds ``KEPT_BYTES`` of them at most.
"""

from collections.abc import Callable, Hashable
from itertools import chain

from aiohttp import HttpVersion, web
from multidict import CIMultiDict

from audit_proxy.frontends.data_plane.headers import Headers

KEPT_BYTES = 4096


class Fields:
    """A request's fields that were found acceptable. ``single``: those that admission reads, by lower-case name."""

    __slots__ = ("_forwarded", "_key", "_raw", "_version", "kept", "single")

    def __init__(self, request: web.BaseRequest, gateway: frozenset[str]) -> None:
        self._raw = request.raw_headers
        self._version: HttpVersion = request.version
        self.single = _single(request.headers, gateway)
        self.kept = sum(map(len, chain.from_iterable(self._raw))) <= KEPT_BYTES
        self._key: Hashable = None
        self._forwarded: CIMultiDict[str] = CIMultiDict()

    def same_as(self, request: web.BaseRequest) -> bool:
        """Whether a request brings just these, byte for byte and in this order."""
        return request.raw_headers == self._raw and request.version == self._version

    def forwarded(self, key: Hashable, make: Callable[[], CIMultiDict[str]]) -> CIMultiDict[str]:
        """What the platform gets of them, to be changed freely. ``key``: all else that it depends on."""
        if key != self._key:
            self._forwarded, self._key = make(), key
        return self._forwarded.copy()


def _single(headers: Headers, gateway: frozenset[str]) -> dict[str, str]:
    """A repeated field keeps all its values, so it cannot parse."""
    found: dict[str, str] = {}
    for name in ("Authorization", "Content-Type", "traceparent", *gateway):
        values = headers.getall(name, None)
        if values is not None:
            found[name.lower()] = values[0] if len(values) == 1 else ", ".join(values)
    return found
