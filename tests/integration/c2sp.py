"""A verifier written from the C2SP specifications alone (tlog-tiles, tlog-checkpoint, signed-note, tlog-proof, RFC 6962).

It knows a directory (the log's prefix) and a verifier key, and nothing of the program that wrote them: only the standard
library and an Ed25519 implementation are used. Every function raises AssertionError for what does not hold.
"""

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def mth(hashes):
    """RFC 6962 section 2.1, over leaf (or equal subtree) hashes."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return node(mth(hashes[:k]), mth(hashes[k:]))


def open_checkpoint(signed, vkey):
    """(origin, size, root) of a checkpoint that the key signed."""
    name, key_id, encoded = vkey.strip().split("+", 2)
    key = base64.b64decode(encoded)
    assert key[0] == 1
    assert len(key) == 33
    assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id
    text, _, signatures = signed.decode().rpartition("\n\n")
    text += "\n"
    verified = 0
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        assert dash == "\u2014"
        raw = base64.b64decode(signature)
        if signer == name and raw[:4].hex() == key_id:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
            verified += 1
    assert verified
    origin, size, root = text.splitlines()[:3]
    assert origin == name
    assert size == str(int(size))
    return origin, int(size), base64.b64decode(root)


def path(kind, index, width):
    digits = f"{index:d}".zfill((len(str(index)) + 2) // 3 * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    text = "/".join([*("x" + g for g in groups[:-1]), groups[-1]])
    return f"tile/{kind}/{text}" + (f".p/{width}" if width < 256 else "")


def fetch(prefix, kind, index, width):
    """A tile or bundle; the full one where the partial one was deleted."""
    file = Path(prefix) / path(kind, index, width)
    return (file if file.exists() else Path(prefix) / path(kind, index, 256)).read_bytes()


def tile(prefix, level, index, width):
    data = fetch(prefix, level, index, width)[: width * 32]
    assert len(data) == width * 32
    return [data[i : i + 32] for i in range(0, len(data), 32)]


def check_log(prefix, vkey, minimum=0):
    """Checkpoint, every tile of every level up to its root, every bundle against its tile. Gives all entries, in a pruned log
    those of the bundles that end above the minimum index.
    """
    _, size, root = open_checkpoint((Path(prefix) / "checkpoint").read_bytes(), vkey)
    entries = []
    below = []
    for first in range(0, size, 256):
        width = min(256, size - first)
        hashes = tile(prefix, 0, first // 256, width)
        below += hashes
        if first + 256 <= minimum:
            continue
        bundle, data = [], fetch(prefix, "entries", first // 256, width)
        while data and len(bundle) < width:
            length = int.from_bytes(data[:2], "big")
            bundle.append(data[2 : 2 + length])
            assert len(bundle[-1]) == length
            data = data[2 + length :]
        assert [leaf(entry) for entry in bundle] == hashes
        entries += bundle
    assert len(entries) == size - minimum // 256 * 256
    assert mth(below) == root
    level = 1
    while size >> 8 * level:
        above = [mth(below[i : i + 256]) for i in range(0, len(below) // 256 * 256, 256)]
        for first in range(0, len(above), 256):
            part = above[first : first + 256]
            assert tile(prefix, level, first // 256, len(part)) == part
        below = above
        level += 1
    return entries


def check_proof(text, entry, vkey):
    """A tlog-proof for that entry. Gives its index and the checkpoint's size."""
    head, _, checkpoint = text.partition(b"\n\n")
    lines = head.decode().split("\n")
    assert lines.pop(0) == "c2sp.org/tlog-proof@v1"
    if lines[0].startswith("extra "):
        lines.pop(0)
    word, index = lines.pop(0).split(" ")
    assert word == "index"
    _, size, root = open_checkpoint(checkpoint, vkey)
    hashes = [base64.b64decode(line) for line in lines]

    def climb(low, high, wanted, steps):
        """Root of [low, high) out of the leaf and the proof's hashes, the last of which is nearest to the root."""
        if high - low == 1:
            assert not steps
            return leaf(entry)
        k = 1
        while k * 2 < high - low:
            k *= 2
        if wanted < low + k:
            return node(climb(low, low + k, wanted, steps[:-1]), steps[-1])
        return node(steps[-1], climb(low + k, high, wanted, steps[:-1]))

    assert climb(0, size, int(index), hashes) == root
    return int(index), size
