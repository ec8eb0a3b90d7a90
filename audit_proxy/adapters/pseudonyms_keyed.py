"""Pseudonymizer under one key held in memory. The tree's two upper levels and the pseudonyms of people seen are cached."""

from collections.abc import Sequence

from audit_proxy.core import pseudonyms

_CACHED_LEVELS = 2  # at most 65,536 keys


class KeyedPseudonymizer:
    """Implements ``ports.Pseudonymizer``.

    The cache keeps at least the last ``cache_entries / 2`` people and at most ``cache_entries`` (about 250 bytes each):
    two generations, of which the older is forgotten when the younger is full.
    """

    def __init__(self, key: bytes, *, cache_entries: int = 200_000) -> None:
        """``key``: 32 bytes. Raises ValueError for another length."""
        keys = pseudonyms.split(key)
        self._position_key, self._root = keys.position, keys.root
        self._upper: dict[bytes, bytes] = {}
        self._generation = max(1, cache_entries // 2)
        self._young: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        """22 characters of base64url (128 bits) for each subject, in order."""
        try:
            return list(map(self._young.__getitem__, subjects))
        except KeyError:
            return [self._young.get(subject) or self._remember(subject) for subject in subjects]

    def _remember(self, subject: str) -> str:
        found = self._old.get(subject) or self._compute(subject)
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[subject] = found
        return found

    def _compute(self, subject: str) -> str:
        raw = pseudonyms.encode_subject(subject)
        steps = pseudonyms.position(self._position_key, raw)
        upper = self._upper.get(steps[:_CACHED_LEVELS])
        if upper is None:
            upper = self._upper[steps[:_CACHED_LEVELS]] = pseudonyms.descend(self._root, steps[:_CACHED_LEVELS])
        return pseudonyms.pseudonym_under(pseudonyms.descend(upper, steps[_CACHED_LEVELS:]), raw)
