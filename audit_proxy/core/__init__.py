"""The rules: pure functions and frozen values, no I/O, no clock, no randomness, no logging.

In the order of a request's way: ``errors`` (reason ids), ``exchange`` (request and response as values), ``identity``
(what a verified token says), ``catalog`` (the platform's API compiled to a matcher and extraction plans), ``policy``
(apps, modes, what happens to refused people), ``consent`` (grants to effective permission), ``inspection`` (who is in a
body), ``cursors`` (paging state, sealed), ``redaction`` (what may leave), ``record`` (the audit record's exact bytes),
``merkle`` (RFC 6962 tree, C2SP tiles, checkpoints), ``pseudonyms`` (what records call people, and how one is erased),
``subject_report`` (what records say about one person), ``detection`` (harvesting, measured in
people).
"""
