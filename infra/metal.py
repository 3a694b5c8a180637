"""The site's dedicated servers: a pool of hosts that Robot's rescue system and installimage put their system on."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Output, ResourceOptions

from infra.access import Operator
from infra.cloud import PrivateNetwork
from infra.dynamic.metal_host import MetalHost
from infra.site import Placed, Site
from infra.site_dedicated import openings
from infra.tuning.partition import format_cpu_list


@dataclass(frozen=True)
class MetalGround:
    """What every pool of dedicated servers stands on."""

    private: PrivateNetwork
    operator: Operator


class MetalPool(pulumi.ComponentResource):
    """The dedicated servers of one pool; `hosts` is what the rest of the house reads of them."""

    def __init__(self, site: Site, pool: str, ground: MetalGround, opts: ResourceOptions) -> None:
        super().__init__("baretick:metal:Pool", f"{site.name}-{pool}", None, opts)
        self._site, self._ground = site, ground
        self.hosts = {host.name: self._host(host) for host in site.hosts if host.pool == pool}
        self.register_outputs({})

    def _host(self, host: Placed) -> Output[dict[str, Any]]:
        private, operator = self._ground.private, self._ground.operator
        assert private.vswitch is not None and private.vswitch_subnet is not None
        made = MetalHost(
            host.name,
            stack=pulumi.get_stack(),
            number=host.said.server,
            hostname=host.name,
            wanted=wanted(self._site, host, operator),
            identity_file=operator.identity_file,
            proxy_command=operator.proxy_command,
            vswitch_id=private.vswitch.vswitch_id,
            opts=ResourceOptions(
                parent=self,
                depends_on=[private.vswitch_subnet],
                # Only a person who types the server's number has a host installed anew; only they take it out.
                protect=self._site.protection,
            ),
        )
        return Output.all(public=made.public_ipv4, key=made.host_key).apply(
            lambda known: {
                "pool": host.pool,
                "services": list(host.services),
                "public_ipv4": known["public"],
                "private_ip": host.address,
                "host_key": known["key"],
                "server_number": host.said.server,
                "cpus": {
                    "housekeeping": format_cpu_list(host.cpus.housekeeping),
                    "isolated": format_cpu_list(host.cpus.isolated),
                },
            }
        )


def wanted(site: Site, host: Placed, operator: Operator) -> dict[str, Any]:
    """The host as data, for the provider: what `infra.dynamic.robot_hosts.wanted_of` reads."""
    dedicated, said, vswitch = host.dedicated, host.said, site.network.vswitch
    assert dedicated is not None and vswitch is not None and said.disks is not None
    return {
        "address": host.address,
        "vlan": vswitch.vlan,
        "subnet": str(vswitch.subnet),
        "cidr": str(site.network.cidr),
        "storage": dedicated.storage(said.disks).model_dump(mode="json"),
        "public_key": operator.public_key,
        "image": dedicated.image,
        "product": dedicated.product,
        "location": dedicated.location,
        # What the emulator's machines have is this machine's: less than the pool's CPUs, as a rule.
        "cpus": 1 if site.emulated else host.cpus.total,
        "memory_gib": dedicated.memory_gib,
        "allow_reinstall": said.allow_reinstall,
        "generation": said.generation,
        "reverse_dns": said.reverse_dns,
        "admin": list(site.ssh.admin_cidrs),
        "openings": [
            {"port": o.port, "sources": list(o.sources), "protocol": o.protocol, "name": o.name} for o in openings(site)
        ],
    }
