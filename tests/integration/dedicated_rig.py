"""An emulator with dedicated servers that are real hosts, the Robot client of the house, and an operator's ssh."""

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from infra.emulator import control
from infra.emulator.client import Client
from infra.emulator.gateway import free_port
from infra.emulator.instance import Instance
from infra.emulator.machines import network
from infra.emulator.robot import credentials
from infra.keys import operator_key
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin
from infra.robot.install.machine import HurriedClock, install
from infra.robot.install.openssh import OpenSsh
from infra.robot.install.record import Record, Records
from infra.robot.install.wanted import OnVSwitch, Wanted
from infra.robot.storage import Storage
from infra.robot.vlan import VlanLink

VLAN = 4000
# Ladders of eight and ten minutes become half minutes: a boot takes two seconds here.
FACTOR = 20.0


class Rig:
    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.port, self.robot_port = free_port(), free_port()
        self.instance = Instance.at(name, folder)
        self.identity = folder / "id_ed25519"
        self.public_key = operator_key(self.identity, f"operator@{name}")
        self.records = Records(folder / "records")
        self.connect = OpenSsh(self.identity, f"nsenter --net={network.namespace_path(name)} socat - TCP:%h:%p")
        self.start()

    def start(self) -> None:
        self.client: Client = control.ensure_running(
            self.name, self.port, self.folder, robot_port=self.robot_port, progress=lambda _: None
        )

    def robot(self) -> Robot:
        login = RobotLogin(f"http://127.0.0.1:{self.robot_port}", *credentials.read(self.instance.robot_login))
        return Robot.connect(login)

    def rack(self, number: int, **more: Any) -> dict[str, Any]:
        return self.client.call("POST", "/_emulator/dedicated", {"number": number, **more})["dedicated"]

    def server(self, number: int) -> dict[str, Any]:
        return self.client.get(f"/_emulator/dedicated/{number}")["dedicated"]

    def fault(self, **rule: Any) -> None:
        self.client.call("POST", "/_emulator/faults", rule)

    def wanted(self, number: int, **more: Any) -> Wanted:
        ids = [d["by_id"] for d in self.server(number)["hardware"]["disks"]]
        settings = {"storage": Storage(disks=ids, raid=1), "public_key": self.public_key, **more}
        return Wanted(number=number, hostname=f"metal-{number}", **settings)

    def on_vswitch(self, ident: int, address: str, *peers: str) -> OnVSwitch:
        return OnVSwitch(ident, VlanLink("eth0", VLAN, IPv4Interface(address)), peers)

    def install(self, *wanted: Wanted) -> list[Record]:
        """All of them at once, as `pulumi up` does."""

        def one(host: Wanted) -> Record:
            return install(host, self.robot(), self.connect, self.records, HurriedClock(FACTOR))

        with ThreadPoolExecutor(len(wanted)) as pool:
            return list(pool.map(one, wanted))

    def ssh(self, record: Record, script: str, *, check: bool = True, options: Sequence[str] = ()) -> str:
        """With the key that was pinned from inside the rescue system, and no other."""
        known = self.folder / f"known_hosts.{record.number}"
        known.write_text("".join(f"host {key}\n" for key in record.host_keys))
        # ssh takes the first of what is said twice.
        argv = [
            "ssh",
            "-F",
            "/dev/null",
            *options,
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "HostKeyAlias=host",
        ]
        argv += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-i", str(self.identity)]
        argv += ["-o", f"ProxyCommand={self.connect.proxy_command}", f"root@{record.address}", "sh -s"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120)
        if check:
            assert done.returncode == 0, f"{script!r} on {record.hostname}: {done.stdout}{done.stderr}"
        return (done.stdout + ("" if check else done.stderr)).strip()

    def calls(self) -> dict[str, int]:
        """Requests of the webservice so far, by endpoint."""
        calls = json.loads(self.instance.state_file.read_text())["robot"]["calls"]
        return {endpoint: len(times) for endpoint, times in calls.items()}

    def close(self) -> list[str]:
        return control.stop(self.name, self.folder, wipe=True, grace=10)
