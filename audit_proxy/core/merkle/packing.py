"""Packed segments: one zstd frame (RFC 8878) with a checksum of its content, so that ``zstdcat`` reads them.

Invariant: whatever a file holds, unpacking keeps little in memory, and gives what is there before it raises.
"""

import sys
from collections.abc import Callable, Iterator

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 1024 * 1024  # bytes, at most, that unpacking gives at a time
_READ = 128 * 1024  # bytes
_PACKED = {int(zstd.CompressionParameter.compression_level): 3, int(zstd.CompressionParameter.checksum_flag): 1}
_UNPACKED = {int(zstd.DecompressionParameter.window_log_max): 23}


class PackingInvalid(ValueError):  # noqa: N818  (a fact about a file, not a bug of ours)
    """Not the bytes of a packed segment, or not all of them."""


class Packer:
    """Packs a segment piece by piece."""

    def __init__(self) -> None:
        self._stream = zstd.ZstdCompressor(options=_PACKED)

    def add(self, data: bytes) -> bytes:
        """What can be written of it so far."""
        return self._stream.compress(data)

    def end(self) -> bytes:
        """What is left to write."""
        return self._stream.flush()


def unpacked(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """A packed segment's bytes. ``read(n)`` gives up to n more bytes of the file, none at its end. Raises PackingInvalid."""
    stream = zstd.ZstdDecompressor(options=_UNPACKED)
    try:
        while not stream.eof:
            data = read(_READ) if stream.needs_input else b""
            if stream.needs_input and not data:
                raise PackingInvalid("the packed segment ends before its end")
            if piece := stream.decompress(data, _PIECE):
                yield piece
    except zstd.ZstdError as exc:
        raise PackingInvalid("the packed segment is damaged") from exc
    if stream.unused_data or read(1):
        raise PackingInvalid("the packed segment goes on behind its end")
