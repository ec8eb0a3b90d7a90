"""Content codings: gzip and deflate, removed under a size limit.

Invariants:

- At most one coding; several stacked ones, or one we do not know, are refused.
- Never more than ``limit`` bytes are made of any input; data after the coded stream is refused, not dropped.

Source: RFC 9110 section 8.4, RFC 1950, RFC 1951, RFC 1952.
"""

import zlib


class CodingError(Exception):
    """The body's coding cannot be removed."""


class TooLarge(Exception):  # noqa: N818  (a verdict, turned into a refusal by the server)
    """The decoded body is larger than the limit."""


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its content coding. ``limit`` in bytes. Raises CodingError, TooLarge."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name in ("gzip", "x-gzip"):
        return _inflate(body, 31, limit)
    if name == "deflate":
        # RFC 9110 says zlib, some servers send bare deflate; the zlib header's checksum tells which
        zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _inflate(body, 15 if zlib_header else -15, limit)
    raise CodingError("the content coding is not one of gzip and deflate")


def _inflate(body: bytes, wbits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    room = limit
    data = body
    while True:
        stream = zlib.decompressobj(wbits)
        try:
            part = stream.decompress(data, room + 1)
        except zlib.error as error:
            raise CodingError("the body is not what its content coding says") from error
        if len(part) > room or stream.unconsumed_tail:
            raise TooLarge
        if not stream.eof:
            raise CodingError("the coded body is incomplete")
        parts.append(part)
        room -= len(part)
        data = stream.unused_data
        if not data:
            return b"".join(parts)
        if wbits != 31:
            raise CodingError("there is data after the coded body")
