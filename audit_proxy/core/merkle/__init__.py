"""The log's formats, all pure: what is hashed, where it is published, how it is signed and proved.

``tree`` (RFC 6962 hashes and proofs), ``tiles`` (C2SP tlog-tiles: paths, tiles, entry bundles, the growing edge of a
tree), ``note`` (C2SP signed-note and tlog-checkpoint, Ed25519), ``proof`` (C2SP tlog-proof and the consistency request
of tlog-witness), ``segments`` (names of the journal's files and which of their lines are the log's), ``packing`` (a sealed segment,
compressed), ``retention`` (how a log proves which of its records were removed by right), ``kept`` (files of checkpoints that
were pushed off the machine), ``roster`` (which logs there have to be).
"""
