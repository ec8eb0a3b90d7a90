"""The audit log: an append-only JSONL journal is the truth, tiles and checkpoints are derived from it.

Parts, from the request inwards: ``log`` (the port: futures, group commit, the two threads), ``journal`` (segments, one
write and one ``fdatasync`` a batch, what happens when they fail), ``publisher`` (C2SP tiles, then the checkpoint),
``recovery`` (what a start finds, and what it cuts), ``keeper`` (what is packed and removed over the years). All files are reached through ``ports.Files``. One directory:

    lock                               held by the one process that writes
    journal/<first index>.jsonl        the records, see core.merkle.segments; .jsonl.zst once sealed and packed
    minimum-index                      what retention has left, and the proof, see core.merkle.retention
    journal/<index>.cut                what a crash left behind record ``index`` and recovery cut, kept for people
    checkpoint, tile/...               C2SP tlog-tiles

Durable order: journal, then entry bundles and tiles, then the checkpoint that covers them.
"""

from audit_proxy.adapters.audit_journal.keeper import JournalRetention
from audit_proxy.adapters.audit_journal.log import JournalAuditLog, open_log

__all__ = ["JournalAuditLog", "JournalRetention", "open_log"]
