"""Keyed pseudonyms of people that can be erased one person at a time, all pure.

``tree`` (the definition: how a pseudonym comes about, how one person is cut out of the keys for ever), ``epoch`` (one
epoch's keys and the exact bytes in which its files hold them). Who keeps the files is ``adapters/pseudonyms_keyed``.
"""
