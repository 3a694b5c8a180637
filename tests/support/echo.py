"""A websocket echo server on the exchange's own stack: what a round trip costs before anything is done."""

import asyncio
import sys

import uvloop
from aiohttp import WSMsgType, web


async def _echo(request):
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    while (message := await ws.receive()).type is WSMsgType.BINARY:
        await ws.send_bytes(message.data)
    return ws


async def _serve():
    app = web.Application()
    app.router.add_get("/orders", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
