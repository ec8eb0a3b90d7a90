"""Rosters: one text for one roster, and what is missing, not listed or cut back is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import kept, note, roster
from audit_proxy.core.merkle.roster import Listed, Published, Roster, Seen

SIGNER, SIGNER_SEED = "example.com/roster", b"r" * 32
SEEDS = {f"example.com/node-{n}": bytes([n + 1]) * 32 for n in range(3)}
KEYS = {origin: note.verifier_key(origin, seed) for origin, seed in SEEDS.items()}
A, B, C = KEYS


def checkpoint(origin, size, seed=None):
    return note.sign_checkpoint(note.Checkpoint(origin, size, bytes(32)), seed or SEEDS[origin])


def listing(*origins, **sizes):
    return Roster(tuple(Listed(KEYS[origin], sizes.get(origin[-6:].replace("-", "_"))) for origin in origins))


names = st.text(min_size=1, max_size=20).filter(note.valid_name).filter(lambda one: one.isprintable())
rosters = st.dictionaries(
    names,
    st.tuples(st.binary(min_size=32, max_size=32), st.none() | st.integers(0, 10**19 - 1)),
    min_size=1,
    max_size=5,
).map(
    lambda logs: Roster(tuple(Listed(note.VerifierKey(name, key), size) for name, (key, size) in sorted(logs.items())))
)


@given(rosters)
def test_a_roster_is_read_as_it_was_written(made):
    """As text and signed; nobody else's signature will do."""
    assert roster.parse_roster(roster.encode_roster(made)) == made
    signed = roster.sign_roster(made, SIGNER, SIGNER_SEED)
    assert roster.open_roster(signed, note.verifier_key(SIGNER, SIGNER_SEED)) == made
    with pytest.raises(note.NoteInvalid):
        roster.open_roster(signed, note.verifier_key(SIGNER, b"x" * 32))


@given(rosters, st.data())
def test_a_changed_text_is_another_roster_or_none(made, data):
    """No two texts mean the same roster."""
    text = roster.encode_roster(made)
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        read = roster.parse_roster(changed)
    except note.NoteInvalid:
        return
    assert roster.encode_roster(read) == changed
    assert (read == made) == (changed == text)


LINE = note.encode_vkey(KEYS[A])


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "audit-proxy/roster/v1\n", f"audit-proxy/roster/v2\n{LINE}\n", f"audit-proxy/roster/v1\n{LINE}",
        f"audit-proxy/roster/v1\n{LINE}\n\n", f"audit-proxy/roster/v1\n\n{LINE}\n", f"audit-proxy/roster/v1\n{LINE}\n{LINE}\n",
        f"audit-proxy/roster/v1\n{note.encode_vkey(KEYS[B])}\n{LINE}\n", f"audit-proxy/roster/v1\n{LINE} \n",
        f"audit-proxy/roster/v1\n{LINE} 01\n", f"audit-proxy/roster/v1\n{LINE} -1\n", f"audit-proxy/roster/v1\n{LINE}  1\n",
        f"audit-proxy/roster/v1\n{LINE} 1 1\n", f"audit-proxy/roster/v1\n{LINE} ١\n", f"audit-proxy/roster/v1\n{LINE} {10**19}\n",
        f"audit-proxy/roster/v1\n{LINE[:-1]}\n", f"audit-proxy/roster/v1\r\n{LINE}\n", f" audit-proxy/roster/v1\n{LINE}\n",
    ],
)  # fmt: skip
def test_what_is_not_of_the_one_form_is_refused(text):
    """Signed or not."""
    with pytest.raises(note.NoteInvalid):
        roster.parse_roster(text)


def seen(*logs):
    return [Seen(f"/logs/{number}", one) for number, one in enumerate(logs)]


def kinds(findings):
    return [(one.kind, one.origin) for one in findings]


def test_all_there_is_no_finding():
    """Sizes may have grown; one log in two directories is one."""
    found, findings = roster.compare(
        listing(A, B, node_0=5), seen(checkpoint(A, 5), checkpoint(B, 0), checkpoint(A, 9)), Published({A: 9})
    )
    assert (found, findings) == ({A: 9, B: 0}, [])


def test_a_missing_an_unlisted_and_a_shorter_log_are_found():
    """Shorter than on the roster, or than what was pushed since."""
    listed = listing(A, B, node_0=5, node_1=3)
    assert kinds(roster.compare(listed, seen(checkpoint(A, 5)), Published())[1]) == [("log_missing", B)]
    assert kinds(roster.compare(listed, seen(checkpoint(A, 4), checkpoint(B, 3)), Published())[1]) == [
        ("tail_cut_back", A)
    ]
    assert kinds(roster.compare(listed, seen(checkpoint(A, 5), checkpoint(B, 3)), Published({B: 4}))[1]) == [
        ("tail_cut_back", B)
    ]
    unlisted = roster.compare(listed, seen(checkpoint(A, 5), checkpoint(B, 3), checkpoint(C, 7)), Published())
    assert (kinds(unlisted[1]), unlisted[0]) == ([("audit_unlisted", C)], {A: 5, B: 3})


def test_a_checkpoint_by_another_key_or_none_is_no_log():
    """The log counts as missing, too."""
    for checkpoints, kind, origin in (
        ([checkpoint(A, 9, b"x" * 32)], "checkpoint_invalid", A),
        ([b"no note"], "checkpoint_invalid", None),
        ([None], "checkpoint_missing", None),
    ):
        found, findings = roster.compare(listing(A), seen(*checkpoints), Published())
        assert found == {}
        assert kinds(findings) == [(kind, origin), ("log_missing", A)]


def test_kept_checkpoints_are_taken_for_the_listed_logs_alone():
    """The most records of each; what is forged, altered or of a log that is not listed is a finding; damaged ones are counted."""
    altered = checkpoint(B, 4).replace(b"\n4\n", b"\n9\n")
    data = b"".join(
        [checkpoint(A, 3), checkpoint(A, 1), checkpoint(B, 8, b"x" * 32), altered, checkpoint(C, 1), b"torn\n"]
    )
    published = Published()
    roster.take_published(published, kept.entries(data.splitlines(keepends=True)), {A: KEYS[A], B: KEYS[B]})
    assert (published.sizes, published.damaged) == ({A: 3}, 1)
    found, findings = roster.compare(listing(A, B), seen(checkpoint(A, 3), checkpoint(B, 0)), published)
    assert found == {A: 3, B: 0}
    assert sorted(kinds(findings)) == [("audit_unlisted", C), ("kept_altered", B), ("unknown_key", B)]


def test_a_roster_grows_and_never_shrinks():
    """Logs are added, sizes raised; a second key for one origin is refused."""
    first = roster.updated(None, [KEYS[B]], {B: 7})
    second = roster.updated(first, [KEYS[A], KEYS[B]], {B: 5, A: 1})
    assert second == Roster((Listed(KEYS[A], 1), Listed(KEYS[B], 7)))
    with pytest.raises(note.NoteInvalid, match="two keys"):
        roster.updated(second, [note.verifier_key(A, b"x" * 32)], {})
    with pytest.raises(note.NoteInvalid, match="at least one"):
        roster.updated(None, [], {})
