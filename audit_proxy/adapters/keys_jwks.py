"""An issuer's keys from a JWK Set (RFC 7517), read from bytes or fetched from a URL (port ``IssuerKeys``).

Invariants:

- A set without a usable key never replaces a good one; a failed fetch leaves the last good set in force, until it is
  older than its bound: from then on there are no keys.
- There is one fetch at a time, and everybody who needs it waits for that one, for a bounded time. Tokens that name an
  unknown key cause at most one fetch an interval, however many they are.
"""

import asyncio
import contextlib

import jwt
import structlog

from audit_proxy.core.errors import CallFailed
from audit_proxy.core.exchange import Call
from audit_proxy.core.jose import JWKS_MAX, KeySet, NotStrict, VerificationKey, parse_jwks
from audit_proxy.ports import HttpClient

_FETCH_TIMEOUT_S = 10.0
_RETRY_S = (0.5, 30.0)  # after a failed fetch: the first pause and, doubled each time, the longest
_WAITING_MAX = 200  # requests that wait for a fetch; more are turned away, so that they cannot fill the proxy
_log = structlog.get_logger()


class KeysUnusable(ValueError):  # noqa: N818  (a condition of what was read, not a fault of ours)
    """A document is no JWK Set, or none of its keys is usable. The text names no key material."""


def key_set(document: bytes, algorithms: frozenset[str]) -> KeySet:
    """The usable keys of a JWK Set for an issuer that pins ``algorithms``. Raises KeysUnusable."""
    try:
        usable, unusable = parse_jwks(document, algorithms)
    except NotStrict as error:
        raise KeysUnusable(str(error)) from error
    keys = []
    for jwk in usable:
        try:
            material = jwt.PyJWK(dict(jwk.members), min(jwk.algorithms)).key
        except (jwt.PyJWTError, ValueError, KeyError, TypeError):  # e.g. a point that is not on its curve
            unusable.append("a key's numbers are no key")
            continue
        keys.append(VerificationKey(jwk.kid, jwk.algorithms, material))
    if not keys:
        raise KeysUnusable("no usable key: " + ("; ".join(unusable[:10]) or "the set is empty"))
    return KeySet(keys)


class FixedKeys:
    """Keys that do not change while the process runs: from a file, or a shared secret."""

    __slots__ = ("current",)

    def __init__(self, keys: KeySet) -> None:
        self.current: KeySet | None = keys

    async def renewed(self, seen: KeySet) -> KeySet | None:
        """The port's method: there are no other keys."""
        return seen


class JwksUrl:
    """Keys fetched from a URL at ``start``, every ``refresh_s`` seconds, and when ``renewed`` is called.

    ``current`` is None until a fetch succeeds, and when the last one that did is ``max_age_s`` seconds ago. ``renewed``
    fetches at most every ``refetch_interval_s`` seconds. Start and ``renewed`` wait at most ``wait_s`` seconds.
    """

    def __init__(
        self,
        url: str,
        algorithms: frozenset[str],
        client: HttpClient,
        *,
        refresh_s: float = 300.0,
        max_age_s: float = 14_400.0,
        refetch_interval_s: float = 10.0,
        wait_s: float = 3.0,
    ) -> None:
        self.current: KeySet | None = None
        self._call = Call("GET", url, {"Accept": "application/jwk-set+json, application/json"})
        self._shown = url.partition("?")[0]  # a query may carry an access key
        self._algorithms = algorithms
        self._client = client
        self._refresh_s = refresh_s
        self._max_age_s = max_age_s
        self._refetch_interval_s = refetch_interval_s
        self._wait_s = wait_s
        self._document = b""
        self._good: KeySet | None = (
            None  # of _document; outlives current, so that the same bytes give the same set again
        )
        self._fetched_at: float | None = None  # the loop's time of the last fetch that succeeded
        self._failed = False  # whether the last fetch did
        self._asked_at: float | None = None  # the loop's time when renewed last began a fetch
        self._waiting = 0
        self._fetch: asyncio.Task[bool] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the last fetch that succeeded, None before the first."""
        return None if self._fetched_at is None else asyncio.get_running_loop().time() - self._fetched_at

    async def start(self) -> None:
        """Goes on fetching in the background; returns after the first fetch, or sooner if that takes long."""
        first = self._fetching()
        self._refreshing = asyncio.create_task(self._keep_fresh(first), name="jwks-refresh")
        await asyncio.wait({first}, timeout=self._wait_s)

    async def close(self) -> None:
        """Stops refreshing."""
        for task in (self._refreshing, self._fetch):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._expiry is not None:
            self._expiry.cancel()
        self._refreshing = self._fetch = self._expiry = None

    async def renewed(self, seen: KeySet) -> KeySet | None:
        """The port's method."""
        if self.current is not seen:
            return self.current
        fetch = self._fetch
        if fetch is None or fetch.done():
            now = asyncio.get_running_loop().time()
            if self._asked_at is not None and now - self._asked_at < self._refetch_interval_s:
                return None if self._failed else seen
            self._asked_at = now
            fetch = self._fetching()
        if self._waiting >= _WAITING_MAX:
            return None
        self._waiting += 1
        try:
            await asyncio.wait({fetch}, timeout=self._wait_s)
        finally:
            self._waiting -= 1
        return self.current if fetch.done() and not fetch.cancelled() and fetch.result() else None

    def _fetching(self) -> "asyncio.Task[bool]":
        """The one fetch in flight, begun if there is none; whether it succeeds."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._refresh(), name="jwks-fetch")
        return self._fetch

    async def _keep_fresh(self, first: "asyncio.Task[bool]") -> None:
        retry, fetch = _RETRY_S[0], first
        while True:
            if await asyncio.shield(fetch):
                retry, pause = _RETRY_S[0], self._refresh_s
            else:
                retry, pause = min(2 * retry, _RETRY_S[1]), min(retry, self._refresh_s)
            await asyncio.sleep(pause)
            fetch = self._fetching()

    async def _refresh(self) -> bool:
        try:
            document = await self._read()
            if document != self._document or self._good is None:
                self._good = key_set(document, self._algorithms)
                self._document = document
                _log.info("jwks_read", url=self._shown, keys=self._good.size)
        except Exception as error:  # noqa: BLE001  (whatever a fetch meets, the last good set stays and the next is due)
            why = str(error) if isinstance(error, KeysUnusable | CallFailed) else type(error).__name__
            _log.warning("jwks_fetch_failed", url=self._shown, why=why, keys_in_force=self.current is not None)
            self._failed = True
            return False
        self.current = self._good  # equal bytes keep the same set, and with it the verified tokens
        self._failed = False
        loop = asyncio.get_running_loop()
        self._fetched_at = loop.time()
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = loop.call_later(self._max_age_s, self._expire)
        return True

    def _expire(self) -> None:
        self.current = None
        _log.error("jwks_too_old", url=self._shown, max_age_s=self._max_age_s)

    async def _read(self) -> bytes:
        answer = await self._client.call(self._call, limit=JWKS_MAX, timeout_s=_FETCH_TIMEOUT_S)
        if answer.status != 200:
            raise KeysUnusable(f"the answer's status is {answer.status}, not 200")
        return answer.body
