"""What may leave of an inspected body, and exactly what did.

Invariants:

- A value leaves only where its plan describes its place and type, its category is known, and everyone it is about
  permits it with the scopes it needs (or the content is public). Everything else is withheld.
- Nobody's id resolves to nothing: a subject context without a resolvable id is a third party without a grant.
- ``disclosed`` lists exactly the personal fields that stand in the result; a result redacted again loses nothing more.
- A refused person's object goes as a whole (policy ``drop``), with everything inside it.
- Paging state leaves sealed or not at all, also where policy lets pass what nothing classifies.
- Order and numbers stay; withheld list members leave no gap.
"""

from audit_proxy.core.redaction.redactor import NOBODY, Redactor, Seal
from audit_proxy.core.redaction.tables import GONE, Group, Redacted
from audit_proxy.core.redaction.verdicts import Terms, VerdictCache, verdicts_of

__all__ = ["GONE", "NOBODY", "Group", "Redacted", "Redactor", "Seal", "Terms", "VerdictCache", "verdicts_of"]
