"""RFC 6962 section 2.1: Merkle tree hashes, inclusion proofs and consistency proofs, over SHA-256.

Invariants:

- A leaf is hashed with the prefix 0x00, an inner node with 0x01, so that neither can pass for the other.
- Proofs are made from hashes of complete subtrees only, which never change once they exist: ``subtree(level, index)`` is
  MTH(D[index * 2**level : (index + 1) * 2**level]).
- Checking a proof never trusts a length or a size from the proof's sender.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

Subtree = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: bytes) -> bytes:
    """The root over one or more concatenated hashes of subtrees of equal height; only the last may be incomplete.

    Pairing level by level and carrying an odd last node upwards gives RFC 6962's tree.
    """
    while len(hashes) > HASH_BYTES:
        paired = len(hashes) & ~63
        odd = hashes[paired:]
        hashes = b"".join([sha256(b"\x01" + hashes[i : i + 64]).digest() for i in range(0, paired, 64)]) + odd
    return hashes


def root(size: int, subtree: Subtree) -> bytes:
    """The root of the tree over the first ``size`` leaves."""
    return _span(0, size, subtree) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 section 2.1.1, PATH(index, D[size]): from the leaf's sibling up. Raises ValueError unless index < size."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _largest_power_below(high - low)
        if index < middle:
            path.append(_span(middle, high, subtree))
            high = middle
        else:
            path.append(_span(low, middle, subtree))
            low = middle
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 section 2.1.2, PROOF(old, D[new]); empty for ``old`` 0 or ``new``. Raises ValueError unless old <= new."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} cannot be the beginning of a tree of {new}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    low, high = 0, new
    while old != high:
        middle = low + _largest_power_below(high - low)
        if old <= middle:
            path.append(_span(middle, high, subtree))
            high = middle
        else:
            path.append(_span(low, middle, subtree))
            low = middle
    if low:
        path.append(_span(low, high, subtree))
    return path[::-1]


def inclusion_holds(index: int, size: int, leaf: bytes, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether ``path`` proves that ``leaf`` (a leaf hash) is number ``index`` under the root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size or any(len(step) != HASH_BYTES for step in path):
        return False
    number, last, value = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            value = node_hash(step, value)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            value = node_hash(value, step)
        number >>= 1
        last >>= 1
    return last == 0 and value == expected_root


def consistency_holds(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the tree of ``old`` leaves begins the tree of ``new`` (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new or any(len(step) != HASH_BYTES for step in path):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number >>= 1
        last >>= 1
    old_value = new_value = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old_value = node_hash(step, old_value)
            new_value = node_hash(step, new_value)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            new_value = node_hash(new_value, step)
        number >>= 1
        last >>= 1
    return last == 0 and old_value == old_root and new_value == new_root


def subtrees_of(leaves: Sequence[bytes]) -> Subtree:
    """``subtree`` over leaf hashes held in memory, for tests and small trees."""

    def subtree(level: int, index: int) -> bytes:
        return fold(b"".join(leaves[index << level : (index + 1) << level]))

    return subtree


def _largest_power_below(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


def _span(low: int, high: int, subtree: Subtree) -> bytes:
    """MTH(D[low:high]) out of complete subtrees, where ``low`` is a multiple of the largest power of two that fits."""
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(subtree(level, low >> level))
        low += 1 << level
    value = parts.pop()
    while parts:
        value = node_hash(parts.pop(), value)
    return value
