"""The Robot firewall of a host: stateless, ten rules a direction, so answers to what the host asks need rules too."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses

from infra.problems import Refusal
from infra.robot.firewalls import RULES_MOST
from infra.robot.models import Firewall, Rule

# Ports that Linux takes for what it asks (net.ipv4.ip_local_port_range).
EPHEMERAL = "32768-65535"
_NAME_OTHERS = re.compile(r"[^A-Za-z0-9 .\-+_@]+")


@dataclass(frozen=True)
class Opening:
    """A port, or a range of them, that networks outside reach."""

    port: str
    sources: tuple[str, ...]
    protocol: str = "tcp"
    name: str = ""


def name_of(text: str) -> str:
    """A rule's name in Robot's alphabet."""
    return _NAME_OTHERS.sub(" ", text).strip()[:64]


def _networks(sources: Iterable[str]) -> list[str]:
    """As few networks as say the same."""
    return [str(n) for n in collapse_addresses(IPv4Network(s, strict=False) for s in sources)]


def input_rules(admin: Sequence[str], openings: Sequence[Opening], private: str | None) -> list[Rule]:
    """What may come in. `private` is the network that the vSwitch carries: hosts of the site talk there and only there.

    Raises Refusal where Robot's ten rules are not enough.
    """
    rules = []
    if private:
        rules.append(_v4("vswitch", src_ip=private, dst_ip=private))
    for opening in (Opening("22", tuple(admin), name="ssh"), *openings):
        for network in _networks(opening.sources):
            name = name_of(opening.name) or f"{opening.protocol} {opening.port}"
            rules.append(_v4(name, src_ip=network, dst_port=opening.port, protocol=opening.protocol))
    # Without "fragmentation needed" connections hang where a path is narrower than the link.
    rules.append(_v4("icmp", protocol="icmp"))
    for version in ("ipv4", "ipv6"):
        rules.append(
            Rule(
                name=f"tcp established {version}",
                ip_version="ipv4" if version == "ipv4" else "ipv6",
                protocol="tcp",
                tcp_flags="ack",
                dst_port=EPHEMERAL,
                action="accept",
            )
        )
    for name, port in (("dns replies", "53"), ("ntp replies", "123")):
        rules.append(_v4(name, protocol="udp", src_port=port, dst_port=EPHEMERAL))
    if len(rules) > RULES_MOST:
        shown = "; ".join(f"{r.name} from {r.src_ip or 'anywhere'}" for r in rules)
        raise Refusal(
            f"the firewall needs {len(rules)} rules, and Robot takes {RULES_MOST}: {shown}",
            "Name fewer or larger networks in ssh.admin_cidrs and firewall.openings",
        )
    return rules


def _v4(
    name: str,
    *,
    src_ip: str | None = None,
    dst_ip: str | None = None,
    src_port: str | None = None,
    dst_port: str | None = None,
    protocol: str | None = None,
) -> Rule:
    return Rule(
        name=name,
        ip_version="ipv4",
        src_ip=src_ip,
        dst_ip=dst_ip,
        src_port=src_port,
        dst_port=dst_port,
        protocol=protocol,
        action="accept",
    )


def robot_firewall(number: int, admin: Sequence[str], openings: Sequence[Opening], private: str | None) -> Firewall:
    """The whole firewall of a server. Nothing leaves unseen to: all of it may go out.

    Over IPv6 nothing is let in but answers: Robot filters no addresses there, so a port that is open is open to all.
    `whitelist_hos` stays on, as the rescue system, Hetzner's name servers and its monitoring come through it.
    """
    return Firewall(
        server_number=number,
        status="active",
        filter_ipv6=True,
        whitelist_hos=True,
        port="main",
        input=tuple(input_rules(admin, openings, private)),
        output=(Rule(name="all", action="accept"),),
    )
