"""Real processes, real sockets, real SIGKILL: an installation that is killed again and again ends with one system."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator import control
from infra.emulator.client import Client
from infra.emulator.gateway import free_port
from infra.emulator.instance import Instance
from infra.robot.budget import Ledger
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin
from infra.robot.firewall_rules import robot_firewall
from infra.robot.install.emulated import EmulatedConnect
from infra.robot.install.machine import install
from infra.robot.install.record import Records, State
from infra.robot.install.wanted import Wanted
from infra.robot.storage import Storage
from infra.robot.transport import HttpsWire, Transport
from tests.robot_rig import KEY

NAME = "ukilled"
KILLS = 25


class Hurried:
    """Waits a hundredth of what it is told, as the emulator delays by a hundredth."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Client]:
    ports = {"robot_port": free_port(), "machines": "none", "progress": lambda line: None}
    client = control.ensure_running(NAME, free_port(), tmp_path, **ports)
    client.call("PATCH", "/_emulator/robot/settings", {"delay_scale": 0.01})
    client.call("POST", "/_emulator/dedicated", {"number": 321})
    yield client
    assert control.stop(NAME, tmp_path) == []


def run(base: str, robot_port: int, login: tuple[str, str], folder: str, disks: list[str]) -> None:
    transport = Transport(
        HttpsWire(RobotLogin(f"http://127.0.0.1:{robot_port}", *login)), Ledger(Path(folder) / "ledger")
    )
    wanted = Wanted(
        number=321,
        hostname="data-1",
        storage=Storage(disks=disks, raid=1),
        public_key=KEY,
        firewall=robot_firewall(321, ["198.51.100.0/24"], [], None),
    )
    install(wanted, Robot(transport), EmulatedConnect(base, KEY), Records(Path(folder) / "records"), Hurried())


def test_sigkill_at_random_moments_never_installs_twice(emulator: Client, tmp_path: Path) -> None:
    instance = Instance.at(NAME, tmp_path)
    login = tuple(instance.robot_login.read_text().splitlines())
    disks = [d["by_id"] for d in emulator.get("/_emulator/dedicated/321")["dedicated"]["hardware"]["disks"]]
    args = (emulator.base, control.robot_port_of(instance), login, str(tmp_path / "run"), disks)
    context, chance = multiprocessing.get_context("fork"), random.Random(5)
    for _ in range(KILLS):
        child = context.Process(target=run, args=args)
        child.start()
        child.join(chance.uniform(0, 0.6))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
    run(*args)
    record = Records(tmp_path / "run" / "records").load(321)
    assert record is not None and record.state == State.READY
    shown = emulator.get("/_emulator/dedicated/321")["dedicated"]
    assert (shown["system"], shown["hostname"], shown["install_id"]) == ("disk", "data-1", record.install_id)
    kept = json.loads(instance.state_file.read_text())["robot"]
    # One boot into the rescue system and one out of it: nothing was restarted, and so nothing installed, twice.
    assert kept["servers"]["321"]["machine"]["boots"] == 2
    assert len(kept["calls"]["POST /reset/{n}"]) == 1
    assert kept["servers"]["321"]["firewall"]["status"] == "active"
    for used in Ledger(tmp_path / "run" / "ledger").show():
        assert used.left > 0
