"""``make bench``: CPU of the proxy (enforce, durable) per request, as a ratio to a bare aiohttp pass-through.

Both stay alive on one core and are driven in turns over the same page (25 people, 8 KB, half of them without a grant);
upstream and load generator run on the other core. Prints one JSON object: ``bare_us`` and ``proxy_us`` are CPU
microseconds a request (medians), ``ratio`` is over turns, ``bytes_per_record`` of the audit log.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.setting import Setting, page, write_setting
from benchmarks.wire import Page, load

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def start(command: list[str], ready: Path, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    if len(os.sched_getaffinity(0)) > 1 or os.cpu_count() != 1:
        os.sched_setaffinity(process.pid, {(os.cpu_count() or 1) - 1})
    for _ in range(300):
        if ready.exists() and ready.read_text().strip():
            return process, json.loads(ready.read_text())["data"]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"did not start: {' '.join(command)}\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


async def bring_consents(port: int, setting: Setting) -> None:
    headers = {"Authorization": f"Bearer {setting.admin_token}", "Content-Type": "application/x-ndjson"}
    url = f"http://127.0.0.1:{port}/v1/consent/import"
    async with aiohttp.ClientSession() as session, session.post(url, data=setting.grants, headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"the consents were not imported: {answer.status} {await answer.text()}")
        await answer.read()


async def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    body = page()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    upstream = await loop.create_server(lambda: Page(answer), "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    setting: Setting = write_setting(folder, origin)
    processes = []
    try:
        bare, bare_port = start(
            [sys.executable, "-m", "benchmarks.bare", origin, str(folder / "bare.json")],
            folder / "bare.json",
            folder / "bare.log",
        )
        processes.append(bare)
        command = [
            sys.executable,
            "-m",
            "audit_proxy",
            "serve",
            "-c",
            str(setting.config),
            "--ports-file",
            str(folder / "proxy.json"),
        ]
        proxy, proxy_port = start(command, folder / "proxy.json", folder / "proxy.log")
        processes.append(proxy)
        await bring_consents(json.loads((folder / "proxy.json").read_text())["admin"], setting)
        request = f"GET /page HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {setting.token}\r\nAccept: application/json\r\n\r\n".encode()
        turns: dict[str, list[float]] = {"bare": [], "proxy": []}
        for turn in range(arguments.turns + 1):
            for name, process, port in (("bare", bare, bare_port), ("proxy", proxy, proxy_port)):
                before = cpu_seconds(process.pid)
                counts = await load(port, request, arguments.connections, arguments.seconds if turn else 1.0)
                if counts["other"] or not counts["ok"]:
                    raise SystemExit(
                        f"{name} gave {counts['other']} answers that were not 200, {counts['ok']} that were"
                    )
                if turn:  # the first turn warms up
                    turns[name].append((cpu_seconds(process.pid) - before) / counts["ok"] * 1e6)
    finally:
        for process in processes:
            end(process)
    ratios = [proxy_us / bare_us for bare_us, proxy_us in zip(turns["bare"], turns["proxy"], strict=True)]
    records = lines = 0
    for segment in (folder / "log" / "journal").glob("*.jsonl"):
        text = segment.read_bytes()
        records += len(text)
        lines += text.count(b"\n")
    return {
        "bare_us": round(statistics.median(turns["bare"]), 1),
        "proxy_us": round(statistics.median(turns["proxy"]), 1),
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
        "turns": arguments.turns,
        "bytes_per_record": round(records / max(lines, 1)),
        "records": lines,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="load of one turn, in seconds (default 3)")
    parser.add_argument("--connections", type=int, default=32, help="keep-alive connections (default 32)")
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    with (
        tempfile.TemporaryDirectory(prefix="audit-proxy-bench-") as folder,
        asyncio.Runner() as runner,
    ):
        print(json.dumps(runner.run(_measure(arguments, Path(folder)))))


if __name__ == "__main__":
    main()
