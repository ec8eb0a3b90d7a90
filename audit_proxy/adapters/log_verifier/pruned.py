"""What retention removed by right: the minimum index, proved by a record of the log."""

from pathlib import Path

from audit_proxy.adapters.log_verifier.verdict import Problem
from audit_proxy.core.merkle import note, retention


def read_minimum(directory: Path, key: note.VerifierKey) -> tuple[int, Problem | None]:
    """The minimum index, 0 where none is proved, and what is wrong with a file that proves none. Raises OSError."""
    try:
        return retention.open_minimum((directory / retention.MINIMUM).read_bytes(), key).index, None
    except FileNotFoundError:
        return 0, None
    except note.NoteInvalid as exc:
        text = f"{retention.MINIMUM} does not prove what retention removed: {exc}"
        return 0, Problem("minimum_invalid", text, place=retention.MINIMUM)
