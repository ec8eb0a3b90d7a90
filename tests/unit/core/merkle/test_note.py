"""C2SP signed-note and tlog-checkpoint."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import note

SEED, OTHER = b"s" * 32, b"o" * 32
NAME = "example.com/log"
KEY = note.verifier_key(NAME, SEED)
TEXT = "Ognuno sta solo\n\ned è subito sera.\n"


def test_the_key_of_a_public_log_is_read():
    """The verifier key that Go's checksum database publishes parses and re-encodes; its id belongs to its name and key."""
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert note.encode_vkey(note.parse_vkey(vkey)) == vkey


def test_a_note_that_another_implementation_signed_opens():
    """The example note of Go's sumdb/note package opens with its key."""
    key = note.parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    signed = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert note.open_note(signed.encode(), key).startswith("If you think")


def test_sign_and_open():
    """A text that holds empty lines comes back; the signature line has the specified form."""
    signed = note.sign(TEXT, NAME, SEED)
    assert note.open_note(signed, KEY) == TEXT
    last = signed.decode().split("\n")[-2]
    assert last.startswith(f"— {NAME} ")
    raw = base64.b64decode(last.rpartition(" ")[2])
    assert raw[:4] == KEY.key_id
    assert len(raw) == 68


@given(st.data())
def test_a_note_with_any_byte_changed_does_not_open(data):
    """Whatever single byte is altered, the note is refused or its text is unchanged and signed."""
    signed = bytearray(note.sign(TEXT, NAME, SEED))
    at = data.draw(st.integers(0, len(signed) - 1))
    signed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(note.NoteInvalid):
        note.open_note(bytes(signed), KEY)


def test_signatures_of_others_are_ignored_and_a_broken_one_of_ours_refuses():
    """Unknown signers add nothing and harm nothing; a line under our name and id that fails refuses the whole note."""
    ours = note.sign(TEXT, NAME, SEED)
    other_line = note.sign(TEXT, "witness", OTHER).rpartition(b"\n\n")[2]
    same_name = note.sign(TEXT, NAME, OTHER).rpartition(b"\n\n")[2]
    assert note.open_note(ours + other_line + same_name, KEY) == TEXT
    with pytest.raises(note.NoteInvalid, match="not signed by the expected key"):
        note.open_note(note.sign(TEXT, NAME, OTHER), KEY)
    forged = base64.b64encode(KEY.key_id + bytes(64)).decode()
    with pytest.raises(note.NoteInvalid, match="does not fit"):
        note.open_note(ours + f"— {NAME} {forged}\n".encode(), KEY)


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nnot a signature\n",
        "text\n\n— name\n".encode(),
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— na+me AAAAAAAA\n".encode(),
        b"te\x07xt\n\n",
        b"\xff\n\n",
        note.sign(TEXT, NAME, SEED)[:-1],
        note.sign(TEXT, NAME, SEED) + b"\r\n",
        note.sign(TEXT, NAME, SEED) + note.sign(TEXT, "w", OTHER).rpartition(b"\n\n")[2] * 80,
        b"a" * 1_000_001,
    ],
)
def test_what_is_no_note_is_refused(signed):
    """Malformed notes are errors, never half read."""
    with pytest.raises(note.NoteInvalid):
        note.open_note(signed, KEY)


def test_checkpoints_round_trip():
    """Origin, size, root and extensions come back; the text is the specified one."""
    checkpoint = note.Checkpoint(NAME, 20852163, bytes(range(32)), ("ext",))
    signed = note.sign_checkpoint(checkpoint, SEED)
    assert note.open_checkpoint(signed, KEY) == checkpoint
    assert signed.decode().split("\n")[:3] == [NAME, "20852163", base64.b64encode(bytes(range(32))).decode()]
    assert note.open_checkpoint(note.sign_checkpoint(note.Checkpoint(NAME, 0, bytes(32)), SEED), KEY).size == 0


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{NAME}\n5\n",
        f"{NAME}\n05\n{ROOT}\n",
        f"{NAME}\n+5\n{ROOT}\n",
        f"{NAME}\n٥\n{ROOT}\n",
        f"{NAME}\n{'9' * 20}\n{ROOT}\n",
        f"{NAME}\n-5\n{ROOT}\n",
        f"{NAME}\n5\n{ROOT[:-4]}\n",
        f"{NAME}\n5\n{ROOT[:-2]}B=\n",
        f"other\n5\n{ROOT}\n",
        f"{NAME}\n5\n{ROOT}\n\n",
    ],
)
def test_malformed_checkpoints_are_refused_although_signed(text):
    """A signature does not make a checkpoint of what is none, nor ours of another log's."""
    with pytest.raises(note.NoteInvalid):
        note.open_checkpoint(note.sign(text, NAME, SEED), KEY)


@pytest.mark.parametrize(
    "text",
    ["", "a+b", f"{NAME}+00000000+{ROOT}", note.encode_vkey(KEY).replace("+", "+0", 1), note.encode_vkey(KEY)[:-4]],
)
def test_malformed_verifier_keys_are_refused(text):
    """A key whose id, type or length is wrong is not used."""
    with pytest.raises(note.NoteInvalid):
        note.parse_vkey(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_names_hold_no_space_and_no_plus(name):
    """Such a name would read as another one in a signature line."""
    with pytest.raises(note.NoteInvalid):
        note.VerifierKey(name, bytes(32))
