"""Rules of the emulated ground as nftables text: a server's Robot firewall, and who is routed to whom."""

import re
from collections.abc import Iterable

from infra.emulator.machines.network import PUBLIC_BRIDGE
from infra.emulator.robot.model import DedicatedServer, RobotRule

_PORTS = ("tcp", "udp")


def table_of(number: int) -> str:
    return f"robot{number}"


def firewall(server: DedicatedServer) -> str:
    """The server's own table, replaced whole; without rules where its firewall is not active.

    Stateless, as the switch's filter is: nothing of a connection is remembered. `whitelist_hos` opens nothing here, as
    none of Hetzner's own services stands in the emulator; what its gateway serves is asked for by the host.
    """
    wall, name = server.firewall, table_of(server.number)
    lines = [f"table bridge {name}", f"delete table bridge {name}"]
    if wall.status != "active":
        return "\n".join(lines) + "\n"
    lines.append(f"table bridge {name} {{")
    for chain, hook, interface, rules in (
        ("input", "postrouting", "oifname", wall.input),
        ("output", "prerouting", "iifname", wall.output),
    ):
        port = f"r{server.number}"
        lines += [f"  chain {chain} {{", f"    type filter hook {hook} priority 0; policy accept;"]
        # Of the public port and those of its vSwitches; everything else passes by.
        lines.append(f'    {interface} != "{port}" {interface} != "{port}.*" accept')
        lines.append("    ether type arp accept")
        lines.append("    icmpv6 type 0-255 accept" if wall.filter_ipv6 else "    ether type ip6 accept")
        lines += [f"    {text}" for rule in rules for text in _texts(rule)]
        lines += ["    drop", "  }"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _texts(rule: RobotRule) -> list[str]:
    """One line, or one a family where ports are named without a protocol that has them."""
    verdict = "accept" if rule.action == "accept" else "drop"
    match: list[str] = []
    if rule.ip_version:
        match.append("ether type ip" if rule.ip_version == "ipv4" else "ether type ip6")
    for field, address in (("saddr", rule.src_ip), ("daddr", rule.dst_ip)):
        if address:
            match.append(f"ip {field} {address}")
    if rule.protocol:
        match.append(f"meta l4proto {rule.protocol}")
    if rule.tcp_flags:
        match.append(_flags(rule.tcp_flags))
    ports = [(f, p) for f, p in (("sport", rule.src_port), ("dport", rule.dst_port)) if p]
    if not ports:
        return [" ".join([*match, verdict])]
    protocols = [rule.protocol] if rule.protocol in _PORTS else list(_PORTS)
    return [" ".join([*match, *(f"{p} {field} {port}" for field, port in ports), verdict]) for p in protocols]


def _flags(text: str) -> str:
    """`a|b` is any of them, `a&b` all of them."""
    flags = "|".join(re.split(r"[|&]", text))
    return f"tcp flags & ({flags}) == ({flags})" if "&" in text else f"tcp flags & ({flags}) != 0"


def routes(coupled: Iterable[tuple[str, str]]) -> str:
    """Between public addresses, and between each cloud network and the vSwitches coupled to it; nothing else."""
    lines = [
        "table inet routes",
        "delete table inet routes",
        "table inet routes {",
        "  chain forward {",
        "    type filter hook forward priority 0; policy drop;",
        f'    iifname "{PUBLIC_BRIDGE}" oifname "{PUBLIC_BRIDGE}" accept',
    ]
    for network, vswitch in coupled:
        lines += [f'    iifname "{a}" oifname "{b}" accept' for a, b in ((network, vswitch), (vswitch, network))]
    return "\n".join([*lines, "  }", "}"]) + "\n"
