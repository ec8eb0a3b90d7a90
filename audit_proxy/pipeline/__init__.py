"""The two phases around any transport, ``admit(request)`` and ``review(admission, response)``, the audit ``record`` that
precedes every release, and ``observe`` for the numbers. Async only where a port is asked; every rule is in ``core``.
"""
