"""A consent store in front of another: whoever was erased counts as withdrawn from every app.

An access to an erased person's data cannot be recorded under a pseudonym, so none is let through: as a third party they
are withheld like anybody without a grant, as a holder like one who withdrew. An app sees no difference to either.
"""

from collections.abc import Mapping, Sequence

from audit_proxy.core.consent import Standing
from audit_proxy.ports import ConsentStore, Erasures

_ERASED = Standing(withdrawn=True)


class ConsentOfErased:
    """Implements ``ports.ConsentStore``."""

    def __init__(self, store: ConsentStore, erasures: Erasures) -> None:
        self._store = store
        self._erasures = erasures

    @property
    def loaded(self) -> bool:
        return self._store.loaded

    async def standings(self, app: str, subjects: Sequence[str]) -> Mapping[str, Standing]:
        found = await self._store.standings(app, subjects)
        erased = self._erasures.erased(subjects)  # after the store answered: an erasure meanwhile counts
        return {**found, **dict.fromkeys(erased, _ERASED)} if erased else found
