"""The Pulumi program: a site's description becomes its machines, and what the layers above read of them."""

import sys
from pathlib import Path

import pulumi
import pulumi_hcloud as hcloud
from pulumi import Output, ResourceOptions

# Pulumi runs this file as a script.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra.access import operator_of
from infra.cloud import CloudPool, EdgeFirewall, Ground, PrivateNetwork, SshAccess
from infra.dynamic.random_secret import RandomSecret
from infra.metal import MetalGround, MetalPool
from infra.stack import configured, prepare_ground

SECRETS = ("clickhouse_password", "minio_root_password", "minio_app_secret", "redis_password")

stack = pulumi.get_stack()
site, api = configured(stack)
prepare_ground(site, stack)
operator = operator_of(site, stack)

provider = hcloud.Provider(
    "hetzner", endpoint=api.endpoint, token=Output.secret(api.token), poll_interval=api.poll_interval
)
on_hetzner = ResourceOptions(providers={"hcloud": provider})

ground = Ground(
    access=SshAccess(site, operator, on_hetzner),
    private=PrivateNetwork(site, on_hetzner),
    edge=EdgeFirewall(site, on_hetzner),
    operator=operator,
)
metal = MetalGround(ground.private, operator)
pools = [
    MetalPool(site, name, metal, on_hetzner) if pool.dedicated else CloudPool(site, name, ground, on_hetzner)
    for name, pool in site.pools.items()
]
secrets = {name: RandomSecret(name) for name in SECRETS}

pulumi.export(
    "site",
    {
        "name": site.name,
        "environment": site.environment,
        "network_cidr": str(site.network.cidr),
        "mirror_url": site.mirror.url if site.mirror else None,
        "ssh": {
            "user": operator.user,
            "identity_file": operator.identity_file,
            "proxy_command": operator.proxy_command,
        },
    },
)
pulumi.export("hosts", {name: host for pool in pools for name, host in pool.hosts.items()})
pulumi.export("secrets", Output.secret({name: secret.value for name, secret in secrets.items()}))
