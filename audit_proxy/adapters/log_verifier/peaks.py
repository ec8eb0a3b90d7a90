"""Trees that grow leaf by leaf, kept as their complete subtrees, and their roots on the way."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from audit_proxy.core.merkle import tree


@dataclass(slots=True)
class Peaks:
    """A binary counter of complete subtrees: (height, hash), highest first."""

    peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def push(self, height: int, value: bytes) -> None:
        while self.peaks and self.peaks[-1][0] == height:
            value = tree.node_hash(self.peaks.pop()[1], value)
            height += 1
        self.peaks.append((height, value))

    def root(self) -> bytes:
        value = b""
        for _, peak in reversed(self.peaks):
            value = tree.node_hash(peak, value) if value else peak
        return value or tree.EMPTY_ROOT


class Roots:
    """The roots of trees that grow side by side, at each of these sizes that they reach: ``found``, by size."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = deque(sorted(set(sizes)))
        self.found: dict[int, tuple[bytes, ...]] = {}

    def pass_block(self, first: int, *grown: tuple[Peaks, list[bytes]]) -> None:
        """Each tree has ``first`` leaves, and grows by these, as many for each. The trees themselves are not changed."""
        stop = first + len(grown[0][1])
        growing: list[tuple[Peaks, list[bytes]]] | None = None
        done = 0
        while self._sizes and self._sizes[0] <= stop:
            if growing is None:
                growing = [(Peaks(list(peaks.peaks)), leaves) for peaks, leaves in grown]
            size = self._sizes.popleft()
            for peaks, leaves in growing:
                for leaf in leaves[done : size - first]:
                    peaks.push(0, leaf)
            done = size - first
            self.found[size] = tuple(peaks.root() for peaks, _ in growing)
