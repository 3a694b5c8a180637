"""Files and rules made for a dedicated server: what must hold of each, whatever the site says."""

import configparser
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, collapse_addresses

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.edge import hcloud_rules
from infra.emulator.robot import autosetup as reader
from infra.problems import Refusal
from infra.robot.firewall_rules import Opening, input_rules, name_of, robot_firewall
from infra.robot.firewalls import RULES_MOST
from infra.robot.models import Rule
from infra.robot.storage import RAID_DISKS, Part, Storage, Volume, autosetup, mib
from infra.robot.vlan import MTU, VlanLink, ifupdown, link_to_cloud, netplan, networkd
from infra.site import Opening as SiteOpening

IMAGE = "/root/images/Debian-1300-trixie-amd64-base.tar.gz"

# Storage

levels = st.sampled_from([None, 0, 1, 5, 6, 10])
sizes = st.builds(lambda n, unit: f"{n}{unit}", st.integers(2, 9000), st.sampled_from("GT"))
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@st.composite
def storages(draw) -> Storage:
    level = draw(levels)
    disks = 1 if level is None else RAID_DISKS[level] + draw(st.integers(0, 4))
    more = draw(st.dictionaries(names.map(lambda n: f"/{n}"), sizes, max_size=4))
    assume("/boot" not in more)
    parts = [Part(mount="/boot", fs="ext4", size="1G"), *(Part(mount=m, fs="xfs", size=s) for m, s in more.items())]
    volumes: list[Volume] = []
    if draw(st.booleans()):
        parts.append(Part(mount="lvm", vg="vg0", size="all"))
        volumes = [Volume(vg="vg0", name="root", mount="/", fs="ext4", size=draw(sizes))]
        volumes.append(Volume(vg="vg0", name="data", mount="/srv-data", fs="xfs", size="all"))
        assume("/srv-data" not in more)
    else:
        parts.append(Part(mount="/", fs="ext4", size=draw(st.one_of(sizes, st.just("all")))))
    return Storage(disks=[f"nvme-D{i}" for i in range(disks)], raid=level, parts=tuple(parts), volumes=tuple(volumes))


@settings(max_examples=40)
@given(storages(), st.booleans())
def test_installimage_reads_what_the_site_said(storage: Storage, uefi: bool) -> None:
    drives = [f"nvme{i}n1" for i in range(len(storage.disks))]
    text = autosetup(storage, drives, hostname="data-1", image=IMAGE, uefi=uefi)
    read = reader.parse(text)
    assert (read.drives, read.raid, read.hostname, read.image) == (drives, storage.raid, "data-1", IMAGE)
    wanted = [(p.mount, p.fs or p.vg, mib(p.size)) for p in storage.parts]
    found = [(p.mount, p.fs, p.size) for p in read.partitions]
    assert found == ([("/boot/efi", "esp", 256)] if uefi else []) + wanted
    assert [(v.name, v.mount, v.size) for v in read.volumes] == [
        (v.name, v.mount, mib(v.size)) for v in storage.volumes
    ]


@given(st.text(max_size=30))
def test_no_text_of_a_site_can_begin_a_line_of_its_own(text: str) -> None:
    for make in (
        lambda: Storage(disks=[text]),
        lambda: Part(mount="/" + text, fs="ext4", size="1G"),
        lambda: Part(mount="/a", fs="ext4", size=text),
        lambda: Volume(vg=text, name="a", mount="/", fs="ext4", size="1G"),
    ):
        try:
            made = make()
        except ValidationError:
            continue
        words = made.disks if isinstance(made, Storage) else made.line().split()
        assert "\n" not in "".join(words) and len(words) <= 6
    if text.split() != [text] or "\n" in text:
        with pytest.raises(ValueError):
            autosetup(Storage(disks=["a"]), ["sda"], hostname=text, image=IMAGE, uefi=True)


def refused(**storage) -> str:
    with pytest.raises(ValidationError) as told:
        Storage.model_validate(storage)
    cause = told.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, Refusal) and cause.mend
    return cause.what


def test_a_layout_that_cannot_work_is_refused_with_what_is_wrong() -> None:
    root = {"mount": "/", "fs": "ext4", "size": "all"}
    boot = {"mount": "/boot", "fs": "ext4", "size": "1G"}
    lvm = {"mount": "lvm", "vg": "vg0", "size": "all"}
    volume = {"vg": "vg0", "name": "root", "mount": "/", "fs": "ext4", "size": "10G"}
    assert "raid 1 takes 2" in refused(disks=["a"], raid=1)
    assert "no raid" in refused(disks=["a", "b"])
    assert "named twice" in refused(disks=["a", "a"], raid=1)
    assert "not the last" in refused(disks=["a"], parts=[root, boot])
    assert "GRUB" in refused(disks=["a"], parts=[lvm], volumes=[volume])
    assert "GRUB" in refused(disks=["a", "b"], raid=0, parts=[root])
    assert "nothing is mounted at /" in refused(disks=["a"], parts=[boot])
    assert "too small" in refused(disks=["a"], parts=[boot, {**root, "size": "1G"}])
    assert "on no partition" in refused(disks=["a"], parts=[boot, root], volumes=[{**volume, "mount": "/x"}])
    assert "mounted twice" in refused(disks=["a"], parts=[boot, lvm], volumes=[volume, {**volume, "name": "two"}])
    assert "is no size" in refused(disks=["a"], parts=[{**root, "size": "lots"}])


# Robot firewall

admins = st.lists(st.integers(8, 32), min_size=1, max_size=4).flatmap(
    lambda ps: st.tuples(
        *(st.integers(2**24, 2**31).map(lambda a, p=p: str(IPv4Network((a, p), strict=False))) for p in ps)
    )
)
openings = st.lists(
    st.builds(
        Opening,
        st.sampled_from(["443", "8000-8100", "9092"]),
        admins,
        st.sampled_from(["tcp", "udp"]),
        st.text(max_size=80),
    ),
    max_size=2,
)


def lets_in(
    rules: list[Rule], src: str, src_port: int, dst: str, dst_port: int, protocol: str, flags: str = ""
) -> bool:
    """What Hetzner's switch does with an IPv4 packet: the first rule that fits decides, none drops."""

    def within(port: int, wanted: str | None) -> bool:
        low, _, high = (wanted or "0-65535").partition("-")
        return int(low) <= port <= int(high or low)

    for rule in rules:
        fits = (
            rule.ip_version in (None, "ipv4")
            and (rule.src_ip is None or IPv4Address(src) in IPv4Network(rule.src_ip))
            and (rule.dst_ip is None or IPv4Address(dst) in IPv4Network(rule.dst_ip))
            and rule.protocol in (None, protocol)
            and within(src_port, rule.src_port)
            and within(dst_port, rule.dst_port)
            and (rule.tcp_flags is None or rule.tcp_flags in flags.split("+"))
        )
        if fits:
            return rule.action == "accept"
    return False


HOST = "203.0.113.9"


@settings(max_examples=40)
@given(admins, openings, st.integers(2**24, 2**31))
def test_only_operators_reach_ssh_and_every_answer_comes_back(admin, opened, stranger: int) -> None:
    try:
        rules = input_rules(admin, opened, "10.77.0.0/16")
    except Refusal as refusal:
        assert "Robot takes 10" in refusal.what
        return
    assert len(rules) <= RULES_MOST
    for network in admin:
        assert lets_in(rules, str(IPv4Network(network)[0]), 40000, HOST, 22, "tcp", "syn")
    address = str(IPv4Address(stranger))
    ours = any(IPv4Address(stranger) in IPv4Network(n) for n in (*admin, "10.77.0.0/16"))
    if not ours:
        assert not lets_in(rules, address, 40000, HOST, 22, "tcp", "syn")
        assert not lets_in(rules, address, 40000, HOST, 22, "tcp", "ack")
        assert not lets_in(rules, address, 443, HOST, 40000, "tcp", "syn")
    assert lets_in(rules, address, 443, HOST, 40000, "tcp", "syn+ack")
    assert lets_in(rules, address, 53, HOST, 40000, "udp")
    assert lets_in(rules, address, 123, HOST, 40000, "udp")
    assert lets_in(rules, "10.77.1.5", 9, "10.77.1.6", 9092, "tcp", "syn")
    for opening in opened:
        first = int(opening.port.partition("-")[0])
        for network in opening.sources:
            assert lets_in(rules, str(IPv4Network(network)[0]), 40000, HOST, first, opening.protocol, "syn")


@given(st.text())
def test_a_rules_name_is_in_robots_alphabet(text: str) -> None:
    import re

    assert re.fullmatch(r"[A-Za-z0-9 .\-+_@]{0,64}", name_of(text))


@settings(max_examples=40)
@given(admins, openings)
def test_the_webservice_takes_every_firewall_that_is_made(admin, opened) -> None:
    from urllib.parse import urlencode

    from infra.emulator.robot.firewall import parse_rules
    from infra.emulator.robot.form import Call
    from infra.robot.firewalls import form_of

    try:
        wall = robot_firewall(321, admin, opened, None)
    except Refusal:
        return
    body = urlencode([*form_of(wall.input, "input"), *form_of(wall.output, "output")])
    read = parse_rules(Call.of("POST", "/firewall/321", body))
    assert [r.model_dump() for r in read["input"]] == [r.model_dump() for r in wall.input]
    assert wall.whitelist_hos and wall.filter_ipv6


def test_over_ipv6_nothing_comes_in_but_answers() -> None:
    wall = robot_firewall(321, ["198.51.100.0/24"], [Opening("443", ("198.51.100.0/24",))], "10.77.0.0/16")
    six = [r for r in wall.input if r.ip_version != "ipv4"]
    assert [(r.protocol, r.tcp_flags) for r in six] == [("tcp", "ack")]


def test_neighbouring_networks_become_one_rule_and_too_many_are_named() -> None:
    halves = ["198.51.100.0/25", "198.51.100.128/25"]
    assert [r.src_ip for r in input_rules(halves, [], None) if r.dst_port == "22"] == ["198.51.100.0/24"]
    with pytest.raises(Refusal, match="needs 12 rules"):
        input_rules([f"198.51.{i}.0/24" for i in range(0, 12, 2)], [], "10.0.0.0/8")


# Cloud firewall


@settings(max_examples=40)
@given(admins, st.lists(admins, max_size=5))
def test_a_cloud_firewall_names_only_what_comes_in(admin, more) -> None:
    rules = hcloud_rules(admin, [SiteOpening(port="443", sources=list(s)) for s in more])
    assert all(r["direction"] == "in" and "0.0.0.0/0" not in r["source_ips"] for r in rules)
    ssh = [IPv4Network(n) for r in rules if r.get("port") == "22" for n in r["source_ips"]]
    named = {IPv4Network(a) for a in admin}
    # No network is wider than those that were named cover together.
    assert all(
        sum(a.num_addresses for a in collapse_addresses(a for a in named if a.subnet_of(n))) == n.num_addresses
        for n in ssh
    )
    assert all(any(IPv4Network(a).subnet_of(n) for n in ssh) for a in admin)


def test_halves_of_the_internet_are_not_let_in_by_the_back_door() -> None:
    with pytest.raises(ValueError, match="whole internet"):
        hcloud_rules(["0.0.0.0/1", "128.0.0.0/1"], [])
    with pytest.raises(ValueError, match="takes 50"):
        hcloud_rules(["198.51.100.0/24"], [SiteOpening(port=str(p), sources=["198.51.100.0/24"]) for p in range(1, 50)])


# VLAN

links = st.builds(
    lambda vlan, host: link_to_cloud("enp5s0", vlan, f"10.77.2.{host}", "10.77.2.0/24", "10.77.0.0/16", "10.77.2.1"),
    st.integers(4000, 4091),
    st.integers(2, 254),
)


@given(links)
def test_every_form_of_the_vlan_says_the_same(link: VlanLink) -> None:
    ((_, plan),) = netplan(link).items()
    vlan = yaml.safe_load(plan)["network"]["vlans"][link.name]
    assert (vlan["id"], vlan["link"], vlan["mtu"]) == (link.vlan, "enp5s0", MTU)
    assert vlan["addresses"] == [str(link.address)]
    assert vlan["routes"] == [{"to": "10.77.0.0/16", "via": "10.77.2.1"}]
    ((_, interfaces),) = ifupdown(link).items()
    for part in (f"address {link.address}", f"mtu {MTU}", f"id {link.vlan}", "10.77.0.0/16 via 10.77.2.1"):
        assert part in interfaces
    files = networkd(link, "10-uplink.network")
    device = configparser.ConfigParser()
    device.read_string(files["/etc/systemd/network/00-vswitch.netdev"])
    assert (device["VLAN"]["Id"], device["NetDev"]["MTUBytes"]) == (str(link.vlan), str(MTU))
    network = configparser.ConfigParser()
    network.read_string(files["/etc/systemd/network/00-vswitch.network"])
    assert network["Route"]["Gateway"] == "10.77.2.1"
    assert files["/etc/systemd/network/10-uplink.network.d/60-vswitch.conf"] == f"[Network]\nVLAN={link.name}\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"parent": "eth0; reboot"},
        {"vlan": 100},
        {"mtu": 1500},
        {"routes": ((IPv4Network("10.0.0.0/8"), IPv4Address("10.78.0.1")),)},
        {"routes": ((IPv4Network("10.0.0.0/8"), IPv4Address("10.77.2.5")),)},
    ],
)
def test_a_link_that_cannot_work_is_refused(wrong) -> None:
    good = {"parent": "enp5s0", "vlan": 4000, "address": IPv4Interface("10.77.2.5/24")}
    with pytest.raises(ValueError):
        VlanLink(**{**good, **wrong})
