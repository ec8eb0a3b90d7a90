"""The hot path: pseudonyms in one epoch. The tree's two upper levels and the people seen are cached."""

from collections.abc import Collection, Sequence

from audit_proxy.core.pseudonyms import tree
from audit_proxy.core.pseudonyms.epoch import Epoch


class KeyedPseudonymizer:
    """Implements ``ports.Pseudonymizer`` and ``ports.Erasures``. Belongs to one thread.

    The cache keeps at least the last ``cache_entries / 2`` people and at most ``cache_entries`` (about 250 bytes each):
    two generations, of which the older is forgotten when the younger is full.
    """

    def __init__(self, epoch: Epoch, *, cache_entries: int = 200_000) -> None:
        self._generation = max(1, cache_entries // 2)
        self.use(epoch)

    def use(self, epoch: Epoch) -> None:
        """Goes over to an epoch, or to what became of the one in use; nothing that was cached is kept."""
        self.epoch = epoch
        self._position_key, self._name_key = epoch.secrets.position, epoch.secrets.name
        self._upper: dict[bytes, bytes | None] = {}  # at most 65,536 keys; None: somebody below was erased
        self._young: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def forget(self, subject: str) -> None:
        """Drops what is cached of a person who was erased."""
        path = self.epoch.path_of(subject)
        self._upper.pop(path[: tree.UPPER], None)
        self._young.pop(subject, None)
        self._old.pop(subject, None)

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        """22 characters of base64url (128 bits) for each subject, in order, or ``erased``."""
        try:
            return list(map(self._young.__getitem__, subjects))
        except KeyError:
            return [self._young.get(subject) or self._remember(subject) for subject in subjects]

    def erased(self, subjects: Sequence[str]) -> Collection[str]:
        """Those of the subjects who were erased."""
        if not self.epoch.punctured:
            return ()
        names = self.pseudonyms(subjects)
        if tree.ERASED not in names:
            return ()
        return frozenset(subject for subject, name in zip(subjects, names, strict=True) if name == tree.ERASED)

    def _remember(self, subject: str) -> str:
        found = self._old.get(subject) or self._compute(subject)
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[subject] = found
        return found

    def _compute(self, subject: str) -> str:
        raw = tree.encode_subject(subject)
        path = tree.path_of(self._position_key, raw)
        above = path[: tree.UPPER]
        try:
            upper = self._upper[above]
        except KeyError:
            upper = self._upper[above] = tree.find(self.epoch.blocks, above)
        if upper is not None:
            person_key: bytes | None = tree.descend(upper, path[tree.UPPER :])
        else:
            person_key = tree.find(self.epoch.blocks, path, tree.UPPER)
        return tree.ERASED if person_key is None else tree.pseudonym_under(person_key, self._name_key, raw)
