"""What is left of the disk the log is on."""

import asyncio
import os

import pytest

from audit_proxy.adapters.disk_space import DiskSpace


async def test_what_this_process_may_write(tmp_path):
    """Blocks for everybody, not those that are kept for root."""
    space = DiskSpace(tmp_path)
    await space.start()
    seen = os.statvfs(tmp_path)
    assert space.free == pytest.approx(seen.f_bavail * seen.f_frsize, rel=0.2)
    await space.close()


async def test_a_directory_that_went_away_is_soon_unknown(tmp_path):
    """An old figure is not told for long, and a new one as soon as there is one."""
    (tmp_path / "log").mkdir()
    space = DiskSpace(tmp_path / "log", every_s=0.01)
    await space.start()
    assert space.free is not None
    (tmp_path / "log").rmdir()
    async with asyncio.timeout(20):
        while space.free is not None:
            await asyncio.sleep(0.005)
        (tmp_path / "log").mkdir()
        while space.free is None:
            await asyncio.sleep(0.005)
    await space.close()
