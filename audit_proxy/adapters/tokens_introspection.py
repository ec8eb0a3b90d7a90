"""Opaque access tokens (port ``TokenResolver``), asked about at their platform: RFC 7662, or an endpoint of its own.

Invariants:

- Only facts are cached, under a hash of the token: what a token says, or that it says nothing, for a bounded time and never
  past its expiry. Time is judged afresh at every look. An outage is not cached.
- Tokens that are not active have a cache of their own, so that a flood of them cannot push good ones out.
- Everybody who asks about one token waits for one look-up. Look-ups in flight are bounded, and so is their time.
- An outage is ours (``introspection_unavailable``), never the token's: a 401 for our own credential is an outage too.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import structlog

from audit_proxy.core.cache import Generations
from audit_proxy.core.errors import CallFailed, Reason, Refusal
from audit_proxy.core.identity import Identity, Verified, judge_time
from audit_proxy.core.introspection import (
    ANSWER_MAX,
    PLACES,
    TOKEN,
    Asking,
    Rules,
    facts_of,
    opaque_refusal,
    read_facts,
    render,
)
from audit_proxy.core.jose import NotStrict
from audit_proxy.ports import HttpClient

_IN_FLIGHT_MAX = 100  # tokens asked about at a time
_NEGATIVE_SHARE = 10  # tokens that are not active get a tenth of the entries
_UNAVAILABLE = Refusal(Reason.introspection_unavailable, "the platform cannot be asked about the token now")
_INACTIVE = Refusal(Reason.token_invalid, "the token is not active")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class IntrospectionConfig:
    """One platform to ask. ``askings``: requests, made in order. ``values``: what fills their places besides the token.

    ``cache_s``, ``negative_cache_s``, ``timeout_s`` (of one request) and ``leeway_s`` in seconds; ``cache_entries`` bounds
    the tokens remembered, about 700 bytes each.
    """

    rules: Rules
    askings: tuple[Asking, ...]
    values: Mapping[str, str] = field(repr=False)
    cache_s: float = 30.0
    negative_cache_s: float = 5.0
    cache_entries: int = 100_000
    timeout_s: float = 2.0
    leeway_s: float = 0.0


_Entry = tuple[Verified | Refusal, float]  # what was learned, and when (seconds since the epoch)


class IntrospectionResolver:
    """Tokens of one platform. Raises ValueError where a place of a request has no value or one that cannot stand there."""

    def __init__(self, config: IntrospectionConfig, client: HttpClient) -> None:
        self._config = config
        self._client = client
        self._good: Generations[bytes, _Entry] = Generations(config.cache_entries)
        self._bad: Generations[bytes, _Entry] = Generations(config.cache_entries // _NEGATIVE_SHARE)
        self._asking: dict[bytes, asyncio.Task[_Entry | None]] = {}
        self._failing = False
        for asking in config.askings:
            try:
                call = render(asking, {**config.values, TOKEN: "t"})
            except KeyError as error:
                raise ValueError(
                    f"the place {{{error.args[0]}}} has no value; known: {', '.join(sorted(PLACES))}"
                ) from None
            if not all(value.isascii() and value.isprintable() for value in call.headers.values()):
                raise ValueError("a secret that stands in a header must be printable ASCII on one line")

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        """The port's method. A cached token costs one hash and one look-up."""
        refusal = opaque_refusal(token)
        if refusal is not None:
            return refusal
        digest = sha256(token.encode()).digest()
        config = self._config
        entry = self._good.get(digest)
        if entry is None or not entry[1] <= now < entry[1] + config.cache_s:
            entry = self._bad.get(digest)
            if entry is None or not entry[1] <= now < entry[1] + config.negative_cache_s:
                entry = await self._learn(token, digest, now)
        if entry is None:
            return _UNAVAILABLE
        found = entry[0]
        if isinstance(found, Refusal):
            return found
        refusal = judge_time(found.identity.expires_at, found.not_before, config.leeway_s, now)
        return found.identity if refusal is None else refusal

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._good) + len(self._bad)

    async def close(self) -> None:
        """Ends look-ups in flight."""
        for task in list(self._asking.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _learn(self, token: str, digest: bytes, now: float) -> _Entry | None:
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= _IN_FLIGHT_MAX:
                return None
            task = self._asking[digest] = asyncio.create_task(self._ask(token, digest, now), name="introspection")
        await asyncio.wait({task})  # who hangs up does not end the look-up for the others
        return None if task.cancelled() else task.result()

    async def _ask(self, token: str, digest: bytes, now: float) -> _Entry | None:
        try:
            learned = await self._asked(token, now)
        except Exception as error:  # noqa: BLE001  (whatever a look-up meets is an outage; the next request tries again)
            if not self._failing:
                why = str(error) if isinstance(error, CallFailed | NotStrict) else type(error).__name__
                _log.error("introspection_failed", issuer=self._config.rules.issuer, why=why)
            self._failing = True
            return None
        finally:
            del self._asking[digest]
        if self._failing:
            _log.info("introspection_works", issuer=self._config.rules.issuer)
        self._failing = False
        self._good.discard(digest)
        self._bad.discard(digest)
        entry = (learned, now)
        (self._bad if isinstance(learned, Refusal) else self._good).put(digest, entry)
        return entry

    async def _asked(self, token: str, now: float) -> Verified | Refusal:
        config = self._config
        answers = []
        for asking in config.askings:
            call = render(asking, {**config.values, TOKEN: token})
            answer = await self._client.call(call, limit=ANSWER_MAX, timeout_s=config.timeout_s)
            if answer.status in asking.inactive:
                return _INACTIVE
            if answer.status != 200 and answer.status not in asking.silent:
                raise CallFailed(f"the answer's status is {answer.status}")
            answers.append({} if answer.status in asking.silent else facts_of(asking, answer.body))
        return read_facts(config.askings, answers, config.rules, now)
