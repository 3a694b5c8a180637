"""The cloud API of the emulator, asked by Hetzner's own client and Ansible collection: neither is changed."""

import json

from infra.emulator.faults import FaultRule
from tests.conformance.conftest import World

HCLOUD = """
import json, os
from hcloud import Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import NetworkSubnet
from hcloud.server_types import ServerType
client = Client(os.environ["HCLOUD_TOKEN"], api_endpoint=os.environ["HCLOUD_ENDPOINT"], poll_interval=0.05)
network = client.networks.create("site", "10.77.0.0/16", expose_routes_to_vswitch=True)
subnet = NetworkSubnet(ip_range="10.77.1.0/24", type="cloud", network_zone="eu-central")
network.add_subnet(subnet).wait_until_finished()
answer = client.servers.create(
    "ops-1", ServerType(name="cx33"), Image(name="debian-13"), location=Location(name="fsn1"), networks=[network])
answer.action.wait_until_finished()
for action in answer.next_actions:
    action.wait_until_finished()
server = client.servers.get_by_name("ops-1")
print(json.dumps({"status": server.status, "ip": server.private_net[0].ip,
                  "types": len(client.server_types.get_all()), "locations": len(client.locations.get_all())}))
"""


def test_hcloud_from_pypi(world: World) -> None:
    said = world.python(HCLOUD)
    assert said["status"] == "running" and said["ip"].startswith("10.77.1.")
    assert said["types"] > 10 and said["locations"] == 6


def test_hcloud_gets_over_injected_faults(world: World) -> None:
    for rule in ({"status": 502}, {"status": 429}, {"status": 409, "code": "conflict"}):
        world.api.account.faults.add(FaultRule(kind="status", api="hcloud", method="GET", **rule))
    assert world.python(HCLOUD)["status"] == "running"


def hcloud(module: str, **options) -> dict:
    return {"name": module, f"hetzner.hcloud.{module}": options}


def test_hetzner_hcloud_modules(world: World) -> None:
    tasks = [
        hcloud("ssh_key", name="operator", public_key=json.loads(json.dumps(KEY))),
        hcloud("network", name="site", ip_range="10.77.0.0/16"),
        hcloud("subnetwork", network="site", ip_range="10.77.1.0/24", network_zone="eu-central", type="cloud"),
        hcloud("firewall", name="edge", rules=[SSH]),
        hcloud("placement_group", name="ops", type="spread"),
        hcloud("server", name="ops-1", server_type="cx33", image="debian-13", location="fsn1", ssh_keys=["operator"])
        | {"register": "made"},
        hcloud("server_network", server="ops-1", network="site", ip="10.77.1.31"),
    ]
    first = world.playbook(tasks)
    assert [task["changed"] for task in first] == [True] * len(tasks)
    second = world.playbook([*tasks, hcloud("server_info", name="ops-1")])
    assert [task["changed"] for task in second] == [False] * (len(tasks) + 1)
    assert second[-1]["hcloud_server_info"][0]["status"] == "running"


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963 operator"
SSH = {"direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["198.51.100.0/24"], "description": "ssh"}
