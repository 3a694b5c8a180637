"""Installing a dedicated server: every state and outcome, what stops it, and what no interruption may do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.emulator.robot.model import System
from infra.robot.endpoints import BUCKETS
from infra.robot.errors import RobotError, Unauthorized
from infra.robot.firewall_rules import robot_firewall
from infra.robot.install import ladder
from infra.robot.install.context import Stopped
from infra.robot.install.machine import STEPS, begin
from infra.robot.install.ports import FoundSystem
from infra.robot.install.record import Record, State
from infra.robot.install.wanted import OnVSwitch
from infra.robot.key_files import fingerprint
from infra.robot.storage import Storage
from infra.robot.vlan import link_to_cloud
from tests.robot_rig import KEY, Killed, Site

FOREIGN = System(
    hostname="old", release="Debian GNU/Linux 11", host_keys=["ssh-ed25519 AAAAold"], authorized_keys=[KEY]
)
STRANGER = FOREIGN.model_copy(update={"authorized_keys": ["ssh-ed25519 AAAAother"]})


@pytest.fixture
def site(tmp_path: Path):
    site = Site(tmp_path)
    yield site
    site.close()


def rerack(site: Site, installed: System | None, **hardware) -> None:
    state = site.server.machine
    state.installed, state.running = installed, "disk" if installed else None
    for field, value in hardware.items():
        setattr(site.server.hardware, field, value)


def stopped(site: Site, wanted=None) -> Stopped:
    with pytest.raises(Stopped) as told:
        site.install(wanted)
    # Host, state, cause and next step, in one paragraph, and in the record.
    text = str(told.value)
    assert "data-1 (server 321)" in text and told.value.cause and told.value.then and "\n" not in text
    record = site.records.load(321)
    assert record is not None and record.failure == text
    return told.value


# The whole way


def test_a_server_without_a_system_becomes_a_host(site: Site) -> None:
    began = site.rig.time()
    record = site.install()
    face = site.rig.account.machine(site.server).ssh()
    assert face is not None and (face.system, face.hostname) == ("disk", "data-1")
    assert record.state == State.READY and record.host_keys == list(face.host_keys) and not record.first_use
    assert site.began == [site.wanted.install_id]
    assert site.rig.account.db.servers[321].name == "data-1"
    # One software reset into the rescue system; the way out of it is a reboot over SSH.
    assert (site.rig.calls("POST", "/reset/321"), site.reboots) == (1, 1)
    assert site.rig.time() - began < 600


def test_polling_asks_the_host_and_not_robot(site: Site) -> None:
    site.install()
    assert site.rig.calls("GET", "/server/321") == 1
    assert len(site.rig.asked) < 15


def test_a_second_run_does_nothing(site: Site) -> None:
    first = site.install()
    asked, moments = len(site.rig.asked), site.moments
    assert site.install() == first
    assert (len(site.rig.asked), site.moments) == (asked, moments)


def test_what_changes_on_a_host_that_stays_is_changed_without_a_restart(site: Site) -> None:
    site.install()
    boots = site.server.machine.boots
    wall = robot_firewall(321, ["198.51.100.0/24"], [], None)
    record = site.install(replace(site.wanted, firewall=wall))
    assert record.state == State.READY
    assert site.server.firewall.status == "active" and len(site.server.firewall.input) == len(wall.input)
    assert site.server.machine.boots == boots


def joined(site: Site, *peers: str):
    vswitch = site.rig.robot().vswitches.ensure("site", 4000)
    link = link_to_cloud("eth0", 4000, "10.77.2.11", "10.77.2.0/24", "10.77.0.0/16", "10.77.2.1")
    return replace(site.wanted, vswitch=OnVSwitch(vswitch.id, link, peers))


def test_a_host_joins_its_vswitch(site: Site) -> None:
    wanted = joined(site)
    record = site.install(wanted)
    assert record.degraded is None
    assert [m.server_number for m in site.rig.robot().vswitches.get(wanted.vswitch.vswitch).server] == [321]


def test_a_vswitch_that_carries_nothing_leaves_a_degraded_host_that_is_tried_again(site: Site) -> None:
    wanted = joined(site, "10.77.2.12")
    record = site.install(wanted)
    assert record.state == State.READY and "no packet of 1400 bytes" in str(record.degraded)
    other = site.rig.account.rack(number=322, installed=FOREIGN)
    site.rig.robot().vswitches.join(wanted.vswitch.vswitch, [other.number], site.rig.time.sleep)
    assert site.install(wanted).degraded is None


# What runs there already


def test_our_own_system_is_left_as_it_is_when_the_record_is_lost(site: Site) -> None:
    keys = site.install().host_keys
    site.records.path(321).unlink()
    boots = site.server.machine.boots
    record = site.install()
    assert record.host_keys == keys and record.first_use
    assert (site.server.machine.boots, len(site.began)) == (boots, 1)


@pytest.mark.parametrize("there", [FOREIGN, STRANGER])
def test_a_foreign_system_stops_it_with_what_was_found(site: Site, there: System) -> None:
    rerack(site, there)
    told = stopped(site)
    assert told.state == State.GUARD and "allow_reinstall: 321" in told.then
    assert site.server.machine.installed == there and site.server.machine.boots == 0
    assert site.rig.calls("POST", "/boot/321/rescue") == 0


@pytest.mark.parametrize("there", [FOREIGN, STRANGER])
@pytest.mark.parametrize("wipe", [False, True])
def test_the_servers_own_number_is_the_consent(site: Site, there: System, wipe: bool) -> None:
    rerack(site, there)
    storage = site.wanted.storage.model_copy(update={"wipe": wipe})
    wanted = replace(site.wanted, allow_reinstall=321, storage=storage)
    assert site.install(wanted).state == State.READY
    assert site.server.machine.installed.install_id == wanted.install_id


@pytest.mark.parametrize("number", [322, 1, 0])
def test_another_number_is_no_consent(site: Site, number: int) -> None:
    rerack(site, FOREIGN)
    stopped(site, replace(site.wanted, allow_reinstall=number))
    assert site.server.machine.installed == FOREIGN


def test_a_system_that_does_not_answer_is_found_on_the_disks_and_restarted_into(site: Site) -> None:
    rerack(site, FOREIGN)
    site.server.machine.running = None
    told = stopped(site)
    assert told.state == State.DISKS and "Debian GNU/Linux 11" in told.cause
    assert site.server.machine.running == "disk" and site.server.machine.installed == FOREIGN
    assert site.began == []


def test_other_disks_or_another_image_need_consent_anew(site: Site) -> None:
    site.install()
    changed = replace(site.wanted, image="/root/images/Ubuntu-2404-noble-amd64-base.tar.gz")
    told = stopped(site, changed)
    assert "an installation of ours with other disks or image" in told.cause
    site.install(replace(changed, allow_reinstall=321))
    assert len(site.began) == 2


def test_a_host_of_ours_that_is_down_is_not_taken_for_an_empty_one(site: Site) -> None:
    site.install()
    site.server.machine.running = None
    told = stopped(site, replace(site.wanted, generation=1))
    assert "does not answer now" in told.cause and site.rig.calls("POST", "/reset/321") == 1


# States and outcomes

HOST = {"server_ip": "203.0.113.2"}


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ({"status": "in process"}, "in process"),
        ({"rescue_available": False}, "no rescue system"),
        ({"reset_types": ["man"]}, "no rescue system or no reset"),
    ],
)
def test_inspect_refuses_what_cannot_be_installed_before_anything_is_written(site: Site, broken, cause: str) -> None:
    for field, value in broken.items():
        setattr(site.server, field, value)
    told = stopped(site)
    assert told.state == State.INSPECT and cause in told.cause
    assert all(method == "GET" for method, _, _ in site.rig.asked)


def test_inspect_refuses_a_cancelled_server_and_another_product(site: Site) -> None:
    assert "product is 'AX41-NVMe'" in stopped(site, replace(site.wanted, product="EX44")).cause
    assert "location is 'FSN1-DC14'" in stopped(site, replace(site.wanted, location="hel1")).cause
    site.rig.robot().servers.cancel(321, "now")
    assert "cancelled" in stopped(site).cause


def test_a_key_that_appears_meanwhile_is_taken(site: Site) -> None:
    def meanwhile(method: str, path: str) -> None:
        if (method, path) == ("POST", "/key"):
            site.rig.before = lambda *_: None
            site.rig.robot().keys.add("somebody", KEY)

    site.rig.before = meanwhile
    assert site.install().state == State.READY


def test_a_rescue_that_is_armed_already_is_not_armed_again(site: Site) -> None:
    site.rig.robot().keys.add("operator", KEY)
    site.rig.robot().boots.activate_rescue(321, [fingerprint(KEY)])
    site.install()
    assert site.rig.calls("POST", "/boot/321/rescue") == 1


def test_another_boot_configuration_makes_room_for_the_rescue(site: Site) -> None:
    site.rig.robot().boots.activate_linux(321, "Debian 12 base", [])
    assert site.install().state == State.READY
    assert site.rig.calls("DELETE", "/boot/321/linux") == 1


def test_an_activation_that_fails_is_tried_three_times(site: Site) -> None:
    site.fault(kind="status", status=500, code="BOOT_ACTIVATION_FAILED", method="POST", path="rescue", times=2)
    assert site.install().state == State.READY
    site.records.path(321).unlink()
    rerack(site, None)
    site.fault(kind="status", status=500, code="BOOT_ACTIVATION_FAILED", method="POST", path="rescue", times=None)
    assert "BOOT_ACTIVATION_FAILED" in stopped(site).cause


def test_a_server_that_does_not_come_back_is_reset_harder_and_then_given_up(site: Site) -> None:
    site.fault(kind="no-return", times=1)
    record = site.install()
    assert [r.how for r in record.resets] == ["sw", "hw", "ssh"]
    site.records.path(321).unlink()
    rerack(site, None)
    site.fault(kind="no-return", times=None)
    began = site.rig.time()
    told = stopped(site)
    assert told.state == State.RESCUE_BOOTED and "software reset, then hardware reset" in told.cause
    assert "PXE" in told.then
    assert 1200 <= site.rig.time() - began < 1300


def test_what_was_given_up_is_tried_anew_by_the_next_run(site: Site) -> None:
    site.fault(kind="no-return", times=2)
    stopped(site)
    assert site.install().state == State.READY
    site.fault(kind="no-return", times=3)
    site.server.machine.running = "rescue"
    record = site.records.load(321)
    assert record is not None
    record.state = State.BOOTED
    site.records.save(record)
    assert stopped(site).state == State.BOOTED
    assert site.install().state == State.READY
    assert len(site.began) == 1


def test_a_rescue_that_boots_the_old_system_is_armed_again_a_rung_higher(site: Site) -> None:
    rerack(site, FOREIGN)
    wanted = replace(site.wanted, allow_reinstall=321)
    site.fault(kind="rescue-boots-disk", times=1)
    record = site.install(wanted)
    assert [r.how for r in record.resets][:2] == ["ssh", "sw"]
    assert record.state == State.READY


def test_one_that_always_boots_the_old_system_ends_with_the_hint_about_the_bios(site: Site) -> None:
    rerack(site, FOREIGN)
    site.fault(kind="rescue-boots-disk", times=None)
    told = stopped(site, replace(site.wanted, allow_reinstall=321))
    assert "armed 3 times" in told.cause and "PXE" in told.then
    assert site.server.machine.installed == FOREIGN
    assert site.rig.calls("POST", "/reset/321") <= 3


def test_a_ladder_without_a_time_neither_hangs_nor_hurries(site: Site) -> None:
    site.fault(kind="no-return", times=1)
    site.kill_at = 30
    with pytest.raises(Killed):
        site.install()
    site.kill_at = None
    record = site.records.load(321)
    assert record is not None and record.state == State.RESCUE_BOOTED and record.rung
    record.rung_at = None
    site.records.save(record)
    assert site.install().state == State.READY


def test_a_host_key_that_robot_does_not_name_stops_before_anything_is_sent(site: Site) -> None:
    site.rig.account.db.settings.rescue_host_keys = True
    assert site.install().state == State.READY
    site.records.path(321).unlink()
    rerack(site, None)
    server = site.server
    inner = type(site.rig.account.machine(server)).ssh

    def another(machine):
        face = inner(machine)
        return replace(face, host_keys=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8=",)) if face else None

    site.rig.account.machine(server).ssh = lambda: another(site.rig.account.machine(server))
    told = stopped(site)
    assert "none of those that Robot names" in told.cause and len(site.began) == 1


def test_the_wrong_disks_are_answered_with_the_right_ones(site: Site) -> None:
    wanted = replace(site.wanted, storage=Storage(disks=["nvme-A", "nvme-B"], raid=1))
    told = stopped(site, wanted)
    assert told.state == State.HARDWARE
    for disk in site.server.hardware.disks:
        assert disk.by_id in told.cause and disk.wwn in told.cause


def test_too_little_memory_or_too_few_cpus_stop_it(site: Site) -> None:
    assert "8 CPUs and 64 GiB" in stopped(site, replace(site.wanted, cpus=32)).cause
    assert "wants 1 and 256" in stopped(site, replace(site.wanted, memory_gib=256)).cause
    assert site.install(replace(site.wanted, cpus=8, memory_gib=64)).state == State.READY


def test_a_disk_that_fails_smart_is_named_and_nothing_is_installed(site: Site) -> None:
    site.fault(kind="smart-fails", times=None)
    told = stopped(site)
    assert told.state == State.DISKS and "nvme0n1: SMART says FAILED" in told.cause
    assert site.began == []


def test_an_array_that_reaches_beyond_the_named_disks_stays(site: Site) -> None:
    first = site.server.hardware.disks[0].by_id
    site.server.machine.installed = FOREIGN
    wanted = replace(site.wanted, allow_reinstall=321, storage=Storage(disks=[first]))
    told = stopped(site, wanted)
    assert "beside those that the site names" in told.cause and site.server.machine.installed == FOREIGN


def test_an_installation_that_fails_is_tried_once_more_in_a_fresh_rescue(site: Site) -> None:
    original, failures = site.ask, [1]

    def failing(address: str, body: dict):
        said = original(address, body)
        if body["op"] == "begin" and failures:
            failures.pop()
            site.server.machine.installation.failed = "grub-install: error"
        return said

    site.ask = failing
    assert site.install().state == State.READY
    assert len(site.began) == 2
    site.records.path(321).unlink()
    rerack(site, None)
    failures += [1, 1]
    told = stopped(site)
    assert "grub-install: error" in told.cause and told.state == State.INSTALLED


def test_a_firewall_that_never_gets_active_gives_the_old_rules_back(site: Site) -> None:
    site.fault(kind="firewall-stuck", times=1)
    wanted = replace(site.wanted, firewall=robot_firewall(321, ["198.51.100.0/24"], [], None))
    told = stopped(site, wanted)
    assert told.state == State.FIREWALL and "in process" in told.cause
    # Stuck for good: not even the old rules can be written, and that is said.
    assert "could not be put back" in told.cause
    site.server.firewall.settled_at = 0
    assert site.install(wanted).state == State.READY


def test_a_lost_answer_to_the_firewall_is_not_taken_for_a_refusal(site: Site) -> None:
    site.install()
    site.fault(kind="reset", after=True, method="POST", path="/firewall/")
    wanted = replace(site.wanted, firewall=robot_firewall(321, ["198.51.100.0/24"], [], None))
    assert site.install(wanted).state == State.READY
    assert site.server.firewall.status == "active"
    assert site.rig.calls("POST", "/firewall/321") == 2


def test_an_answer_lost_while_the_rescue_is_armed_is_looked_up(site: Site) -> None:
    site.fault(kind="reset", after=True, method="POST", path="rescue")
    assert site.install().state == State.READY


def test_what_the_rescue_system_refuses_is_said(site: Site) -> None:
    image = replace(site.wanted, image="x")
    original = site.ask
    site.ask = lambda a, b: original(a, {**b, "autosetup": "nonsense"}) if b["op"] == "begin" else original(a, b)
    assert "no line of a configuration file" in stopped(site, image).cause


def test_a_firewall_that_locks_us_out_is_taken_back(site: Site) -> None:
    site.install()
    wall = robot_firewall(321, ["198.51.100.0/24"], [], None)
    original = site.ask
    site.ask = lambda address, body: (503, {}) if site.server.firewall.status == "active" else original(address, body)
    told = stopped(site, replace(site.wanted, firewall=wall))
    assert "SSH no longer answers" in told.cause and "were put back" in told.cause
    assert site.server.firewall.status == "disabled"


def test_a_login_that_robot_refuses_stops_every_host_at_once(site: Site) -> None:
    site.rig.login = ("#ws+rig", "wrong")
    with pytest.raises(Unauthorized):
        site.install()
    assert len(site.rig.asked) == 1


def test_two_runs_do_not_work_on_one_host(site: Site) -> None:
    with site.records.held(321), pytest.raises(RobotError, match="another run"):
        site.install()


def test_a_record_that_cannot_be_read_is_named(site: Site) -> None:
    site.records.folder.mkdir(parents=True)
    site.records.path(321).write_text("{")
    with pytest.raises(RobotError, match=r"321\.json cannot be read"):
        site.install()


def test_every_state_has_its_step() -> None:
    assert set(STEPS) == set(State) - {State.READY}


@pytest.mark.parametrize("state", [s for s in State if s != State.READY])
def test_an_installed_host_never_goes_back_before_its_installation(site: Site, state: State) -> None:
    record = Record(
        number=321,
        install_id=site.wanted.install_id,
        hostname="data-1",
        state=state,
        install_done=True,
        host_keys=["k"],
    )
    order = list(State)
    assert order.index(begin(site.wanted, record).state) >= order.index(State.BOOTED)


# Interruptions


def moments_of_a_whole_run(folder: Path) -> int:
    site = Site(folder)
    site.install(full(site))
    site.close()
    return site.moments


def full(site: Site):
    wall = robot_firewall(321, ["198.51.100.0/24"], [], "10.77.0.0/16")
    return replace(joined(site), firewall=wall, reverse_dns="data-1.example.com")


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> int:
    return moments_of_a_whole_run(tmp_path_factory.mktemp("whole"))


@given(st.data())
@settings(max_examples=40)
def test_a_kill_at_any_moment_costs_nothing(tmp_path_factory, moments: int, data: st.DataObject) -> None:
    site = Site(tmp_path_factory.mktemp("killed"))
    wanted = full(site)
    for _ in range(data.draw(st.integers(1, 3))):
        site.kill_at = site.moments + data.draw(st.integers(1, moments))
        try:
            site.install(wanted)
        except Killed:
            # Whoever runs it again may take their time.
            site.rig.time.now += data.draw(st.sampled_from([0, 30, 7200]))
    site.kill_at = None
    record = site.until_ready(wanted)
    assert record.state == State.READY
    assert site.began == [wanted.install_id], "installed more than once"
    assert site.server.machine.installed.install_id == wanted.install_id
    assert site.rig.calls("POST", "/reset/321") <= 3
    assert record.host_keys == site.server.machine.installed.host_keys and not record.first_use
    assert json.loads(site.records.path(321).read_text())["previous_firewall"] is None
    site.close()


def test_a_kill_at_moments_spread_over_the_whole_way_resumes(tmp_path: Path, moments: int) -> None:
    for at in range(1, moments + 1, 7):
        site = Site(tmp_path)
        site.kill_at = at
        wanted = None
        while wanted is None:
            try:
                wanted = full(site)
            except Killed:
                site.kill_at = None
        site.until_ready(wanted)
        assert len(site.began) == 1, at
        site.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["no-return", "rescue-boots-disk", "status", "reset", "slowdown"]),
            st.integers(0, 6),
            st.booleans(),
        ),
        max_size=4,
    )
)
@settings(max_examples=40)
def test_whatever_is_injected_it_ends_ready_or_says_why_in_bounded_time(tmp_path_factory, faults) -> None:
    site = Site(tmp_path_factory.mktemp("faults"))
    wanted = full(site)
    for kind, skip, after in faults:
        if kind in ("status", "reset"):
            site.fault(kind=kind, skip=skip, after=after, status=503 if after else 500)
        elif kind == "slowdown":
            site.fault(kind="status", status=403, code="RATE_LIMIT_EXCEEDED", interval=120, skip=skip)
        else:
            site.fault(kind=kind, skip=skip)
    began = site.rig.time()
    for _ in range(6):
        try:
            record = site.install(wanted)
            break
        except Stopped as told:
            assert told.cause and told.then
            assert site.rig.time() - began < 4 * 3600
    assert record.state == State.READY
    assert len(site.began) == 1
    site.close()


def test_rungs_have_limits_that_fit_into_their_state() -> None:
    from infra.robot.install.machine import LIMITS

    assert sum(ladder.LIMITS.values()) < LIMITS[State.RESCUE_BOOTED]


def test_what_is_found_has_a_shape() -> None:
    assert FoundSystem("Debian", ("sda",)).install_id is None


def test_a_hundred_hosts_cost_a_hundred_times_one(tmp_path: Path) -> None:
    one = Site(tmp_path)
    one.install()
    each = len(one.rig.asked)
    one.close()
    site = Site(tmp_path)
    site.rig.account.db.settings.delay_scale = 0.05
    for number in range(322, 421):
        site.rig.account.rack(number=number)
    for server in list(site.rig.account.db.servers.values()):
        ids = [d.by_id for d in server.hardware.disks]
        wanted = replace(
            site.wanted, number=server.number, hostname=f"h-{server.number}", storage=Storage(disks=ids, raid=1)
        )
        site.server = server
        assert site.install(wanted).state == State.READY
    # The key is added once; what else is asked is asked for each.
    assert len(site.rig.asked) <= each * 100
    assert sum(m == "POST" and p.startswith("/reset/") for m, p, _ in site.rig.asked) == 100
    # Two hours, as fifty resets an hour are what Hetzner gives.
    limits = {b.name: b for b in BUCKETS}
    for used in site.rig.transport().ledger.show():
        assert used.used <= limits[used.bucket.name].limit
    site.close()
