"""An issuer's keys from a JWK Set (RFC 7517), read from bytes or fetched from a URL (port ``IssuerKeys``).

Invariants:

- A set without a usable key never replaces a good one; a failed fetch leaves the last good set in force.
- Nothing but the configured URL is asked: no redirect is followed, and no proxy of the environment is used.
- An answer is read to a bound, and no further.
"""

import asyncio
import contextlib

import aiohttp
import jwt
import structlog

from audit_proxy.core.jose import JWKS_MAX, KeySet, NotStrict, VerificationKey, parse_jwks

_FETCH_TIMEOUT_S = 10.0
_FIRST_RETRY_S = 0.5
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


class JwksUrl:
    """Keys fetched from a URL at ``start`` and every ``refresh_s`` seconds; ``current`` is None until a fetch succeeds."""

    def __init__(
        self,
        url: str,
        algorithms: frozenset[str],
        session: aiohttp.ClientSession,
        *,
        refresh_s: float = 300.0,
        start_wait_s: float = 3.0,
    ) -> None:
        self.current: KeySet | None = None
        self._url = url
        self._shown = url.partition("?")[0]  # a query may carry an access key
        self._algorithms = algorithms
        self._session = session
        self._refresh_s = refresh_s
        self._start_wait_s = start_wait_s  # an issuer that hangs must not hold up the start
        self._tried = asyncio.Event()
        self._document = b""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Goes on fetching in the background; returns after the first fetch, or sooner if that takes long."""
        self._task = asyncio.create_task(self._keep_fresh(), name="jwks-refresh")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._start_wait_s):
                await self._tried.wait()

    async def close(self) -> None:
        """Stops refreshing. The session belongs to the caller."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _keep_fresh(self) -> None:
        retry = _FIRST_RETRY_S
        while True:
            await self._refresh()
            self._tried.set()
            await asyncio.sleep(min(retry, self._refresh_s) if self.current is None else self._refresh_s)
            retry = min(2 * retry, 60.0)

    async def _refresh(self) -> None:
        try:
            document = await self._fetch()
            if document != self._document:  # equal bytes keep the same set, and with it the verified tokens
                self.current = key_set(document, self._algorithms)
                self._document = document
                _log.info("jwks_read", url=self._shown, keys=self.current.size)
        except Exception as error:  # noqa: BLE001  (whatever a fetch meets, the last good set stays and the next is due)
            why = str(error) if isinstance(error, KeysUnusable) else type(error).__name__
            _log.warning("jwks_fetch_failed", url=self._shown, why=why, keys_in_force=self.current is not None)

    async def _fetch(self) -> bytes:
        async with self._session.get(
            self._url,
            allow_redirects=False,
            headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S),
        ) as response:
            if response.status != 200:
                raise KeysUnusable(f"the answer's status is {response.status}, not 200")
            document = bytearray()
            async for chunk in response.content.iter_any():
                document += chunk
                if len(document) > JWKS_MAX:
                    raise KeysUnusable(f"the answer is longer than {JWKS_MAX} bytes")
            return bytes(document)
