"""A roster: which logs there have to be. A log proves nothing about another node's, so a whole one could go unmissed.

It is a C2SP signed note, by a key that is kept away from the nodes, over this text:

    audit-proxy/roster/v1
    audit-proxy/node-1+a2b9c3d4+AZ…= 81923
    audit-proxy/node-2+0f1e2d3c+AQ…=

After the first line, one for each log: its verifier key (which begins with its origin) and, where known, behind a space how
many records it had at least.

Invariants:

- One roster, one text: sorted by origin, each origin once, numbers without leading zeros, at least one log.
- A log counts as found only by a checkpoint that its listed key signed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from audit_proxy.core.merkle import kept, note

FIRST_LINE = "audit-proxy/roster/v1"
_SIZE_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Listed:
    """One log; ``size``: records that it had at least, None where that is not known."""

    key: note.VerifierKey
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """Raises NoteInvalid unless there is a log, each once, sorted by origin."""

    logs: tuple[Listed, ...]

    def __post_init__(self) -> None:
        origins = [one.key.name for one in self.logs]
        if not origins or origins != sorted(set(origins)):
            raise note.NoteInvalid("a roster lists at least one log, each once, sorted by origin")

    @property
    def keys(self) -> Mapping[str, note.VerifierKey]:
        """By origin."""
        return {one.key.name: one.key for one in self.logs}


@dataclass(frozen=True, slots=True)
class Seen:
    """A log's directory, and the checkpoint in it (None: there is none)."""

    place: str
    checkpoint: bytes | None


@dataclass(slots=True)
class Published:
    """What files of kept checkpoints say of the logs listed: the most records of each, by origin. ``strange``: how many of
    their entries name a log and are not by its listed key, or name one that is not listed, by standing and origin.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    strange: Counter[tuple[kept.Standing, str]] = field(default_factory=Counter)
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind``: audit_unlisted, log_missing, tail_cut_back, checkpoint_missing, checkpoint_invalid, kept_altered, unknown_key."""

    kind: str
    origin: str | None
    text: str


def encode_roster(roster: Roster) -> str:
    """The text that is signed."""
    lines = [f"{note.encode_vkey(one.key)}{'' if one.size is None else f' {one.size}'}" for one in roster.logs]
    return "\n".join([FIRST_LINE, *lines]) + "\n"


def parse_roster(text: str) -> Roster:
    """The inverse of ``encode_roster``. Raises NoteInvalid."""
    first, *lines = text.removesuffix("\n").split("\n")
    if first != FIRST_LINE or not text.endswith("\n"):
        raise note.NoteInvalid(f"a roster begins with the line {FIRST_LINE}")
    return Roster(tuple(_listed(line) for line in lines))


def sign_roster(roster: Roster, name: str, seed: bytes) -> bytes:
    """The roster as a note signed under ``name``."""
    return note.sign(encode_roster(roster), name, seed)


def open_roster(signed: bytes, key: note.VerifierKey) -> Roster:
    """A roster that ``key`` signed. Raises NoteInvalid."""
    return parse_roster(note.open_note(signed, key))


def updated(roster: Roster | None, keys: Iterable[note.VerifierKey], sizes: Mapping[str, int]) -> Roster:
    """The roster with these logs added, and sizes raised to these. Raises NoteInvalid for a second key of one origin."""
    logs = {one.key.name: one for one in roster.logs} if roster is not None else {}
    for key in keys:
        if logs.setdefault(key.name, Listed(key)).key != key:
            raise note.NoteInvalid(f"{key.name} would be listed with two keys; a log keeps the one it began with")
    return Roster(tuple(_raised(logs[origin], sizes.get(origin)) for origin in sorted(logs)))


def take_published(published: Published, entries: Iterable[kept.Entry], keys: Mapping[str, note.VerifierKey]) -> None:
    """Adds the entries of one file."""
    for entry in entries:
        origin = _origin(entry.data)
        if origin is None:
            published.damaged += 1
            continue
        judged = kept.judge(entry, keys[origin]) if origin in keys else kept.Judged("other", origin)
        if judged.checkpoint is not None:
            published.sizes[origin] = max(published.sizes.get(origin, 0), judged.checkpoint.size)
        elif judged.standing == "damaged":
            published.damaged += 1
        else:
            published.strange[judged.standing, origin] += 1


def compare(roster: Roster, seen: Iterable[Seen], published: Published) -> tuple[dict[str, int], list[Finding]]:
    """The sizes of the logs that were found, by origin, and everything that is not as the roster and the kept checkpoints say."""
    found: dict[str, int] = {}
    findings: list[Finding] = []
    for one in seen:
        judged = _judge(roster.keys, one)
        if isinstance(judged, Finding):
            findings.append(judged)
        else:
            found[judged.origin] = max(found.get(judged.origin, 0), judged.size)
    for listed in roster.logs:
        origin = listed.key.name
        expected = max(listed.size or 0, published.sizes.get(origin, 0))
        if origin not in found:
            had = f"; it had {expected} records" if expected else ""
            text = f"{origin}: no directory holds a checkpoint of it that its key signed{had}"
            findings.append(Finding("log_missing", origin, text))
        elif found[origin] < expected:
            text = f"{origin}: {found[origin]} records are under its checkpoint, and it had {expected} before"
            findings.append(Finding("tail_cut_back", origin, text))
    return found, [*findings, *_strange(published)]


def _listed(line: str) -> Listed:
    vkey, space, size = line.partition(" ")
    if space and (not (size.isascii() and size.isdigit()) or size != str(int(size[:_SIZE_DIGITS]))):
        raise note.NoteInvalid("a size on the roster is no decimal number")
    return Listed(note.parse_vkey(vkey), int(size) if space else None)


def _raised(listed: Listed, size: int | None) -> Listed:
    return listed if size is None else Listed(listed.key, max(size, listed.size or 0))


def _origin(data: bytes) -> str | None:
    try:
        return note.parse_note(data)[0].partition("\n")[0]
    except note.NoteInvalid:
        return None


def _judge(keys: Mapping[str, note.VerifierKey], one: Seen) -> note.Checkpoint | Finding:
    if one.checkpoint is None:
        return Finding("checkpoint_missing", None, f"{one.place} holds no checkpoint: it is no log, or was one")
    origin = _origin(one.checkpoint)
    if origin is None:
        return Finding("checkpoint_invalid", None, f"the checkpoint in {one.place} is no signed note")
    if origin not in keys:
        return Finding("audit_unlisted", origin, f"{origin} is not on the roster; its log lies in {one.place}")
    try:
        return note.open_checkpoint(one.checkpoint, keys[origin])
    except note.NoteInvalid as exc:
        return Finding("checkpoint_invalid", origin, f"the checkpoint in {one.place} does not hold: {exc}")


def _strange(published: Published) -> Iterator[Finding]:
    kinds: Mapping[kept.Standing, tuple[str, str]] = {
        "other": ("audit_unlisted", "is not on the roster; kept checkpoints name it"),
        "altered": (
            "kept_altered",
            "kept checkpoints of it carry its signature, which does not fit: they were altered",
        ),
        "unknown_key": ("unknown_key", "kept checkpoints of it are by another key than the one listed"),
    }
    for (standing, origin), count in sorted(published.strange.items()):
        kind, text = kinds[standing]
        yield Finding(kind, origin, f"{origin} {text} ({count})")
