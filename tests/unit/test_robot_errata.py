"""Where Robot's replies differ from its documentation, or from each other: each difference is read as what it means."""

import json
from pathlib import Path

import pytest

from infra.robot.budget import Ledger
from infra.robot.client import Robot
from infra.robot.errors import InProcess, NotFound, RateLimited, Refused
from infra.robot.models import Firewall, Rule
from infra.robot.reading import UnknownShape
from infra.robot.transport import Transport

IDENT = {"server_ip": "203.0.113.2", "server_ipv6_net": "2001:db8::", "server_number": 321}


@pytest.fixture
def robot(tmp_path: Path):
    """A client of a Robot that gives one answer: `robot(body)`, `robot(body, status)`."""

    def answering(body, status: int = 200) -> Robot:
        raw = b"" if body is None else json.dumps(body).encode()
        transport = Transport(lambda *_: (status, raw), Ledger(tmp_path), sleep=lambda s: None, patience=0)
        return Robot(transport)

    return answering


def error(code: str, status: int, **more) -> dict:
    return {"error": {"status": status, "code": code, "message": "said so", **more}}


def test_1_vswitches_come_bare_where_everything_else_is_wrapped(robot) -> None:
    bare = {
        "id": 4321,
        "name": "site",
        "vlan": 4000,
        "cancelled": False,
        "server": [],
        "subnet": [],
        "cloud_network": [],
    }
    assert robot([bare]).vswitches.every()[0].id == 4321
    assert robot(bare).vswitches.get(4321).vlan == 4000
    assert robot([{"server": {**IDENT, "dc": "FSN1-DC14"}}]).servers.every()[0].dc == "FSN1-DC14"


@pytest.mark.parametrize("status", ["in process", "processing"])
def test_2_a_member_that_is_not_ready_is_called_two_things(robot, status: str) -> None:
    vswitch = robot(
        {"id": 1, "name": "s", "vlan": 4000, "cancelled": False, "server": [{**IDENT, "status": status}]}
    ).vswitches.get(1)
    assert vswitch.server[0].status == "in process"
    assert not vswitch.ready


@pytest.mark.parametrize("field", ["max_request", "max_requests"])
def test_3_the_limit_of_a_refusal_has_two_names(robot, field: str) -> None:
    with pytest.raises(RateLimited) as told:
        robot(error("RATE_LIMIT_EXCEEDED", 403, interval=3600, **{field: 200}), 403).servers.every()
    assert (told.value.limit, told.value.interval) == (200, 3600)


def test_3_a_403_is_read_before_it_is_called_forbidden(robot) -> None:
    with pytest.raises(Refused) as told:
        robot(error("FORBIDDEN", 403), 403).servers.every()
    assert not isinstance(told.value, RateLimited)


RULE = {
    "ip_version": "ipv4",
    "name": "ssh",
    "dst_ip": None,
    "src_ip": "198.51.100.0/24",
    "dst_port": "22",
    "src_port": None,
    "protocol": "tcp",
    "tcp_flags": None,
    "action": "accept",
}


@pytest.mark.parametrize(
    ("rules", "inside", "outside"),
    [
        ({"input": [RULE], "output": [RULE, RULE]}, 1, 2),
        ({"input": {"0": RULE, "1": RULE}, "output": {"0": RULE}}, 2, 1),
        ({"input": {"0": RULE, "output": [RULE]}}, 1, 1),
        ({"input": [RULE]}, 1, 0),
        ({"input": None, "output": None}, 0, 0),
        ({}, 0, 0),
        ([], 0, 0),
        (None, 0, 0),
    ],
)
def test_4_rules_come_as_lists_as_objects_nested_or_not_at_all(robot, rules, inside: int, outside: int) -> None:
    body = {"firewall": {**IDENT, "status": "active", "whitelist_hos": True, "port": "main", "rules": rules}}
    wall = robot(body).firewalls.get(321)
    assert wall.input == (Rule.model_validate(RULE),) * inside
    assert wall.output == (Rule.model_validate(RULE),) * outside


def test_4_rules_by_index_keep_the_order_of_their_numbers(robot) -> None:
    rules = {"input": {str(i): {**RULE, "name": f"r{i}"} for i in (10, 2, 0, 1)}}
    body = {"firewall": {**IDENT, "status": "active", "rules": rules}}
    assert [r.name for r in robot(body).firewalls.get(321).input] == ["r0", "r1", "r2", "r10"]


@pytest.mark.parametrize("field", ["cancellation_date", "cancellation-date"])
def test_5_a_cancellations_date_may_be_written_with_a_hyphen(robot, field: str) -> None:
    body = {"cancellation": {"server_number": 321, "cancelled": True, field: "2027-01-31"}}
    assert robot(body).servers.cancellation(321).cancellation_date == "2027-01-31"


@pytest.mark.parametrize("mask", ["64", 64])
def test_6_a_mask_is_text_or_a_number_and_subnets_may_be_null(robot, mask) -> None:
    server = {**IDENT, "subnet": [{"ip": "2001:db8::", "mask": mask}], "ip": None}
    assert robot({"server": server}).servers.get(321).subnet[0].mask == 64
    assert robot({"server": {**IDENT, "subnet": None}}).servers.get(321).subnet == ()


def test_7_a_boot_option_is_a_list_when_inactive_and_a_scalar_when_active(robot) -> None:
    inactive = {"active": False, "os": ["linux", "vkvm"], "arch": [64, 32], "password": None, "authorized_key": []}
    assert robot({"rescue": inactive}).boots.get(321).os == ("linux", "vkvm")
    active = {**inactive, "active": True, "os": "linux", "arch": 64}
    boot = robot({"rescue": active}).boots.get(321)
    assert (boot.os, boot.arch) == (("linux",), ("64",))


def test_8_a_reverse_dns_entry_may_have_no_name(robot) -> None:
    assert robot([{"rdns": {"ip": "203.0.113.2", "ptr": None}}]).ips.rdns()[0].ptr is None


def test_9_an_empty_list_may_be_a_404(robot) -> None:
    missing = robot(error("NOT_FOUND", 404), 404)
    assert missing.keys.every() == missing.servers.every() == missing.ips.every() == missing.vswitches.every() == []
    assert missing.vswitches.find("site", 4000) is None
    with pytest.raises(NotFound):
        missing.servers.get(321)


def test_10_boot_time_is_there_only_while_active_and_null_until_booted(robot) -> None:
    assert robot({"rescue": {"active": False, "os": ["linux"]}}).boots.get(321).boot_time is None
    assert robot({"rescue": {"active": True, "os": "linux", "boot_time": None}}).boots.get(321).boot_time is None
    booted = {"active": True, "os": "linux", "boot_time": "2026-11-21 12:00:00"}
    assert robot({"rescue": booted}).boots.get(321).boot_time == "2026-11-21 12:00:00"


PRINT = "d7:34:1c:8c:4e:20:e0:1f:07:66:45:d9:97:22:ec:07"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ([], ()),
        (None, ()),
        ([PRINT], (PRINT,)),
        ([{"key": {"fingerprint": PRINT, "type": "ED25519", "size": 256}}], (PRINT,)),
        ([{"key": PRINT}], (PRINT,)),
    ],
)
def test_11_host_keys_come_as_text_or_objects_and_none_means_unknown(robot, given, known) -> None:
    body = {"rescue": {"active": True, "os": "linux", "host_key": given}}
    assert robot(body).boots.get(321).host_key == known


def test_12_a_firewall_is_taken_with_202_and_too_many_rules_look_like_wrong_ones(robot) -> None:
    body = {"firewall": {**IDENT, "status": "in process", "rules": {"input": [RULE], "output": []}}}
    wall = Firewall(server_number=321, status="active", input=(Rule.model_validate(RULE),))
    assert robot(body, 202).firewalls.write(321, wall).status == "in process"
    with pytest.raises(Refused) as told:
        robot(error("INVALID_INPUT", 400, missing=None, invalid=["rules"]), 400).firewalls.write(321, wall)
    assert told.value.invalid == ("rules",)


def test_a_change_that_is_under_way_is_told_from_a_conflict(robot) -> None:
    with pytest.raises(InProcess):
        robot(error("VSWITCH_IN_PROCESS", 409), 409).vswitches.update(1, "site", 4000)
    with pytest.raises(Refused) as told:
        robot(error("CONFLICT", 409), 409).vswitches.cancel(1)
    assert not isinstance(told.value, InProcess)


def test_an_update_without_a_body_is_no_error(robot) -> None:
    robot(None, 201).vswitches.update(1, "site", 4000)


def test_an_unknown_shape_is_said_without_showing_what_it_held(robot) -> None:
    with pytest.raises(UnknownShape) as told:
        robot({"rescue": {"active": "sometimes", "password": "hunter2"}}).boots.get(321)
    assert "active" in str(told.value) and "hunter2" not in str(told.value)
