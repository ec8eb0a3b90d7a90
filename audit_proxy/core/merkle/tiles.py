"""C2SP tlog-tiles: where tiles and entry bundles are, what stands in them, and how a tree grows tile by tile.

Invariants:

- A tile is full (256 hashes, 8,192 bytes) or partial; a partial tile is never hashed into the level above.
- The bytes under one path never change: a grown partial tile has another path.
- An ``Edge`` holds the partial tiles of every level, which is all that a tree needs in order to grow.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from audit_proxy.core.merkle import tree

WIDTH = 256  # hashes of a full tile, entries of a full bundle
FULL_BYTES = WIDTH * tree.HASH_BYTES
MAX_LEVEL = 63


@dataclass(frozen=True, slots=True)
class Tile:
    """``hashes`` concatenated, 1 to 256 of them, at tile level ``level`` (0: leaf hashes), number ``index`` there."""

    level: int
    index: int
    hashes: bytes

    @property
    def width(self) -> int:
        return len(self.hashes) // tree.HASH_BYTES

    @property
    def path(self) -> str:
        return tile_path(self.level, self.index, self.width)


@dataclass(frozen=True, slots=True)
class Edge:
    """A tree of ``size`` leaves. ``levels[l]``: the concatenated hashes of the partial tile at level l, 0 to 255."""

    size: int = 0
    levels: tuple[bytes, ...] = ()


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """``tile/<L>/<N>[.p/<W>]``."""
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError(f"there is no tile level {level}")
    return f"tile/{level}/{_number(index)}{_suffix(width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """``tile/entries/<N>[.p/<W>]``."""
    return f"tile/entries/{_number(index)}{_suffix(width)}"


def partial_width(size: int, level: int) -> int:
    """Hashes in the partial tile at ``level`` of a tree of ``size`` leaves; 0: there is none."""
    return (size >> 8 * level) & 255


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry after its length, big-endian uint16. Raises OverflowError past 65,535 bytes."""
    parts: list[bytes] = []
    for entry in entries:
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ValueError when the lengths do not fit the data or there are more than 256."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data) or len(entries) == WIDTH:
            raise ValueError("malformed entry bundle")
        entries.append(data[start:at])
    return entries


def extend(edge: Edge, leaves: Sequence[bytes]) -> tuple[Edge, list[Tile]]:
    """The tree with these leaf hashes added, and the tiles that became full, lowest level first."""
    full: list[Tile] = []
    levels: list[bytes] = []
    size = edge.size + len(leaves)
    fresh = b"".join(leaves)
    level = 0
    while fresh or level < len(edge.levels):
        held = edge.levels[level] if level < len(edge.levels) else b""
        first = edge.size >> 8 * (level + 1)  # number of this level's partial tile
        hashes = held + fresh
        whole = len(hashes) // FULL_BYTES
        done = [Tile(level, first + i, hashes[i * FULL_BYTES : (i + 1) * FULL_BYTES]) for i in range(whole)]
        full += done
        levels.append(hashes[whole * FULL_BYTES :])
        fresh = b"".join([tree.fold(tile.hashes) for tile in done])
        level += 1
    return Edge(size, tuple(levels)), full


def partial_tiles(edge: Edge) -> list[Tile]:
    """The partial tiles that a checkpoint of this size needs."""
    return [Tile(n, edge.size >> 8 * (n + 1), hashes) for n, hashes in enumerate(edge.levels) if hashes]


def edge_root(edge: Edge) -> bytes:
    """The tree's root hash."""
    value = b""
    for hashes in edge.levels:
        if hashes or value:
            value = tree.fold(hashes + value)
    return value or tree.EMPTY_ROOT


def read_edge(size: int, read: Callable[[int, int, int], bytes]) -> Edge:
    """The edge of a published tree; ``read(level, index, width)`` gives a tile's hashes, exactly that many."""
    levels: list[bytes] = []
    level = 0
    while size >> 8 * level:
        width = partial_width(size, level)
        levels.append(read(level, size >> 8 * (level + 1), width) if width else b"")
        level += 1
    return Edge(size, tuple(levels))


def subtrees_of(size: int, read: Callable[[int, int, int], bytes]) -> tree.Subtree:
    """``subtree`` for proofs in a published tree of ``size`` leaves; ``read`` as in ``read_edge``."""

    def subtree(level: int, index: int) -> bytes:
        tile_level, depth = divmod(level, 8)
        first = index << depth
        number, offset = divmod(first, WIDTH)
        width = min(WIDTH, (size >> 8 * tile_level) - number * WIDTH)
        hashes = read(tile_level, number, width)
        return tree.fold(hashes[offset * tree.HASH_BYTES : (offset + (1 << depth)) * tree.HASH_BYTES])

    return subtree


def _number(index: int) -> str:
    """Zero-padded groups of three digits, all but the last with an ``x``: 1234067 is ``x001/x234/067``."""
    if index < 0:
        raise ValueError("a tile's number is not negative")
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text


def _suffix(width: int) -> str:
    if width == WIDTH:
        return ""
    if not 0 < width < WIDTH:
        raise ValueError(f"a partial tile is not {width} wide")
    return f".p/{width}"
