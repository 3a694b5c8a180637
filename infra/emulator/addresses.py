"""Which address a server gets: public ones from a documentation range, private ones from the network's subnets."""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from infra.emulator.errors import ApiError, invalid

# RFC 5737 TEST-NET-2: an address from it can never be mistaken for somebody's real host.
PUBLIC_RANGE = IPv4Network("198.51.100.0/24")
PUBLIC_GATEWAY = PUBLIC_RANGE[1]
# The first addresses are left to the gateway and to what may yet stand beside it.
PUBLIC_FIRST = 10


def gateway_of(ip_range: str) -> str:
    """Hetzner puts the gateway of a network, and of each of its subnets, on the first address of the network."""
    return str(IPv4Network(ip_range)[1])


def next_public(used: Collection[str]) -> str:
    for host in list(PUBLIC_RANGE.hosts())[PUBLIC_FIRST - 1 :]:
        if str(host) not in used:
            return str(host)
    raise ApiError("resource_limit_exceeded", f"the emulator's public range {PUBLIC_RANGE} is used up")


def reserved(subnet: IPv4Network, network: IPv4Network) -> set[IPv4Address]:
    """Addresses of a subnet that no server may have: its ends, and the gateway of the network."""
    return {subnet.network_address, subnet.broadcast_address, network[1]}


def next_private(network: str, subnets: Iterable[str], used: Collection[str]) -> str:
    """The lowest free address of the first subnet that has one."""
    whole = IPv4Network(network)
    any_subnet = False
    for text in subnets:
        any_subnet = True
        subnet = IPv4Network(text)
        taken = reserved(subnet, whole)
        for host in subnet.hosts():
            if host not in taken and str(host) not in used:
                return str(host)
    if not any_subnet:
        raise ApiError("no_subnet_available", "network has no subnet: add one before a server is attached")
    raise ApiError("ip_not_available", "no free address left in the subnets of the network")


def check_private(ip: str, network: str, subnets: Iterable[str], used: Collection[str]) -> str:
    """The wanted address, or the reason why it cannot be had."""
    try:
        wanted = IPv4Address(ip)
    except ValueError:
        raise invalid("ip", f"{ip!r} is not an IPv4 address") from None
    home = next((s for s in map(IPv4Network, subnets) if wanted in s), None)
    if home is None:
        raise invalid("ip", f"{ip} lies in no subnet of the network")
    if wanted in reserved(home, IPv4Network(network)):
        raise invalid("ip", f"{ip} is reserved in subnet {home}")
    if str(wanted) in used:
        raise ApiError("ip_not_available", f"{ip} is already used in the network")
    return str(wanted)


def mac(prefix: int, ident: int) -> str:
    """A stable hardware address: Hetzner's two-byte beginning, then the number it belongs to."""
    return ":".join(f"{byte:02x}" for byte in bytes([prefix, 0]) + (ident & 0xFFFFFFFF).to_bytes(4, "big"))
