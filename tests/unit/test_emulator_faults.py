"""Injected failures of both APIs and of what stands behind them, as clients meet them; and that they are remembered."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hcloud import APIException, Client

from infra.emulator.errors import EmulatorError
from infra.emulator.faults import FaultRule, Faults
from infra.emulator.testing import ROBOT_LOGIN, Running, running_api
from infra.robot.budget import Ledger
from infra.robot.client import Robot
from infra.robot.credentials import RobotLogin
from infra.robot.errors import RateLimited, Uncertain, Unreachable
from infra.robot.transport import HttpsWire, Transport


@pytest.fixture
def api() -> Iterator[Running]:
    with running_api() as running:
        running.account.rack(number=321)
        yield running


@pytest.fixture
def hetzner(api: Running) -> Client:
    return Client("t" * 64, api_endpoint=api.endpoint, poll_interval=0.01, poll_max_retries=3)


@pytest.fixture
def robot(api: Running, tmp_path: Path) -> Robot:
    login = RobotLogin(api.robot_endpoint, *ROBOT_LOGIN)
    return Robot(Transport(HttpsWire(login), Ledger(tmp_path), sleep=lambda s: None, patience=0))


def inject(running: Running, /, **rule) -> int:
    return running.client.call("POST", "/_emulator/faults", rule)["fault"]["id"]


def hits(api: Running) -> list[int]:
    return [rule["hits"] for rule in api.client.get("/_emulator/faults")["faults"]]


def test_a_rule_strikes_what_it_names_as_often_as_it_says(api: Running, robot: Robot) -> None:
    inject(api, kind="status", api="robot", method="GET", path="^/server$", status=500, skip=1, times=2)
    assert len(robot.servers.every()) == 1
    assert len(robot.servers.every()) == 1
    assert hits(api) == [3]
    robot.resets.every()
    assert hits(api) == [3]


def test_rules_are_replaced_and_removed(api: Running) -> None:
    first = inject(api, kind="slow")
    api.client.call("DELETE", f"/_emulator/faults/{first}")
    rules = [{"kind": "reset"}, {"kind": "no-return", "server": 321}]
    replaced = api.client.call("PUT", "/_emulator/faults", rules)["faults"]
    assert [r["kind"] for r in replaced] == ["reset", "no-return"]
    with pytest.raises(EmulatorError, match="fault with ID"):
        api.client.call("DELETE", "/_emulator/faults/77")


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "status", "status": 200},
        {"kind": "no-return", "path": "/x"},
        {"kind": "slow", "path": "("},
        {"kind": "slow", "colour": "red"},
        {"kind": "slow", "command": "create_server"},
    ],
)
def test_a_rule_that_means_nothing_is_refused(api: Running, rule: dict[str, object]) -> None:
    with pytest.raises(EmulatorError, match="invalid input"):
        inject(api, **rule)


def test_a_connection_is_reset_before_or_after_the_request_took_effect(api: Running, robot: Robot) -> None:
    inject(api, kind="reset", api="robot", path="/reset/")
    with pytest.raises(Uncertain):
        robot.resets.reset(321, "hw")
    assert api.account.db.servers[321].machine.boots == 0
    inject(api, kind="reset", api="robot", path="/reset/", after=True)
    with pytest.raises(Uncertain):
        robot.resets.reset(321, "hw")
    assert api.account.db.servers[321].machine.boots == 1


def test_the_cloud_is_reset_slow_busy_and_in_conflict(api: Running, hetzner: Client) -> None:
    inject(api, kind="reset", api="hcloud", path="/v1/locations")
    with pytest.raises(OSError):
        hetzner.locations.get_all()
    inject(api, kind="slow", api="hcloud", seconds=0.3)
    began = time.monotonic()
    hetzner.locations.get_all()
    assert time.monotonic() - began >= 0.3
    inject(api, kind="status", api="hcloud", status=503)
    with pytest.raises(APIException) as refused:
        hetzner.locations.get_all()
    assert refused.value.code == "unavailable"


def test_a_rate_limit_of_the_cloud_says_when_it_ends(api: Running) -> None:
    inject(api, kind="status", api="hcloud", status=429, interval=17)
    line = http.client.HTTPConnection("127.0.0.1", api.port)
    line.request("GET", "/v1/locations", headers={"Authorization": "Bearer " + "t" * 64})
    answer = line.getresponse()
    assert (answer.status, answer.headers["Retry-After"], answer.headers["RateLimit-Remaining"]) == (429, "17", "0")
    assert json.loads(answer.read())["error"]["code"] == "rate_limit_exceeded"
    line.close()


def test_an_action_that_is_stuck_runs_until_the_emulator_starts_anew(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running_api(state) as api:
        inject(api, kind="stuck-action", command="create_server")
        body = {"name": "a", "server_type": "cx33", "image": "debian-13"}
        action = api.client.call("POST", "/v1/servers", body)["action"]
        for _ in range(5):
            time.sleep(0.02)
            assert api.client.get(f"/v1/actions/{action['id']}")["action"]["status"] == "running"
    with running_api(state) as api:
        assert api.client.get(f"/v1/actions/{action['id']}")["action"]["status"] == "success"


def test_robots_rate_limit_maintenance_and_gateway_are_met_on_the_wire(api: Running, robot: Robot) -> None:
    inject(api, kind="status", api="robot", status=403, interval=600, max_field="max_requests", max_request=5)
    with pytest.raises(RateLimited) as told:
        robot.servers.every()
    assert (told.value.interval, told.value.limit) == (600, 5)
    inject(api, kind="status", api="robot", path="/reset", status=503)
    assert len(robot.resets.every()) == 1
    inject(api, kind="status", api="robot", path="/key", status=502, times=None)
    with pytest.raises(Unreachable, match="status 502"):
        robot.keys.every()


def test_faults_and_what_they_counted_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running_api(state) as api:
        inject(api, kind="status", api="hcloud", status=500, times=3)
        with pytest.raises(EmulatorError):
            api.client.get("/v1/locations")
    with running_api(state) as api:
        assert hits(api) == [1]


def test_robots_state_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    login = tmp_path / "ledger"

    def client(api: Running) -> Robot:
        wire = HttpsWire(RobotLogin(api.robot_endpoint, *ROBOT_LOGIN))
        return Robot(Transport(wire, Ledger(login), sleep=lambda s: None))

    with running_api(state) as api:
        api.client.call("POST", "/_emulator/dedicated", {"number": 321, "name": "one", "product": "SX65"})
        client(api).boots.activate_rescue(321, [])
        vswitch = client(api).vswitches.ensure("site", 4000)
        client(api).resets.reset(321, "hw")
        api.client.call("PATCH", "/_emulator/robot/settings", {"delay_scale": 0})
        before = api.client.get("/_emulator/dedicated")
    assert state.stat().st_mode & 0o777 == 0o600
    with running_api(state) as api:
        assert client(api).vswitches.get(vswitch.id) == vswitch
        assert client(api).boots.last(321) is not None
        after = api.client.get("/_emulator/dedicated")
        assert after["dedicated"][0]["boots"] == before["dedicated"][0]["boots"] == 1
        assert [d["rotational"] for d in after["dedicated"][0]["hardware"]["disks"]] == [False, False, True, True]
        api.client.call("DELETE", "/_emulator/dedicated/321")
        assert client(api).servers.every() == []


def test_a_vswitch_names_the_cloud_network_that_it_is_coupled_to(api: Running, robot: Robot) -> None:
    vswitch = robot.vswitches.ensure("site", 4000)
    subnets = [
        {"type": "cloud", "network_zone": "eu-central", "ip_range": "10.77.1.0/24"},
        {"type": "vswitch", "network_zone": "eu-central", "ip_range": "10.77.2.0/24", "vswitch_id": vswitch.id},
    ]
    made = api.client.call("POST", "/v1/networks", {"name": "site", "ip_range": "10.77.0.0/16", "subnets": subnets})
    (network,) = robot.vswitches.get(vswitch.id).cloud_network
    assert (network.id, network.ip, network.mask) == (made["network"]["id"], "10.77.2.0", 24)


def test_three_failed_logins_lock_the_address_out(api: Running) -> None:
    import base64

    def status(password: str) -> int:
        line = http.client.HTTPConnection("127.0.0.1", api.robot_port)
        token = base64.b64encode(f"{ROBOT_LOGIN[0]}:{password}".encode()).decode()
        line.request("GET", "/server", headers={"Authorization": f"Basic {token}"})
        answer = line.getresponse().status
        line.close()
        return answer

    assert status(ROBOT_LOGIN[1]) == 200
    assert [status("wrong") for _ in range(3)] == [401] * 3
    assert status(ROBOT_LOGIN[1]) == 401


def test_eleven_rules_are_refused_as_wrong_ones_and_leave_no_firewall(api: Running, robot: Robot) -> None:
    from infra.robot.errors import Refused
    from infra.robot.models import Firewall, Rule

    api.account.db.settings.delay_scale = 0
    wall = Firewall(server_number=321, status="active", input=(Rule(name="a", action="accept"),))
    robot.firewalls.write(321, wall)
    assert robot.firewalls.get(321).status == "active"
    form = [("status", "active"), *((f"rules[input][{i}][action]", "accept") for i in range(11))]
    with pytest.raises(Refused) as told:
        robot.firewalls.call("POST", "/firewall/321", form)
    assert (told.value.code, told.value.invalid) == ("INVALID_INPUT", ("rules",))
    assert robot.firewalls.get(321).status == "disabled" and robot.firewalls.get(321).input == ()


def test_a_rule_spares_before_it_strikes() -> None:
    faults = Faults([])
    faults.add(FaultRule(kind="smart-fails", server=1, skip=1, times=1))
    assert [faults.strikes("smart-fails", 1) for _ in range(3)] == [False, True, False]
    assert not faults.strikes("smart-fails", 2)
