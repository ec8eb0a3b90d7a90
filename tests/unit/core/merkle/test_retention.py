"""The minimum index: told by a record of the log, proved by a checkpoint."""

import pytest

from audit_proxy.core import record as audit_record
from audit_proxy.core.merkle import note, proof, retention, tree

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)


def told(minimum, **more):
    record = audit_record.Record(
        v=1,
        id=audit_record.uuid7(1_800_000_000.0, bytes(10)),
        ts=audit_record.timestamp(1_800_000_000.0),
        node="n",
        kind="admin",
        action="log.prune",
        target=retention.target(minimum, 0) if type(minimum) is int else minimum,
    )
    return audit_record.encode(
        record.__class__(**{**{f: getattr(record, f) for f in record.__struct_fields__}, **more})
    )


def proved(record, index=5, size=9, seed=SEED):
    leaves = [tree.leaf_hash(record if n == index else b"%d" % n) for n in range(size)]
    subtree = tree.subtrees_of(leaves)
    signed = note.sign_checkpoint(note.Checkpoint(KEY.name, size, tree.root(size, subtree)), seed)
    path = tuple(tree.inclusion_proof(index, size, subtree))
    return retention.encode_minimum(proof.InclusionProof(index, path, signed), record)


def test_a_record_of_the_log_tells_the_minimum_index():
    """The file is a tlog-proof with the record as its extra data."""
    record = told(4)
    data = proved(record)
    found = retention.open_minimum(data, KEY)
    assert (found.index, found.told_by, found.record, found.checkpoint.size) == (4, 5, record, 9)
    assert retention.claimed_minimum(data) == 4
    assert proof.check_inclusion(proof.parse_inclusion(data), record, KEY).size == 9


@pytest.mark.parametrize(
    "record",
    [
        told(6),
        told(-1),
        told({"minimum_index": True}),
        told({"minimum_index": "4"}),
        told({}),
        told(4, kind="consent"),
        told(4, action="log.verify"),
        told(4, target=None),
        b"{}",
        b"",
        b"[" * 100_000,
    ],
)
def test_what_is_no_such_record_is_refused(record):
    """Another kind or action, no number, or one past the record itself."""
    for read in (retention.claimed_minimum, lambda data: retention.open_minimum(data, KEY)):
        with pytest.raises(note.NoteInvalid, match="no record that tells"):
            read(proved(record))


def test_without_a_proof_it_counts_for_nothing():
    """Another log's signature, another record than the proved one, no proof at all."""
    good = proved(told(4))
    for bad in (proved(told(4), seed=b"o" * 32), good.replace(b"index 5", b"index 6"), good[:-1], b"", b"4\n"):
        with pytest.raises(note.NoteInvalid):
            retention.open_minimum(bad, KEY)
