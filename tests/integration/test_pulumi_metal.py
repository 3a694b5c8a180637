"""A site of cloud servers and dedicated ones by `pulumi up`: from nothing to SSH, one network, closed, and back."""

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pulumi_rig import BIN, ROOT, Project, changes

from infra.emulator import control
from infra.emulator.client import Client
from infra.emulator.instance import Instance
from infra.emulator.robot import credentials
from infra.paths import state_dir
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin

STACK = "itmixed"
PORT = 8951
CLOUD, METAL = ["data-1", "ops-1"], {"latency-1": 321, "latency-2": 322}

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def mixed_site() -> dict[str, Any]:
    text = re.sub(r"^encryptionsalt:.*\n", "", (ROOT / "Pulumi.local.yaml").read_text(), flags=re.M)
    raw: dict[str, Any] = yaml.safe_load(text)["config"]["baretick:site"]
    raw |= {"name": STACK, "emulator": {"port": PORT}}
    raw["network"]["vswitch"] = {"vlan": 4001, "subnet": "10.77.2.0/24"}
    # Logins on dedicated servers come from the gateway of their own subnet.
    raw["ssh"]["admin_cidrs"] += ["203.0.113.1/32"]
    raw["pools"]["latency"] = {
        "dedicated": {"raid": 1},
        "services": ["engine"],
        "cpus": {"total": 2, "housekeeping": 0, "isolated": 1},
        "hosts": {
            "latency-1": {"address": "10.77.2.11", "server": 321, "disks": disks(321)},
            "latency-2": {"address": "10.77.2.12", "server": 322, "disks": disks(322), "services": []},
        },
    }
    return raw


def disks(number: int) -> list[str]:
    return [f"nvme-EMULATED_512G_{number:06d}{disk}" for disk in "AB"]


class Mixed(Project):
    raw: dict[str, Any]

    def write(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        file = self.folder / f"Pulumi.{self.stack}.yaml"
        # Pulumi keeps the salt of the stack's secrets in this file.
        salt = (
            [line for line in file.read_text().splitlines() if line.startswith("encryptionsalt")]
            if file.exists()
            else []
        )
        file.write_text("\n".join([*salt, yaml.safe_dump({"config": {"baretick:site": raw}})]))

    @property
    def port(self) -> int:
        return int(self.raw["emulator"]["port"])

    def robot(self) -> Robot:
        instance = Instance.at(self.stack, state_dir(self.stack))
        return Robot.connect(RobotLogin(f"http://127.0.0.1:{self.port + 1}", *credentials.read(instance.robot_login)))

    def dedicated(self) -> dict[int, dict[str, Any]]:
        return {s["number"]: s for s in Client(self.port).get("/_emulator/dedicated")["dedicated"]}

    def reaches(self, host: str, address: str, port: int = 22) -> bool:
        command = f"exec 3<>/dev/tcp/{address}/{port} && head -c 3 <&3"
        return self.ssh(host, f"timeout 3 bash -c '{command}'").stdout == "SSH"

    def crosses(self, host: str, address: str, size: int = 1400) -> bool:
        return self.ssh(host, f"ping -c 2 -i 0.3 -W 2 -q -M do -s {size - 28} {address}").returncode == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    made = Mixed(tmp_path_factory.mktemp("mixed"), STACK)
    made.environment["BARETICK_ROBOT_STATE"] = str(made.folder / "ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BARETICK_ROBOT_STATE", str(made.folder / "ledger"))
        made.write(mixed_site())
        made.pulumi("stack", "init", STACK)
        try:
            assert changes(made.up())["created"] > 25
            yield made
        finally:
            assert control.stop(STACK, wipe=True, grace=10) == []
            shutil.rmtree(state_dir(STACK))


def test_every_host_answers_on_ssh_with_its_pinned_key(site: Mixed) -> None:
    graph = site.run(str(BIN / "ansible-inventory"), "--list")
    assert graph.returncode == 0, graph.stderr
    inventory = yaml.safe_load(graph.stdout)
    assert sorted(inventory["pool_latency"]["hosts"]) == sorted(METAL)
    assert inventory["engine"]["hosts"] == ["latency-1"]
    assert inventory["_meta"]["hostvars"]["latency-2"]["server_number"] == 322
    assert "server_number" not in inventory["_meta"]["hostvars"]["data-1"]
    pinned = (state_dir(STACK) / "known_hosts").read_text()
    for host in [*CLOUD, *METAL]:
        answer = site.ssh(host, "hostname; cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        assert answer.returncode == 0, answer.stderr
        name, key = answer.stdout.splitlines()
        assert name == host and f"{host}," in pinned and key in pinned


def test_packets_cross_between_cloud_and_vswitch_at_1400_bytes_unfragmented(site: Mixed) -> None:
    assert site.crosses("latency-1", "10.77.2.12")
    assert site.crosses("data-1", "10.77.2.11") and site.crosses("latency-2", "10.77.1.31")
    assert not site.crosses("latency-1", "10.77.2.12", 1401) and not site.crosses("data-1", "10.77.2.11", 1420)


def test_the_dedicated_servers_are_closed_but_to_the_operator_and_the_site(site: Mixed) -> None:
    for host, number in METAL.items():
        address = site.dedicated()[number]["ip"]
        assert not any(site.reaches(other, address) for other in CLOUD), host
        assert site.robot().firewalls.get(number).status == "active"
    assert site.reaches("ops-1", "10.77.2.11") and site.reaches("latency-2", "10.77.1.11")


def test_a_second_up_and_a_refresh_change_nothing(site: Mixed) -> None:
    boots = {n: s["boots"] for n, s in site.dedicated().items()}
    assert list(changes(site.up())) == ["unchanged"]
    assert list(changes(site.pulumi("refresh", "--yes", "--skip-preview", "--stack", STACK))) == ["unchanged"]
    assert {n: s["boots"] for n, s in site.dedicated().items()} == boots


def test_a_change_that_would_install_anew_is_refused_until_the_servers_number_is_typed(site: Mixed) -> None:
    before, install = site.raw, site.dedicated()[322]["install_id"]
    changed = mixed_site()
    changed["pools"]["latency"]["hosts"]["latency-2"]["generation"] = 1
    site.write(changed)
    for shown in (site.pulumi("preview", "--stack", STACK, ok=False), site.up(ok=False)):
        assert "all that is on its disks would be lost" in shown and "allow_reinstall: 322" in shown
    assert site.dedicated()[322]["install_id"] == install
    changed["pools"]["latency"]["hosts"]["latency-2"]["allow_reinstall"] = 322
    site.write(changed)
    assert changes(site.up())["updated"] == 1
    assert site.dedicated()[322]["install_id"] not in (None, install)
    site.run(str(BIN / "ansible-inventory"), "--graph")
    assert site.ssh("latency-2", "hostname").stdout == "latency-2\n"
    assert site.crosses("latency-2", "10.77.2.11")
    assert before is not changed


def test_a_further_opening_reaches_every_firewall_and_restarts_nothing(site: Mixed) -> None:
    boots = {n: s["boots"] for n, s in site.dedicated().items()}
    site.raw["firewall"] = {"openings": [{"port": 8000, "sources": ["198.51.100.0/24"], "description": "status page"}]}
    site.write(site.raw)
    # The cloud's firewall and both hosts.
    assert changes(site.up())["updated"] == 3
    rules = site.robot().firewalls.get(321).input
    assert [r.src_ip for r in rules if r.dst_port == "8000"] == ["198.51.100.0/24"]
    assert {n: s["boots"] for n, s in site.dedicated().items()} == boots


def test_a_server_taken_off_the_vswitch_behind_pulumis_back_is_put_back(site: Mixed) -> None:
    robot = site.robot()
    (vswitch,) = [v.id for v in robot.vswitches.every() if not v.cancelled]
    robot.vswitches.leave(vswitch, [321], time.sleep)
    assert not site.crosses("data-1", "10.77.2.11")
    assert changes(site.up("--refresh"))["updated"] == 1
    assert site.crosses("data-1", "10.77.2.11")


def test_destroying_detaches_the_servers_and_leaves_contract_and_disks(site: Mixed) -> None:
    had = {n: s["install_id"] for n, s in site.dedicated().items()}
    site.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
    client, robot = Client(PORT), site.robot()
    for family in ("servers", "networks", "firewalls", "ssh_keys"):
        assert client.every(family) == [], family
    assert all(v.cancelled for v in robot.vswitches.every())
    for number in METAL.values():
        assert robot.firewalls.get(number).status == "disabled"
        assert not robot.servers.get(number, fresh=True).cancelled
    assert {n: s["install_id"] for n, s in site.dedicated().items()} == had
    assert {s["system"] for s in site.dedicated().values()} == {"disk"}


def test_the_site_comes_back_on_the_systems_that_are_there(site: Mixed) -> None:
    boots = {n: s["boots"] for n, s in site.dedicated().items()}
    site.up()
    assert {n: s["boots"] for n, s in site.dedicated().items()} == boots
    site.run(str(BIN / "ansible-inventory"), "--graph")
    assert site.ssh("latency-1", "hostname").stdout == "latency-1\n"
    assert site.crosses("data-1", "10.77.2.11")
