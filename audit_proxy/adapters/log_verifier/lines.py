"""The journal's records as they are found, in order, those that are missing too."""

from collections.abc import Callable, Iterator
from pathlib import Path

from audit_proxy.adapters.log_verifier.files import pieces, size_of
from audit_proxy.adapters.log_verifier.pruned import read_minimum
from audit_proxy.adapters.log_verifier.verdict import Line, Problem
from audit_proxy.core.merkle import note, packing, segments, tiles

_MISSING_MAX = 1_000_000  # records a segment may lack before reading on makes no sense


class PrunedMeanwhile(Exception):  # noqa: N818  (an event, told to the one caller)
    """Retention removed what was to be read: the log begins elsewhere now."""


class JournalLines:
    """Iterated over once. ``minimum``: the first record's index. ``problem`` is called for each."""

    def __init__(
        self,
        directory: Path,
        key: note.VerifierKey,
        minimum: int,
        problem: Callable[[Problem], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._directory = directory
        self._key = key
        self._minimum = minimum
        self._problem = problem
        self._progress = progress
        self.notes: list[str] = []
        self.unexplained: list[tuple[str, int]] = []  # (segment, bytes behind its last record)
        self.stopped = False  # so many records are missing that reading on made no sense

    def __iter__(self) -> Iterator[Line]:
        try:
            found = segments.segments([p.name for p in (self._directory / segments.JOURNAL).glob("*")], self._minimum)
        except ValueError as exc:
            self._check_still_pruned()
            self._problem(Problem("segment_missing", str(exc), index=self._minimum, place=segments.JOURNAL))
            return
        sizes = {s: size_of(self._directory / s.path) for s in found}
        total = sum(sizes.values())
        done = 0
        for segment in found:
            number = behind = 0
            start = done
            try:
                for data, ended in pieces(self._directory, segment):
                    done += len(data) + ended
                    if not ended or (segment.records is not None and number >= segment.records):
                        behind += len(data) + ended
                        continue
                    yield Line(segment.first + number, f"{segment.path}:{number + 1}", data)
                    number += 1
                    if number % tiles.WIDTH == 0 and not segment.packed:
                        self._progress(done, total)
            except FileNotFoundError:
                self._check_still_pruned()
                raise
            except packing.PackingInvalid as exc:
                text = f"{segment.path}: {exc}"
                self._problem(Problem("segment_damaged", text, index=segment.first + number, place=segment.path))
            done = start + sizes[segment] if segment.packed else done
            if behind and segment.records is None:
                self.notes.append(f"{segment.path} ends in {behind} bytes of a line that is being written, or was torn")
            elif behind:
                self.unexplained.append((segment.path, behind))
            if segment.records is not None and number < segment.records:
                lost = segment.records - number
                place = f"{segment.path}:{number + 1}"
                text = f"{segment.path} holds {number} records where the next segment's name says {segment.records}"
                self._problem(Problem("records_missing", text, index=segment.first + number, place=place))
                if lost > _MISSING_MAX:
                    self.stopped = True
                    return
                for at in range(lost):
                    yield Line(segment.first + number + at, place, None)
        self._progress(total, total)

    def _check_still_pruned(self) -> None:
        """Whether it is retention that went on while this was reading."""
        if read_minimum(self._directory, self._key)[0] > self._minimum:
            raise PrunedMeanwhile
