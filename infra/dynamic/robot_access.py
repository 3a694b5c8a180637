"""The Robot webservice as a site's dynamic providers reach it, and a host's records beside the stack's state."""

import json
import os
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.access import identity_path
from infra.paths import state_dir
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin, robot_login
from infra.robot.install.machine import HurriedClock, SystemClock
from infra.robot.install.openssh import OpenSsh
from infra.robot.install.ports import Clock
from infra.robot.install.record import Records

# The emulator takes a twentieth of Hetzner's times by itself.
EMULATED_FACTOR = 10.0
LOOK_SECONDS = 0.5
SHELLS = ("sh", "dash", "bash", "busybox")
# How long a host may wait for its turn where the hourly budget of resets is spent.
PATIENCE_SECONDS = 3600.0


def _ancestors() -> tuple[int, ...]:
    """The parent, and its parent where it is the shell that Pulumi starts a Python provider by."""
    parent = os.getppid()
    try:
        shell = Path(f"/proc/{parent}/exe").readlink().name in SHELLS
        stat = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return (parent,)
    return (parent, int(stat[1])) if shell else (parent,)


@cache
def follow_parent() -> None:
    """End this process soon after Pulumi's, however that ends.

    Pulumi starts its plugins in process groups of their own: after a `kill -9` a provider would go on installing hosts
    that nobody waits for, and keep the next run from them. The install machine takes an end at any moment.
    """
    began = _ancestors()

    def watch() -> None:
        while _ancestors() == began:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@dataclass(frozen=True)
class RobotAccess:
    robot: Robot
    clock: Clock
    records: Records


def access(raw_site: str, stack: str) -> RobotAccess:
    """Raises NoCredentials. The login is read here, at the time of asking: no state and no setting ever holds it."""
    site = json.loads(raw_site)
    records = Records(state_dir(stack) / "robot")
    if site.get("environment") != "emulated":
        return RobotAccess(Robot.connect(robot_login(), patience=PATIENCE_SECONDS), SystemClock(), records)
    from infra.emulator.instance import Instance
    from infra.emulator.robot import credentials

    emulator = site.get("emulator") or {}
    port = emulator.get("robot_port") or emulator.get("port", 8901) + 1
    user, password = credentials.read(Instance.at(stack, state_dir(stack)).robot_login)
    robot = Robot.connect(RobotLogin(f"http://127.0.0.1:{port}", user, password), patience=PATIENCE_SECONDS)
    return RobotAccess(robot, HurriedClock(EMULATED_FACTOR), records)


def login_of(props: dict[str, Any]) -> OpenSsh:
    return OpenSsh(identity_path(str(props["identity_file"])), props.get("proxy_command") or None)
