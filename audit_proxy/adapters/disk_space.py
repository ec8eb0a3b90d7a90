"""How much of a disk is left, looked at beside the event loop: a file system that hangs must not hold up a scrape."""

import asyncio
import contextlib
import os
from pathlib import Path


class DiskSpace:
    """``free``: bytes that this process may still write where ``directory`` is; None while that is not known."""

    def __init__(self, directory: Path, every_s: float = 10.0) -> None:
        self._directory = directory
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._seen = 0.0
        self._seen_at = float("-inf")

    @property
    def free(self) -> float | None:
        known = asyncio.get_running_loop().time() - self._seen_at <= 3 * self._every_s
        return self._seen if known else None

    async def start(self) -> None:
        """Looks once, and then on until ``close``."""
        await self._look()
        self._task = asyncio.create_task(self._follow(), name="disk-space")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._look()

    async def _look(self) -> None:
        with contextlib.suppress(OSError):  # then it is not known, and the log's own trouble is told where it writes
            seen = await asyncio.to_thread(os.statvfs, self._directory)
            self._seen, self._seen_at = float(seen.f_bavail * seen.f_frsize), asyncio.get_running_loop().time()
