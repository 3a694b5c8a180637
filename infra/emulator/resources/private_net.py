"""A server's place in private networks."""

from infra.emulator.addresses import check_private, mac, next_private
from infra.emulator.cloud import Cloud, require
from infra.emulator.errors import ApiError, not_found
from infra.emulator.model import PrivateNet, Server

# Hetzner's limits.
NETWORKS_MOST = 3
ALIASES_MOST = 5


def attach(cloud: Cloud, server: Server, ident: int, ip: str | None, aliases: list[str]) -> PrivateNet:
    network = require(cloud.db.networks, "network", ident)
    if any(n.network == ident for n in server.private_net):
        raise ApiError("server_already_attached", f"server {server.id} is already attached to network {ident}")
    if len(server.private_net) >= NETWORKS_MOST:
        raise ApiError("resource_limit_exceeded", f"a server can be in at most {NETWORKS_MOST} networks")
    # A server lives in cloud subnets; a vswitch subnet belongs to dedicated servers.
    subnets = [s.ip_range for s in network.subnets if s.type != "vswitch"]
    used = cloud.used_private(ident)
    if ip is None:
        own = next_private(network.ip_range, subnets, used)
    else:
        own = check_private(ip, network.ip_range, subnets, used)
    net = PrivateNet(network=ident, ip=own, mac_address=mac(0x86, server.id * 4 + len(server.private_net)))
    net.alias_ips = _checked_aliases(cloud, server, ident, aliases, {*used, own})
    server.private_net.append(net)
    return net


def attached(server: Server, ident: int) -> PrivateNet:
    net = next((n for n in server.private_net if n.network == ident), None)
    if net is None:
        raise not_found("network attachment", ident)
    return net


def detach(server: Server, ident: int) -> None:
    server.private_net.remove(attached(server, ident))


def change_aliases(cloud: Cloud, server: Server, ident: int, aliases: list[str]) -> None:
    net = attached(server, ident)
    others = cloud.used_private(ident) - set(net.alias_ips)
    net.alias_ips = _checked_aliases(cloud, server, ident, aliases, others)


def _checked_aliases(cloud: Cloud, server: Server, ident: int, aliases: list[str], used: set[str]) -> list[str]:
    if len(aliases) > ALIASES_MOST:
        raise ApiError("resource_limit_exceeded", f"a server can have at most {ALIASES_MOST} alias IPs in a network")
    network = cloud.db.networks[ident]
    subnets, found = [s.ip_range for s in network.subnets if s.type != "vswitch"], list[str]()
    for alias in aliases:
        found.append(check_private(alias, network.ip_range, subnets, used | set(found)))
    return found
