"""Cursors sealed with AES-256-GCM-SIV (RFC 8452): a random nonce of 96 bits, the ciphertext, the tag of 128 bits.

Invariant: the first key seals, every key opens. Without any of the keys nothing can be opened or made.
"""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

_NONCE = 12
_LEAST = _NONCE + 16


class AesSivVault:
    """``keys`` of 32 bytes, the newest first. Raises ValueError where there is none, or OpenSSL is older than 3.2."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("no key to seal cursors with")
        try:
            self._ciphers = [AESGCMSIV(key) for key in keys]
        except UnsupportedAlgorithm as error:
            raise ValueError(
                "sealing cursors takes AES-GCM-SIV: install cryptography with OpenSSL 3.2 or newer"
            ) from error

    def seal(self, frame: bytes, binding: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, frame, binding)

    def open(self, sealed: bytes, binding: bytes) -> bytes | None:
        if len(sealed) <= _LEAST:
            return None
        nonce, rest = sealed[:_NONCE], sealed[_NONCE:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, rest, binding)
            except InvalidTag:
                continue
        return None
