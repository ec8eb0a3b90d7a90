"""People as detection knows them: 64 bits of keyed BLAKE2b (RFC 7693), under a secret that the log does not use.

Keyed before anything is hashed into a sketch: whoever knows a sketch's hash can choose ids that it counts as a few
(docs/adr/0013). Apart from the log's keys: numbers that are kept in snapshots say nothing about pseudonyms in records.
"""

from hashlib import blake2b

KEY_BYTES = 8
SECRET_BYTES = 16  # at least; at most 64, which is what BLAKE2b takes

_PERSON = b"ap-detection"  # at most 16 bytes: the same secret elsewhere would give other numbers


def key(subject: str, secret: bytes) -> int:
    """The 64-bit number of a subject (or of its pseudonym), 1 µs: the caller keeps it beside the pseudonym.

    Two of n people share one with a chance of n² / 2⁶⁵: for 87 million people one in 4,900.
    ValueError: the secret has fewer than 16 bytes, or more than 64.
    """
    if not SECRET_BYTES <= len(secret) <= 64:
        raise ValueError(f"the detection key has {len(secret)} bytes, it needs {SECRET_BYTES} to 64")
    digest = blake2b(subject.encode(), digest_size=KEY_BYTES, key=secret, person=_PERSON).digest()
    return int.from_bytes(digest, "little")
