"""The parts of an emulated dedicated server that need no machine: its disks, its tools' answers, its packet filter."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.dedicated import disk, filters, layout, rescue, tools
from infra.emulator.dedicated.storage import MIB, Storage, StorageError
from infra.emulator.robot.account import usual_hardware
from infra.emulator.robot.autosetup import parse
from infra.emulator.robot.model import DedicatedServer, RobotFirewall, RobotRule, System
from infra.robot.firewall_rules import Opening, robot_firewall
from infra.robot.storage import Part, Volume, autosetup
from infra.robot.storage import Storage as Said

ADDRESS = layout.Address("203.0.113.2", "203.0.113.1", "02:52:00:00:01:41")
IMAGE = "/root/.oldroot/nfs/images/Debian-1300-trixie-amd64-base.tar.gz"
DRIVES = ["nvme0n1", "nvme1n1"]


def made(folder: Path) -> Storage:
    return disk.ensure(folder / "disks", usual_hardware(321).disks)


def configuration(raid: int | None = 1, **said: object) -> str:
    ids = ["nvme-A", "nvme-B"][: 1 if raid is None else 2]
    wanted = Said.model_validate({"disks": ids, "raid": raid, **said})
    return autosetup(wanted, DRIVES[: len(ids)], hostname="data-1", image=IMAGE, uefi=False)


LVM = {
    "parts": (Part(mount="/boot", fs="ext4", size="1G"), Part(mount="lvm", vg="vg-0", size="all")),
    "volumes": (
        Volume(vg="vg-0", name="root", mount="/", fs="ext4", size="20G"),
        Volume(vg="vg-0", name="swap", mount="swap", fs="swap", size="4G"),
    ),
}


def test_what_our_generator_writes_is_laid_on_the_disks(tmp_path: Path) -> None:
    storage = made(tmp_path)
    devices = layout.cut(storage, parse(configuration(**LVM)))
    assert {m: (n.name, n.type, n.fstype) for m, n in devices.items()} == {
        "/boot": ("md0", "raid1", "ext4"),
        "/": ("vg--0-root", "lvm", "ext4"),
        "swap": ("vg--0-swap", "lvm", "swap"),
    }
    assert storage.disks_under("vg--0-root") == DRIVES
    assert storage.get("md1").fstype == "LVM2_member"
    assert storage.get("nvme1n1p2").fstype == "linux_raid_member"
    # All that is left is all that is left.
    parts = storage.on("nvme0n1")
    assert sum(p.bytes for p in parts) == storage.get("nvme0n1").bytes - 2 * MIB


def test_the_layout_is_on_the_disk_as_it_was_left(tmp_path: Path) -> None:
    storage = made(tmp_path)
    layout.cut(storage, parse(configuration(**LVM)))
    storage.save()
    assert Storage(tmp_path / "disks").nodes == storage.nodes


def test_a_layout_that_does_not_fit_touches_nothing(tmp_path: Path) -> None:
    storage = made(tmp_path)
    layout.cut(storage, parse(configuration()))
    had = dict(storage.nodes)
    big = configuration(parts=(Part(mount="/boot", fs="ext4", size="1G"), Part(mount="/", fs="ext4", size="1T")))
    with pytest.raises(StorageError, match="MiB left, and 1048576 MiB are wanted"):
        layout.cut(storage, parse(big))
    assert storage.nodes == had


def test_clearing_a_disk_takes_what_lies_on_it_and_what_it_boots(tmp_path: Path) -> None:
    storage = made(tmp_path)
    devices = layout.cut(storage, parse(configuration(**LVM)))
    storage.boot = devices["/"].name
    files = storage.files(devices["/"])
    assert files.is_dir()
    storage.clear("nvme0n1")
    assert storage.boot is None and not files.exists()
    # The other disk still has its parts of the arrays that are gone.
    assert {n.name for n in storage.nodes.values()} == {"nvme0n1", "nvme1n1", "nvme1n1p1", "nvme1n1p2"}


@given(sizes=st.lists(st.integers(1, 200_000), max_size=6))
def test_partitions_never_hold_more_than_their_disk(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    storage = Storage(tmp_path_factory.getbasetemp() / "none")
    storage.nodes = {n.name: n for n in made(tmp_path_factory.mktemp("disks")).disks()}
    for size in sizes:
        try:
            storage.partition("nvme0n1", size * MIB)
        except StorageError:
            continue
    assert sum(p.bytes for p in storage.on("nvme0n1")) <= storage.get("nvme0n1").bytes


def test_a_system_put_on_the_disks_is_what_boots(tmp_path: Path) -> None:
    storage, tree = made(tmp_path), tmp_path / "image"
    (tree / "etc").mkdir(parents=True)
    wanted = System(hostname="theirs", release="x", install_id="abc", authorized_keys=["ssh-ed25519 AAAA me"])
    assert disk.bootable(storage) is None and disk.system(storage) is None
    disk.put(storage, wanted, ADDRESS, "image", tree)
    found = disk.system(storage)
    assert found is not None
    assert (found.hostname, found.install_id, found.authorized_keys) == ("theirs", "abc", wanted.authorized_keys)
    assert found.host_keys[0].startswith("ssh-ed25519 ")
    boots = disk.bootable(storage)
    assert boots is not None and boots.image == "image" and boots.mounts == ()
    assert (boots.upper / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert "Address=203.0.113.2/32" in (boots.upper / layout.NETWORK_FILE).read_text()


def test_file_systems_beside_the_root_are_mounted_where_fstab_says(tmp_path: Path) -> None:
    storage, tree = made(tmp_path), tmp_path / "image"
    (tree / "boot/grub").mkdir(parents=True)
    devices = layout.cut(storage, parse(configuration(**LVM)))
    layout.unpack(storage, devices, "image", tree)
    layout.write(storage.files(devices["/"]), layout.files("h", ADDRESS, devices, "0" * 32))
    storage.boot = devices["/"].name
    boots = disk.bootable(storage)
    assert boots is not None
    assert boots.mounts == ((storage.files(devices["/boot"]), "/boot"),)
    assert (storage.files(devices["/boot"]) / "grub").is_dir()


def lsblk(storage: Storage, capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert tools.lsblk(storage, list(args)) == 0
    return capsys.readouterr().out.splitlines()


def test_lsblk_shows_arrays_and_volumes_once_they_are_assembled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "ASSEMBLED", tmp_path / "assembled")
    storage = made(tmp_path)
    layout.cut(storage, parse(configuration(**LVM)))
    shown = lsblk(storage, capsys, "-n", "-r", "-o", "NAME,FSTYPE", "/dev/nvme0n1")
    assert shown == ["nvme0n1", "nvme0n1p1 linux_raid_member", "nvme0n1p2 linux_raid_member"]
    tools.mdadm(storage, ["--assemble", "--scan", "--readonly"])
    shown = lsblk(storage, capsys, "-n", "-r", "-p", "-o", "NAME,TYPE", "/dev/nvme0n1")
    assert "/dev/md0 raid1" in shown and "/dev/mapper/vg--0-root lvm" in shown
    assert lsblk(storage, capsys, "-s", "-n", "-r", "-o", "NAME,TYPE", "/dev/mapper/vg--0-root")[-1] == "nvme1n1 disk"
    with pytest.raises(StorageError, match="unknown column"):
        tools.lsblk(storage, ["-o", "WISHES"])


def test_an_array_that_runs_is_not_wiped_from_under_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "ASSEMBLED", tmp_path / "assembled")
    storage = made(tmp_path)
    layout.cut(storage, parse(configuration()))
    tools.mdadm(storage, ["--assemble", "--scan"])
    with pytest.raises(StorageError, match="busy"):
        tools.wipefs(storage, ["-a", "/dev/nvme0n1p1"])
    tools.mdadm(storage, ["--stop", "--scan"])
    assert tools.wipefs(storage, ["-a", "-f", "-q", "/dev/nvme0n1p1"]) == 0
    assert "md0" not in storage.nodes


def test_a_disk_that_fails_says_so_by_the_status_of_smartctl(tmp_path: Path) -> None:
    disks = usual_hardware(321).disks
    disks[1].smart_ok = False
    storage = disk.ensure(tmp_path, disks)
    assert tools.smartctl(storage, ["-H", "/dev/nvme0n1"]) == 0
    assert tools.smartctl(storage, ["-H", "/dev/nvme1n1"]) & 8


def test_each_boot_of_the_rescue_system_has_another_key_and_nothing_of_the_last(tmp_path: Path) -> None:
    first = rescue.prepare(tmp_path, ADDRESS, ("ssh-ed25519 AAAA op",), "image")
    (tmp_path / "upper/root/left").write_text("behind")
    second = rescue.prepare(tmp_path, ADDRESS, ("ssh-ed25519 AAAA op",), "image")
    assert first != second and not (tmp_path / "upper/root/left").exists()
    assert (tmp_path / "upper/usr/local/bin/lsblk").readlink() == Path("/usr/local/lib/emulated/tool")
    assert (tmp_path / "upper" / rescue.INSTALLIMAGE).stat().st_mode & 0o100


def server(**wall: object) -> DedicatedServer:
    hardware = usual_hardware(321)
    made = DedicatedServer(number=321, ip="203.0.113.2", ipv6_net="2001:db8::", hardware=hardware)
    made.firewall = RobotFirewall.model_validate(wall)
    return made


def test_a_firewall_that_is_off_has_no_rules_and_leaves_none_behind() -> None:
    text = filters.firewall(server())
    assert text == "table bridge robot321\ndelete table bridge robot321\n"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            {"ip_version": "ipv4", "src_ip": "198.51.100.0/24", "dst_port": "22", "protocol": "tcp"},
            "ether type ip ip saddr 198.51.100.0/24 meta l4proto tcp tcp dport 22 accept",
        ),
        (
            {"ip_version": "ipv4", "protocol": "tcp", "tcp_flags": "ack", "dst_port": "32768-65535"},
            "ether type ip meta l4proto tcp tcp flags & (ack) != 0 tcp dport 32768-65535 accept",
        ),
        ({"tcp_flags": "syn&ack", "protocol": "tcp"}, "meta l4proto tcp tcp flags & (syn|ack) == (syn|ack) accept"),
        (
            {"ip_version": "ipv6", "protocol": "udp", "src_port": "53"},
            "ether type ip6 meta l4proto udp udp sport 53 accept",
        ),
        ({"action": "discard", "ip_version": "ipv4", "dst_ip": "10.0.0.1"}, "ether type ip ip daddr 10.0.0.1 drop"),
    ],
)
def test_a_rule_of_robots_is_one_of_nftables(rule: dict[str, str], line: str) -> None:
    said = RobotRule.model_validate({"action": "accept", **rule})
    lines = filters.firewall(server(status="active", filter_ipv6=True, input=[said])).splitlines()
    assert f"    {line}" in lines
    assert lines.index(f"    {line}") < lines.index("    drop")


def test_the_firewall_that_our_generator_makes_names_every_port_of_the_server_and_drops_the_rest() -> None:
    wall = robot_firewall(321, ["198.51.100.1/32"], [Opening("8000", ("192.0.2.0/24",))], "10.77.0.0/16")
    rules = {d: [r.model_dump() for r in getattr(wall, d)] for d in ("input", "output")}
    text = filters.firewall(server(status="active", filter_ipv6=True, **rules))
    assert 'oifname != "r321" oifname != "r321.*" accept' in text
    assert text.count("    drop\n") == 2
    assert "ip saddr 10.77.0.0/16 ip daddr 10.77.0.0/16 accept" in text


def test_only_coupled_networks_are_routed_to_each_other() -> None:
    text = filters.routes([("net12", "vs13")])
    assert 'iifname "net12" oifname "vs13" accept' in text and 'iifname "vs13" oifname "net12" accept' in text
    assert "policy drop" in text and '"net12" oifname "br0"' not in text
