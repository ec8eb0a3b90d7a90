"""What every vault of cursors promises, run on the real one and on the one that unit tests use."""

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_proxy.adapters.cursors_aessiv import AesSivVault
from audit_proxy.ports import CursorVault
from tests.simulator.cursors import MemoryVault

KEY = bytes(range(32))


@pytest.fixture(params=["aes-gcm-siv", "memory"])
def vault(request) -> CursorVault:
    return AesSivVault([KEY]) if request.param == "aes-gcm-siv" else MemoryVault()


def test_what_was_sealed_opens_to_the_same_binding_alone(vault) -> None:
    """Not to another one, however alike."""
    sealed = vault.seal(b"frame" * 13, b"binding")
    assert vault.open(sealed, b"binding") == b"frame" * 13
    for other in (b"", b"bindin", b"binding\0", b"bindinG"):
        assert vault.open(sealed, other) is None


def test_the_same_frame_is_never_sealed_the_same_twice(vault) -> None:
    """And is at most 64 bytes longer."""
    found = {vault.seal(bytes(64), b"b") for _ in range(200)}
    assert len(found) == 200
    assert max(map(len, found)) <= 64 + 64


def test_whatever_is_changed_does_not_open(vault) -> None:
    """Every byte altered, every length cut, anything added, nothing at all."""
    sealed = vault.seal(b"x" * 64, b"b")
    for at in range(len(sealed)):
        assert vault.open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"b") is None
        assert vault.open(sealed[:at], b"b") is None
    assert vault.open(sealed + b"\0", b"b") is None


@given(st.binary(max_size=200), st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_made_up_bytes_do_not_open(sealed, binding) -> None:
    """Whatever they are."""
    assert AesSivVault([KEY]).open(sealed, binding) is None


def test_the_first_key_seals_and_every_key_opens() -> None:
    """A key that is taken out takes with it what it sealed."""
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    before, both, after = AesSivVault([old]), AesSivVault([new, old]), AesSivVault([new])
    assert both.open(before.seal(b"f", b"b"), b"b") == b"f"
    assert after.open(both.seal(b"f", b"b"), b"b") == b"f"
    assert before.open(both.seal(b"f", b"b"), b"b") is None
    assert after.open(before.seal(b"f", b"b"), b"b") is None


def test_a_vault_without_keys_is_none() -> None:
    """An empty set of keys refuses at start."""
    with pytest.raises(ValueError, match="no key"):
        AesSivVault([])
