"""Packed segments: what goes in comes out, and what is damaged is told."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle.packing import Packer, PackingInvalid, unpacked, zstd

LINES = b"".join(b'{"n":%d,"pseudonym":"%s"}\n' % (n, str(hash(n * 7919)).encode()) for n in range(60_000))


def packed(*pieces):
    packer = Packer()
    return b"".join([*(packer.add(piece) for piece in pieces), packer.end()])


def unpack(data):
    return b"".join(unpacked(io.BytesIO(data).read))


@given(st.lists(st.binary(max_size=3000)))
def test_what_goes_in_comes_out(pieces):
    """In whatever pieces it came."""
    assert unpack(packed(*pieces)) == b"".join(pieces)


def test_any_zstd_tool_reads_it():
    """One ordinary frame."""
    assert zstd.decompress(packed(LINES)) == LINES


def test_it_is_given_in_pieces():
    """A small file that unpacks to a large one does not fill the memory."""
    sizes = [len(piece) for piece in unpacked(io.BytesIO(packed(*[bytes(1 << 20)] * 64)).read)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20


def test_damage_is_told_or_gives_less():
    """A flipped bit is no other content; a cut file gives a beginning, and is told; so is anything behind the end."""
    whole = packed(LINES)
    for at in range(8, len(whole), len(whole) // 50):
        bad = bytearray(whole)
        bad[at] ^= 4
        with pytest.raises(PackingInvalid):
            unpack(bytes(bad))
    for keep in (*range(0, len(whole), len(whole) // 50), len(whole) - 1):
        given = []
        with pytest.raises(PackingInvalid, match="ends before its end"):
            given.extend(unpacked(io.BytesIO(whole[:keep]).read))
        assert LINES.startswith(b"".join(given))
    for more in (b"x", whole, bytes(300_000)):
        with pytest.raises(PackingInvalid, match="behind its end"):
            unpack(whole + more)


def test_a_frame_that_asks_for_a_huge_window_is_refused():
    """Such as nobody here writes."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    with pytest.raises(PackingInvalid):
        unpack(zstd.ZstdCompressor(options=options).compress(bytes(200 << 20)))
