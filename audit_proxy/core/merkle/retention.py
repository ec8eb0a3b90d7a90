"""Retention as C2SP tlog-tiles prunes a log: records below a *minimum index* are gone, the tree is what it was.

Invariants:

- The minimum index is told by a record of the log itself (kind ``admin``, action ``log.prune``), so whoever cannot sign the
  log cannot cut its beginning off and call it retention. The file ``minimum-index`` holds that record and the proof that it
  is the log's: a tlog-proof whose ``extra`` is the record.
- It never lies above the record that tells it, so that record is always there.
- Hash tiles stay, all of them: every checkpoint ever signed, and every proof ever made, can still be checked.
"""

from dataclasses import dataclass

from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import proof
from audit_proxy.core.merkle.note import Checkpoint, NoteInvalid, VerifierKey

MINIMUM = "minimum-index"  # the file, beside ``checkpoint``
ACTION = "log.prune"


@dataclass(frozen=True, slots=True)
class Minimum:
    """``index``: of the first record that is kept; ``told_by``: of the record that says so; ``checkpoint``: one over it."""

    index: int
    told_by: int
    record: bytes
    checkpoint: Checkpoint


def encode_minimum(inclusion: proof.InclusionProof, record: bytes) -> bytes:
    """The file's content: the proof that the log holds the record which tells the minimum index, and that record."""
    return proof.encode_inclusion(
        proof.InclusionProof(inclusion.index, inclusion.path, inclusion.checkpoint, extra=record)
    )


def open_minimum(data: bytes, key: VerifierKey) -> Minimum:
    """What a ``minimum-index`` file proves. Raises NoteInvalid."""
    parsed, record, index = _parse(data)
    return Minimum(index, parsed.index, record, proof.check_inclusion(parsed, record, key))


def claimed_minimum(data: bytes) -> int:
    """What the file says, unproved: for reading on, where nothing is decided by it. Raises NoteInvalid."""
    return _parse(data)[2]


def target(minimum: int, former: int) -> dict[str, int]:
    """What the record that tells a minimum index says, as its ``target``."""
    return {"minimum_index": minimum, "former_minimum_index": former}


def _parse(data: bytes) -> tuple[proof.InclusionProof, bytes, int]:
    parsed = proof.parse_inclusion(data)
    record = parsed.extra or b""
    try:
        told = audit_record.decode(record)
    except (ValueError, RecursionError) as exc:
        raise NoteInvalid("the file holds no record that tells a minimum index") from exc
    index = (told.target or {}).get("minimum_index")
    if told.kind != "admin" or told.action != ACTION or type(index) is not int or not 0 <= index <= parsed.index:
        raise NoteInvalid("the file holds no record that tells a minimum index")
    return parsed, record, index
