"""The site on Hetzner's cloud: access, private network, edge firewall, and a pool of servers for each kind of work."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_hcloud as hcloud
from pulumi import Output, ResourceOptions

from infra.access import Operator
from infra.dynamic.host_key import HostKey
from infra.dynamic.liveness import Liveness
from infra.dynamic.vswitch import VSwitch
from infra.edge import hcloud_rules
from infra.site import Placed, Site
from infra.site import VSwitch as WantedVSwitch
from infra.tuning.partition import format_cpu_list
from infra.user_data import render


def _labels(site: Site, **more: str) -> dict[str, str]:
    return {"site": site.name, "managed-by": "pulumi", **more}


def _number(resource: pulumi.CustomResource) -> Output[int]:
    """Hetzner's ids are numbers, Pulumi's are strings."""
    return resource.id.apply(int)


class SshAccess(pulumi.ComponentResource):
    """The operator's public key, which Hetzner puts on every new server."""

    def __init__(self, site: Site, operator: Operator, opts: ResourceOptions) -> None:
        super().__init__("baretick:cloud:SshAccess", site.name, None, opts)
        name = f"{site.name}-operator"
        self.key = hcloud.SshKey(
            name,
            name=name,
            public_key=operator.public_key,
            labels=_labels(site),
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({})


class PrivateNetwork(pulumi.ComponentResource):
    """The network between the hosts: one subnet of the cloud's, and one of a vSwitch where there are dedicated servers.

    The cloud's subnet comes first: a network that holds a vSwitch's alone takes no cloud server.
    """

    def __init__(self, site: Site, opts: ResourceOptions) -> None:
        super().__init__("baretick:cloud:PrivateNetwork", site.name, None, opts)
        self.network = hcloud.Network(
            site.name,
            name=site.name,
            ip_range=str(site.network.cidr),
            delete_protection=site.protection,
            expose_routes_to_vswitch=True if site.network.vswitch else None,
            labels=_labels(site),
            opts=ResourceOptions(parent=self),
        )
        self.subnet = hcloud.NetworkSubnet(
            f"{site.name}-hosts",
            network_id=_number(self.network),
            type="cloud",
            network_zone=site.network.zone,
            ip_range=str(site.network.subnet),
            opts=ResourceOptions(parent=self),
        )
        self.vswitch: VSwitch | None = None
        self.vswitch_subnet: hcloud.NetworkSubnet | None = None
        if site.network.vswitch:
            self._couple(site, site.network.vswitch)
        self.register_outputs({})

    def _couple(self, site: Site, wanted: WantedVSwitch) -> None:
        self.vswitch = VSwitch(
            site.name,
            stack=pulumi.get_stack(),
            name=site.name,
            vlan=wanted.vlan,
            opts=ResourceOptions(parent=self, protect=site.protection),
        )
        self.vswitch_subnet = hcloud.NetworkSubnet(
            f"{site.name}-vswitch",
            network_id=_number(self.network),
            type="vswitch",
            network_zone=site.network.zone,
            ip_range=str(wanted.subnet),
            vswitch_id=self.vswitch.vswitch_id.apply(int),
            opts=ResourceOptions(parent=self, depends_on=[self.subnet]),
        )


class EdgeFirewall(pulumi.ComponentResource):
    """In front of every server's public address; traffic of the private network does not pass it."""

    def __init__(self, site: Site, opts: ResourceOptions) -> None:
        super().__init__("baretick:cloud:EdgeFirewall", site.name, None, opts)
        self.firewall = hcloud.Firewall(
            f"{site.name}-edge",
            name=f"{site.name}-edge",
            rules=[
                hcloud.FirewallRuleArgs(**rule) for rule in hcloud_rules(site.ssh.admin_cidrs, site.firewall.openings)
            ],
            labels=_labels(site),
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({})


@dataclass(frozen=True)
class Ground:
    """What every pool stands on."""

    access: SshAccess
    private: PrivateNetwork
    edge: EdgeFirewall
    operator: Operator


class CloudPool(pulumi.ComponentResource):
    """The servers of one pool, on different hardware; `hosts` is what the rest of the house reads of them."""

    def __init__(self, site: Site, pool: str, ground: Ground, opts: ResourceOptions) -> None:
        super().__init__("baretick:cloud:Pool", f"{site.name}-{pool}", None, opts)
        self._site, self._ground = site, ground
        self._spread = hcloud.PlacementGroup(
            f"{site.name}-{pool}",
            name=f"{site.name}-{pool}",
            type="spread",
            labels=_labels(site, pool=pool),
            opts=ResourceOptions(parent=self),
        )
        self.hosts = {host.name: self._host(host) for host in site.hosts if host.pool == pool}
        self.register_outputs({})

    def _host(self, host: Placed) -> Output[dict[str, Any]]:
        key = HostKey(f"{host.name}-key", host.name, opts=ResourceOptions(parent=self))
        server = self._server(host, key)
        attached = hcloud.ServerNetwork(
            host.name,
            server_id=_number(server),
            network_id=_number(self._ground.private.network),
            ip=host.address,
            opts=ResourceOptions(parent=self, depends_on=[self._ground.private.subnet]),
        )
        alive = Liveness(
            f"{host.name}-alive",
            stack=pulumi.get_stack(),
            server_id=_number(server),
            name=host.name,
            address=server.ipv4_address,
            host_key=key.public_key,
            user=self._ground.operator.user,
            identity_file=self._ground.operator.identity_file,
            proxy_command=self._ground.operator.proxy_command,
            opts=ResourceOptions(parent=self, depends_on=[attached]),
        )
        return Output.all(public=server.ipv4_address, key=key.public_key, alive=alive.id).apply(
            lambda known: {
                "pool": host.pool,
                "services": list(host.services),
                "public_ipv4": known["public"],
                "private_ip": host.address,
                "host_key": known["key"],
                "cpus": {
                    "housekeeping": format_cpu_list(host.cpus.housekeeping),
                    "isolated": format_cpu_list(host.cpus.isolated),
                },
            }
        )

    def _server(self, host: Placed, key: HostKey) -> hcloud.Server:
        assert host.server_type is not None
        return hcloud.Server(
            host.name,
            name=host.name,
            server_type=host.server_type,
            image=host.image,
            location=self._site.location,
            ssh_keys=[self._ground.access.key.id],
            firewall_ids=[_number(self._ground.edge.firewall)],
            placement_group_id=_number(self._spread),
            user_data=Output.all(key.private_key, key.public_key).apply(lambda pair: render(host.name, *pair)),
            labels=_labels(self._site, pool=host.pool),
            # Hetzner wants the two to be equal.
            delete_protection=self._site.protection,
            rebuild_protection=self._site.protection,
            shutdown_before_deletion=not self._site.emulated,
            opts=ResourceOptions(
                parent=self,
                # These say how a server was born: changing them must never replace one that holds data.
                ignore_changes=["image", "user_data", "ssh_keys"],
            ),
        )
