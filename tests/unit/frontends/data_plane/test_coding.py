"""Content codings: what comes out, and that nothing comes out of what is not exactly one coded body."""

import random
import sys
import tracemalloc
import zlib
from itertools import pairwise

import brotli
import pytest

from audit_proxy.frontends.data_plane.coding import ACCEPTED, CodingError, TooLarge, decode, decoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024


def _zlib(body: bytes, wbits: int) -> bytes:
    stream = zlib.compressobj(wbits=wbits)
    return stream.compress(body) + stream.flush()


ENCODE = {
    "gzip": lambda body: _zlib(body, 31),
    "x-gzip": lambda body: _zlib(body, 31),
    "deflate": lambda body: _zlib(body, 15),
    "Deflate ": lambda body: _zlib(body, -15),
    "br": lambda body: brotli.compress(body, quality=5),
    "zstd": zstd.compress,
}
CODINGS = list(ENCODE)
SIZES = [1, 2, 100, 65_535, 65_536, 65_537, 200_000, 3 * 65_536]


def _body(size: int) -> bytes:
    return random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)


def test_what_the_platform_is_told_is_what_can_be_removed() -> None:
    """Every coding of Accept-Encoding has a decoder."""
    for coding in ACCEPTED.split(", "):
        assert decode(ENCODE[coding](b"{}"), coding, 10) == b"{}"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", SIZES)
def test_a_body_comes_back_whole(coding, size) -> None:
    """At the limit it passes, one byte over it does not; cut anywhere on its way it is the same."""
    body = _body(size)
    coded = ENCODE[coding](body)
    assert decode(coded, coding, size) == body
    with pytest.raises(TooLarge):
        decode(coded, coding, size - 1)
    removing = decoder(coding)
    assert removing is not None
    cuts = sorted({0, len(coded), *(random.Random(1).randrange(len(coded) + 1) for _ in range(9))})
    assert b"".join(part for a, b in pairwise(cuts) for part in removing.pieces(coded[a:b])) == body
    assert removing.complete


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", SIZES)
def test_a_truncated_body_is_refused(coding, size) -> None:
    """Wherever it is cut, also when all of its data has come and only the end is missing."""
    coded = ENCODE[coding](_body(size))
    for cut in {1, len(coded) // 2, len(coded) - 1} - {0, len(coded)}:
        with pytest.raises(CodingError):
            decode(coded[:cut], coding, 10 * MIB)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("more", [b"\0", b'{"id":"3"}'])
def test_data_behind_the_end_is_refused(coding, size, more) -> None:
    """Whether it comes with the body's last bytes or after them."""
    coded = ENCODE[coding](_body(size))
    with pytest.raises(CodingError):
        decode(coded + more, coding, 10 * MIB)
    removing = decoder(coding)
    assert removing is not None
    list(removing.pieces(coded))
    with pytest.raises(CodingError):
        list(removing.pieces(more + bytes(20)))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bodies_in_a_row_are_one_where_the_format_says_so(coding) -> None:
    """Members of gzip and frames of zstd; many empty ones are refused before they cost time."""
    assert decode(ENCODE[coding](b"ab") + ENCODE[coding](b"cd"), coding, 4) == b"abcd"
    with pytest.raises(CodingError):
        decode(ENCODE[coding](b"") * 1001, coding, 4)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_never_unfolded(coding) -> None:
    """Of 100 MiB not more than the limit and a piece is made."""
    bomb = ENCODE[coding](b" " * (100 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decode(bomb, coding, MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


def test_a_window_past_the_bound_is_refused() -> None:
    """zstd: a frame that asks for more than 8 MiB of memory (RFC 9659)."""
    noise = random.Random(2).randbytes(MIB)
    squeezer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    wide = squeezer.compress(noise) + squeezer.flush()
    with pytest.raises(CodingError):
        decode(wide, "zstd", 10 * MIB)


@pytest.mark.parametrize("said", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("meant", ["identity", "gzip", "deflate", "br", "zstd"])
def test_a_mislabelled_body_is_refused(said, meant) -> None:
    """A body in another coding than the one it is said to have."""
    if said == meant:
        return
    body = b'{"id": "3", "name": "nameof3"}' * 9
    with pytest.raises(CodingError):
        decode(ENCODE[meant](body) if meant != "identity" else body, said, MIB)


@pytest.mark.parametrize("coding", ["gzip, br", "gzip,gzip", "br, identity", "compress", "zstd;q=1", "*"])
def test_stacked_and_unknown_codings_are_refused(coding) -> None:
    with pytest.raises(CodingError):
        decode(b"x", coding, 9)


def test_an_empty_body_has_no_coding_to_remove() -> None:
    """The answer to HEAD names the coding that GET would have."""
    assert decode(b"", "br", 9) == b""
