"""The log's files as they are found: lines, published files and their widths, bounded whatever they hold."""

from collections.abc import Iterator
from pathlib import Path

from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import packing, segments, tiles, tree

_READ_BYTES = 1024 * 1024
_PUBLISHED_MAX = tiles.WIDTH * (audit_record.ENTRY_MAX + 2) + 1  # bytes of a bundle, and one


def pieces(directory: Path, segment: segments.Segment) -> Iterator[tuple[bytes, bool]]:
    """A segment's lines without their breaks, and whether the break was there. Raises PackingInvalid, OSError."""
    rest = b""
    for chunk in _chunks(directory, segment):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line, True
        if len(rest) > _READ_BYTES:  # no record: enough of it is kept to say so
            rest = rest[:_READ_BYTES]
    if rest:
        yield rest, False


def _chunks(directory: Path, segment: segments.Segment) -> Iterator[bytes]:
    if not segment.packed:
        try:
            with (directory / segment.path).open("rb") as file:
                while chunk := file.read(_READ_BYTES):
                    yield chunk
        except FileNotFoundError:
            pass  # packed meanwhile
        else:
            return
    with (directory / segments.packed_path(segment.first)).open("rb") as file:
        yield from packing.unpacked(file.read)


def size_of(path: Path) -> int:
    """A file's size in bytes, 0 when it went away meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def number_path(number: int) -> str:
    return tiles.tile_path(0, number).removeprefix("tile/0/")


def versions(directory: Path, path: str) -> list[tuple[str, int]]:
    """The full file of that path and its partial ones that are there, with their widths, widest first."""
    partial = directory / f"{path}.p"
    widths = (
        [int(p.name) for p in partial.glob("*") if p.name.isascii() and p.name.isdigit()] if partial.is_dir() else []
    )
    found = [(f"{path}.p/{width}", width) for width in sorted(widths, reverse=True) if 0 < width < tiles.WIDTH]
    return [(path, tiles.WIDTH), *found] if (directory / path).is_file() else found


def published_records(directory: Path) -> int:
    """How many records the level 0 tiles cover: the last one is found by doubling and halving."""

    def width(number: int) -> int:
        return max((w for _, w in versions(directory, f"tile/0/{number_path(number)}")), default=0)

    if not width(0):
        return 0
    low, step = 0, 1
    while width(low + step):
        low += step
        step *= 2
    while step > 1:
        step //= 2
        if width(low + step):
            low += step
    return low * tiles.WIDTH + width(low)


def read_published(path: Path) -> bytes | None:
    """A published file, None when it went away meanwhile (partial ones do); no more than the largest that can be."""
    try:
        with path.open("rb") as file:
            return file.read(_PUBLISHED_MAX)
    except FileNotFoundError:
        return None


def leaves_of(directory: Path, number: int, count: int) -> list[bytes] | None:
    """The first ``count`` hashes of a level 0 tile, None where none holds as many."""
    for path, width in versions(directory, f"tile/0/{number_path(number)}"):
        data = read_published(directory / path)
        if data is not None and width >= count and len(data) == width * tree.HASH_BYTES:
            return [data[i : i + tree.HASH_BYTES] for i in range(0, count * tree.HASH_BYTES, tree.HASH_BYTES)]
    return None
