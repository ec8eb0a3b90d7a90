"""People and their pseudonyms over HTTP: erase one person, tell what records call one, begin a new key epoch.

Invariants:

- A call's record is durable before the call acts, for nothing here can be undone: an erasure or a rotation of which the log
  does not tell cannot happen. One that then does not come about gets a second record.
- The record of an erasure says nothing about the person, not even the pseudonym: it would be a list of those whom the log
  was made to forget. The caller keeps its id (``X-Audit-Id``) beside the person's request.
"""

from aiohttp import web

from audit_proxy.core.errors import KeysUnavailable
from audit_proxy.core.statements import StatementInvalid, check_subject
from audit_proxy.frontends.admin.call import Call, answer
from audit_proxy.frontends.admin.consent import rfc3339
from audit_proxy.frontends.admin.problems import AdminReason, Refused
from audit_proxy.ports import KeyEpochs, SubjectKeys


class SubjectApi:
    def __init__(self, keys: SubjectKeys) -> None:
        self._keys = keys

    async def erase(self, call: Call) -> web.Response:
        subject = await _subject(call)
        audit_id = await call.record()
        try:
            epochs = await self._keys.erase(subject)
        except KeysUnavailable as error:
            await call.record(reason=AdminReason.keys_unavailable)
            raise Refused(AdminReason.keys_unavailable, f"repeat the call: {error}") from error
        return answer({"erased": True, "epochs": epochs}, audit_id)

    async def pseudonyms(self, call: Call) -> web.Response:
        subject = await _subject(call)
        audit_id = await call.record(target={"subject": call.trail.person(subject)})
        names = await self._keys.names(subject)
        return answer({"subject": subject, "pseudonyms": {str(epoch): name for epoch, name in names.items()}}, audit_id)


class KeysApi:
    def __init__(self, keys: KeyEpochs) -> None:
        self._keys = keys

    async def list(self, call: Call) -> web.Response:
        audit_id = await call.record()
        live = await self._keys.live()
        epochs = [{"epoch": epoch, "began": rfc3339(began)} for epoch, began in sorted(live.items())]
        return answer({"epochs": epochs, "in_force": max(live)}, audit_id)

    async def rotate(self, call: Call) -> web.Response:
        audit_id = await call.record()
        try:
            epoch = await self._keys.rotate()
        except KeysUnavailable as error:
            await call.record(reason=AdminReason.keys_unavailable)
            raise Refused(AdminReason.keys_unavailable, str(error)) from error
        return answer({"epoch": epoch}, audit_id)


async def _subject(call: Call) -> str:
    try:
        return check_subject(call.request.match_info["subject"])
    except StatementInvalid as error:
        await call.record(reason=AdminReason.statement_invalid)
        raise Refused(AdminReason.statement_invalid, str(error)) from error
