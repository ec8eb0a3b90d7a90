"""A client that says exactly the bytes it was told to, and judges what came back and what reached the platform."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.simulator.recording import Recorded

_ANSWER_S = 10.0  # after that a test fails instead of hanging
_LINE = re.compile(rb"[A-Z]+ /[!-~]* HTTP/1\.1\Z")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\x20-\x7e\x80-\xff]*\Z")


@dataclass(frozen=True, slots=True)
class Said:
    """What came back on one connection: every status, and every byte."""

    statuses: tuple[int, ...]
    text: bytes


async def say(port: int, *pieces: bytes) -> Said:
    """Sends ``pieces`` on one connection, each as a segment of its own, and reads until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        text = await asyncio.wait_for(reader.read(-1), _ANSWER_S)
    except ConnectionResetError:
        text = b""
    finally:
        writer.close()
    return Said(tuple(int(one) for one in re.findall(rb"(?:\A|\n|\}|\])HTTP/\d\.\d (\d{3}) ", text)), text)


def head(line: str, token: str | None, *fields: str, closing: bool = True) -> bytes:
    """A request's head. Fields stand as they are given; ``Host`` and ``Connection: close`` are added unless given."""
    names = {one.partition(":")[0].strip().lower() for one in fields}
    lines = [line]
    if "host" not in names:
        lines.append("Host: api.example")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if closing and "connection" not in names:
        lines.append("Connection: close")
    return "\r\n".join([*lines, *fields, "", ""]).encode("utf-8", "surrogateescape")


def assert_well_formed(requests: Iterable[Recorded]) -> None:
    """Each is one request that no two servers read differently: RFC 9112 to the letter, one length, whole."""
    for request in requests:
        line, *fields = request.raw_head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        assert _LINE.match(line), line
        for field in fields:
            assert _FIELD.match(field), field
        assert len(request.header_values("host")) == 1
        lengths, codings = request.header_values("content-length"), request.header_values("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, (lengths, codings)
        assert codings in ([], ["chunked"])
        assert request.header_values("upgrade") == request.header_values("te") == request.header_values("trailer") == []
        assert request.complete
