"""What is counted of a request after its record: the numbers of DESIGN section 11, through the ``Metrics`` port."""

from audit_proxy.core.record import Record
from audit_proxy.ports import Metrics


def observe(
    metrics: Metrics, label: str, record: Record, *, unclassified: int, unmapped: int, seconds: float, upstream: float
) -> None:
    """Counts one recorded request. ``label`` is the app in metrics; times in seconds."""
    operation = record.operation or "none"
    outcome = record.decision or "allow"
    if record.phase is None:
        metrics.request(label, operation, outcome, seconds, upstream)
        if "unreviewed" in record.counts:
            metrics.fail_open("unreviewed")
    reason = record.reason
    if record.would is not None:
        reason = None
    if outcome == "deny" and reason is not None:
        metrics.denial(label, reason)
    for group in record.disclosed:
        metrics.disclosed(label, group.relation, group.categories, len(group.subjects))
    for group in record.withheld:
        metrics.withheld(label, group.categories, len(group.subjects))
    if unclassified:
        metrics.unclassified(operation, unclassified)
    if unmapped:
        metrics.unmapped(label, unmapped)
    metrics.record(record.kind)
