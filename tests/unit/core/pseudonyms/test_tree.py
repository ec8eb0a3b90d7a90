"""The tree of keys: what a pseudonym is, and what is left of one whose person was erased."""

import base64
import functools
import re
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.core.pseudonyms import tree

KEY = bytes(range(32))
ID = b"12345678"
SECRETS = tree.split(KEY, ID)


@functools.cache
def top(seed=b"top"):
    return {b"": b"".join(blake2b(seed + bytes([n]), digest_size=16).digest() for n in range(256))}


def name(blocks, subject, secrets=SECRETS):
    return tree.pseudonym(secrets, blocks, subject)


def path(subject):
    return tree.path_of(SECRETS.position, tree.encode_subject(subject))


@given(st.text(max_size=300))
def test_a_pseudonym_is_22_characters_of_base64url_and_the_same_each_time(subject):
    """128 bits, no padding, for any string."""
    found = name(top(), subject)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found)
    assert found == name(top(), subject)


def test_the_derivation_is_fixed():
    """The definition written out by hand: changing it would orphan every record written so far."""

    def derived(purpose):
        return blake2b(ID, digest_size=32, key=KEY, person=purpose).digest()

    subject = b"person:42"
    first, second, *rest = blake2b(subject, digest_size=7, key=derived(b"position")).digest()
    node = top()[b""][16 * first : 16 * first + 16]
    for step in [second, *(byte % 64 for byte in rest)]:
        node = blake2b(node + bytes([step]), digest_size=16).digest()
    digest = blake2b(subject, digest_size=16, key=node + derived(b"name")).digest()
    expected = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert name(top(), "person:42") == expected == "xDVAI_lPxnIIY1T_D96rGA"


def test_key_epoch_tree_and_subject_all_matter():
    """Another key, another epoch, another tree, or another subject, gives another pseudonym."""
    seen = {
        name(blocks, subject, tree.split(key, epoch))
        for key in (KEY, bytes(32))
        for epoch in (ID, b"87654321")
        for blocks in (top(), top(b"other"))
        for subject in ("person:1", "person:2", "page:1", "person:01", "")
    }
    assert len(seen) == 40


def erase(blocks, subject):
    changed = tree.puncture(blocks, path(subject))
    return {**blocks, **changed}


def test_an_erased_person_has_no_pseudonym_and_everybody_else_has_the_same():
    """300 people, 60 of them erased one after the other."""
    people = [f"person:{n}" for n in range(300)]
    before = {one: name(top(), one) for one in people}
    blocks = top()
    for one in people[::5]:
        blocks = erase(blocks, one)
    after = {one: name(blocks, one) for one in people}
    assert all(after[one] is None for one in people[::5])
    assert all(after[one] == before[one] for n, one in enumerate(people) if n % 5)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_nothing_that_is_kept_lies_on_an_erased_path(data):
    """Erased neighbours at any depth: no key kept is one from which an erased person's key can be derived, and every key
    beside their paths is where it was.
    """
    blocks, erased = top(), []
    for _ in range(data.draw(st.integers(1, 5))):
        steps = tuple(data.draw(st.integers(0, arity - 1)) for arity in tree.ARITY)
        shared = data.draw(st.integers(0, tree.LEVELS)) if erased else 0
        one = bytes((*erased[-1][:shared], *steps[shared:])) if erased else bytes(steps)
        blocks = {**blocks, **tree.puncture(blocks, one)}
        erased.append(one)
    kept = {
        bytes((*at, step)): block[16 * step : 16 * step + 16]
        for at, block in blocks.items()
        for step in range(tree.ARITY[len(at)])
        if block[16 * step : 16 * step + 16] != bytes(16)
    }
    for place, key in kept.items():
        assert not any(one.startswith(place) for one in erased)
        assert key == tree.find(top(), place)
    assert all(tree.find(blocks, one) is None for one in erased)


def test_who_is_erased_twice_changes_nothing():
    """The second time there is nothing to remove."""
    blocks = erase(top(), "person:1")
    assert tree.puncture(blocks, path("person:1")) == {}


def test_an_erasure_keeps_five_kilobytes():
    """The cost the decision record states: the siblings of five 64-ary levels, once the upper levels are opened."""
    blocks = erase(top(), "person:1")
    below = sum(len(block) for at, block in blocks.items() if len(at) >= tree.UPPER)
    assert below == 5 * 64 * 16
    assert {len(at) for at in blocks} == set(range(tree.LEVELS))


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length):
    """Short keys are not stretched."""
    with pytest.raises(ValueError, match="32 bytes"):
        tree.split(bytes(length), ID)


def test_keys_are_not_shown():
    """A repr in a log line or a traceback holds no key."""
    assert "\\x" not in repr(SECRETS)
