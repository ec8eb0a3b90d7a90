"""Ids mapped by a service of the operator's (port ``SubjectIds``).

It is asked ``POST {"app": "quiz", "ids": ["123", "456"]}`` and answers ``{"subjects": {"123": "7001", "456": null}}``: the
canonical id of each id as that app sees it; null or no entry where there is none.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence

import structlog

from audit_proxy.core.errors import CallFailed, SubjectIdsUnavailable
from audit_proxy.core.exchange import Call
from audit_proxy.core.identity import holder_subject
from audit_proxy.core.inspection import RawId
from audit_proxy.core.jose import NotStrict, strict_object
from audit_proxy.ports import HttpClient

BATCH = 500  # ids of one call
_ANSWER_MAX = 1024 * 1024  # bytes
_log = structlog.get_logger()


class HttpIds:
    """``secret`` is sent as a bearer token where there is one; ``timeout_s`` in seconds, of one call."""

    def __init__(self, url: str, namespace: str, client: HttpClient, *, secret: str | None, timeout_s: float) -> None:
        self._url = url
        self._namespace = namespace
        self._client = client
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if secret is not None:
            if not (secret.isascii() and secret.isprintable()):
                raise ValueError("the secret for subject ids must be printable ASCII on one line")
            self._headers["Authorization"] = f"Bearer {secret}"
        self._timeout_s = timeout_s
        self._failing = False

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        """The port's method. More ids than a batch are asked about in calls side by side."""
        texts = list(dict.fromkeys(map(str, ids)))
        calls = [self._call(app, batch) for batch in _batches(texts)]
        learned: dict[str, str] = {}
        failure: BaseException | None = None
        for one in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(one, BaseException):
                failure = one
            else:
                learned.update(one)
        known: dict[RawId, str] = {one: learned[text] for one in ids if (text := str(one)) in learned}
        self._tell(failure)
        if failure is not None:
            if not isinstance(failure, CallFailed | NotStrict):
                raise failure
            raise SubjectIdsUnavailable(known) from failure
        return known

    async def _call(self, app: str, texts: Sequence[str]) -> dict[str, str]:
        call = Call("POST", self._url, self._headers, json.dumps({"app": app, "ids": texts}).encode())
        answer = await self._client.call(call, limit=_ANSWER_MAX, timeout_s=self._timeout_s)
        if answer.status != 200:
            raise CallFailed(f"the answer's status is {answer.status}, not 200")
        mapped = strict_object(answer.body).get("subjects")
        if not isinstance(mapped, dict):
            raise CallFailed("the answer has no object 'subjects'")
        found: dict[str, str] = {}
        for text in texts:
            canonical = mapped.get(text)
            if canonical is None:
                continue
            subject = holder_subject(self._namespace, canonical)
            if subject is None:
                raise CallFailed("a subject in the answer is no id")
            found[text] = subject
        return found

    def _tell(self, failure: BaseException | None) -> None:
        if failure is not None and not self._failing:
            why = str(failure) if isinstance(failure, CallFailed | NotStrict) else type(failure).__name__
            _log.error("subject_ids_failed", why=why)
        elif failure is None and self._failing:
            _log.info("subject_ids_work")
        self._failing = failure is not None


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]
