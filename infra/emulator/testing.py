"""An emulator inside the test's own process: the API on a free loopback port, no machines, no root."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from infra.emulator.app import REQUESTS_PER_HOUR, make_app
from infra.emulator.client import Client
from infra.emulator.cloud import Cloud
from infra.emulator.machines.base import Backend
from infra.emulator.machines.none import NoMachines
from infra.emulator.store import Store


@dataclass(frozen=True)
class Running:
    port: int
    cloud: Cloud
    client: Client

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def running_api(
    state: Path | None = None, backend: Backend | None = None, requests_per_hour: int = REQUESTS_PER_HOUR
) -> Iterator[Running]:
    """The API in a thread of its own, until the block ends. `state` None keeps everything in memory."""
    started = threading.Event()
    ended: list[BaseException] = []
    handle: list[tuple[int, Cloud, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        cloud = Cloud(Store(state), backend or NoMachines())
        runner = web.AppRunner(make_app(cloud, requests_per_hour), access_log=None)
        await cloud.prepare()
        await cloud.start()
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stop = asyncio.Event()
        handle.append((runner.addresses[0][1], cloud, asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await runner.cleanup()
        await cloud.close()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            ended.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="emulator", daemon=True)
    thread.start()
    started.wait()
    if ended:
        raise ended[0]
    port, cloud, loop, stop = handle[0]
    try:
        yield Running(port, cloud, Client(port))
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        if ended:
            raise ended[0]
