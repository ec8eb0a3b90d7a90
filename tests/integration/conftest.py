"""What integration tests share: a platform that answers what it is told to and keeps what reached it."""

import pytest

from tests.simulator.recording import RecordingUpstream


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        yield up
