"""Dedicated servers as real hosts: installed through Robot, rescue and installimage, on a vSwitch, firewalled."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from dedicated_rig import VLAN, Rig

from infra.emulator import control
from infra.emulator.process import read_ref
from infra.robot.firewall_rules import Opening, robot_firewall
from infra.robot.install.context import Stopped
from infra.robot.install.ports import NoLogin
from infra.robot.install.record import Record
from infra.robot.key_files import fingerprint
from infra.robot.storage import Part, Storage, Volume

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

NAME = "itmetal"
ONE, TWO = 321, 322
# Where logins come from: the gateway of the servers' subnet.
ADMIN = ["203.0.113.1/32"]


def until(what: str, holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("metal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BARETICK_ROBOT_STATE", str(folder / "ledger"))
        made = Rig(NAME, folder)
        try:
            for number in (ONE, TWO):
                made.rack(number)
            yield made
        finally:
            assert made.close() == []


@pytest.fixture(scope="module")
def vswitch(rig: Rig) -> int:
    return rig.robot().vswitches.ensure("site", VLAN).id


@pytest.fixture(scope="module")
def lvm(rig: Rig) -> Storage:
    ids = [d["by_id"] for d in rig.server(TWO)["hardware"]["disks"]]
    parts = (Part(mount="/boot", fs="ext4", size="1G"), Part(mount="lvm", vg="vg0", size="all"))
    volumes = (
        Volume(vg="vg0", name="root", mount="/", fs="ext4", size="50G"),
        Volume(vg="vg0", name="var", mount="/var", fs="xfs", size="all"),
    )
    return Storage(disks=ids, raid=1, parts=parts, volumes=volumes)


@pytest.fixture(scope="module")
def hosts(rig: Rig, vswitch: int, lvm: Storage) -> list[Record]:
    """Both installed, from nothing."""
    return rig.install(
        rig.wanted(ONE, vswitch=rig.on_vswitch(vswitch, "10.93.2.11/24")),
        rig.wanted(TWO, vswitch=rig.on_vswitch(vswitch, "10.93.2.12/24"), storage=lvm),
    )


def test_two_servers_go_from_nothing_to_ssh_with_keys_pinned_from_inside_the_rescue_system(
    rig: Rig, hosts: list[Record]
) -> None:
    for host in hosts:
        assert host.state == "ready" and host.degraded is None and not host.first_use
        assert rig.ssh(host, "hostname") == f"metal-{host.number}"
        assert rig.ssh(host, "systemctl is-system-running --wait") == "running"
        seen = rig.ssh(host, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        assert seen in host.host_keys and seen not in host.rescue_keys
    assert not set(hosts[0].host_keys) & set(hosts[1].host_keys)


def test_the_disks_are_cut_up_as_the_site_says(rig: Rig, hosts: list[Record]) -> None:
    table = rig.ssh(hosts[1], "cat /etc/fstab")
    assert [line.split()[1:3] for line in table.splitlines()[1:]] == [["/", "ext4"], ["/boot", "ext4"], ["/var", "xfs"]]
    # The image's own /var is on the volume, not on the root file system.
    rig.ssh(hosts[1], "test -d /var/lib/dpkg && mountpoint -q /var && mountpoint -q /boot")


def test_a_host_that_is_ready_is_left_alone(rig: Rig, hosts: list[Record], vswitch: int) -> None:
    before, boots = rig.calls(), rig.server(ONE)["boots"]
    (again,) = rig.install(rig.wanted(ONE, vswitch=rig.on_vswitch(vswitch, "10.93.2.11/24")))
    assert again == hosts[0]
    assert rig.calls() == before and rig.server(ONE)["boots"] == boots


def ping(size: int, address: str) -> str:
    return f"ping -c 2 -i 0.3 -W 2 -q -M 'do' -s {size - 28} {address}"


def test_packets_cross_the_vswitch_at_its_mtu_and_not_above(rig: Rig, hosts: list[Record]) -> None:
    rig.ssh(hosts[0], ping(1400, "10.93.2.12"))
    assert rig.ssh(hosts[0], f"cat /sys/class/net/vlan{VLAN}/mtu") == "1400"
    said = rig.ssh(hosts[0], ping(1401, "10.93.2.12"), check=False)
    assert "too long" in said or "100% packet loss" in said


def test_neighbours_reach_each_other_through_the_gateway_alone(rig: Rig, hosts: list[Record]) -> None:
    rig.ssh(hosts[0], f"ping -c 1 -W 2 -q {hosts[1].address}")
    assert "203.0.113.1" in rig.ssh(hosts[0], f"ip route get {hosts[1].address}")
    assert "no-arp" in rig.ssh(hosts[0], f"ip neigh show {hosts[1].address} | grep -q REACHABLE || echo no-arp")


def test_a_server_that_leaves_the_vswitch_is_no_longer_reached_there(
    rig: Rig, hosts: list[Record], vswitch: int, lvm: Storage
) -> None:
    rig.robot().vswitches.leave(vswitch, [TWO], time.sleep)
    until("the link is gone", lambda: rig.ssh(hosts[1], f"ip link show vlan{VLAN} 2>&1 || true").endswith("not exist."))
    assert "100% packet loss" in rig.ssh(hosts[0], ping(1400, "10.93.2.12"), check=False)
    on = rig.on_vswitch(vswitch, "10.93.2.12/24", "10.93.2.11")
    (back,) = rig.install(rig.wanted(TWO, vswitch=on, storage=lvm))
    assert back.host_keys == hosts[1].host_keys and back.degraded is None
    rig.ssh(hosts[0], ping(1400, "10.93.2.12"))


OPEN_PORT = "exec 3<>/dev/tcp/{address}/{port} && head -c 3 <&3"


def reaches(rig: Rig, host: Record, address: str, port: int = 22) -> bool:
    command = OPEN_PORT.format(address=address, port=port)
    return rig.ssh(host, f"timeout 3 bash -c '{command}' || true", check=False).endswith("SSH")


def test_the_firewall_drops_what_its_rules_do_not_name(rig: Rig, hosts: list[Record], vswitch: int) -> None:
    assert reaches(rig, hosts[1], str(hosts[0].address))
    wall = robot_firewall(ONE, ADMIN, [Opening("8000", ("203.0.113.0/24",))], "10.93.0.0/16")
    on = rig.on_vswitch(vswitch, "10.93.2.11/24")
    rig.install(rig.wanted(ONE, vswitch=on, firewall=wall))
    # The neighbour is no admin; over the vSwitch it is of the site.
    assert not reaches(rig, hosts[1], str(hosts[0].address))
    assert reaches(rig, hosts[1], "10.93.2.11")
    rig.ssh(hosts[0], "true")
    serve = 'python3 -c \'import socket; s = socket.create_server(("", {port})); c, _ = s.accept(); c.send(b"SSH")\''
    for port, opened in ((8000, True), (8001, False)):
        rig.ssh(hosts[0], f"nohup timeout 10 {serve.format(port=port)} >/dev/null 2>&1 & sleep 0.5")
        assert reaches(rig, hosts[1], str(hosts[0].address), port) is opened
    # What the host itself asks for is answered, though nothing is remembered of it.
    assert reaches(rig, hosts[0], str(hosts[1].address))
    assert "Reading package lists" in rig.ssh(hosts[0], "apt-get update")


def test_the_firewall_holds_through_a_restart_from_inside(rig: Rig, hosts: list[Record]) -> None:
    boots = rig.server(ONE)["boots"]
    rig.ssh(hosts[0], "systemctl reboot", check=False)
    until("another boot", lambda: rig.server(ONE)["boots"] == boots + 1)
    until("ssh", lambda: rig.ssh(hosts[0], "hostname", check=False) == f"metal-{ONE}")
    assert not reaches(rig, hosts[1], str(hosts[0].address))
    rig.ssh(hosts[0], ping(1400, "10.93.2.12"))


def test_machines_and_their_rules_outlive_the_emulator(rig: Rig, hosts: list[Record]) -> None:
    boot_ids = [rig.ssh(h, "cat /proc/sys/kernel/random/boot_id") for h in hosts]
    ref = read_ref(rig.instance.daemon_ref)
    assert ref is not None
    ref.stop(0)
    rig.start()
    assert [rig.ssh(h, "cat /proc/sys/kernel/random/boot_id") for h in hosts] == boot_ids
    assert not reaches(rig, hosts[1], str(hosts[0].address))
    assert control.stop(NAME, rig.folder) == []
    rig.start()
    for host in hosts:
        until("ssh", lambda host=host: rig.ssh(host, "hostname", check=False) == host.hostname)
    rig.ssh(hosts[0], ping(1400, "10.93.2.12"))
    assert not reaches(rig, hosts[1], str(hosts[0].address))


def test_a_firewall_that_never_turns_active_is_told_and_the_old_one_holds(
    rig: Rig, hosts: list[Record], vswitch: int, lvm: Storage
) -> None:
    rig.fault(kind="firewall-stuck", server=TWO)
    on = rig.on_vswitch(vswitch, "10.93.2.12/24", "10.93.2.11")
    wall = robot_firewall(TWO, ADMIN, [], "10.93.0.0/16")
    wanted = rig.wanted(TWO, vswitch=on, storage=lvm, firewall=wall)
    with pytest.raises(Stopped, match=r"metal-322 \(server 322\), state firewall: .*Robot is still changing it"):
        rig.install(wanted)
    assert reaches(rig, hosts[0], str(hosts[1].address))


FOREIGN = {"hostname": "not-ours", "release": "Debian GNU/Linux 12", "authorized_keys": []}


def answers(rig: Rig, number: int) -> bool:
    try:
        rig.connect(rig.server(number)["ip"], ())
    except NoLogin:
        return False
    return True


def test_a_foreign_system_stays_unless_the_servers_number_is_typed(rig: Rig) -> None:
    rig.rack(400, installed={**FOREIGN, "authorized_keys": [rig.public_key]})
    until("ssh", lambda: answers(rig, 400))
    with pytest.raises(Stopped, match=r"not-ours.*nothing was changed.*allow_reinstall: 400"):
        rig.install(rig.wanted(400))
    with pytest.raises(Stopped, match="nothing was changed"):
        rig.install(replace(rig.wanted(400), allow_reinstall=401))
    assert rig.server(400)["hostname"] == "not-ours"
    wanted = replace(rig.wanted(400), allow_reinstall=400)
    # It lies on one of the two disks alone.
    (done,) = rig.install(wanted)
    assert rig.ssh(done, "hostname") == "metal-400"


def test_a_server_that_does_not_come_back_is_reset_harder(rig: Rig) -> None:
    rig.rack(401)
    rig.fault(kind="no-return", server=401)
    (done,) = rig.install(rig.wanted(401))
    assert [r.how for r in done.resets] == ["sw", "hw", "ssh"]


def test_a_rescue_system_that_does_not_come_first_is_armed_again(rig: Rig) -> None:
    rig.rack(402, installed={**FOREIGN, "authorized_keys": [rig.public_key]})
    until("ssh", lambda: answers(rig, 402))
    rig.fault(kind="rescue-boots-disk", server=402)
    (done,) = rig.install(replace(rig.wanted(402), allow_reinstall=402))
    assert [r.how for r in done.resets] == ["ssh", "sw", "ssh"]
    assert rig.ssh(done, "hostname") == "metal-402"


def test_a_disk_that_fails_is_told_before_anything_is_installed(rig: Rig) -> None:
    rig.rack(403)
    rig.fault(kind="smart-fails", server=403)
    with pytest.raises(Stopped, match=r"state disks: .*SMART says FAILED.*replace the disk"):
        rig.install(rig.wanted(403))
    assert rig.server(403)["install_id"] is None


def test_installimage_refuses_what_it_does_not_understand(rig: Rig) -> None:
    rig.rack(404)
    robot = rig.robot()
    robot.boots.activate_rescue(404, [fingerprint(rig.public_key)])
    robot.resets.reset(404, "hw")
    until("the rescue system", lambda: rig.server(404)["system"] == "rescue")
    address = rig.server(404)["ip"]
    rescue = Record(number=404, install_id="", hostname="rescue", address=address)
    unpinned = ("-o", "StrictHostKeyChecking=no")
    image = "IMAGE /root/.oldroot/nfs/images/Debian-1300-trixie-amd64-base.tar.gz"
    good = f"DRIVE1 /dev/nvme0n1\nHOSTNAME h\nPART /boot ext4 1G\nPART / ext4 all\n{image}\n"
    until("ssh", lambda: "rescue" in rig.ssh(rescue, "hostname", check=False, options=unpinned))
    for wrong, told in (
        (good + "FORMAT everything\n", "this is no line of a configuration file"),
        (good.replace("nvme0n1", "sda"), "there is no drive sda"),
        (good.replace("Debian-1300", "Debian-9"), "there is no image"),
        (good.replace("ext4 1G", "ext4 9T"), "MiB are wanted"),
        (
            good.replace("PART /boot", "PART /srv").replace(
                "DRIVE1", "SWRAID 1\nSWRAIDLEVEL 0\nDRIVE2 /dev/nvme1n1\nDRIVE1"
            ),
            "a partition /boot is needed",
        ),
    ):
        command = f"cat > /wrong <<'END'\n{wrong}END\n/root/.oldroot/nfs/install/installimage -a -c /wrong; echo $?"
        said = rig.ssh(rescue, command, options=unpinned, check=False)
        assert told in said and "\n1" in said, said
    assert "part" not in rig.ssh(rescue, "lsblk -n -r -o NAME,TYPE", options=unpinned, check=False)
