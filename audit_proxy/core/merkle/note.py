"""C2SP signed-note and tlog-checkpoint, with Ed25519 keys (signature type 0x01).

Invariants:

- Nothing of a note is used before a signature by the expected key was verified over its exact text.
- A signature that carries the expected key's name and id and does not verify refuses the whole note; those of other keys
  are ignored.
- One text, one encoding: base64 must be canonical and numbers have no leading zeros.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit_proxy.core.merkle.tree import HASH_BYTES

NOTE_MAX = 1_000_000  # bytes
SIGNATURES_MAX = 64
_ED25519 = b"\x01"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")  # all but the line break
SIGNED_BY = "\u2014 "  # em dash, space: how the line of a signature begins


class NoteInvalid(ValueError):  # noqa: N818  (a fact about a note, not a bug of ours)
    """Not a note, checkpoint or key of the specified form, or not signed by the expected key."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Whose signature is expected: the key's name (a log's origin) and its public key, 32 bytes."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not valid_name(self.name) or len(self.public) != 32:
            raise NoteInvalid("a key has a name without spaces and '+', and 32 bytes")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || LF || type || public key)."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log's tree."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def valid_name(name: str) -> bool:
    """Key names and origins: not empty, no Unicode space, no '+', no control character."""
    return bool(name) and not any(c.isspace() or c == "+" or ord(c) < 0x20 for c in name)


def verifier_key(name: str, seed: bytes) -> VerifierKey:
    """The key that checks what ``seed`` (32 bytes, RFC 8032) signs."""
    return VerifierKey(name, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def encode_vkey(key: VerifierKey) -> str:
    """``<name>+<key id, hex>+<base64(type || public key)>``, the form of Go's sumdb/note."""
    return f"{key.name}+{key.key_id.hex()}+{base64.b64encode(_ED25519 + key.public).decode()}"


def parse_vkey(text: str) -> VerifierKey:
    """The inverse of ``encode_vkey``; one line break at the end is allowed. Raises NoteInvalid."""
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3:
        raise NoteInvalid("a verifier key is <name>+<key id>+<base64 key>")
    raw = canonical_base64(parts[2])
    if raw[:1] != _ED25519:
        raise NoteInvalid("only Ed25519 verifier keys (type 1) are supported")
    key = VerifierKey(parts[0], raw[1:])
    if key.key_id.hex() != parts[1]:
        raise NoteInvalid("the verifier key's id does not belong to its name and key")
    return key


def sign(text: str, name: str, seed: bytes) -> bytes:
    """A note over ``text`` (which ends in a line break) with one Ed25519 signature."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key_id = VerifierKey(name, private.public_key().public_bytes_raw()).key_id
    signature = base64.b64encode(key_id + private.sign(text.encode())).decode()
    return f"{text}\n{SIGNED_BY}{name} {signature}\n".encode()


def open_note(note: bytes, key: VerifierKey) -> str:
    """The text of a note that ``key`` signed, with its final line break. Raises NoteInvalid."""
    text, signatures = parse_note(note)
    signed = False
    for name, signature in signatures:
        if name != key.name or signature[:4] != key.key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
        except InvalidSignature as exc:
            raise NoteInvalid(f"the signature by {key.name} does not fit the text") from exc
        signed = True
    if not signed:
        raise NoteInvalid(f"the note is not signed by the expected key {key.name}+{key.key_id.hex()}")
    return text


def parse_note(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """What a note says, unproved: its text with the final line break, and each signature's name and bytes, which begin with
    the key id. Raises NoteInvalid.
    """
    if len(note) > NOTE_MAX:
        raise NoteInvalid("the note is too large")
    try:
        whole = note.decode()
    except UnicodeDecodeError as exc:
        raise NoteInvalid("the note is not UTF-8") from exc
    if _CONTROL.search(whole):
        raise NoteInvalid("the note holds control characters")
    end = whole.rfind("\n\n")
    if end < 0 or not whole.endswith("\n"):
        raise NoteInvalid("the note has no signatures")
    text, lines = whole[: end + 1], whole[end + 2 :].removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteInvalid("the note has too many signatures")
    return text, [_signature_line(line) for line in lines]


def sign_checkpoint(checkpoint: Checkpoint, seed: bytes) -> bytes:
    """A tlog-checkpoint, signed under its origin's name."""
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        base64.b64encode(checkpoint.root).decode(),
        *checkpoint.extensions,
    )
    return sign("\n".join(lines) + "\n", checkpoint.origin, seed)


def open_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """A checkpoint that ``key`` signed for the log of the same name. Raises NoteInvalid."""
    lines = open_note(note, key).removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteInvalid("a checkpoint has at least three lines, none empty")
    origin, size, root = lines[:3]
    if origin != key.name:
        raise NoteInvalid(f"the checkpoint belongs to the log {origin!r}, not to {key.name!r}")
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0") or len(size) > 19:
        raise NoteInvalid("the checkpoint's tree size is not a decimal number")
    digest = canonical_base64(root)
    if len(digest) != HASH_BYTES:
        raise NoteInvalid("the checkpoint's root hash is not 32 bytes")
    return Checkpoint(origin, int(size), digest, tuple(lines[3:]))


def _signature_line(line: str) -> tuple[str, bytes]:
    if not line.startswith(SIGNED_BY):
        raise NoteInvalid("malformed signature line")
    name, space, encoded = line.removeprefix(SIGNED_BY).partition(" ")
    raw = canonical_base64(encoded)
    if not space or not valid_name(name) or len(raw) < 5:
        raise NoteInvalid("malformed signature line")
    return name, raw


def canonical_base64(text: str) -> bytes:
    """The bytes of standard base64 in its one canonical form. Raises NoteInvalid."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NoteInvalid("malformed base64") from exc
    if base64.b64encode(raw).decode() != text:
        raise NoteInvalid("base64 that is not canonical")
    return raw
