"""A tree that grows leaf by leaf, kept as its complete subtrees."""

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

    def root_with(self, leaves: list[bytes]) -> bytes:
        """The root with these leaves added; the tree itself is not changed."""
        grown = Peaks(list(self.peaks))
        for leaf in leaves:
            grown.push(0, leaf)
        value = b""
        for _, peak in reversed(grown.peaks):
            value = tree.node_hash(peak, value) if value else peak
        return value or tree.EMPTY_ROOT
