"""Which key store a log's pseudonyms come from: a line in the log's directory.

Invariant: once a log has records, only the keys it began with go on with it. Missing or other keys stop the start, since
new ones would silently give everybody another pseudonym and leave nobody findable.
"""

from audit_proxy.core.errors import KeysUnusable
from audit_proxy.ports import Files

BINDING = "pseudonym-keys"


def bound_to(log: Files) -> bytes | None:
    """The identity of the key store that the log began with, None where none stands there. Raises KeysUnusable, OSError."""
    try:
        return bytes.fromhex(log.read(BINDING).decode("ascii").strip())
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise KeysUnusable(f"the log's file {BINDING!r} is damaged; put back a copy") from exc


def bind(log: Files, identity: bytes) -> None:
    """Writes it, durably. Raises OSError."""
    log.put(BINDING, identity.hex().encode() + b"\n")
    log.sync_directory("")
