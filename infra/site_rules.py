"""What must hold between the parts of a site: addresses, names, services and the environment they stand in."""

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address

from infra.problems import Problem
from infra.site import LOCATION_ZONES, SERVICE_POOLS, Placed, Site
from infra.site_dedicated import dedicated_problems


def problems_of(site: Site, *, whole: bool) -> list[Problem]:
    """`whole` is False where faulty parts were left out: then nothing is said of what is not there."""
    return [
        *_network(site),
        *_addresses(site),
        *dedicated_problems(site, whole=whole),
        *_names(site),
        *_services(site, whole=whole),
        *(_environment(site) if whole else ()),
    ]


def _place(host: Placed) -> str:
    return f"pools.{host.pool}.hosts.{host.name}"


def _network(site: Site) -> Iterator[Problem]:
    net = site.network
    if not net.cidr.is_private:
        yield Problem("network.cidr", f"{net.cidr} is not a private range", 'Use one such as "10.77.0.0/16"')
    if not net.subnet.subnet_of(net.cidr):
        yield Problem(
            "network.subnet",
            f"{net.subnet} lies outside the network {net.cidr}",
            f'Use a part of it, such as "{next(net.cidr.subnets(new_prefix=max(24, net.cidr.prefixlen)))}"',
        )
    elif net.subnet == net.cidr and net.cidr.prefixlen < 30:
        yield Problem(
            "network.subnet",
            f"{net.subnet} fills the whole network and leaves no room for a vSwitch subnet",
            f'Use a part of it, such as "{next(net.cidr.subnets(new_prefix=max(24, net.cidr.prefixlen + 1)))}"',
        )
    zone = LOCATION_ZONES[site.location]
    if net.zone != zone:
        yield Problem("network.zone", f'location {site.location} is not in zone "{net.zone}"', f'Write "{zone}"')


def _addresses(site: Site) -> Iterator[Problem]:
    net = site.network
    reserved = {
        net.cidr[1]: "the gateway of the network",
        net.subnet.network_address: "the address of the subnet itself",
        net.subnet.broadcast_address: "the broadcast address of the subnet",
    }
    if net.vswitch:
        reserved[net.vswitch.gateway] = "the gateway of the vSwitch's subnet"
        reserved[net.vswitch.subnet.network_address] = "the address of the vSwitch's subnet itself"
        reserved[net.vswitch.subnet.broadcast_address] = "the broadcast address of the vSwitch's subnet"
    owners: dict[IPv4Address, Placed] = {}
    for host in site.hosts:
        address = IPv4Address(host.address)
        subnet, which = net.subnet, "the subnet"
        if host.dedicated:
            if net.vswitch is None:
                continue  # told once, for the network
            subnet, which = net.vswitch.subnet, "the vSwitch's subnet"
        if address not in subnet:
            yield Problem(
                _place(host),
                f"address {address} lies outside {which} {subnet}",
                f"Give it one between {subnet[1]} and {subnet[-2]}",
            )
        elif address in reserved:
            yield Problem(_place(host), f"address {address} is {reserved[address]}", "Give the host another one")
        if address in owners:
            other = owners[address]
            yield Problem(
                _place(host), f"address {address} is already that of {_place(other)}", "Give one of them another"
            )
        owners.setdefault(address, host)


def _names(site: Site) -> Iterator[Problem]:
    owners: dict[str, Placed] = {}
    for host in site.hosts:
        if host.name in owners:
            yield Problem(
                _place(host), f'host name "{host.name}" is already used at {_place(owners[host.name])}', "Rename one"
            )
        owners.setdefault(host.name, host)


def _services(site: Site, *, whole: bool) -> Iterator[Problem]:
    runs: dict[str, list[Placed]] = defaultdict(list)
    for host in site.hosts:
        for service in host.services:
            runs[service].append(host)
            if host.pool not in SERVICE_POOLS[service]:
                why = ", where nothing but the engine runs" if host.pool == "latency" else ""
                yield Problem(
                    _place(host),
                    f'service "{service}" cannot stand in pool {host.pool}{why}',
                    f"Move it to {' or '.join(SERVICE_POOLS[service])}",
                )
    for service, homes in SERVICE_POOLS.items():
        hosts = runs[service]
        wanted = 0 if service == "venue" and not site.emulated else 1
        if len(hosts) > wanted:
            named = ", ".join(host.name for host in hosts)
            yield (
                Problem("pools", f'service "{service}" stands on {named}, but must exist once', "Keep one of them")
                if wanted
                else Problem(
                    "pools",
                    f'the venue stand-in ("{service}", on {named}) has no place in a site that trades',
                    "Remove it from the services",
                )
            )
        if whole and len(hosts) < wanted:
            yield Problem(
                "pools", f'service "{service}" stands nowhere, but must exist once', f"Add it to pool {homes[0]}"
            )


def _environment(site: Site) -> Iterator[Problem]:
    if site.emulated:
        if (site.ssh.public_key is None) != (site.ssh.identity_file is None):
            yield Problem(
                "ssh", "public_key and identity_file belong together", "Name both, or neither to have a key made"
            )
        return
    if "emulator" in site.model_fields_set:
        yield Problem("emulator", "only an emulated site has an emulator", "Remove this part")
    for field in ("public_key", "identity_file"):
        if getattr(site.ssh, field) is None:
            yield Problem(f"ssh.{field}", "this key is missing", "Name the operator's key pair for the hosts")
