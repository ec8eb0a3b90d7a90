"""An independent reader that re-derives a log from its files and says whether it is whole.

Parts: ``verification`` (the reading and the judging), ``lines`` (the journal's records in order), ``files`` (segments and
published files as they are found), ``pruned`` (what retention removed by right), ``peaks`` (the tree derived anew),
``against`` (checkpoints kept elsewhere), ``verdict`` (what was found, as values). It writes nothing and needs the verifier key only.
"""

from audit_proxy.adapters.log_verifier.against import Kept, NothingKept, read_kept
from audit_proxy.adapters.log_verifier.verdict import Problem, Verdict
from audit_proxy.adapters.log_verifier.verification import verify_log

__all__ = ["Kept", "NothingKept", "Problem", "Verdict", "read_kept", "verify_log"]
