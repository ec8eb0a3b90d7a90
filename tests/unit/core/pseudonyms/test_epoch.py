"""An epoch's parts: what stands in their files, and what is refused."""

import random

import pytest

from audit_proxy.core.pseudonyms import tree
from audit_proxy.core.pseudonyms.epoch import (
    PartInvalid,
    Shard,
    decode_shard,
    decode_top,
    encode_part,
    new_top,
    open_epoch,
)

KEY = b"k" * 32


def fresh(number=1):
    return new_top(number, b"epoch-id", 12.5, KEY, random.Random(number).randbytes(4096))


def test_parts_come_back_as_they_were():
    """Top and shard, through their bytes."""
    top = fresh()
    assert decode_top(encode_part(top)) == top
    epoch = open_epoch(top, KEY)
    changed = tree.puncture(epoch.blocks, epoch.path_of("person:1"))
    shard = epoch.shard(epoch.path_of("person:1")[0], changed)
    assert decode_shard(encode_part(shard)) == shard


def test_an_epoch_read_back_has_the_same_pseudonyms_and_the_same_erased():
    """Two people under one step of the top, one of them erased."""
    epoch = open_epoch(fresh(), KEY)
    first, *others = [f"person:{n}" for n in range(3000)]
    step = epoch.path_of(first)[0]
    near = next(one for one in others if epoch.path_of(one)[0] == step)
    names = {one: epoch.pseudonym(one) for one in (near, others[0])}
    shard = epoch.shard(step, tree.puncture(epoch.blocks, epoch.path_of(first)))
    again = open_epoch(fresh(), KEY)  # the top as a crash leaves it: its own key is still there
    again.put(shard)
    assert again.pseudonym(first) is None
    assert {one: again.pseudonym(one) for one in names} == names
    assert again.punctured
    assert not epoch.punctured


def test_another_pseudonym_key_is_refused():
    """Else everybody would silently have another pseudonym."""
    with pytest.raises(PartInvalid, match="not the one that epoch 1 was made with"):
        open_epoch(fresh(), b"x" * 32)


@pytest.mark.parametrize("at", [0, 10, 40, 2000, -1])
def test_a_flipped_bit_is_refused(at):
    """Anywhere in the file."""
    data = bytearray(encode_part(fresh()))
    data[at] ^= 1
    with pytest.raises(PartInvalid):
        decode_top(bytes(data))


@pytest.mark.parametrize(
    "part",
    [
        fresh(),
        Shard(1, 3, {b"": bytes(4096)}),
        Shard(1, 3, {b"\x04": bytes(4096)}),
        Shard(1, 3, {b"\x03": bytes(4080)}),
        Shard(1, 3, {b"\x03\x00\x00\x00\x00\x00\x00": b""}),
    ],
    ids=["a top", "the top's block", "another step", "short", "below a leaf"],
)
def test_what_is_no_shard_is_refused(part):
    """Right checksum, wrong content."""
    with pytest.raises(PartInvalid):
        decode_shard(encode_part(part))


def test_a_shard_or_nonsense_is_no_top():
    """Of any length."""
    for data in (encode_part(Shard(1, 3, {})), b"", b"x" * 100, encode_part(fresh())[:-1]):
        with pytest.raises(PartInvalid):
            decode_top(data)


def test_an_epoch_is_made_of_so_many_random_bytes():
    """No fewer."""
    with pytest.raises(ValueError, match="random bytes"):
        new_top(1, b"epoch-id", 0.0, KEY, bytes(4095))


def test_keys_are_not_shown():
    """Not in a repr of an epoch."""
    assert "\\x" not in repr(open_epoch(fresh(), KEY))
