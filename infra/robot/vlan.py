"""A host's interface on the vSwitch: MTU 1400, and a route to the cloud's part of the network through its gateway."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from infra.robot.vswitches import VLANS

# Hetzner's vSwitches drop larger frames.
MTU = 1400
_LINK = re.compile(r"[a-z][a-z0-9._-]{0,14}")


@dataclass(frozen=True)
class VlanLink:
    """`address` with the prefix of the vSwitch subnet; `routes` are (network, gateway in that subnet)."""

    parent: str
    vlan: int
    address: IPv4Interface
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()
    mtu: int = MTU

    def __post_init__(self) -> None:
        if not _LINK.fullmatch(self.parent):
            raise ValueError(f"{self.parent!r} is no interface's name")
        if self.vlan not in VLANS:
            raise ValueError(f"VLAN {self.vlan} is outside {VLANS[0]}-{VLANS[-1]}, which vSwitches take")
        if not 576 <= self.mtu <= MTU:
            raise ValueError(f"MTU {self.mtu}: a vSwitch carries at most {MTU}")
        for network, gateway in self.routes:
            if gateway not in self.address.network or gateway == self.address.ip:
                raise ValueError(f"gateway {gateway} of {network} is no other host of {self.address.network}")

    @property
    def name(self) -> str:
        # An interface's name has at most 15 characters: the parent's would not always leave room.
        return f"vlan{self.vlan}"


def link_to_cloud(parent: str, vlan: int, address: str, subnet: str, cidr: str, gateway: str) -> VlanLink:
    """The link of a host with `address` in the vSwitch `subnet` of the network `cidr`, whose cloud part is behind
    `gateway` (as `GET /vswitch/{id}` gives it)."""
    prefix = IPv4Network(subnet).prefixlen
    return VlanLink(parent, vlan, IPv4Interface(f"{address}/{prefix}"), ((IPv4Network(cidr), IPv4Address(gateway)),))


def files(
    link: VlanLink, network: Literal["netplan", "ifupdown", "networkd"], parent_file: str, *, made: bool = False
) -> dict[str, str]:
    """By path, for whoever configures the network of the host. `made`: there is a link of that name already."""
    if network == "networkd":
        return networkd(link, parent_file, made=made)
    return netplan(link) if network == "netplan" else ifupdown(link)


def netplan(link: VlanLink) -> dict[str, str]:
    """Ubuntu's form, beside installimage's 01-netcfg.yaml, which stays as it is."""
    lines = [
        "network:",
        "  version: 2",
        "  vlans:",
        f"    {link.name}:",
        f"      id: {link.vlan}",
        f"      link: {link.parent}",
        f"      mtu: {link.mtu}",
        f"      addresses: [{link.address}]",
    ]
    if link.routes:
        lines.append("      routes:")
        lines += [f"        - {{to: {network}, via: {gateway}}}" for network, gateway in link.routes]
    return {"/etc/netplan/60-vswitch.yaml": "\n".join(lines) + "\n"}


def ifupdown(link: VlanLink) -> dict[str, str]:
    """Debian's form, sourced by /etc/network/interfaces."""
    lines = [
        f"auto {link.name}",
        f"iface {link.name} inet static",
        f"    address {link.address}",
        f"    mtu {link.mtu}",
        f"    vlan-raw-device {link.parent}",
        # Without package vlan ifupdown makes no such interface: iproute2 does.
        f"    pre-up ip link show {link.name} >/dev/null 2>&1 || "
        f"ip link add link {link.parent} name {link.name} type vlan id {link.vlan}",
    ]
    lines += [f"    up ip route replace {network} via {gateway} dev {link.name}" for network, gateway in link.routes]
    return {"/etc/network/interfaces.d/60-vswitch": "\n".join(lines) + "\n"}


def networkd(link: VlanLink, parent_file: str, *, made: bool = False) -> dict[str, str]:
    """systemd-networkd's form. `parent_file` is the name of the parent's .network file, which gets a drop-in.

    A link that is `made` already (by an earlier run, or by whatever takes the tags off before the host) is given its
    addresses and not made again: networkd takes the whole parent for failed where it cannot make one.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.network", parent_file):
        raise ValueError(f"{parent_file!r} is no .network file")
    folder = "/etc/systemd/network"
    netdev = ["[NetDev]", f"Name={link.name}", "Kind=vlan", f"MTUBytes={link.mtu}", "", "[VLAN]", f"Id={link.vlan}"]
    network = ["[Match]", f"Name={link.name}", "", "[Network]", f"Address={link.address}", "", "[Link]"]
    network.append(f"MTUBytes={link.mtu}")
    for destination, gateway in link.routes:
        network += ["", "[Route]", f"Destination={destination}", f"Gateway={gateway}"]
    # The link has its parent's hardware address: before any file that matches by that.
    files = {f"{folder}/00-vswitch.network": network}
    if not made:
        files[f"{folder}/00-vswitch.netdev"] = netdev
        files[f"{folder}/{parent_file}.d/60-vswitch.conf"] = ["[Network]", f"VLAN={link.name}"]
    return {path: "\n".join(lines) + "\n" for path, lines in files.items()}
