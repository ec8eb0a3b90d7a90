"""Keyed pseudonyms of people: 128 bits, 22 characters of base64url (DESIGN section 7).

Invariants:

- Without the key nobody can tell from a pseudonym who it is, nor test a guess.
- Equal (key, subject) give equal pseudonyms; the subject is ``namespace:canonical-id``, hashed as UTF-8.
- Each person's key is derived down a tree (Goldreich, Goldwasser, Micali 1986), 256-ary, five levels, along a keyed hash of
  the id. So a person can be erased by keeping, instead of the path, only its siblings (a puncturable PRF): neither the
  master nor any inner key can then be told from what is kept.
- The position key does not derive any pseudonym: it stays when the root is punctured.
"""

import binascii
from dataclasses import dataclass
from hashlib import blake2b

KEY_BYTES = 32
LEVELS = 5
PSEUDONYM_CHARACTERS = 22
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What the master key is split into, 32 bytes each; ``root`` is the tree's root."""

    position: bytes
    root: bytes


def split(master: bytes) -> Keys:
    """The tree's keys from the master key (32 bytes). Raises ValueError for another length."""
    if len(master) != KEY_BYTES:
        raise ValueError("the pseudonym key must be 32 bytes")
    return Keys(
        blake2b(b"", digest_size=KEY_BYTES, key=master, person=b"position").digest(),
        blake2b(b"", digest_size=KEY_BYTES, key=master, person=b"root").digest(),
    )


def position(position_key: bytes, subject: bytes) -> bytes:
    """Where in the tree a person is: five steps, one byte each."""
    return blake2b(subject, digest_size=LEVELS, key=position_key).digest()


def child(node_key: bytes, step: int) -> bytes:
    """The key of a node's child number ``step`` (0 to 255)."""
    return blake2b(step.to_bytes(1, "big"), digest_size=KEY_BYTES, key=node_key).digest()


def descend(node_key: bytes, steps: bytes) -> bytes:
    """The key of the node that lies ``steps`` below; no steps: the node's own."""
    for at in range(len(steps)):
        node_key = blake2b(steps[at : at + 1], digest_size=KEY_BYTES, key=node_key).digest()
    return node_key


def pseudonym_under(person_key: bytes, subject: bytes) -> str:
    """The pseudonym, given the key at the subject's position."""
    digest = blake2b(subject, digest_size=16, key=person_key).digest()
    return binascii.b2a_base64(digest, newline=False)[:PSEUDONYM_CHARACTERS].translate(_URL_SAFE).decode()


def encode_subject(subject: str) -> bytes:
    """The bytes that are hashed: UTF-8, lone surrogates included, so that every string has a pseudonym."""
    return subject.encode("utf-8", "surrogatepass")


def pseudonym(master: bytes, subject: str) -> str:
    """A subject's pseudonym under the master key: the definition, without any cache."""
    keys = split(master)
    raw = encode_subject(subject)
    return pseudonym_under(descend(keys.root, position(keys.position, raw)), raw)
