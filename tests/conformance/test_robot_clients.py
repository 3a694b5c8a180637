"""The Robot webservice of the emulator, asked by clients that were written for Hetzner's: none of them is changed."""

import pytest

from infra.emulator.faults import FaultRule
from infra.emulator.testing import ROBOT_LOGIN
from tests.conformance.conftest import World

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963 operator"
PRINT = "8f:9e:8c:69:fb:43:62:7d:4e:f4:e8:69:31:30:94:a9"

HETZNER = """
import json, os
from hetzner.robot import Robot
robot = Robot(os.environ["ROBOT_USER"], os.environ["ROBOT_PASSWORD"])
servers = sorted(robot.servers, key=lambda s: s.number)
one = servers[0]
one.set_name("renamed")
one.rescue.activate()
armed = (one.rescue.active, bool(one.rescue.password))
one.rescue.deactivate()
one.reboot("hard")
one.rdns = None
ips = [str(ip.ip) for ip in one.ips]
entry = robot.rdns.get(one.ip)
entry.set("one.example.com")
names = {r.ip: r.ptr for r in robot.rdns}
entry.remove()
print(json.dumps({
    "numbers": [s.number for s in servers],
    "name": robot.servers.get(one.ip).name,
    "armed": armed,
    "still": one.rescue.active,
    "ips": ips,
    "rdns": names,
}))
"""


def test_hetzner_from_pypi(world: World) -> None:
    said = world.python(HETZNER)
    server = world.api.account.db.servers[321]
    assert said["numbers"] == [321, 322]
    assert said["name"] == server.name == "renamed"
    assert said["armed"] == [True, True] and said["still"] is False
    assert said["ips"] == [server.ip]
    assert said["rdns"] == {server.ip: "one.example.com"}
    assert server.machine.boots == 1
    assert world.api.account.db.rdns == {}


HROBOT_PY = """
import base64, json, os
from hetzner_robot_webservice_api_unofficial_client import AuthenticatedClient
from hetzner_robot_webservice_api_unofficial_client.api.boot_configuration import (
    activate_boot_rescue, deactivate_boot_rescue, get_boot_configuration)
from hetzner_robot_webservice_api_unofficial_client.api.reset import *
from hetzner_robot_webservice_api_unofficial_client.api.server import get_server, list_servers
from hetzner_robot_webservice_api_unofficial_client.api.v_switch import create_v_switch, get_v_switch, list_v_switches
from hetzner_robot_webservice_api_unofficial_client.models import ActivateBootRescueRequest, CreateVSwitchRequest
token = base64.b64encode(f"{os.environ['ROBOT_USER']}:{os.environ['ROBOT_PASSWORD']}".encode()).decode()
client = AuthenticatedClient(base_url="https://robot-ws.your-server.de", token=token, prefix="Basic")
servers = list_servers.sync(client=client)
one = get_server.sync("321", client=client)
made = create_v_switch.sync(client=client, body=CreateVSwitchRequest(name="site", vlan=4000))
found = get_v_switch.sync(str(made.id), client=client)
print(json.dumps({
    "servers": [s.server.server_number for s in servers],
    "one": one.server.server_name,
    "vswitch": [found.name, found.vlan, [v.id for v in list_v_switches.sync(client=client)] == [made.id]],
}))
"""


def test_hrobot_py_from_pypi(world: World) -> None:
    said = world.python(HROBOT_PY)
    assert said == {"servers": [321, 322], "one": "one", "vswitch": ["site", 4000, True]}


def hrobot(module: str, **options) -> dict:
    user, password = ROBOT_LOGIN
    login = {"hetzner_user": user, "hetzner_password": password}
    return {"name": module, f"community.hrobot.{module}": {**login, **options}}


RULES = {
    "input": [
        {"name": "ssh", "ip_version": "ipv4", "src_ip": "198.51.100.0/24", "dst_port": "22", "protocol": "tcp"}
        | {"action": "accept"},
        {"name": "established", "ip_version": "ipv4", "dst_port": "32768-65535", "protocol": "tcp", "tcp_flags": "ack"}
        | {"action": "accept"},
    ],
    "output": [{"name": "all", "action": "accept"}],
}


def test_community_hrobot_modules(world: World) -> None:
    account = world.api.account
    ip = account.db.servers[321].ip
    wait = {"wait_delay": 1, "timeout": 60}
    present = [
        hrobot("ssh_key", state="present", name="operator", public_key=KEY),
        hrobot("server", server_number=321, server_name="data-1"),
        hrobot("boot", server_number=321, rescue={"os": "linux", "authorized_keys": [PRINT]}),
        hrobot("firewall", server_ip=ip, state="present", allowlist_hos=True, rules=RULES, **wait),
        hrobot("v_switch", name="site", vlan=4000, servers=["321", "322"], **wait),
        hrobot("reverse_dns", ip=ip, value="data-1.example.com"),
    ]
    first = world.playbook(present)
    assert [task["changed"] for task in first] == [True] * 6
    assert [rule["name"] for rule in first[3]["firewall"]["rules"]["input"]] == ["ssh", "established"]
    assert first[3]["firewall"]["status"] == "active"
    assert [s["status"] for s in first[4]["v_switch"]["server"]] == ["ready", "ready"]

    questions = [
        hrobot("server_info", full_info=True),
        hrobot("ssh_key_info"),
        hrobot("firewall_info", server_ip=ip),
        hrobot("reset_info", server_number=321),
    ]
    second = world.playbook([*present, *questions])
    # What reset_info says of a change is its own affair.
    assert [task["changed"] for task in second[:9]] == [False] * 9
    assert "software" in second[9]["reset"]["type"]
    assert {s["server_number"]: s["server_name"] for s in second[6]["servers"]} == {321: "data-1", 322: "two"}
    assert second[7]["ssh_keys"][0]["fingerprint"] == PRINT

    absent = world.playbook(
        [
            hrobot("reset", server_number=321, reset_type="hardware"),
            hrobot("boot", server_number=321, regular_boot=True),
            hrobot("v_switch", name="site", vlan=4000, servers=[], **wait),
            hrobot("v_switch", name="site", vlan=4000, state="absent", **wait),
            hrobot("firewall", server_ip=ip, state="absent", **wait),
            hrobot("reverse_dns", ip=ip, state="absent"),
            hrobot("ssh_key", state="absent", fingerprint=PRINT),
        ]
    )
    # The reset used up what was armed.
    assert [task["changed"] for task in absent] == [True, False, True, True, True, True, True]
    assert account.db.servers[321].firewall.status == "disabled" and account.db.keys == {}


def test_a_refused_login_is_told_by_others_clients_too(world: World) -> None:
    world.environment["ROBOT_PASSWORD"] = "wrong"
    with pytest.raises(AssertionError, match="401 - Unauthorized"):
        world.python(HETZNER)


def test_a_firewall_that_stays_in_process_is_seen_as_that_by_others(world: World) -> None:
    world.api.account.faults.add(FaultRule(kind="firewall-stuck"))
    ip = world.api.account.db.servers[321].ip
    (said,) = world.playbook([hrobot("firewall", server_ip=ip, state="present", rules=RULES, wait_delay=1, timeout=3)])
    assert said["firewall"]["status"] == "in process" and "Timeout" in str(said["warnings"])
