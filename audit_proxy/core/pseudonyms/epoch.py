"""One epoch's keys, and the exact bytes in which files hold them.

An epoch has a *top* (its name and the 256 keys of the uppermost level) and, for each of those keys that an erasure took
away, a *shard* (what is left below it). One erasure changes one shard, and the top the first time only.

Invariants:

- Where there is a shard, the top's key for it does not count, even if a crash left it there: the shard is newer.
- A part is whole or refused: a flipped bit would silently give people other pseudonyms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeVar

import msgspec

from audit_proxy.core.pseudonyms import tree

EPOCH_ID_BYTES = 8
TOP_BYTES = tree.ARITY[0] * tree.NODE_BYTES
_MAGIC = b"audit-proxy pseudonym keys 1\n"
_SUM_BYTES = 16


class PartInvalid(ValueError):  # noqa: N818  (a fact about a file, not a bug of ours)
    """Not the bytes of a part, or not all of them."""


class Top(msgspec.Struct, frozen=True, array_like=True):
    """``began`` in seconds since the epoch; ``check`` recognizes the pseudonym key; ``block`` is empty once destroyed."""

    number: int
    id: bytes
    began: float
    check: bytes
    block: bytes


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """What is left below one key of the top: the blocks under ``step``, by path."""

    number: int
    step: int
    blocks: dict[bytes, bytes]


@dataclass(slots=True, repr=False)
class Epoch:
    """A live epoch. ``blocks`` change as people are erased; ``punctured``: somebody was."""

    top: Top
    secrets: tree.Secrets
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    punctured: bool = False
    _below: dict[int, list[bytes]] = field(default_factory=dict)  # step of the top -> paths of the blocks below it

    @property
    def number(self) -> int:
        return self.top.number

    def path_of(self, subject: str) -> bytes:
        return tree.path_of(self.secrets.position, tree.encode_subject(subject))

    def pseudonym(self, subject: str) -> str | None:
        """None when the subject was erased."""
        return tree.pseudonym(self.secrets, self.blocks, subject)

    def apply(self, blocks: Mapping[bytes, bytes]) -> None:
        """Takes over changed blocks, the lowest first: at every moment a reader in another thread finds either the key that
        was or its siblings' new place, never nothing for somebody who was not erased.
        """
        for path in sorted(blocks, key=len, reverse=True):
            if path not in self.blocks:
                self._below.setdefault(path[0], []).append(path)
            self.blocks[path] = blocks[path]
        self.punctured = True

    def shard(self, step: int, changed: Mapping[bytes, bytes]) -> "Shard":
        """The shard under ``step`` of the top, with these blocks changed."""
        blocks = {path: self.blocks[path] for path in self._below.get(step, ())}
        return Shard(self.number, step, {**blocks, **{path: block for path, block in changed.items() if path}})

    def put(self, shard: "Shard") -> None:
        """Puts a shard in the place of the top's key for it."""
        self.apply({**shard.blocks, b"": tree.without(self.blocks[b""], shard.step)})


def new_top(number: int, epoch_id: bytes, began: float, master: bytes, keys: bytes) -> Top:
    """A fresh epoch's top. ``keys``: 4,096 random bytes, which nothing else may keep."""
    if len(keys) != TOP_BYTES or len(epoch_id) != EPOCH_ID_BYTES:
        raise ValueError("an epoch is made of 8 and 4,096 random bytes")
    return Top(number, epoch_id, began, tree.split(master, epoch_id).check, keys)


def open_epoch(top: Top, master: bytes) -> Epoch:
    """An epoch from which nobody was erased. Raises PartInvalid when the pseudonym key is not the one it was made with."""
    secrets = tree.split(master, top.id)
    if secrets.check != top.check:
        raise PartInvalid(f"the pseudonym key is not the one that epoch {top.number} was made with")
    return Epoch(top, secrets, {b"": top.block})


def encode_part(part: Top | Shard) -> bytes:
    """A part's bytes: a line that names the form, the part, a checksum."""
    body = _MAGIC + msgspec.msgpack.encode(part)
    return body + blake2b(body, digest_size=_SUM_BYTES).digest()


def decode_top(data: bytes) -> Top:
    """Raises PartInvalid."""
    top = _decode(data, Top)
    if len(top.id) != EPOCH_ID_BYTES or len(top.block) not in (0, TOP_BYTES):
        raise PartInvalid("the file is no epoch's top")
    return top


def decode_shard(data: bytes) -> Shard:
    """Raises PartInvalid."""
    shard = _decode(data, Shard)
    for path, block in shard.blocks.items():
        if not 0 < len(path) < tree.LEVELS or path[0] != shard.step:
            raise PartInvalid("the file is no shard of an epoch")
        if len(block) != tree.ARITY[len(path)] * tree.NODE_BYTES:
            raise PartInvalid("the file is no shard of an epoch")
    return shard


_P = TypeVar("_P", Top, Shard)


def _decode(data: bytes, kind: type[_P]) -> _P:
    body, checksum = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if not body.startswith(_MAGIC) or blake2b(body, digest_size=_SUM_BYTES).digest() != checksum:
        raise PartInvalid("the file is damaged, or no file of pseudonym keys")
    try:
        return msgspec.msgpack.decode(body[len(_MAGIC) :], type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise PartInvalid("the file is damaged, or no file of pseudonym keys") from exc
