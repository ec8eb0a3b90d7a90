"""The pseudonym keys on this machine's disk."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.pseudonyms_keyed import Keyring, KeyStore, open_keyring
from audit_proxy.core.errors import KeysUnusable
from audit_proxy.ports import Clock

__all__ = ["Keyring", "names_of", "open_pseudonyms"]


async def open_pseudonyms(
    directory: Path, log_directory: Path, key: bytes, clock: Clock, *, fresh: bool, on_failure: Callable[[], None]
) -> Keyring:
    """The keys in ``directory`` for the log in ``log_directory``, which is open. ``fresh``: it has no records yet. Raises
    KeysUnusable with what to do about it, KeysUnavailable, OSError.
    """
    try:
        return await open_keyring(
            PosixFiles(directory, private=True),
            PosixFiles(log_directory),
            key,
            clock,
            fresh=fresh,
            on_failure=on_failure,
        )
    except KeysUnusable as exc:
        raise KeysUnusable(
            f"{exc} (the keys belong in {directory}, the log is {log_directory}; new keys are never made beside a log that "
            "has begun: they would leave nobody findable in it)"
        ) from exc


def names_of(directory: Path, key: bytes, subject: str) -> Mapping[int, str]:
    """A subject's pseudonyms by live epoch, out of the key files. Raises KeysUnusable, KeysUnavailable."""
    store = KeyStore(PosixFiles(directory, private=True), key)
    store.open(time.time(), create=False)
    found = {number: epoch.pseudonym(subject) for number, epoch in store.epochs.items()}
    return {number: name for number, name in found.items() if name is not None}
