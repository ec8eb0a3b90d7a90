"""People as 64-bit keyed numbers."""

from hashlib import blake2b

import pytest

from audit_proxy.core.detection.keys import key

SECRET = b"detection secret"


def test_a_key_is_the_keyed_hash_that_is_documented():
    """64 bits, little-endian, keyed and personalised BLAKE2b: another program finds the same people."""
    expected = blake2b(b"demo:7", digest_size=8, key=SECRET, person=b"ap-detection").digest()
    assert key("demo:7", SECRET) == int.from_bytes(expected, "little")


def test_another_secret_and_another_person_give_another_key():
    keys = {key(f"demo:{n}", secret) for n in range(1000) for secret in (SECRET, b"another detection secret")}
    assert len(keys) == 2000


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 15, b"x" * 65])
def test_a_secret_that_is_too_short_or_too_long_is_refused(secret):
    """Without a key the hash would be public."""
    with pytest.raises(ValueError, match="16 to 64"):
        key("demo:7", secret)
