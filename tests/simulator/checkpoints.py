"""A service that keeps checkpoints, for tests: a real server, which only takes what comes with its token."""

import asyncio
import ssl

from aiohttp import web

from audit_proxy.core.merkle import note
from tests.simulator.services import Asked, Service

TOKEN = "s3cret-of-the-archive"


class CheckpointReceiver(Service):
    """``notes`` it has kept, and their ``sizes``. ``status``: what it says instead; ``hang``: it never answers."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._take, tls=tls)
        self.notes: list[bytes] = []
        self.status = 201
        self.hang = False

    @property
    def sizes(self) -> list[int]:
        return [int(note.parse_note(one)[0].split("\n")[1]) for one in self.notes]

    async def _take(self, asked: Asked) -> web.Response:
        while self.hang:
            await asyncio.sleep(0.02)
        if (
            asked.request.method != "POST"
            or asked.request.content_type != "text/plain"
            or asked.request.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            return web.Response(status=401)
        if self.status == 201:
            self.notes.append(asked.body)
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})
