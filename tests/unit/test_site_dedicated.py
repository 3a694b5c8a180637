"""A site with dedicated servers: what is accepted, and what each kind of mistake is told."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.credentials import robot_problems
from infra.problems import InvalidSite
from infra.site import Site, parse

ROOT = Path(__file__).resolve().parents[2]
LOCAL = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]["baretick:site"]
POOL = "pools/latency/"
HOST = POOL + "hosts/latency-1/"


def mixed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The local site with its latency pool on two dedicated servers, and values set; ... removes the key."""
    raw = copy.deepcopy(LOCAL)
    raw["network"]["vswitch"] = {"vlan": 4000, "subnet": "10.77.2.0/24"}
    raw["pools"]["latency"] = {
        "dedicated": {"raid": 1},
        "services": ["engine"],
        "cpus": {"total": 2, "housekeeping": 0, "isolated": 1},
        "hosts": {
            "latency-1": {"address": "10.77.2.11", "server": 321, "disks": ["nvme-A", "nvme-B"]},
            "latency-2": {"address": "10.77.2.12", "server": 322, "disks": ["nvme-C", "nvme-D"], "services": []},
        },
    }
    for path, value in changes:
        at = raw
        *parents, last = path.split("/")
        for part in parents:
            at = at[part]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return raw


def told(*changes: tuple[str, Any]) -> list[str]:
    with pytest.raises(InvalidSite) as caught:
        parse(mixed(*changes), "Pulumi.mixed.yaml")
    return [str(p) for p in caught.value.problems]


def test_a_pool_of_dedicated_servers_stands_beside_pools_of_cloud_servers() -> None:
    site: Site = parse(mixed(), "Pulumi.mixed.yaml")
    dedicated = {h.name: (h.said.server, h.address) for h in site.hosts if h.dedicated}
    assert dedicated == {"latency-1": (321, "10.77.2.11"), "latency-2": (322, "10.77.2.12")}
    assert site.emulator.robot == site.emulator.port + 1
    assert str(site.network.vswitch and site.network.vswitch.gateway) == "10.77.2.1"


@pytest.mark.parametrize(
    ("changes", "where", "what", "mend"),
    [
        pytest.param([(POOL + "server_type", "ccx13")], "pools.latency", "both", "server_type", id="two kinds"),
        pytest.param([(POOL + "dedicated", ...)], "pools.latency", "neither", "dedicated", id="no kind"),
        pytest.param([("network/vswitch", ...)], "network.vswitch", "none is described", "vlan", id="no vSwitch"),
        pytest.param(
            [("network/vswitch/vlan", 100)],
            "network.vswitch.vlan",
            "4000",
            "4000",
            id="a VLAN that vSwitches do not take",
        ),
        pytest.param(
            [("network/vswitch/subnet", "10.77.1.128/25")],
            "network.vswitch.subnet",
            "overlaps the cloud servers' subnet 10.77.1.0/24",
            "another part",
            id="overlapping subnets",
        ),
        pytest.param(
            [("network/vswitch/subnet", "10.99.2.0/24")],
            "network.vswitch.subnet",
            "lies outside the network 10.77.0.0/16",
            "Use a part of it",
            id="a subnet outside",
        ),
        pytest.param(
            [(HOST + "address", "10.77.1.77")],
            "pools.latency.hosts.latency-1",
            "lies outside the vSwitch's subnet 10.77.2.0/24",
            "between 10.77.2.1 and 10.77.2.254",
            id="an address of the cloud's",
        ),
        pytest.param(
            [(HOST + "address", "10.77.2.1")],
            "pools.latency.hosts.latency-1",
            "the gateway of the vSwitch's subnet",
            "another one",
            id="the gateway's address",
        ),
        pytest.param(
            [(HOST + "server", ...)], HOST.replace("/", ".") + "server", "missing", "as Robot shows it", id="no number"
        ),
        pytest.param([(HOST + "disks", ...)], HOST.replace("/", ".") + "disks", "missing", "by-id", id="no disks"),
        pytest.param(
            [(HOST + "disks", ["nvme-A"])],
            "pools.latency.hosts.latency-1",
            "raid 1 takes 2 disks",
            "Name more disks",
            id="too few disks",
        ),
        pytest.param(
            [(HOST + "server", 322)],
            "pools.latency.hosts.latency-2.server",
            "server 322 is already pools.latency.hosts.latency-1",
            "Correct one",
            id="one server twice",
        ),
        pytest.param(
            [(HOST + "allow_reinstall", True)],
            "pools.latency.hosts.latency-1.allow_reinstall",
            "1 is not this server's number",
            "Type 321",
            id="consent that is no number",
        ),
        pytest.param(
            [(HOST + "allow_reinstall", 322)],
            "pools.latency.hosts.latency-1.allow_reinstall",
            "322 is not this server's number",
            "Type 321",
            id="consent for another",
        ),
        pytest.param(
            [("pools/ops/hosts/ops-1", {"address": "10.77.1.31", "server": 9})],
            "pools.ops.hosts.ops-1.server",
            "dedicated servers alone",
            "Remove it",
            id="a number of a cloud server",
        ),
        pytest.param(
            [("firewall", {"openings": [{"port": p, "sources": ["192.0.2.0/24"]} for p in (1, 2, 3, 4, 5)]})],
            "firewall.openings",
            "and Robot takes 10",
            "fewer or larger networks",
            id="more rules than Robot takes",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is_and_how_to_mend_it(
    changes: list[tuple[str, Any]], where: str, what: str, mend: str
) -> None:
    # A wrong subnet or kind is told of the hosts in it too.
    (problem,) = [p for p in told(*changes) if p.startswith(where + ":")]
    assert what in problem and mend in problem


def test_a_vswitch_needs_a_location_where_there_are_some() -> None:
    said = told(("location", "ash"), ("network/zone", "us-east"))
    assert any("no vSwitches in zone" in line for line in said)


def test_a_site_at_hetzner_with_dedicated_servers_needs_robots_login(tmp_path: Path) -> None:
    nowhere = {"ROBOT_LOGIN_FILE": str(tmp_path / "none")}
    raw = mixed(("environment", "hetzner"))
    (problem,) = robot_problems(raw, nowhere)
    assert "ROBOT_USER and ROBOT_PASSWORD are not set" in str(problem)
    assert robot_problems(raw, {"ROBOT_USER": "#ws+x", "ROBOT_PASSWORD": "y"}) == []
    assert robot_problems(mixed(), nowhere) == []
    assert robot_problems(LOCAL | {"environment": "hetzner"}, nowhere) == []
