"""Pseudonyms under keys that this process keeps, and from which single people can be erased.

Parts: ``keystore`` (the keys' files: what is durable when, what is overwritten), ``pseudonymizer`` (the hot path: one
epoch's keys in memory and the caches), ``keyring`` (the ports: changes, made by a thread and told to the caches, and what
other processes that share the files changed). All files are reached through ``ports.Files``.
"""

from audit_proxy.adapters.pseudonyms_keyed.keyring import Keyring, open_keyring
from audit_proxy.adapters.pseudonyms_keyed.keystore import KeyStore
from audit_proxy.adapters.pseudonyms_keyed.pseudonymizer import KeyedPseudonymizer

__all__ = ["KeyStore", "KeyedPseudonymizer", "Keyring", "open_keyring"]
