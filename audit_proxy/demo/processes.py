"""The platform and the proxy as processes of their own, started and ended."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from audit_proxy.demo.apps import Broken
from audit_proxy.demo.folder import Folder

START_S = 60.0  # the longest a process may take to come up
STOP_S = 40.0  # the longest it may take to end: the proxy drains


@contextlib.asynccontextmanager
async def platform(people: int, seed: int) -> AsyncIterator[str]:
    """The sample platform, on a free port of loopback; its URL. Raises Broken."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "audit_proxy.demo.platform", "--with-parent"),
        *("--port", "0", "--people", str(people), "--seed", str(seed)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # a pipe was asked for
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        if not line:
            raise Broken("the sample platform did not start")
        yield json.loads(line)["url"]
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def proxy(folder: Folder) -> AsyncIterator[tuple[str, str]]:
    """``audit-proxy serve`` on the folder's configuration: the URLs of its data plane and its admin listener.

    It is ended as an operator would, with SIGTERM. Raises Broken.
    """
    folder.ports.unlink(missing_ok=True)
    with folder.proxy_output.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "audit_proxy", "serve", "-c", str(folder.config)),
            *("--ports-file", str(folder.ports)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        ports = await _ports(process, folder)
        yield f"http://127.0.0.1:{ports['data']}", f"http://127.0.0.1:{ports['admin']}"
    finally:
        await _end(process)
    if process.returncode != 0:
        raise Broken(f"the proxy ended with {process.returncode}:\n{_tail(folder.proxy_output)}")


async def _ports(process: asyncio.subprocess.Process, folder: Folder) -> dict[str, int]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with contextlib.suppress(OSError, ValueError):  # not there yet, or half written
                    ports: dict[str, int] = json.loads(folder.ports.read_text())
                    return ports
                await asyncio.sleep(0.05)
    raise Broken(f"the proxy did not start:\n{_tail(folder.proxy_output)}")


async def command(*words: str) -> tuple[int, str]:
    """An ``audit-proxy`` command: its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "audit_proxy", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    output, _ = await process.communicate()
    assert process.returncode is not None  # it has ended
    return process.returncode, output.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _tail(output: Path) -> str:
    return "\n".join(output.read_text("utf-8", "replace").splitlines()[-12:])
