"""Retention over HTTP: what it would remove, and carrying it out now.

Invariants:

- How long records are kept is the configuration's alone: a call can carry retention out, never shorten it.
- A retention that removed something has the record that the log needs to prove it, and no other.
"""

from aiohttp import web

from audit_proxy.core.errors import AuditUnavailable, KeysUnavailable, LogUnusable
from audit_proxy.frontends.admin.call import Call, answer
from audit_proxy.frontends.admin.problems import AdminReason, Refused
from audit_proxy.pipeline.upkeep import Upkeep


class RetentionApi:
    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    async def look(self, call: Call) -> web.Response:
        days = await self._days(call)
        audit_id = await call.record()
        try:
            would_be, minimum = await self._upkeep.prunable()
        except (OSError, LogUnusable) as error:
            raise _unusable(error) from error
        return answer({"retention_days": days, "minimum_index": minimum, "would_be": would_be}, audit_id)

    async def prune(self, call: Call) -> web.Response:
        await self._days(call)
        try:
            done = await self._upkeep.prune(call.actor)
        except AuditUnavailable as error:
            raise Refused(AdminReason.audit_unavailable, str(error)) from error
        except KeysUnavailable as error:
            await call.record(reason=AdminReason.keys_unavailable)
            raise Refused(AdminReason.keys_unavailable, str(error)) from error
        except (OSError, LogUnusable) as error:
            await call.record(reason=AdminReason.log_unusable)
            raise _unusable(error) from error
        if done is None:
            _, minimum = await self._upkeep.prunable()
            return answer({"minimum_index": minimum, "removed": 0}, await call.record())
        return answer({"minimum_index": done.minimum, "removed": done.minimum - done.former}, done.record_id)

    async def _days(self, call: Call) -> int:
        retention_s = self._upkeep.terms.retention_s
        if retention_s is None:
            await call.record(reason=AdminReason.retention_unset)
            raise Refused(AdminReason.retention_unset, "set audit.retention_days")
        return round(retention_s / 86_400)


def _unusable(error: OSError | LogUnusable) -> Refused:
    why = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
    return Refused(AdminReason.log_unusable, why)
