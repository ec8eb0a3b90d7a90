"""Health checks: ``/livez`` (the process answers) and ``/readyz`` (its dependencies do).

Neither takes a token nor is a record, since probes come each second and change or disclose nothing. What failed is named;
why stands in the operational log of what failed. Checks run at most once a second, however often they are asked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from audit_proxy.frontends.admin.problems import encode

Check = Callable[[], Awaitable[object]]  # returns False, or raises: not well; else: fine

_CHECK_MAX_S = 2.0
_KEPT_S = 1.0


class Health:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._results: dict[str, str] = {}
        self._at = float("-inf")
        self._turn = asyncio.Lock()

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(body=encode({"status": "ok"}), content_type="application/json")

    async def readyz(self, _request: web.Request) -> web.Response:
        async with self._turn:
            if time.monotonic() - self._at > _KEPT_S:
                results = await asyncio.gather(*map(self._result, self._checks.values()))
                self._results = dict(zip(self._checks, results, strict=True))
                self._at = time.monotonic()
        ready = all(result == "ok" for result in self._results.values())
        body = {"status": "ok" if ready else "unready", "checks": self._results}
        return web.Response(status=200 if ready else 503, body=encode(body), content_type="application/json")

    async def _result(self, check: Check) -> str:
        try:
            async with asyncio.timeout(_CHECK_MAX_S):
                return "failed" if await check() is False else "ok"
        except TimeoutError:
            return "timeout"
        except Exception:  # noqa: BLE001  (whatever a check raises, the answer is that it failed)
            return "failed"
