"""HyperLogLog registers of keyed numbers, and the DataSketches sketches that hold them when they are closed.

A register keeps the highest rank of the numbers that fall on it (Flajolet et al. 2007). The numbers are uniform already
(``keys``), so place and rank are read off them; the library would hash them once more, with a hash that everybody knows, at
four times the cost. What the library does is what it is good at: unions, estimates, half a byte a register.

The images are those of Apache DataSketches HLL, version 1: ``preamble`` of 40 bytes, then the registers.
"""

import struct
from collections.abc import Iterable

from datasketches import hll_sketch, hll_union, tgt_hll_type

LG_K_MIN, LG_K_MAX = 7, 16  # DataSketches begins at 7; 2¹⁶ registers are a megabyte a ring

Sighting = tuple[float, int, int]  # when the person was seen before (-inf: never), register, rank

_PREAMBLE = struct.Struct("<8B3d2I")
_HLL_8_MODE = 2 | 2 << 2  # sketch mode HLL, eight bits a register
_MERGED = 16  # flag "out of order": the estimate comes from the registers


def places(sightings: Iterable[tuple[float, int]], lg_k: int) -> list[Sighting]:
    """Which registers 64-bit numbers fall on, and their ranks: 1 to ``65 - lg_k``, each half as likely as the one before."""
    mask, highest = (1 << lg_k) - 1, 65 - lg_k
    return [(seen, number & mask, highest - (number >> lg_k).bit_length()) for seen, number in sightings]


def chances(lg_k: int) -> tuple[int, ...]:
    """By rank held, from 0: the chance of a number that falls on the register to change it, times ``2 ** (64 - lg_k)``."""
    return (*(1 << width for width in range(64 - lg_k, -1, -1)), 0)


def room(registers: bytes | bytearray, lg_k: int) -> int:
    """The chance of any number to change any register, times 2⁶⁴."""
    left, total = len(registers), 0
    for rank, chance in enumerate(chances(lg_k)):
        held = registers.count(rank)
        total += held * chance
        left -= held
        if not left:
            break
    return total


def packed(registers: bytes | bytearray, lg_k: int) -> bytes:
    """The registers as a compact sketch, about half a byte each."""
    preamble = _PREAMBLE.pack(10, 1, 7, lg_k, 0, _MERGED, 0, _HLL_8_MODE, 0.0, 0.0, 0.0, 0, 0)
    sketch = hll_sketch.deserialize(preamble + registers)
    union = hll_union(lg_k)
    union.update(sketch)
    union.update(sketch)  # a second one makes the library work out the sums that the preamble leaves at nought
    return bytes(union.get_result(tgt_hll_type.HLL_4).serialize_compact())


def united(sketches: Iterable[bytes], lg_k: int) -> tuple[bytearray, float]:
    """The registers of the union of ``packed`` sketches, one or more, and how many people it estimates."""
    union = hll_union(lg_k)
    for sketch in sketches:
        union.update(hll_sketch.deserialize(sketch))
    result = union.get_result(tgt_hll_type.HLL_8)
    return bytearray(result.serialize_updatable()[_PREAMBLE.size :]), float(result.get_estimate())
