"""Rosters, and what they are compared with, as files: logs' directories and kept checkpoints."""

from collections.abc import Iterable
from pathlib import Path

from audit_proxy.core.merkle import kept, note, roster


class NothingPublished(ValueError):  # noqa: N818  (an answer about a file, not a bug of ours)
    """A file holds no checkpoint at all."""


def read_roster(path: Path, key: note.VerifierKey) -> roster.Roster:
    """A roster that ``key`` signed. Raises OSError, NoteInvalid."""
    with path.open("rb") as file:
        return roster.open_roster(file.read(note.NOTE_MAX + 1), key)


def read_published(files: Iterable[Path], keys: Iterable[note.VerifierKey]) -> roster.Published:
    """What files of kept checkpoints say. Raises NothingPublished, OSError."""
    by_origin = {key.name: key for key in keys}
    published = roster.Published()
    for path in files:
        whole = 0
        with path.open("rb") as file:
            for entry in kept.entries(kept.lines(file.readline)):
                damaged = published.damaged
                roster.take_published(published, [entry], by_origin)
                whole += published.damaged == damaged
        if not whole:
            raise NothingPublished(f"{path} holds no checkpoint")
    return published


def read_seen(directories: Iterable[Path]) -> list[roster.Seen]:
    """The logs' checkpoints as they lie there. Raises OSError."""
    return [roster.Seen(str(directory), _checkpoint(directory)) for directory in directories]


def _checkpoint(directory: Path) -> bytes | None:
    try:
        with (directory / "checkpoint").open("rb") as file:
            return file.read(note.NOTE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
