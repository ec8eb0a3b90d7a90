"""The tree of keys that pseudonyms come from: 128 bits, 22 characters of base64url (DESIGN section 7).

Invariants:

- Two things are needed for a pseudonym: the operator's pseudonym key, which is never changed, and the epoch's tree, which
  can be punctured. Without either nobody can tell from a pseudonym who it is, nor test a guess.
- Equal (key, epoch, subject) give equal pseudonyms; the subject is ``namespace:canonical-id``, hashed as UTF-8.
- A person's own key is derived down a tree (Goldreich, Goldwasser, Micali 1986) along 46 bits of a keyed hash of the id.
  The tree is kept as blocks, the keys of all children of one node; there is no root that could give them again.
- To erase a person, the key on the path is removed from its block and only its siblings are kept (a puncturable PRF: Boneh
  and Waters 2013, Kiayias et al. 2013): what is left gives everybody else's pseudonym and cannot give the person's.
- The two upper levels are 256-ary, so that their 65,536 keys can be cached; the five below are 64-ary, so that an erasure
  keeps 5 KB of siblings and an id that nobody has cached costs five hashes and two (docs/adr/0005).
"""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

KEY_BYTES = 32  # the operator's pseudonym key
NODE_BYTES = 16  # a key of the tree: as many bits as a pseudonym has
ARITY = (256, 256, 64, 64, 64, 64, 64)  # children of a node, from the top
LEVELS = len(ARITY)
UPPER = 2  # levels whose keys are worth caching
PSEUDONYM_CHARACTERS = 22
ERASED = "erased"  # stands in a record where a pseudonym would, for everybody who was erased

_GONE = bytes(NODE_BYTES)  # stands in a block where a key was removed
_STEP = tuple(bytes([n]) for n in range(256))
_BELOW_64 = bytes(n & 63 for n in range(256))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

Blocks = Mapping[bytes, bytes]  # path of a node -> the keys of its children, concatenated; b"" is the top


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What an epoch takes from the pseudonym key, 32 bytes each."""

    position: bytes  # where in the tree a person is
    name: bytes  # goes into every pseudonym beside the person's own key
    check: bytes  # stands in the epoch's file: the key that belongs to it is recognized, and told by nothing


def split(master: bytes, epoch_id: bytes) -> Secrets:
    """An epoch's secrets. ``master``: the pseudonym key. Raises ValueError unless it has 32 bytes."""
    if len(master) != KEY_BYTES:
        raise ValueError("the pseudonym key must be 32 bytes")

    def derived(purpose: bytes) -> bytes:
        return blake2b(epoch_id, digest_size=32, key=master, person=purpose).digest()

    return Secrets(derived(b"position"), derived(b"name"), derived(b"check"))


def encode_subject(subject: str) -> bytes:
    """The bytes that are hashed: UTF-8, lone surrogates included, so that every string has a pseudonym."""
    return subject.encode("utf-8", "surrogatepass")


def path_of(position_key: bytes, subject: bytes) -> bytes:
    """Where in the tree a person is: seven steps, one byte each."""
    digest = blake2b(subject, digest_size=LEVELS, key=position_key).digest()
    return digest[:UPPER] + digest[UPPER:].translate(_BELOW_64)


def descend(node: bytes, steps: bytes) -> bytes:
    """The key that lies ``steps`` below a node; no steps: the node's own."""
    for step in steps:
        node = blake2b(node + _STEP[step], digest_size=NODE_BYTES).digest()
    return node


def expand(node: bytes, arity: int) -> bytes:
    """A node's block: the keys of all its children."""
    return b"".join([descend(node, step) for step in _STEP[:arity]])


def find(blocks: Blocks, path: bytes, start: int = 0) -> bytes | None:
    """The key at ``path`` (a person's, or a node's on the way), None when it was removed. ``start``: the keys of so many
    levels are known to have been removed.
    """
    for depth in range(start, len(path)):
        step = path[depth]
        block = blocks.get(path[:depth])
        if block is None:
            return None
        node = block[step * NODE_BYTES : (step + 1) * NODE_BYTES]
        if node != _GONE:
            return descend(node, path[depth + 1 :])
    return None


def puncture(blocks: Blocks, path: bytes) -> dict[bytes, bytes]:
    """The blocks that change when the person at ``path`` is cut out: nothing when that was done before.

    Exactly one of them stood in ``blocks``; the others are new and lie below it.
    """
    changed: dict[bytes, bytes] = {}
    for depth, step in enumerate(path):
        block = changed.get(path[:depth]) or blocks.get(path[:depth])
        if block is None:
            return {}
        node = block[step * NODE_BYTES : (step + 1) * NODE_BYTES]
        if node == _GONE:
            continue
        changed[path[:depth]] = without(block, step)
        if depth + 1 < LEVELS:
            changed[path[: depth + 1]] = expand(node, ARITY[depth + 1])
    return changed


def without(block: bytes, step: int) -> bytes:
    """A block from which the key of child ``step`` was removed."""
    return block[: step * NODE_BYTES] + _GONE + block[(step + 1) * NODE_BYTES :]


def removed(block: bytes) -> list[int]:
    """The children whose keys were removed from a block."""
    return [at // NODE_BYTES for at in range(0, len(block), NODE_BYTES) if block[at : at + NODE_BYTES] == _GONE]


def pseudonym_under(person_key: bytes, name_key: bytes, subject: bytes) -> str:
    """The pseudonym, given the key at the subject's path."""
    digest = blake2b(subject, digest_size=16, key=person_key + name_key).digest()
    return binascii.b2a_base64(digest, newline=False)[:PSEUDONYM_CHARACTERS].translate(_URL_SAFE).decode()


def pseudonym(secrets: Secrets, blocks: Blocks, subject: str) -> str | None:
    """A subject's pseudonym: the definition, without any cache. None when the subject was erased."""
    raw = encode_subject(subject)
    person_key = find(blocks, path_of(secrets.position, raw))
    return None if person_key is None else pseudonym_under(person_key, secrets.name, raw)
