"""The keys as the rest of the program sees them: one object for the hot path, for erasures and for epochs.

Invariants:

- A change is durable before it is told, and in force in this process when it is told: caches forget an erased person.
- What another process changed is in force here within about a second.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from audit_proxy.adapters.pseudonyms_keyed.binding import BINDING, bind, bound_to
from audit_proxy.adapters.pseudonyms_keyed.keystore import KeyStore
from audit_proxy.adapters.pseudonyms_keyed.pseudonymizer import KeyedPseudonymizer
from audit_proxy.core.errors import KeysUnavailable, KeysUnusable
from audit_proxy.ports import Clock, Files

LOOK_S = 1.0  # how often other processes' changes are looked for
_T = TypeVar("_T")


async def open_keyring(
    files: Files,
    log: Files,
    master: bytes,
    clock: Clock,
    *,
    fresh: bool,
    cache_entries: int = 200_000,
    look_s: float = LOOK_S,
    on_failure: Callable[[], None] = lambda: None,
) -> "Keyring":
    """The keys in ``files`` for the log in ``log``. ``master``: the pseudonym key. ``fresh``: the log has no records, so keys
    are made where there are none. ``on_failure`` is told when other processes' changes cannot be read. Raises KeysUnusable,
    KeysUnavailable, OSError.
    """
    store = KeyStore(files, master)

    def opened() -> None:
        bound = bound_to(log)
        if bound is None and not fresh:
            raise KeysUnusable(f"the log has records, but its file {BINDING!r} is gone; put back a copy")
        store.open(clock.now(), create=bound is None)
        if bound is None:
            bind(log, store.identity)
        elif bound != store.identity:
            raise KeysUnusable("the pseudonym keys are not those that the log began with; put back a copy of those")

    await asyncio.to_thread(opened)
    ring = Keyring(store, clock, cache_entries, on_failure)
    ring.start(look_s)
    return ring


class Keyring:
    """Implements ``ports.Pseudonymizer``, ``Erasures``, ``SubjectKeys`` and ``KeyEpochs``. Belongs to one event loop."""

    def __init__(self, store: KeyStore, clock: Clock, cache_entries: int, on_failure: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._on_failure = on_failure
        self._readings = store.readings
        self._hot = KeyedPseudonymizer(store.current, cache_entries=cache_entries)
        self._one_at_a_time = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self.pseudonyms = self._hot.pseudonyms  # without a further call on the hot path

    def start(self, look_s: float) -> None:
        self._looking = asyncio.create_task(self._look_on(look_s))

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    def erased(self, subjects: Sequence[str]) -> Collection[str]:
        return self._hot.erased(subjects)

    async def erase(self, subject: str) -> int:
        try:
            return await self._change(lambda: self._store.erase(subject))
        finally:
            self._hot.forget(subject)

    async def names(self, subject: str) -> Mapping[int, str]:
        found = {number: epoch.pseudonym(subject) for number, epoch in self._store.epochs.items()}
        return {number: name for number, name in found.items() if name is not None}

    async def live(self) -> Mapping[int, float]:
        return {number: epoch.top.began for number, epoch in self._store.epochs.items()}

    async def rotate(self) -> int:
        return await self._change(lambda: self._store.rotate(self._clock.now()))

    async def expire(self, number: int) -> None:
        await self._change(lambda: self._store.expire(number))

    async def _change(self, change: Callable[[], _T]) -> _T:
        """Makes a change on a thread. One that was begun is brought to its end, though its caller may have gone."""
        async with self._one_at_a_time:
            task = asyncio.create_task(asyncio.to_thread(change))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                with contextlib.suppress(Exception):
                    await task
                raise
            except KeysUnusable as exc:
                raise KeysUnavailable(str(exc)) from exc
            finally:
                self._go_over()

    def _go_over(self) -> None:
        """To the epoch in force, and away from what was cached before other processes' changes were read."""
        if self._store.current is not self._hot.epoch or self._store.readings != self._readings:
            self._readings = self._store.readings
            self._hot.use(self._store.current)

    async def _look_on(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            async with self._one_at_a_time:
                try:
                    await asyncio.to_thread(self._store.load)
                except (KeysUnusable, OSError):
                    self._on_failure()
                self._go_over()
