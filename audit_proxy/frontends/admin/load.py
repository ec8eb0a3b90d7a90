"""The import over HTTP: a file in, line by line, progress out while it runs.

Invariants:

- One import at a time. Nothing of the file is kept but the line being read.
- A record before the first line is taken, and one at the end with the counts and the SHA-256 of what was read.
- A body that breaks off is no file's end: what was taken stays (each line stands for itself), the store is not marked
  loaded, and the last line says so.
- The answer begins with the first progress; until then a refusal still has its own status code.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from audit_proxy.core.errors import ConsentUnavailable
from audit_proxy.core.statements import FileInvalid, Form
from audit_proxy.frontends.admin.call import Call
from audit_proxy.frontends.admin.problems import AdminReason, Refused, document, encode
from audit_proxy.ports import ConsentLoad, Loaded

_FORMS: dict[str, Form] = {"application/x-ndjson": "ndjson", "text/csv": "csv"}
_SILENCE_MAX_S = 60.0  # of the sender, between two blocks
_PROGRESS_S = 0.25


class LoadApi:
    def __init__(self, loader: ConsentLoad) -> None:
        self._loader = loader
        self._running = False

    async def load(self, call: Call) -> web.StreamResponse:
        form = _FORMS.get(call.request.content_type)
        call.no_coding()
        if form is None:
            raise Refused(AdminReason.media_type_unsupported, "send " + " or ".join(_FORMS))
        if self._running:
            raise Refused(AdminReason.import_running)
        self._running = True
        try:
            return await self._load(call, form)
        finally:
            self._running = False

    async def _load(self, call: Call, form: Form) -> web.StreamResponse:
        begin = await call.record(target={"phase": "begin", "format": form})
        digest = hashlib.sha256()
        answer = _Answer(call.request, begin)
        loading = asyncio.create_task(self._loader.load(_blocks(call.request, digest), form, answer.note))
        problem: Refused | None = None
        try:
            while not (await asyncio.wait({loading}, timeout=_PROGRESS_S))[0]:
                await answer.tell()
            done = loading.result()
        except ConsentUnavailable:
            done, problem = answer.latest, Refused(AdminReason.consent_unavailable)
        except FileInvalid as error:
            done, problem = answer.latest, Refused(AdminReason.file_invalid, str(error))
        except Refused as error:
            done, problem = answer.latest, error
        finally:
            loading.cancel()
        target = {"phase": "end", "format": form, "begin": begin, "sha256": digest.hexdigest()}
        try:
            await call.record(target=target, counts=_counts(done), reason=problem.reason if problem else None)
        except Refused as error:
            problem = problem or Refused(error.reason, "what was taken stays", applied=True)
        if problem is not None and not answer.begun:
            raise problem
        return await answer.end(done, digest.hexdigest(), problem)


def _counts(loaded: Loaded) -> dict[str, int]:
    return {
        name: getattr(loaded, name)
        for name in ("lines", "taken", "unchanged", "superseded", "refused", "withdrawals_refused")
    }


async def _blocks(request: web.Request, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_SILENCE_MAX_S):
                block = await request.content.readany()
        except (ClientError, HttpProcessingError, OSError) as error:  # OSError: TimeoutError, ConnectionError
            raise Refused(
                AdminReason.import_cut_short, "what was taken stays; the store is not marked loaded"
            ) from error
        if not block:
            return
        digest.update(block)
        yield block


class _Answer:
    """The NDJSON that is sent while the import runs."""

    def __init__(self, request: web.Request, audit_id: str) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "X-Audit-Id": audit_id, "X-Accel-Buffering": "no"}
        )
        self._told: Loaded | None = None
        self.latest = Loaded()

    @property
    def begun(self) -> bool:
        return self._response.prepared

    def note(self, loaded: Loaded) -> None:
        self.latest = loaded

    async def tell(self) -> None:
        """Sends how far it has come, where that has changed."""
        if self.latest is not self._told and self.latest.lines:
            self._told = self.latest
            await self._line({"done": False, **_counts(self.latest)})

    async def end(self, loaded: Loaded, sha256: str, problem: Refused | None) -> web.StreamResponse:
        line: dict[str, Any] = {
            "done": loaded.done,
            **_counts(loaded),
            "loaded": loaded.loaded,
            "sha256": sha256,
            "problems": [{"line": number, "reason": reason} for number, reason in loaded.problems],
        }
        if problem is not None:
            line["problem"] = document(problem.reason, problem.detail, **problem.members)
        await self._line(line)
        try:
            await self._response.write_eof()
        except ConnectionError:
            return self._response  # nobody listened to the end
        return self._response

    async def _line(self, value: dict[str, Any]) -> None:
        try:
            if not self._response.prepared:
                await self._response.prepare(self._request)
            await self._response.write(encode(value) + b"\n")
        except ConnectionError:  # nobody listens any more; the body's end will tell
            return
