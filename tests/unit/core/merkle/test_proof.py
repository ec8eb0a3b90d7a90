"""C2SP tlog-proof, and the consistency request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import note, proof, tree

SEED = b"s" * 32
KEY = note.verifier_key("example.com/log", SEED)
RECORDS = [b'{"n":%d}' % i for i in range(11)]
SUBTREE = tree.subtrees_of([tree.leaf_hash(r) for r in RECORDS])
CHECKPOINT = note.sign_checkpoint(note.Checkpoint("example.com/log", 11, tree.root(11, SUBTREE)), SEED)


def made(index, extra=None):
    return proof.InclusionProof(index, tuple(tree.inclusion_proof(index, 11, SUBTREE)), CHECKPOINT, extra)


@pytest.mark.parametrize("extra", [None, b"", b"opaque"])
@pytest.mark.parametrize("index", range(11))
def test_inclusion_round_trip(index, extra):
    """The text has the specified lines, reads back the same, and proves its record and no other."""
    text = proof.encode_inclusion(made(index, extra))
    assert text.startswith(b"c2sp.org/tlog-proof@v1\n")
    assert (b"\nextra " in text) == (extra is not None)
    assert f"\nindex {index}\n".encode() in text
    assert text.endswith(b"\n\n" + CHECKPOINT)
    read = proof.parse_inclusion(text)
    assert read == made(index, extra)
    assert proof.check_inclusion(read, RECORDS[index], KEY).size == 11
    with pytest.raises(note.NoteInvalid):
        proof.check_inclusion(read, RECORDS[index - 1], KEY)


def test_a_log_of_one_record_needs_no_hashes():
    """The proof of the only record has no hash lines."""
    checkpoint = note.sign_checkpoint(note.Checkpoint(KEY.name, 1, tree.leaf_hash(b"{}")), SEED)
    text = proof.encode_inclusion(proof.InclusionProof(0, (), checkpoint))
    assert proof.check_inclusion(proof.parse_inclusion(text), b"{}", KEY).size == 1


@pytest.mark.parametrize("old", range(12))
def test_consistency_round_trip(old):
    """Each older tree is shown to begin the newer one, with its own root only."""
    text = proof.encode_consistency(
        proof.ConsistencyProof(old, tuple(tree.consistency_proof(old, 11, SUBTREE)), CHECKPOINT)
    )
    read = proof.parse_consistency(text)
    assert proof.check_consistency(read, tree.root(old, SUBTREE), KEY).size == 11
    with pytest.raises(note.NoteInvalid):
        proof.check_consistency(read, bytes(32), KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace(b"@v1", b"@v2"),
        lambda t: t.replace(b"index 5", b"index 05"),
        lambda t: t.replace(b"index 5", b"index -5"),
        lambda t: t.replace(b"index 5", b"index "),
        lambda t: t.replace(b"index 5\n", b""),
        lambda t: t.replace(b"index 5\n", b"index 5\nAAAA\n"),
        lambda t: t.replace(b"index 5\n", b"index 5\n!\n"),
        lambda t: t.replace(b"index 5\n", b"index 5\n" + b"A" * 43 + b"=\n" * 64),
        lambda t: t.replace(b"index 5", "index ٥".encode()),
        lambda t: t.partition(b"\n\n")[0],
        lambda t: b"",
    ],
)
def test_malformed_proofs_are_refused(change):
    """What is not exactly a proof is an error."""
    with pytest.raises(note.NoteInvalid):
        proof.parse_inclusion(change(proof.encode_inclusion(made(5))))


@given(st.data())
def test_a_proof_with_any_byte_changed_proves_nothing(data):
    """Whatever byte of a proof is altered, the record is no longer proved."""
    text = bytearray(proof.encode_inclusion(made(5)))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(note.NoteInvalid):
        proof.check_inclusion(proof.parse_inclusion(bytes(text)), RECORDS[5], KEY)
