"""``python -m benchmarks.timing``: whether an app can tell a withheld person from an unknown id by the answer's time.

One app asks, one request after the other on one connection, for people who refuse and for ids that do not exist, in random
order; both get the same 404. The platform beside it takes the same time for both, so what is measured is the proxy's own
part. Each of the two is also measured against itself (``null``): what no difference looks like here.

Prints one JSON object. For each case: medians in microseconds, their difference (withheld - unknown), and ``auc``, the chance
that a withheld answer takes longer than an unknown one (Mann-Whitney U / nm; 0.5: nobody can tell from one answer), with its
95% confidence interval (DeLong, DeLong and Clarke-Pearson 1988). ``answers_for_80``: how many answers of each an app has to
average until it is right four times in five, at the separation measured (Gaussian approximation).
"""

import argparse
import asyncio
import bisect
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.proxy import bring_consents, end, start
from benchmarks.setting import page, person, write_setting

CASES = {"person": "/people/%d", "page of 25": "/people/%d/friends"}
_REFUSES, _UNKNOWN = range(100_001, 100_025, 2), range(900_001, 900_025, 2)
_NOT_FOUND = b'{"error":"no such person"}'


class Platform(asyncio.Protocol):
    """A person, or a page of 25 people, for every id that exists; 404 for the others."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        if path.startswith(b"/people/9"):
            status, body = b"404 Not Found", _NOT_FOUND
        else:
            status, body = b"200 OK", _PAGE if path.endswith(b"/friends") else _PERSON
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        )


_PAGE = page()
_PERSON = json.dumps(person(1), ensure_ascii=False).encode()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, token: str) -> int:
    """Nanoseconds from the request's first byte to the answer's last."""
    began = time.perf_counter_ns()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
    took = time.perf_counter_ns() - began
    if not head.startswith(b"HTTP/1.1 404"):
        raise SystemExit(f"{path}: {head.splitlines()[0].decode()}, but neither kind of id may be found")
    return took


async def _times(port: int, token: str, route: str, answers: int, seed: int) -> tuple[list[int], list[int]]:
    """The times of ``answers`` withheld and as many unknown ones, asked for in random order."""
    draw = random.Random(seed)
    kinds = [True, False] * answers
    draw.shuffle(kinds)
    found: tuple[list[int], list[int]] = ([], [])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for ids in [_REFUSES, _UNKNOWN] * 100:
        await _ask(reader, writer, route % draw.choice(ids), token)  # warm
    for withheld in kinds:
        ids = _REFUSES if withheld else _UNKNOWN
        found[0 if withheld else 1].append(await _ask(reader, writer, route % draw.choice(ids), token))
    writer.close()
    await writer.wait_closed()
    return found


def separation(longer: list[int], shorter: list[int]) -> tuple[float, float]:
    """AUC of the first against the second, ties counted half, and its standard error (DeLong)."""

    def placements(of: list[int], among: list[int]) -> list[float]:
        ranked = sorted(among)
        return [(bisect.bisect_left(ranked, one) + bisect.bisect_right(ranked, one)) / 2 / len(ranked) for one in of]

    first, second = placements(longer, shorter), placements(shorter, longer)
    error = math.sqrt(statistics.variance(first) / len(first) + statistics.variance(second) / len(second))
    return statistics.fmean(first), error


def _compared(first: list[int], second: list[int]) -> dict[str, Any]:
    auc, error = separation(first, second)
    medians = [statistics.median(one) / 1000 for one in (first, second)]
    distance = abs(statistics.NormalDist().inv_cdf(min(max(auc, 1e-6), 1 - 1e-6))) * math.sqrt(2)
    needed = math.ceil(2 * (statistics.NormalDist().inv_cdf(0.8) / distance) ** 2) if distance > 1e-3 else None
    return {
        "median_us": [round(one, 1) for one in medians],
        "difference_us": round(medians[0] - medians[1], 1),
        "auc": round(auc, 4),
        "auc_95": [round(auc - 1.96 * error, 4), round(auc + 1.96 * error, 4)],
        "answers_for_80": needed,
    }


async def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    platform = await asyncio.get_running_loop().create_server(Platform, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{platform.sockets[0].getsockname()[1]}"
    setting = write_setting(folder, origin, durability=arguments.durability)
    command = [sys.executable, "-m", "audit_proxy", "serve", "-c", str(setting.config), "--ports-file"]
    process, port = start([*command, str(folder / "proxy.json")], folder / "proxy.json", folder / "proxy.log")
    try:
        await bring_consents(json.loads((folder / "proxy.json").read_text())["admin"], setting)
        cases: dict[str, Any] = {}
        for name, route in CASES.items():
            withheld, unknown = await _times(port, setting.token, route, arguments.answers, arguments.seed)
            cases[name] = _compared(withheld, unknown)
            cases[name]["null"] = {
                "withheld": _compared(withheld[::2], withheld[1::2])["auc_95"],
                "unknown": _compared(unknown[::2], unknown[1::2])["auc_95"],
            }
    finally:
        end(process)
        platform.close()
    return {"answers": arguments.answers, "durability": arguments.durability, "cases": cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=3000, help="answers of each kind in each case (default 3000)")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which they are asked for (default 1)")
    parser.add_argument(
        "--durability",
        choices=("fsync", "buffered"),
        default="buffered",
        help="of the audit log (default buffered: an app sees more where no disk's waits hide it)",
    )
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory(prefix="audit-proxy-timing-") as folder, asyncio.Runner() as runner:
        print(json.dumps(runner.run(_measure(arguments, Path(folder)))))


if __name__ == "__main__":
    main()
