"""Checkpoints kept by a service on another machine (port ``CheckpointTarget``).

Each signed note is the body of one ``POST`` (``text/plain; charset=utf-8``); a status from 200 to 299 says that it is kept.
"""

from collections.abc import Sequence

from audit_proxy.core.errors import CallFailed, PushFailed
from audit_proxy.core.exchange import Call
from audit_proxy.ports import HttpClient

_ANSWER_MAX = 64 * 1024  # bytes


class CheckpointHttp:
    """``secret`` is sent as a bearer token where there is one; ``timeout_s`` in seconds, of one call."""

    def __init__(self, url: str, client: HttpClient, *, secret: str | None, timeout_s: float) -> None:
        self._url = url
        self._client = client
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if secret is not None:
            if not (secret.isascii() and secret.isprintable()):
                raise ValueError("the secret for checkpoints must be printable ASCII on one line")
            self._headers["Authorization"] = f"Bearer {secret}"
        self._timeout_s = timeout_s

    async def put(self, notes: Sequence[bytes]) -> None:
        """The port's method."""
        for one in notes:
            call = Call("POST", self._url, self._headers, one)
            try:
                answer = await self._client.call(call, limit=_ANSWER_MAX, timeout_s=self._timeout_s)
            except CallFailed as error:
                raise PushFailed(str(error)) from error
            if not 200 <= answer.status < 300:
                raise PushFailed(f"it answered with status {answer.status}")
