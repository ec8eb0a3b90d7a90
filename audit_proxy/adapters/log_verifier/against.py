"""The log against its checkpoints that were kept elsewhere: what whoever has the machine and the signing key cannot forge.

Invariants:

- What was kept is read before the log, so that a log that grows meanwhile is never taken for one that was cut.
- A file without a single checkpoint of this log is no evidence and no comfort: it is refused.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from audit_proxy.adapters.log_verifier.verdict import Problem
from audit_proxy.core.merkle import kept, note


class NothingKept(ValueError):  # noqa: N818  (an answer about a file, not a bug of ours)
    """A file holds no checkpoint of the log."""


@dataclass(frozen=True, slots=True)
class Kept:
    """``places``: where each of the log's own checkpoints stands, by size and root. ``others``: how many of other logs, by
    origin. ``damaged``: how many entries are no checkpoint. ``problems``: what was not signed by the log's key and says so.
    """

    places: Mapping[tuple[int, bytes], str]
    others: Mapping[str, int]
    damaged: int
    problems: tuple[Problem, ...]

    @property
    def newest(self) -> int | None:
        """Records under the newest."""
        return max((size for size, _ in self.places), default=None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the files hold besides."""
        told = [
            f"the files hold {n} checkpoints of another log too, {origin}" for origin, n in sorted(self.others.items())
        ]
        if self.damaged:
            told.append(f"the files hold {self.damaged} entries that are no checkpoint: torn, or something else")
        return tuple(told)


def read_kept(files: Iterable[Path], key: note.VerifierKey) -> Kept:
    """Everything that stands in the files. Raises NothingKept, OSError."""
    places: dict[tuple[int, bytes], str] = {}
    others: Counter[str] = Counter()
    untrue: dict[kept.Standing, list[str]] = {"altered": [], "unknown_key": []}
    damaged = 0
    for path in files:
        found: Counter[kept.Standing] = Counter()
        with path.open("rb") as file:
            for entry in kept.entries(kept.lines(file.readline)):
                judged = kept.judge(entry, key)
                place = f"{path}:{entry.line}"
                found[judged.standing] += 1
                if judged.checkpoint is not None:
                    places.setdefault((judged.checkpoint.size, judged.checkpoint.root), place)
                elif judged.standing in untrue:
                    untrue[judged.standing].append(place)
                elif judged.standing == "other":
                    others[judged.origin or ""] += 1
        damaged += found["damaged"]
        if not (found["own"] or found["altered"] or found["unknown_key"]):
            held = ", ".join(sorted(others)) or ("nothing readable" if found else "nothing at all")
            raise NothingKept(f"{path} holds no checkpoint of {key.name}, but {held}")
    return Kept(places, others, damaged, tuple(_untrue(untrue, key)))


def compare(kept_ones: Kept, records: int, roots: Mapping[int, tuple[bytes, ...]]) -> Iterator[Problem]:
    """What contradicts the log, which has so many records, and at these sizes these roots: one for each kind, the worst cut
    and the first rewriting.
    """
    yield from kept_ones.problems
    in_order = sorted(kept_ones.places.items())
    longer = [(size, place) for (size, _), place in in_order if size > records]
    if longer:
        size, place = longer[-1]
        text = (
            f"the log is shorter than what was published: it has {records} records, and its checkpoint over {size} stands in "
            f"{place}: {size - records} records were cut off its end"
        )
        yield Problem("tail_cut_back", text, index=records, place=place)
    fits = [((size, place), root in roots.get(size, ())) for (size, root), place in in_order if size <= records]
    differing = [one for one, same in fits if not same]
    if differing:
        size, place = differing[0]
        sound = max((n for (n, _), same in fits if same and n < size), default=0)
        more = f", nor do {len(differing) - 1} more" if len(differing) > 1 else ""
        text = (
            f"the checkpoint over {size} records that was published ({place}) does not fit the log{more}: one of the records "
            f"{sound} to {size - 1} is not what it was"
        )
        yield Problem("history_rewritten", text, place=place)


def _untrue(places: Mapping[kept.Standing, list[str]], key: note.VerifierKey) -> Iterator[Problem]:
    by_another = f"is a checkpoint of {key.name} by another key than {key.key_id.hex()}"
    texts: tuple[tuple[kept.Standing, str, str], ...] = (
        ("altered", "kept_altered", f"carries a signature by {key.name} that does not fit: what was kept was altered"),
        ("unknown_key", "unknown_key", f"{by_another}: the log's key was replaced, or somebody forges its checkpoints"),
    )
    for standing, kind, text in texts:
        if places[standing]:
            first, *more = places[standing]
            yield Problem(kind, f"{first} {text}" + (f" (and {len(more)} more)" if more else ""), place=first)
