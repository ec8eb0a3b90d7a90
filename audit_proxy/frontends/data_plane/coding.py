"""Content codings: gzip, deflate, br and zstd, removed as a body comes.

Invariants:

- At most one coding; several stacked ones, or one we do not know, are refused.
- What is made of any input comes in pieces of about 64 KiB, so that whoever takes them can stop: a small body that
  unfolds to a huge one is never unfolded.
- A coded body that ends early is refused, and so is data behind its end. gzip and zstd bodies may be several in a row, as
  their formats have it, up to a bound that keeps many empty ones from costing time.
- No decoder takes more memory than a window of 16 MiB (br) or 8 MiB (zstd, the bound of RFC 9659).

Source: RFC 9110 section 8.4, RFC 1950, RFC 1951, RFC 1952, RFC 7932, RFC 8878, RFC 9659.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # a C module without stubs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, br, zstd"  # Accept-Encoding: what can be removed here
_PIECE = 64 * 1024  # bytes
_MEMBERS_MAX = 1000
_ZSTD_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 23}


class CodingError(Exception):
    """The body's coding cannot be removed."""


class TooLarge(Exception):  # noqa: N818  (a verdict, turned into a refusal by the server)
    """The decoded body is larger than the limit."""


class Decoder(Protocol):
    """Removes one coding from a body that comes in parts."""

    @property
    def complete(self) -> bool:
        """Whether the body may end here."""
        ...

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """All that the body's next part makes, piece by piece. Raises CodingError."""
        ...


def decoder(coding: str) -> Decoder | None:
    """What removes a ``Content-Encoding``, None where nothing is to be removed. Raises CodingError."""
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
    raise CodingError(f"the content coding is not one of {ACCEPTED}")


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """A whole body without its content coding. ``limit`` in bytes. Raises CodingError, TooLarge."""
    removing = decoder(coding)
    if removing is None or not body:  # the answer to HEAD names a coding and has no body
        return body
    parts: list[bytes] = []
    size = 0
    for at in range(0, len(body), _PIECE):
        for part in removing.pieces(body[at : at + _PIECE]):
            size += len(part)
            if size > limit:
                raise TooLarge
            parts.append(part)
    if not removing.complete:
        raise CodingError("the coded body is incomplete")
    return b"".join(parts)


def _wrong(error: Exception) -> CodingError:
    made = CodingError("the body is not what its content coding says")
    made.__cause__ = error
    return made


class _Zlib:
    """gzip (several members may follow one another), zlib or bare deflate, as zlib's ``wbits`` has it."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits)
        self._members = 1

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._next()
            try:
                part = self._stream.decompress(data, _PIECE)
                while part:
                    yield part
                    # what is made of the input so far may be more than one piece
                    full, data = len(part) >= _PIECE, self._stream.unconsumed_tail
                    part = self._stream.decompress(data, _PIECE) if full or data else b""
            except zlib.error as error:
                raise _wrong(error) from error
            data = self._stream.unused_data if self._stream.eof else b""

    def _next(self) -> None:
        self._members += 1
        if self._wbits != zlib.MAX_WBITS | 16 or self._members > _MEMBERS_MAX:
            raise CodingError("there is data after the coded body")
        self._stream = zlib.decompressobj(self._wbits)


class _Deflate:
    """RFC 9110 says zlib, some servers send bare deflate; the zlib header's checksum tells which."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: _Zlib | None = None

    @property
    def complete(self) -> bool:
        return self._inner is not None and self._inner.complete

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            zlib_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inner = _Zlib(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)
        yield from self._inner.pieces(data)


class _Zstd:
    """Frames may follow one another."""

    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
        self._frames = 1

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._frames += 1
                if self._frames > _MEMBERS_MAX:
                    raise CodingError("there are too many frames in the coded body")
                self._stream = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
            try:
                part = self._stream.decompress(data, _PIECE)
                while part:
                    yield part
                    more = not self._stream.eof and not self._stream.needs_input
                    part = self._stream.decompress(b"", _PIECE) if more else b""
            except zstd.ZstdError as error:
                raise _wrong(error) from error
            data = self._stream.unused_data if self._stream.eof else b""


class _Brotli:
    """One stream."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def complete(self) -> bool:
        return bool(self._stream.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._stream.is_finished():
            raise CodingError("there is data after the coded body")
        try:
            part = self._stream.process(data, output_buffer_limit=_PIECE)
            while True:
                if part:
                    yield part
                # output may be left although all input was taken, so only an empty piece ends the round
                if self._stream.is_finished() or (not part and self._stream.can_accept_more_data()):
                    return
                part = self._stream.process(b"", output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise _wrong(error) from error
