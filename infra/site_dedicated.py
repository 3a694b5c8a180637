"""What must hold for dedicated servers: their numbers and disks, the vSwitch that they are on, their firewall."""

from collections.abc import Iterator

from pydantic import ValidationError

from infra.problems import Problem, Refusal
from infra.robot.firewall_rules import Opening, input_rules
from infra.site import Placed, Site

# vSwitches are coupled to cloud networks there and nowhere else.
VSWITCH_ZONE = "eu-central"


def dedicated_problems(site: Site, *, whole: bool) -> Iterator[Problem]:
    """`whole` is False where faulty parts were left out: then nothing is said of what is not there."""
    for name, pool in site.pools.items():
        if (pool.server_type is None) == (pool.dedicated is None):
            yield Problem(
                f"pools.{name}",
                "a pool is of cloud servers or of dedicated ones, and this says "
                + ("both" if pool.dedicated else "neither"),
                "Give it server_type (cloud) or dedicated",
            )
    yield from _vswitch(site, whole=whole)
    owners: dict[int, Placed] = {}
    for host in site.hosts:
        yield from _host(host, owners)
    if any(h.dedicated for h in site.hosts):
        yield from _firewall(site)


def _vswitch(site: Site, *, whole: bool) -> Iterator[Problem]:
    net, needed = site.network, whole and any(h.dedicated for h in site.hosts)
    if net.vswitch is None:
        if needed:
            yield Problem(
                "network.vswitch",
                "dedicated servers reach the private network by a vSwitch, and none is described",
                "Give its vlan (4000 to 4091) and its subnet",
            )
        return
    where, subnet = "network.vswitch.subnet", net.vswitch.subnet
    if not subnet.subnet_of(net.cidr):
        yield Problem(where, f"{subnet} lies outside the network {net.cidr}", "Use a part of it")
    elif subnet.overlaps(net.subnet):
        yield Problem(
            where, f"{subnet} overlaps the cloud servers' subnet {net.subnet}", "Use another part of the network"
        )
    if net.zone != VSWITCH_ZONE:
        yield Problem(
            "network.vswitch", f'there are no vSwitches in zone "{net.zone}"', f"Use a location in {VSWITCH_ZONE}"
        )


def _host(host: Placed, owners: dict[int, Placed]) -> Iterator[Problem]:
    place, said = f"pools.{host.pool}.hosts.{host.name}", host.said
    if host.dedicated is None:
        fields = ("server", "disks", "allow_reinstall", "generation", "reverse_dns")
        if given := [f for f in fields if f in said.model_fields_set]:
            yield Problem(
                f"{place}.{given[0]}",
                "this is said of dedicated servers alone",
                "Remove it, or give its pool `dedicated`",
            )
        return
    for field, value, mend in (
        ("server", said.server, "Give the server's number, as Robot shows it"),
        ("disks", said.disks, "Name its disks by their ids under /dev/disk/by-id (its rescue system lists them)"),
    ):
        if value is None:
            yield Problem(f"{place}.{field}", "this is missing", mend)
    if said.disks:
        try:
            host.dedicated.storage(said.disks)
        except ValidationError as error:
            refusal = error.errors()[0].get("ctx", {}).get("error")
            if isinstance(refusal, Refusal):
                yield Problem(place, refusal.what, refusal.mend)
            else:
                yield Problem(place, error.errors()[0]["msg"], "Correct the pool's raid, parts or volumes")
    if said.server is None:
        return
    if said.server in owners:
        other = owners[said.server]
        yield Problem(
            f"{place}.server", f"server {said.server} is already pools.{other.pool}.hosts.{other.name}", "Correct one"
        )
    owners.setdefault(said.server, host)
    if said.allow_reinstall not in (None, said.server):
        yield Problem(
            f"{place}.allow_reinstall",
            f"{said.allow_reinstall} is not this server's number",
            f"Type {said.server} to let everything on its disks go, or remove the line",
        )


def _firewall(site: Site) -> Iterator[Problem]:
    try:
        input_rules(site.ssh.admin_cidrs, openings(site), str(site.network.cidr))
    except Refusal as refusal:
        yield Problem("firewall.openings", refusal.what, refusal.mend)


def openings(site: Site) -> list[Opening]:
    """The edge firewall's openings, for Robot's."""
    return [Opening(o.port, tuple(o.sources), o.protocol, o.description) for o in site.firewall.openings]
