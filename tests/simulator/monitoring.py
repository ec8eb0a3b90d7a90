"""The real Prometheus and Alertmanager on loopback, with the configuration we ship; only addresses and times are the test's.

Both come from Debian's packages. ``needs`` skips where one is missing, and says which package to install.
"""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
}


def needs(*programs: str) -> pytest.MarkDecorator:
    """A test that runs these programs."""
    missing = sorted({PACKAGES[one] for one in programs if shutil.which(one) is None})
    return pytest.mark.skipif(bool(missing), reason=f"left out without Debian's packages: {' '.join(missing)}")


async def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program prints; it must exit with 0."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def rules() -> dict[str, dict[str, Any]]:
    """Every alert rule we ship, by name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((DEPLOY / "prometheus/rules").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    assert rule["alert"] not in found
                    found[rule["alert"]] = rule
    return found


@dataclass(frozen=True)
class Server:
    """A running one. ``get`` asks its API; ``data`` of the answer."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(self.url + path, params=query) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return body["data"] if isinstance(body, dict) and "data" in body else body

    async def post(self, path: str, body: Any) -> None:
        async with self.session.post(self.url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, webhook: str) -> AsyncIterator[Server]:
    """Alertmanager, whose receivers send to ``webhook``/page and /ticket within a second."""
    config = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yaml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route.update(group_wait="1s", group_interval="1s")
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{webhook}/{receiver['name']}"}]
    folder.mkdir()
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    arguments = (f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}", "--cluster.listen-address=")
    async with _server(folder, "prometheus-alertmanager", *arguments) as server:
        yield server


@contextlib.asynccontextmanager
async def prometheus(folder: Path, targets: list[str], token: str, alertmanager_url: str = "") -> AsyncIterator[Server]:
    """Prometheus that scrapes proxies (host:port of their admin listeners) and evaluates our rules each second."""
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": targets}]
    config["alerting"]["alertmanagers"] = (
        [{"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}] if alertmanager_url else []
    )
    folder.mkdir()
    shutil.copytree(DEPLOY / "prometheus/rules", folder / "rules")
    (folder / "audit-proxy.token").write_text(token)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    arguments = (f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data")
    async with _server(folder, "prometheus", *arguments) as server:
        yield server


@contextlib.asynccontextmanager
async def _server(folder: Path, program: str, *arguments: str) -> AsyncIterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "output.txt").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            f"--web.listen-address={address}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        async with aiohttp.ClientSession() as session:
            server = Server(f"http://{address}", session)
            async with asyncio.timeout(60):
                while not await _ready(server):
                    assert process.returncode is None, (folder / "output.txt").read_text()
                    await asyncio.sleep(0.1)
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(server: Server) -> bool:
    try:
        async with server.session.get(server.url + "/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False
