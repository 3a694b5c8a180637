"""The daemon: one process an instance. Holds the API, the gateway and the watch over machines; owns no machine."""

import asyncio
import errno
import fcntl
import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from infra.emulator import control_routes
from infra.emulator.app import make_app
from infra.emulator.cloud import Cloud
from infra.emulator.dedicated.ground import DedicatedGround
from infra.emulator.errors import ApiError, EmulatorError
from infra.emulator.gateway import Gateway
from infra.emulator.instance import Instance
from infra.emulator.machines.base import Backend
from infra.emulator.machines.none import NoMachines
from infra.emulator.machines.nspawn import NspawnMachines
from infra.emulator.process import ProcessRef, write_ref
from infra.emulator.robot import control as robot_control
from infra.emulator.robot import credentials
from infra.emulator.robot.account import Account
from infra.emulator.robot.service import RobotService
from infra.emulator.robot.web import make_robot_app
from infra.emulator.store import Store

log = logging.getLogger(__name__)

KINDS = ("nspawn", "none")


def make_backend(kind: str, instance: Instance) -> Backend:
    if kind == "none":
        return NoMachines()
    return NspawnMachines(instance.name, instance.machines, instance.images)


@contextmanager
def only_one(instance: Instance) -> Iterator[None]:
    """The instance's lock, which the kernel lets go of however this process ends."""
    with instance.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmulatorError(f"an emulator named {instance.name} runs already, from {instance.folder}") from None
        yield


async def serve(instance: Instance, port: int, robot_port: int, kind: str) -> None:
    """Until SIGTERM or SIGINT. Machines stay as they are when this ends."""
    instance.make()
    with only_one(instance):
        ref = ProcessRef.of(os.getpid())
        assert ref is not None
        write_ref(instance.daemon_ref, ref)
        instance.settings.write_text(json.dumps({"port": port, "robot_port": robot_port, "machines": kind}))
        try:
            await _serve(instance, port, robot_port, kind)
        finally:
            instance.daemon_ref.unlink(missing_ok=True)


async def _serve(instance: Instance, port: int, robot_port: int, kind: str) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    cloud = Cloud(Store(instance.state_file), make_backend(kind, instance))
    gateway = Gateway(instance)
    app = make_app(cloud)
    app[control_routes.INSTANCE], app[control_routes.GATEWAY] = instance, gateway
    app[control_routes.ROBOT_PORT] = robot_port
    app.add_routes(control_routes.routes())
    ground = DedicatedGround(instance) if kind != "none" else None
    account = Account(cloud.store, cloud.faults, make_machine=ground.make_machine if ground else None)
    app[robot_control.ACCOUNT] = account
    app.add_routes(robot_control.routes())
    credentials.settle(instance.robot_login)
    robot = make_robot_app(RobotService(account, *credentials.read(instance.robot_login)))
    runner = web.AppRunner(app, access_log=None)
    robot_runner = web.AppRunner(robot, access_log=None)
    try:
        await cloud.prepare()
        if kind != "none":
            await gateway.start()
        await cloud.start()
        if ground:
            await ground.start(account)
            await _restore_forwards(cloud, gateway)
        # The cloud API last: who waits for the emulator waits for its health there.
        await _listen(robot_runner, robot_port, "--robot-port")
        await _listen(runner, port, "--port")
        log.info("emulator %s answers on http://127.0.0.1:%s/v1 (machines: %s)", instance.name, port, kind)
        log.info("its Robot webservice on http://127.0.0.1:%s", robot_port)
        await ended.wait()
    finally:
        log.info("emulator %s ends; machines stay", instance.name)
        await runner.cleanup()
        await robot_runner.cleanup()
        if ground:
            await ground.close()
        await cloud.close()
        await gateway.close()


async def _listen(runner: web.AppRunner, port: int, option: str) -> None:
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise EmulatorError(f"port {port} on loopback is taken by another program: choose one with {option}") from error


async def _restore_forwards(cloud: Cloud, gateway: Gateway) -> None:
    try:
        await gateway.set_forwards(cloud.db.forwards)
    except ApiError as error:
        # Somebody has taken a port meanwhile. The machines matter more: go on, and say so.
        log.error("forwards not restored: %s", error.message)
