"""Dedicated servers in the Pulumi program: what it declares, and what its providers do against the emulated Robot."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dill
import pytest
from pulumi.dynamic.dynamic import serialize_provider
from test_program import Recorder, run
from test_site_dedicated import mixed

from infra.access import Operator
from infra.dynamic import robot_hosts
from infra.dynamic.metal_host import MetalHostProvider
from infra.dynamic.robot_access import RobotAccess
from infra.dynamic.vswitch import VSwitchProvider
from infra.emulator.faults import FaultRule
from infra.emulator.process import ProcessRef
from infra.emulator.testing import ROBOT_LOGIN, Running, running_api
from infra.metal import wanted
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin
from infra.robot.errors import RobotError
from infra.robot.install.context import Stopped
from infra.robot.install.emulated import EmulatedConnect
from infra.robot.install.machine import HurriedClock
from infra.robot.install.record import Records
from infra.site import parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963 operator"


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.stack._rack", lambda *_: None)
        return run(tmp_path_factory.mktemp("state"), "local", {"baretick:site": json.dumps(mixed())})


def test_the_vswitch_is_coupled_to_the_network_after_the_clouds_own_subnet(declared: Recorder) -> None:
    (vswitch,) = declared.of("VSwitch")
    assert (vswitch.inputs["name"], vswitch.inputs["vlan"]) == ("local", 4000)
    (network,) = declared.of("Network")
    assert network.inputs["exposeRoutesToVswitch"] is True
    subnets = {s.inputs["type"]: s.inputs for s in declared.of("NetworkSubnet")}
    assert subnets["vswitch"]["ipRange"] == "10.77.2.0/24" and subnets["cloud"]["ipRange"] == "10.77.1.0/24"
    kinds = [s.inputs["type"] for s in declared.of("NetworkSubnet")]
    assert kinds == ["cloud", "vswitch"]


def test_dedicated_hosts_are_no_cloud_servers_and_cloud_hosts_no_dedicated_ones(declared: Recorder) -> None:
    assert {h.inputs["hostname"]: h.inputs["number"] for h in declared.of("MetalHost")} == {
        "latency-1": 321,
        "latency-2": 322,
    }
    assert {s.inputs["name"] for s in declared.of("Server")} == {"data-1", "ops-1"}
    assert len(declared.of("PlacementGroup")) == 2


def test_nothing_of_a_dedicated_host_in_the_state_is_secret(declared: Recorder) -> None:
    text = json.dumps([h.inputs for h in declared.of("MetalHost")])
    assert "password" not in text.lower() and "PRIVATE" not in text


def test_the_providers_are_pickled_by_name() -> None:
    for provider in (MetalHostProvider(), VSwitchProvider()):
        pickled = base64.b64decode(serialize_provider(provider))
        assert len(pickled) < 200 and type(dill.loads(pickled)) is type(provider)


@dataclass
class Site:
    """The providers at work: the webservice is the emulator's, hosts are its records, time is short."""

    api: Running
    folder: Path
    raw: str
    asked: list[str] = field(default_factory=list)

    def access(self, raw: str, stack: str) -> RobotAccess:
        assert (raw, stack) == (self.raw, "unit")
        robot = Robot.connect(RobotLogin(self.api.robot_endpoint, *ROBOT_LOGIN))
        return RobotAccess(robot, HurriedClock(2000.0), Records(self.folder / "records", durable=False))

    def provider(self) -> MetalHostProvider:
        made = MetalHostProvider()
        made.site = self.raw
        return made

    def props(self, name: str = "latency-1", **said: Any) -> dict[str, Any]:
        disks = [d.by_id for d in self.api.account.db.servers[321].hardware.disks]
        path = f"pools/latency/hosts/{name}/"
        changes = [(path + "disks", disks), *((path + key, value) for key, value in said.items())]
        site = parse(mixed(*changes), "unit")
        (host,) = [h for h in site.hosts if h.name == name]
        return {
            "stack": "unit",
            "number": float(host.said.server or 0),
            "hostname": name,
            "wanted": json.loads(json.dumps(wanted(site, host, Operator(KEY, "id")))),
            "identity_file": "id",
            "vswitch_id": float(self.vswitch),
        }

    @property
    def vswitch(self) -> int:
        return next((v.id for v in self.api.account.db.vswitches.values()), 0)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("BARETICK_ROBOT_STATE", str(tmp_path / "ledger"))
    with running_api() as api:
        api.account.db.settings.delay_scale = 0.001
        api.account.rack(number=321)
        made = Site(api, tmp_path, json.dumps(mixed()))
        monkeypatch.setattr(robot_hosts, "access", made.access)
        monkeypatch.setattr(robot_hosts, "login_of", lambda _: EmulatedConnect(f"http://127.0.0.1:{api.port}", KEY))
        monkeypatch.setattr(robot_hosts, "close_connections", lambda *_: 0)
        vswitch = VSwitchProvider()
        vswitch.site = made.raw
        vswitch.create({"stack": "unit", "name": "local", "vlan": 4000.0})
        yield made


def test_a_host_is_installed_when_it_is_made_and_left_alone_after(site: Site) -> None:
    props = site.props()
    made = site.provider().create(props)
    assert made.id == "321" and made.outs["host_key"].startswith("ssh-ed25519 ")
    account = site.api.account
    assert [m.server_number for m in account.db.vswitches[site.vswitch].members] == [321]
    assert account.db.servers[321].firewall.status == "active"
    assert account.db.servers[321].name == "latency-1"
    boots = account.db.servers[321].machine.boots
    assert site.provider().diff("321", made.outs, props).changes is False
    assert site.provider().update("321", made.outs, props).outs["host_key"] == made.outs["host_key"]
    assert account.db.servers[321].machine.boots == boots


def test_a_change_that_would_install_anew_is_refused_unless_the_number_was_typed(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    (failure,) = provider.check(props, site.props(generation=1)).failures
    assert "all that is on its disks would be lost" in failure.reason and "allow_reinstall: 321" in failure.reason
    anew = site.props(generation=1, allow_reinstall=321)
    assert provider.check(props, anew).failures == []
    assert provider.diff("321", made.outs, anew).replaces == []
    again = provider.update("321", made.outs, anew).outs
    assert again["install_id"] != made.outs["install_id"] and again["host_key"] != made.outs["host_key"]


def test_what_can_change_on_a_host_that_stays_is_no_matter_of_consent(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    news = site.props(reverse_dns="latency-1.example.com")
    assert provider.check(props, news).failures == []
    assert provider.diff("321", made.outs, news).changes is True


def test_a_host_with_another_number_is_another_server(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    other = {**props, "number": 322.0}
    assert provider.check(props, other).failures == []
    change = provider.diff("321", made.outs, other)
    assert change.replaces == ["number"] and change.delete_before_replace is True


def test_destroying_detaches_and_keeps_system_and_contract(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    provider.delete("321", made.outs)
    server = site.api.account.db.servers[321]
    assert site.api.account.db.vswitches[site.vswitch].members == []
    assert server.firewall.status == "disabled" and server.cancellation is None
    assert server.machine.installed is not None and server.machine.running == "disk"
    # Once more, as after an interruption, and then it is taken back as it is.
    provider.delete("321", made.outs)
    boots = server.machine.boots
    again = provider.create(props)
    assert again.outs["host_key"] == made.outs["host_key"] and server.machine.boots == boots
    assert [m.server_number for m in site.api.account.db.vswitches[site.vswitch].members] == [321]
    assert site.api.account.db.servers[321].firewall.status == "active"


def test_destroying_waits_for_the_firewall_and_says_so_where_it_never_ends(site: Site) -> None:
    made = site.provider().create(site.props())
    site.api.account.faults.add(FaultRule(kind="firewall-stuck", server=321, times=1))
    with pytest.raises(RobotError, match=r"latency-1 \(server 321\): Robot still takes its firewall away"):
        site.provider().delete("321", made.outs)


def test_a_refresh_sees_what_was_changed_behind_pulumis_back(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    assert provider.read("321", made.outs).outs["degraded"] == ""
    site.api.account.db.vswitches[site.vswitch].members.clear()
    found = provider.read("321", made.outs)
    assert "not on vSwitch" in found.outs["degraded"]
    assert provider.diff("321", found.outs, props).changes is True
    assert provider.update("321", found.outs, props).outs["degraded"] == ""
    assert [m.server_number for m in site.api.account.db.vswitches[site.vswitch].members] == [321]
    site.api.account.db.servers[321].firewall.input.clear()
    assert "its firewall has other rules" in provider.read("321", made.outs).outs["degraded"]


def test_a_server_that_left_the_account_is_read_as_gone(site: Site) -> None:
    provider, props = site.provider(), site.props()
    made = provider.create(props)
    del site.api.account.db.servers[321]
    site.api.account.db.vswitches[site.vswitch].members.clear()
    assert provider.read("321", made.outs).id == ""


def test_an_installation_that_stops_names_host_state_cause_and_next_step(site: Site) -> None:
    props = site.props(disks=["nvme-NOT", "nvme-THERE"])
    with pytest.raises(Stopped, match=r"latency-1 \(server 321\), state hardware: there is no disk 'nvme-NOT'"):
        site.provider().create(props)


def test_a_vswitch_is_found_again_and_cancelled_once(site: Site) -> None:
    provider = VSwitchProvider()
    provider.site = site.raw
    props = {"stack": "unit", "name": "local", "vlan": 4000.0}
    again = provider.create(props)
    assert int(again.id) == site.vswitch and len(site.api.account.db.vswitches) == 1
    assert provider.diff(again.id, again.outs, props).changes is False
    assert provider.read(again.id, again.outs).id == again.id
    provider.delete(again.id, again.outs)
    provider.delete(again.id, again.outs)
    assert provider.read(again.id, again.outs).id == ""


PROVIDER = """
from infra.dynamic.robot_access import follow_parent
import os, time
follow_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""
# Pulumi starts its provider by a shell that waits for it, in a process group of its own.
PULUMI = """
import subprocess, sys, time
command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[1]]
child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
print(child.stdout.readline().decode(), end="", flush=True)
time.sleep(60)
"""


def test_a_provider_does_not_outlive_a_killed_pulumi() -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PULUMI, PROVIDER], stdout=subprocess.PIPE, cwd=root, text=True
    ) as pulumi:
        assert pulumi.stdout is not None
        provider = ProcessRef.of(int(pulumi.stdout.readline()))
        assert provider is not None and not provider.wait(1.2)
        pulumi.kill()
    assert provider.wait(20)
