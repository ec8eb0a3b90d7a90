"""Both ends of the measurement, as bare protocols: an upstream that answers one page, and a closed-loop load generator."""

import asyncio


class Page(asyncio.Protocol):
    """Answers every request with the same bytes. Requests carry no body."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        ends = self._rest.count(b"\r\n\r\n")
        if ends:
            self._rest = self._rest[self._rest.rindex(b"\r\n\r\n") + 4 :]
            self._transport.write(self._answer * ends)


class Client(asyncio.Protocol):
    """Sends a request, reads its whole answer, sends the next, until told to end."""

    def __init__(self, request: bytes, counts: dict[str, int]) -> None:
        self._request = request
        self._counts = counts
        self._buffer = bytearray()
        self._need = -1
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.index(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            self._need = end + 4 + length
            self._counts["ok" if head.startswith(b"http/1.1 200") else "other"] += 1
        if len(self._buffer) >= self._need:
            self._buffer.clear()
            self._need = -1
            if self._counts["stop"]:
                self._transport.close()
            else:
                self._transport.write(self._request)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, request: bytes, connections: int, seconds: float) -> dict[str, int]:
    """Closed-loop load for ``seconds``; how many answers were 200 (``ok``) and how many not (``other``)."""
    counts = {"ok": 0, "other": 0, "stop": 0}
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(request, counts), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    counts["stop"] = 1
    await asyncio.wait_for(asyncio.gather(*(one.done for one in clients)), 30)
    return counts
