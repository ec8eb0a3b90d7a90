"""Proofs as text: C2SP tlog-proof (inclusion), and the body of tlog-witness' add-checkpoint (consistency).

A proof is checked by its holder alone, with the record's bytes and the log's verifier key.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from audit_proxy.core.merkle import tree
from audit_proxy.core.merkle.note import Checkpoint, NoteInvalid, VerifierKey, canonical_base64, open_checkpoint

HEADER = "c2sp.org/tlog-proof@v1"
_PATH_MAX = 63  # hashes; no tree is higher


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """``checkpoint`` is the signed note, verbatim; ``extra`` is opaque and not authenticated."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the tree of ``old`` leaves begins the tree of the signed checkpoint."""

    old: int
    path: tuple[bytes, ...]
    checkpoint: bytes


def encode_inclusion(proof: InclusionProof) -> bytes:
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {base64.b64encode(proof.extra).decode()}")
    lines += [f"index {proof.index}", *_hash_lines(proof.path), "", ""]
    return "\n".join(lines).encode() + proof.checkpoint


def parse_inclusion(data: bytes) -> InclusionProof:
    """The inverse of ``encode_inclusion``. Raises NoteInvalid."""
    lines, checkpoint = _head_and_note(data)
    if not lines or lines.pop(0) != HEADER:
        raise NoteInvalid(f"a proof begins with {HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = canonical_base64(lines.pop(0).removeprefix("extra "))
    index = _numbered(lines, "index ")
    return InclusionProof(index, _hashes(lines), checkpoint, extra)


def check_inclusion(proof: InclusionProof, record: bytes, key: VerifierKey) -> Checkpoint:
    """The checkpoint under which ``record`` is proved to stand at the proof's index. Raises NoteInvalid."""
    checkpoint = open_checkpoint(proof.checkpoint, key)
    leaf = tree.leaf_hash(record)
    if not tree.inclusion_holds(proof.index, checkpoint.size, leaf, proof.path, checkpoint.root):
        raise NoteInvalid(f"the proof does not show this record as number {proof.index} of the log")
    return checkpoint


def encode_consistency(proof: ConsistencyProof) -> bytes:
    """``old <size>``, the hashes, an empty line, the checkpoint: what a witness takes (tlog-witness, add-checkpoint)."""
    return "\n".join([f"old {proof.old}", *_hash_lines(proof.path), "", ""]).encode() + proof.checkpoint


def parse_consistency(data: bytes) -> ConsistencyProof:
    """The inverse of ``encode_consistency``. Raises NoteInvalid."""
    lines, checkpoint = _head_and_note(data)
    old = _numbered(lines, "old ")
    return ConsistencyProof(old, _hashes(lines), checkpoint)


def check_consistency(proof: ConsistencyProof, old_root: bytes, key: VerifierKey) -> Checkpoint:
    """The newer checkpoint, proved to continue the tree of ``old`` leaves with ``old_root``. Raises NoteInvalid."""
    checkpoint = open_checkpoint(proof.checkpoint, key)
    if not tree.consistency_holds(proof.old, checkpoint.size, old_root, checkpoint.root, proof.path):
        raise NoteInvalid(f"the log of {checkpoint.size} records does not continue the one of {proof.old}")
    return checkpoint


def _head_and_note(data: bytes) -> tuple[list[str], bytes]:
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as exc:
        raise NoteInvalid("a proof's lines are ASCII") from exc
    if not separator:
        raise NoteInvalid("a proof ends in a checkpoint")
    return lines, note


def _numbered(lines: list[str], word: str) -> int:
    line = lines.pop(0) if lines else ""
    digits = line.removeprefix(word)
    if not line.startswith(word) or not digits.isdigit() or (digits[0] == "0" and digits != "0") or len(digits) > 19:
        raise NoteInvalid(f"the proof has no line '{word}N'")
    return int(digits)


def _hash_lines(path: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(step).decode() for step in path]


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    path = tuple(map(canonical_base64, lines))
    if len(path) > _PATH_MAX or any(len(step) != tree.HASH_BYTES for step in path):
        raise NoteInvalid("a proof's hashes are 32 bytes each, and at most 63")
    return path
