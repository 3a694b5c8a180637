"""Start, find and stop an emulator: what the CLI, the Pulumi program and the tests use."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.emulator import ground
from infra.emulator.client import Client
from infra.emulator.errors import EmulatorError
from infra.emulator.gateway import SUITE
from infra.emulator.instance import Instance, source_digest
from infra.emulator.machines import image
from infra.emulator.machines.nspawn import require_machine_tools
from infra.emulator.process import read_ref
from infra.emulator.robot import credentials
from infra.paths import repo_root

READY_SECONDS = 120.0
# How long machines may take, all together, to power off in good order.
STOP_GRACE = 30.0

Progress = Callable[[str], None]


def say(line: str) -> None:
    print(f"  emulator: {line}", file=sys.stderr, flush=True)


def ensure_running(
    name: str,
    port: int,
    state_dir: Path | None = None,
    *,
    robot_port: int | None = None,
    machines: str = "nspawn",
    progress: Progress = say,
) -> Client:
    """A client of the instance, started where it does not run, restarted where it runs other code or settings.

    Machines outlive such a restart. `state_dir` is the run-state folder of the stack (default: by name); `robot_port`
    is the webservice's (default: the one after `port`).
    """
    instance = Instance.at(name, state_dir)
    instance.make()
    robot_port = robot_port or port + 1
    if machines != "none":
        require_machine_tools()
    with _starting(instance):
        client = Client(port)
        health = client.health()
        if health and health["folder"] != str(instance.folder):
            raise EmulatorError(
                f"port {port} belongs to the emulator {health['name']!r} of {health['folder']}: choose another port"
            )
        renewed = credentials.settle(instance.robot_login)
        wanted = {"machines": machines, "robot_port": robot_port, "source": source_digest()}
        if health and not renewed and wanted.items() <= health.items():
            return client
        ground.stop_daemon(instance)
        if machines != "none":
            image.ensure(instance.images, SUITE, progress)
        progress(f"starting {name} on port {port}")
        _spawn(instance, port, robot_port, machines, client)
    return client


def _spawn(instance: Instance, port: int, robot_port: int, machines: str, client: Client) -> None:
    log = instance.logs / "daemon.log"
    argv = [sys.executable, "-m", "infra.emulator", "serve", "--name", instance.name, "--port", str(port)]
    argv += ["--robot-port", str(robot_port), "--machines", machines, "--state-dir", str(instance.folder.parent)]
    with log.open("ab") as out:
        begin = out.tell()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=repo_root(), start_new_session=True
        )
    deadline = time.monotonic() + READY_SECONDS
    while client.health() is None:
        if child.poll() is not None or time.monotonic() > deadline:
            with log.open("rb") as file:
                file.seek(begin)
                tail = "\n".join(file.read().decode(errors="replace").splitlines()[-8:])
            what = f"ended with {child.returncode}" if child.returncode is not None else "did not answer in time"
            raise EmulatorError(f"the emulator {what}; the end of its log {log}:\n{tail}")
        time.sleep(0.05)


def stop(name: str, state_dir: Path | None = None, *, wipe: bool = False, grace: float = STOP_GRACE) -> list[str]:
    """Power the machines off and take everything off this system; disks and state stay unless `wipe`.

    Returns what could not be removed (nothing, unless something outside holds it).
    """
    instance = Instance.at(name, state_dir)
    if not instance.folder.is_dir():
        return []
    with _starting(instance):
        ground.stop_daemon(instance)
        if os.geteuid() == 0:
            ground.clear(instance, grace)
        left = ground.remains(instance)
        if wipe and not left:
            for part in (instance.machines, instance.run, instance.logs):
                shutil.rmtree(part, ignore_errors=True)
            instance.state_file.unlink(missing_ok=True)
            instance.robot_login.unlink(missing_ok=True)
    return left


def status(name: str, state_dir: Path | None = None) -> dict[str, Any] | None:
    """Health of a running instance; None where none runs."""
    instance = Instance.at(name, state_dir)
    if read_ref(instance.daemon_ref) is None:
        return None
    return Client(port_of(instance)).health()


def port_of(instance: Instance) -> int:
    return _setting(instance, "port")


def robot_port_of(instance: Instance) -> int:
    return _setting(instance, "robot_port")


def _setting(instance: Instance, name: str) -> int:
    try:
        return int(json.loads(instance.settings.read_text())[name])
    except (FileNotFoundError, ValueError, KeyError):
        raise EmulatorError(
            f"no emulator named {instance.name} has run here: python -m infra.emulator start --name {instance.name}"
        ) from None


@contextmanager
def _starting(instance: Instance) -> Iterator[None]:
    """One starter or stopper at a time; the others wait."""
    with instance.start_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
