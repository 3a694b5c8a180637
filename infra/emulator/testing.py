"""An emulator inside the test's own process: the API on a free loopback port, no machines, no root."""

import asyncio
import ssl
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
from infra.emulator.robot import control as robot_control
from infra.emulator.robot.account import Account
from infra.emulator.robot.service import RobotService
from infra.emulator.robot.web import make_robot_app
from infra.emulator.store import Store

ROBOT_LOGIN = ("#ws+test", "correct horse")


@dataclass(frozen=True)
class Running:
    port: int
    robot_port: int
    cloud: Cloud
    account: Account
    client: Client

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def robot_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.robot_port}"


@contextmanager
def running_api(
    state: Path | None = None,
    backend: Backend | None = None,
    requests_per_hour: int = REQUESTS_PER_HOUR,
    robot_tls: ssl.SSLContext | None = None,
) -> Iterator[Running]:
    """The API in a thread of its own, until the block ends. `state` None keeps everything in memory."""
    started = threading.Event()
    ended: list[BaseException] = []
    handle: list[tuple[int, int, Cloud, Account, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        cloud = Cloud(Store(state), backend or NoMachines())
        app = make_app(cloud, requests_per_hour)
        account = app[robot_control.ACCOUNT] = Account(cloud.store, cloud.faults)
        app.add_routes(robot_control.routes())
        runner = web.AppRunner(app, access_log=None)
        robot = web.AppRunner(make_robot_app(RobotService(account, *ROBOT_LOGIN)), access_log=None)
        await cloud.prepare()
        await cloud.start()
        for one, tls in ((runner, None), (robot, robot_tls)):
            await one.setup()
            await web.TCPSite(one, "127.0.0.1", 0, ssl_context=tls).start()
        stop = asyncio.Event()
        handle.append((runner.addresses[0][1], robot.addresses[0][1], cloud, account, asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await runner.cleanup()
        await robot.cleanup()
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
    port, robot_port, cloud, account, loop, stop = handle[0]
    try:
        yield Running(port, robot_port, cloud, account, Client(port))
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        if ended:
            raise ended[0]
