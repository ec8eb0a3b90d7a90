"""A bounded memory in front of whatever maps ids (port ``SubjectIds``).

Invariants:

- What was learned stands for a bounded time, that an id is not mapped for a shorter one. An outage is not remembered.
- Ids that are not mapped have a memory of their own: whoever makes ids up pushes no real one out.
- In an outage what is remembered is still known; only the rest is not.
"""

from collections.abc import Collection, Mapping

from audit_proxy.core.cache import Generations
from audit_proxy.core.errors import SubjectIdsUnavailable
from audit_proxy.core.inspection import RawId
from audit_proxy.ports import Clock, SubjectIds

_UNMAPPED_SHARE = 10  # ids that are not mapped get a tenth of the entries
_Key = tuple[str, str]  # app, id as text


class CachedIds:
    """``cache_s`` and ``unmapped_cache_s`` in seconds; ``entries`` bounds the ids remembered, about 300 bytes each."""

    def __init__(
        self, source: SubjectIds, clock: Clock, *, entries: int, cache_s: float, unmapped_cache_s: float
    ) -> None:
        self._source = source
        self._clock = clock
        self._cache_s = cache_s
        self._unmapped_cache_s = unmapped_cache_s
        self._mapped: Generations[_Key, tuple[str, float]] = Generations(
            entries
        )  # the subject, and when it was learned
        self._unmapped: Generations[_Key, float] = Generations(entries // _UNMAPPED_SHARE)

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        """The port's method."""
        now = self._clock.now()
        found: dict[RawId, str] = {}
        unknown: list[RawId] = []
        for one in ids:
            key = (app, str(one))
            entry = self._mapped.get(key)
            if entry is not None and entry[1] <= now < entry[1] + self._cache_s:
                found[one] = entry[0]
                continue
            at = self._unmapped.get(key)
            if at is None or not at <= now < at + self._unmapped_cache_s:
                unknown.append(one)
        if not unknown:
            return found
        try:
            learned = await self._source.subjects(app, unknown)
        except SubjectIdsUnavailable as error:
            self._learn(app, error.known, now)
            raise SubjectIdsUnavailable({**found, **error.known}) from error
        self._learn(app, learned, now)
        for one in unknown:
            if one not in learned:
                key = (app, str(one))
                self._mapped.discard(key)
                self._unmapped.put(key, now)
        return {**found, **learned}

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._mapped) + len(self._unmapped)

    def _learn(self, app: str, learned: Mapping[RawId, str], now: float) -> None:
        for one, subject in learned.items():
            self._mapped.put((app, str(one)), (subject, now))
