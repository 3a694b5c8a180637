"""The Robot client against the emulated webservice: every family of calls, budgets, refusals."""

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.emulator.faults import FaultRule
from infra.robot import __main__ as cli
from infra.robot.budget import Ledger
from infra.robot.client import Robot
from infra.robot.credentials import NoCredentials, RobotLogin, robot_login
from infra.robot.endpoints import BUCKETS, Bucket, bucket_of
from infra.robot.errors import (
    BudgetSpent,
    Maintenance,
    NotFound,
    RateLimited,
    Refused,
    RobotError,
    Unauthorized,
    Uncertain,
    Unreachable,
)
from infra.robot.firewalls import TooManyRules
from infra.robot.key_files import fingerprint
from infra.robot.models import Firewall, Rule
from infra.robot.transport import HttpsWire, Transport
from tests.robot_rig import KEY, LOGIN, Rig, Time


@pytest.fixture
def rig(tmp_path: Path):
    rig = Rig(tmp_path / "ledger")
    rig.account.rack(number=321, name="one")
    rig.account.rack(number=322, name="two")
    yield rig
    rig.close()


@pytest.fixture
def robot(rig: Rig) -> Robot:
    return rig.robot()


def fault(rig: Rig, **rule) -> None:
    rig.account.faults.add(FaultRule(**rule))


def test_servers_are_listed_read_once_and_renamed(rig: Rig, robot: Robot) -> None:
    assert [s.server_number for s in robot.servers.every()] == [321, 322]
    assert robot.servers.get(321).rescue is True
    robot.servers.get(321)
    assert rig.calls("GET", "/server/321") == 1
    assert robot.servers.rename(321, "data-1").server_name == "data-1"
    assert robot.servers.get(321).server_name == "data-1"
    with pytest.raises(NotFound, match="SERVER_NOT_FOUND"):
        robot.servers.get(999)


def test_a_contract_is_cancelled_and_kept_again(robot: Robot) -> None:
    assert not robot.servers.cancellation(321).cancelled
    assert robot.servers.cancel(321, "now").cancelled
    with pytest.raises(Refused, match="CONFLICT"):
        robot.servers.cancel(321, "now")
    robot.servers.withdraw_cancellation(321)
    assert not robot.servers.cancellation(321).cancelled


def test_the_rescue_system_is_armed_with_a_key_and_used_up_by_the_boot(rig: Rig, robot: Robot) -> None:
    key = robot.keys.add("operator", KEY)
    assert key.fingerprint == fingerprint(KEY)
    inactive = robot.boots.get(321)
    assert (inactive.active, inactive.os) == (False, ("linux", "vkvm"))
    armed = robot.boots.activate_rescue(321, [key.fingerprint])
    assert (armed.active, armed.os, armed.password, armed.boot_time) == (True, ("linux",), None, None)
    assert [k.fingerprint for k in armed.authorized_key] == [key.fingerprint]
    assert robot.boots.config(321).active == "rescue"
    with pytest.raises(Refused, match="BOOT_ALREADY_ENABLED"):
        robot.boots.activate_linux(321, "Debian 13 base", [])
    robot.resets.reset(321, "hw")
    assert robot.boots.config(321).active is None
    last = robot.boots.last(321)
    assert last is not None and last.boot_time
    rig.time.sleep(61)
    face = rig.account.machine(rig.account.db.servers[321]).ssh()
    assert face is not None and (face.system, face.hostname) == ("rescue", "rescue")


def test_a_rescue_password_never_shows(robot: Robot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    armed = robot.boots.activate_rescue(321, [])
    assert armed.password is not None
    secret = armed.password.get_secret_value()
    assert len(secret) >= 12
    for text in (repr(armed), str(armed), armed.model_dump_json(), caplog.text):
        assert secret not in text


def test_keys_and_reverse_dns_come_and_go(rig: Rig, robot: Robot) -> None:
    assert robot.keys.every() == []
    key = robot.keys.add("operator", KEY)
    assert robot.keys.get(key.fingerprint) == key
    assert robot.keys.rename(key.fingerprint, "ops").name == "ops"
    with pytest.raises(Refused, match="KEY_ALREADY_EXISTS"):
        robot.keys.add("again", KEY)
    robot.keys.delete(key.fingerprint)
    assert robot.keys.get(key.fingerprint) is None
    ip = rig.account.db.servers[321].ip
    assert robot.ips.rdns_of(ip) is None
    assert robot.ips.set_rdns(ip, "a.example.com").ptr == "a.example.com"
    assert robot.ips.set_rdns(ip, "b.example.com").ptr == "b.example.com"
    assert [r.ptr for r in robot.ips.rdns()] == ["b.example.com"]
    robot.ips.delete_rdns(ip)
    assert robot.ips.rdns() == []
    assert robot.ips.get(ip).mask == 26


def test_a_vswitch_is_made_once_and_its_members_are_waited_for(rig: Rig, robot: Robot) -> None:
    first = robot.vswitches.ensure("site", 4000)
    assert robot.vswitches.ensure("site", 4000).id == first.id
    joined = robot.vswitches.join(first.id, [321, 322], rig.time.sleep)
    assert [(m.server_number, m.status) for m in joined.server] == [(321, "ready"), (322, "ready")]
    assert sum(rig.time.slept) >= 30
    robot.vswitches.join(first.id, [321], rig.time.sleep)
    assert rig.calls("POST", f"/vswitch/{first.id}/server") == 1
    assert [m.server_number for m in robot.vswitches.leave(first.id, [321], rig.time.sleep).server] == [322]
    robot.vswitches.cancel(first.id)
    assert robot.vswitches.find("site", 4000) is None


def test_a_vswitch_that_changes_is_waited_for_before_the_next_change(rig: Rig, robot: Robot) -> None:
    vswitch = robot.vswitches.ensure("site", 4000)
    robot.vswitches.call("POST", f"/vswitch/{vswitch.id}/server", [("server[]", "321")])
    joined = robot.vswitches.join(vswitch.id, [322], rig.time.sleep)
    assert len(joined.server) == 2 and joined.ready


def test_a_member_that_never_gets_ready_is_named_in_the_end(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="vswitch-stuck", server=322)
    vswitch = robot.vswitches.ensure("site", 4000)
    with pytest.raises(RobotError, match=r"not ready: 322 \(in process\)"):
        robot.vswitches.join(vswitch.id, [321, 322], rig.time.sleep)


def test_orders_are_dry_unless_said_otherwise(robot: Robot) -> None:
    key = robot.keys.add("operator", KEY)
    robot.orders.order("AX41-NVMe", "FSN1", [key.fingerprint])
    assert robot.orders.transactions() == []
    order = robot.orders.order("AX41-NVMe", "FSN1", [key.fingerprint], test=False)
    assert (order.status, order.server_number) == ("in process", None)
    assert next(p.id for p in robot.orders.products()) == "AX41-NVMe"


def test_an_order_becomes_a_server(rig: Rig, robot: Robot) -> None:
    key = robot.keys.add("operator", KEY)
    order = robot.orders.order("AX41-NVMe", "FSN1", [key.fingerprint], test=False)
    rig.time.sleep(121)
    ready = robot.orders.transaction(order.id)
    assert ready.status == "ready" and ready.server_number == 323
    assert robot.servers.get(323).product == "AX41-NVMe"


def rules(count: int) -> tuple[Rule, ...]:
    return tuple(Rule(name=f"r{i}", action="accept") for i in range(count))


def test_eleven_rules_are_counted_and_never_sent(rig: Rig, robot: Robot) -> None:
    wall = Firewall(server_number=321, status="active", input=rules(11))
    with pytest.raises(TooManyRules, match="11 rules for input"):
        robot.firewalls.write(321, wall)
    assert rig.asked == []


def test_ten_rules_are_taken_and_take_their_time(rig: Rig, robot: Robot) -> None:
    wall = Firewall(server_number=321, status="active", whitelist_hos=True, input=rules(10), output=rules(1))
    assert robot.firewalls.write(321, wall).status == "in process"
    with pytest.raises(RobotError, match="FIREWALL_IN_PROCESS"):
        robot.firewalls.write(321, wall)
    rig.time.sleep(26)
    found = robot.firewalls.get(321)
    assert (found.status, found.input, found.output) == ("active", rules(10), rules(1))
    robot.firewalls.clear(321)
    rig.time.sleep(26)
    assert robot.firewalls.get(321).status == "disabled"


def test_templates_come_and_go(robot: Robot) -> None:
    assert robot.firewalls.templates() == []
    made = robot.firewalls.add_template("site", rules(2), rules(1))
    assert robot.firewalls.template(made.id).input == rules(2)
    robot.firewalls.update_template(made.id, "site", rules(3), ())
    assert len(robot.firewalls.template(made.id).input) == 3
    robot.firewalls.apply_template(321, made.id)
    assert len(robot.firewalls.get(321).input) == 3
    robot.firewalls.delete_template(made.id)
    assert robot.firewalls.templates() == []


# Budgets


def test_a_budget_is_counted_across_runs_and_never_exceeded(rig: Rig) -> None:
    for _ in range(5):
        robot = rig.robot(patience=0)
        for _ in range(10):
            robot.resets.reset(321, "sw")
    with pytest.raises(BudgetSpent, match=r"'reset' of 50 requests a hour is spent.*60 min|59 min"):
        rig.robot(patience=0).resets.reset(321, "sw")
    assert rig.calls("POST", "/reset/321") == 50
    rig.time.sleep(3601)
    rig.robot(patience=0).resets.reset(321, "sw")


def test_every_bucket_is_as_strict_as_the_webservice(rig: Rig) -> None:
    from infra.emulator.robot.service import ROUTES

    for route in ROUTES:
        path = route.template
        for name, value in {
            "n": "321",
            "id": "7",
            "ip": "203.0.113.2",
            "kind": "rescue",
            "fingerprint": "aa:bb",
        }.items():
            path = path.replace("{" + name + "}", value)
        bucket = bucket_of(route.method, path)
        assert bucket.limit <= route.limit and bucket.window == route.window, route.endpoint


@given(st.lists(st.floats(0, 2000), max_size=60), st.integers(1, 8))
@settings(max_examples=60)
def test_no_window_ever_holds_more_than_the_limit(tmp_path_factory, gaps: list[float], limit: int) -> None:
    time, bucket = Time(), Bucket("x", limit, 3600)
    folder = tmp_path_factory.mktemp("ledger")
    sent: list[float] = []
    for gap in gaps:
        time.now += gap
        if (wait := Ledger(folder, time).reserve(bucket)) == 0:
            sent.append(time.now)
        else:
            assert Ledger(folder, time).reserve(bucket) > 0
            time.now += wait
            assert Ledger(folder, time).reserve(bucket) == 0
            sent.append(time.now)
    for at in sent:
        assert sum(at - 3600 < other <= at for other in sent) <= limit


def _spend(folder: str) -> None:
    ledger = Ledger(Path(folder))
    while True:
        ledger.reserve(Bucket("x", 100000, 3600))


def test_counts_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    seen = 0
    for _ in range(8):
        child = context.Process(target=_spend, args=(str(tmp_path),))
        child.start()
        time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        used = next(iter(_used(tmp_path)))
        assert used >= seen
        seen = used
    assert seen > 0


def _used(folder: Path):
    page = Ledger(folder)._read("x")
    yield len(page.get("used", []))


def test_a_clock_set_back_makes_no_request_forgotten(tmp_path: Path) -> None:
    time, bucket = Time(), Bucket("x", 2, 3600)
    ledger = Ledger(tmp_path, time)
    assert ledger.reserve(bucket) == 0
    time.now -= 5000
    assert ledger.reserve(bucket) == 0
    assert ledger.reserve(bucket) > 0


# Refusals


@pytest.mark.parametrize("field", ["max_request", "max_requests"])
def test_a_rate_limit_is_waited_out_by_its_interval(rig: Rig, robot: Robot, field: str) -> None:
    fault(rig, kind="status", status=403, code="RATE_LIMIT_EXCEEDED", interval=17, max_field=field)
    robot.servers.every()
    assert rig.time.slept == [17]


def test_a_rate_limit_that_takes_too_long_is_told_and_remembered(rig: Rig) -> None:
    fault(rig, kind="status", status=403, code="RATE_LIMIT_EXCEEDED", interval=1800, path="/server")
    with pytest.raises(RateLimited) as told:
        rig.robot().servers.every()
    assert (told.value.interval, told.value.limit) == (1800, 200)
    asked = len(rig.asked)
    with pytest.raises(BudgetSpent):
        rig.robot().servers.every()
    assert len(rig.asked) == asked


def test_the_emulators_own_limit_is_met_as_hetzners_would_be(rig: Rig) -> None:
    rig.account.db.settings.limit_scale = 0.02
    robot = rig.robot(patience=4000)
    for _ in range(3):
        robot.resets.reset(321, "sw")
    assert max(rig.time.slept) > 3500


def test_one_401_ends_every_call_of_the_run(rig: Rig) -> None:
    rig.login = ("#ws+rig", "wrong")
    robot = rig.robot()
    for _ in range(5):
        with pytest.raises(Unauthorized, match="Check the webservice user"):
            robot.servers.every()
    assert len(rig.asked) == 1


def test_a_third_login_is_never_risked_by_later_runs(rig: Rig) -> None:
    rig.login = ("#ws+rig", "wrong")
    for _ in range(4):
        with pytest.raises(Unauthorized):
            rig.robot().servers.every()
    assert len(rig.asked) == 2
    rig.login = LOGIN
    rig.time.sleep(601)
    assert rig.robot().servers.every()


def test_a_login_that_works_clears_the_failures(rig: Rig) -> None:
    for _ in range(4):
        rig.login = ("#ws+rig", "wrong")
        with pytest.raises(Unauthorized, match="Check the webservice user"):
            rig.robot().servers.every()
        rig.login = LOGIN
        assert rig.robot().servers.every()


def test_maintenance_backs_off_and_goes_on(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="status", status=503, times=3)
    assert robot.servers.every()
    assert rig.time.slept == [30, 60, 60]


def test_maintenance_that_lasts_is_given_up_within_its_bound(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="status", status=503, times=None)
    with pytest.raises(Maintenance, match="15 min"):
        robot.servers.every()
    assert sum(rig.time.slept) == 900


def test_a_500_is_tried_again_with_growing_pauses_and_then_told(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="status", status=500, times=2)
    assert robot.servers.every()
    assert rig.time.slept == [1, 2]
    fault(rig, kind="status", status=502, times=None)
    with pytest.raises(Unreachable, match="5 attempts failed, the last with: status 502"):
        robot.servers.every()


def test_a_lost_answer_is_asked_for_again_only_where_that_is_harmless(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="reset", after=True)
    assert robot.servers.every()
    fault(rig, kind="reset", after=True, path="/reset/")
    with pytest.raises(Uncertain, match="look whether it took effect"):
        robot.resets.reset(321, "hw")
    assert rig.calls("POST", "/reset/321") == 1


def test_what_was_not_sent_is_sent_again_even_where_it_must_not_happen_twice(rig: Rig, robot: Robot) -> None:
    fault(rig, kind="reset", path="/reset/")
    robot.resets.reset(321, "hw")
    assert rig.account.db.servers[321].machine.boots == 1


def test_input_that_is_refused_names_its_fields(robot: Robot) -> None:
    with pytest.raises(Refused, match="invalid vlan") as told:
        robot.vswitches.call("POST", "/vswitch", [("name", "x"), ("vlan", "12")])
    assert told.value.invalid == ("vlan",)


# Credentials


def test_credentials_come_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    both = {"ROBOT_USER": "#ws+x", "ROBOT_PASSWORD": "p"}
    assert robot_login(both) == RobotLogin("https://robot-ws.your-server.de", "#ws+x", "p")
    file = tmp_path / "login"
    file.write_text("#ws+x\nsecret\n")
    file.chmod(0o600)
    found = robot_login({"ROBOT_LOGIN_FILE": str(file), "ROBOT_ENDPOINT": "http://127.0.0.1:1/"})
    assert found == RobotLogin("http://127.0.0.1:1", "#ws+x", "secret")
    assert "secret" not in repr(found)
    file.chmod(0o640)
    with pytest.raises(NoCredentials, match="chmod 600"):
        robot_login({"ROBOT_LOGIN_FILE": str(file)})
    with pytest.raises(NoCredentials, match="ROBOT_PASSWORD is not"):
        robot_login({"ROBOT_USER": "#ws+x"})
    with pytest.raises(NoCredentials, match="cannot be read"):
        robot_login({"ROBOT_LOGIN_FILE": str(tmp_path / "none")})


def test_a_password_crosses_no_network_in_the_clear() -> None:
    with pytest.raises(RobotError, match="not https"):
        HttpsWire(RobotLogin("http://robot.example.com", "u", "secret"))
    wire = HttpsWire(RobotLogin("https://robot.example.com", "u", "secret"))
    assert "secret" not in repr(wire)


def test_nothing_on_disk_names_user_or_password(rig: Rig) -> None:
    from infra.robot.budget import account_dir

    rig.robot().servers.every()
    texts = [p.name + p.read_text() for p in rig.folder.iterdir()] + [str(account_dir("https://x", LOGIN[0]))]
    assert not any(part in text for text in texts for part in LOGIN)


# Command line


def run(rig: Rig, *argv: str) -> int:
    return cli.main(argv, connect=rig.robot)


def test_the_command_line_shows_and_changes(rig: Rig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pub = tmp_path / "id.pub"
    pub.write_text(KEY)
    for argv, shown in (
        (("servers",), "321     one"),
        (("servers", "321", "--name", "data-1"), "data-1"),
        (("keys", "--add", str(pub)), fingerprint(KEY)),
        (("boot", "321"), "from its disk"),
        (("boot", "321", "--rescue", "--key", str(pub)), "rescue is active"),
        (("boot", "321", "--disk"), "from its disk"),
        (("reset", "321"), "running; resets: sw, hw"),
        (("reset", "321", "--type", "hw"), "was reset"),
        (("firewall", "321"), "disabled"),
        (("vswitch", "--ensure", "site", "4000"), "VLAN 4000"),
        (("vswitch",), "4000"),
    ):
        assert run(rig, *argv) == 0, argv
        assert shown in capsys.readouterr().out, argv


def test_an_error_of_the_command_line_is_one_paragraph(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(rig, "servers", "999") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: GET /server/999: Robot refused with 404 SERVER_NOT_FOUND")
    assert said.count("\n") == 1


def test_the_budget_is_shown_without_asking_robot(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("USER", "u"), ("PASSWORD", "p"), ("ENDPOINT", "http://127.0.0.1:9")):
        monkeypatch.setenv(f"ROBOT_{name}", value)
    monkeypatch.setenv("BARETICK_ROBOT_STATE", str(tmp_path))
    assert cli.main(["budget"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == len(BUCKETS) + 1
    assert "reset " in shown


def test_nobody_listening_is_said_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Transport(HttpsWire(RobotLogin("http://127.0.0.1:9", "u", "p")), Ledger(tmp_path), sleep=lambda s: None)
    with pytest.raises(Unreachable, match="Connection refused"):
        Robot(transport).servers.every()


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    import subprocess
    import sys

    environment = {**os.environ, "ROBOT_USER": "u", "ROBOT_PASSWORD": "p", "BARETICK_ROBOT_STATE": str(tmp_path)}
    reader = subprocess.Popen(
        [sys.executable, "-u", "-m", "infra.robot", "budget"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    reader.stdout.close()
    assert reader.wait() == 0 and b"Traceback" not in reader.stderr.read()
    reader.stderr.close()
