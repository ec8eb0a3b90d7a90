"""Grants in SQLite (WAL): the ports ConsentStore, ConsentAdmin and ConsentLoad.

``schema`` has the tables and connections, ``reads`` and ``writes`` the SQL, ``facts`` the cache, ``store`` joins them.
All I/O is on the database file, in three threads: look-ups, the change feed, writes.
"""

from audit_proxy.adapters.consent_sqlite.store import SqliteConsentStore, open_consent_store

__all__ = ["SqliteConsentStore", "open_consent_store"]
