"""Keyed pseudonyms."""

import base64
import re
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core import pseudonyms

KEY = bytes(range(32))


@given(st.text(max_size=300))
def test_a_pseudonym_is_22_characters_of_base64url_and_the_same_each_time(subject):
    """128 bits, no padding, for any string."""
    found = pseudonyms.pseudonym(KEY, subject)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found)
    assert found == pseudonyms.pseudonym(KEY, subject)


def test_the_derivation_is_fixed():
    """The definition written out by hand: changing it would orphan every record written so far."""

    def keyed(key, data=b"", size=32, person=b""):
        return blake2b(data, digest_size=size, key=key, person=person).digest()

    subject = b"person:42"
    node = keyed(KEY, person=b"root")
    for step in keyed(keyed(KEY, person=b"position"), subject, 5):
        node = keyed(node, bytes([step]))
    expected = base64.urlsafe_b64encode(keyed(node, subject, 16)).decode().rstrip("=")
    assert pseudonyms.pseudonym(KEY, "person:42") == expected == "dj1m_eLLKTU5sn89rnAZAQ"


def test_key_and_subject_both_matter():
    """Another key, or another subject, gives another pseudonym; namespaces keep equal ids apart."""
    seen = {
        pseudonyms.pseudonym(key, subject)
        for key in (KEY, bytes(32))
        for subject in ("person:1", "person:2", "page:1", "person:01", "")
    }
    assert len(seen) == 10


def test_the_path_s_siblings_give_everybody_else_and_nobody_the_erased_one():
    """A punctured tree: from the siblings along one person's path, every other leaf is reached, the person's is not."""
    keys = pseudonyms.split(KEY)
    erased = pseudonyms.position(keys.position, b"person:1")
    kept = {}
    for depth in range(pseudonyms.LEVELS):
        node = pseudonyms.descend(keys.root, erased[:depth])
        for step in range(256):
            if step != erased[depth]:
                kept[erased[:depth] + bytes([step])] = pseudonyms.child(node, step)
    for n in range(2, 200):
        subject = b"person:%d" % n
        at = pseudonyms.position(keys.position, subject)
        prefix = next(at[:d] for d in range(1, 6) if at[:d] in kept)
        reached = pseudonyms.descend(kept[prefix], at[len(prefix) :])
        assert pseudonyms.pseudonym_under(reached, subject) == pseudonyms.pseudonym(KEY, subject.decode())
    assert not any(erased.startswith(prefix) for prefix in kept)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length):
    """Short keys are not stretched."""
    with pytest.raises(ValueError, match="32 bytes"):
        pseudonyms.split(bytes(length))


def test_keys_are_not_shown():
    """A repr in a log line or a traceback holds no key."""
    assert "\\x" not in repr(pseudonyms.split(KEY))
    assert KEY.hex() not in repr(pseudonyms.split(KEY))
