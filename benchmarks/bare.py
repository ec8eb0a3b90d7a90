"""The bare aiohttp pass-through that the proxy is measured against: low-level server and client, uvloop, nothing judged."""

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

_HOP = {
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "proxy-authorization",
    "accept-encoding",
}
_HOP_BACK = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


async def main(upstream: str, ready: str) -> None:
    urls: dict[str, URL] = {}
    session = ClientSession(
        connector=TCPConnector(limit=256),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )

    async def handle(request: web.BaseRequest) -> web.Response:
        target = request.raw_path
        url = urls.get(target) or urls.setdefault(target, URL(upstream + target, encoded=True))
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _HOP)
        body = await request.read() if request.body_exists else None
        async with session.request(request.method, url, headers=headers, allow_redirects=False, data=body) as answer:
            data = await answer.read()
            back = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BACK)
            return web.Response(status=answer.status, headers=back, body=data)

    runner = web.ServerRunner(web.Server(handle, access_log=None, keepalive_timeout=600))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    Path(ready).write_text(f'{{"data":{runner.addresses[0][1]}}}')
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
