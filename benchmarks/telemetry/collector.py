"""A collector that takes every export and keeps nothing: python -m benchmarks.telemetry.collector prints its URL."""

from __future__ import annotations

import asyncio

from aiohttp import web


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def _serve() -> None:
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/v1/traces", _take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
