"""The account: what it owns, and how its servers and networks become machines on the ground beneath."""

import asyncio
import logging
from collections.abc import Mapping
from ipaddress import IPv4Network

from infra.emulator.actions import Actions
from infra.emulator.addresses import PUBLIC_RANGE, gateway_of, mac
from infra.emulator.catalog import IMAGES
from infra.emulator.errors import not_found
from infra.emulator.faults import Faults
from infra.emulator.machines.base import Backend, MachineSpec, Nic, PrivateNetwork
from infra.emulator.model import Database, Network, Record, Server
from infra.emulator.store import Store

log = logging.getLogger(__name__)

# How often machines are looked at, so that one which died is seen as off even when nobody asks.
WATCH_SECONDS = 1.0


class Cloud:
    def __init__(self, store: Store, backend: Backend) -> None:
        self.store = store
        self.backend = backend
        self.faults = Faults(store.db.faults)
        self.actions = Actions(store, self.faults)
        self._watch: asyncio.Task[None] | None = None
        self._networks = asyncio.Lock()

    @property
    def db(self) -> Database:
        return self.store.db

    async def prepare(self) -> None:
        """The ground itself: namespace and networks."""
        await self.backend.start()
        await self.sync_networks()

    async def start(self) -> None:
        """Bring machines in line with what is remembered: disks that are missing, hosts that should be on."""
        db = self.db
        for server in [s for s in db.servers.values() if s.transition == "deleting"]:
            self.release(server)
        for ident in self.backend.known() - set(db.servers):
            log.warning("machine %s belongs to no server: removed", ident)
            await self.backend.delete(ident)
        outcomes = await asyncio.gather(*(self._resume(s) for s in db.servers.values()), return_exceptions=True)
        failed = {s.id: str(o) for s, o in zip(db.servers.values(), outcomes, strict=True) if o is not None}
        for ident, why in failed.items():
            log.error("server %s could not be resumed: %s", ident, why)
            db.servers[ident].power = "off"
        for action in [a for a in db.actions.values() if a.status == "running"]:
            reason = next((failed[r.id] for r in action.resources if r.id in failed), None)
            self.actions.settle(action, reason)
        self.store.save()
        self._watch = asyncio.create_task(self._watch_machines())

    async def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self.actions.close()
        self.store.save()

    async def _resume(self, server: Server) -> None:
        server.transition = None
        spec = self.spec(server)
        await self.backend.create(spec)
        if server.power == "on":
            if self.backend.alive(server.id):
                await self.backend.reconfigure(spec)
            else:
                await self.backend.boot(spec)

    async def _watch_machines(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for server in self.db.servers.values():
                self.observe(server)

    def observe(self, server: Server) -> str:
        """The server's status as it is now; a machine that died is off, and stays off until it is powered on."""
        if server.transition:
            return server.transition
        if server.power == "on" and not self.backend.alive(server.id):
            log.warning("machine %s (%s) is no longer running", server.name, server.id)
            server.power = "off"
            self.store.save()
        return "running" if server.power == "on" else "off"

    def release(self, server: Server) -> None:
        """Forget a server, and give back all that it held."""
        db = self.db
        del db.servers[server.id]
        for firewall in db.firewalls.values():
            firewall.servers = [i for i in firewall.servers if i != server.id]
        for volume in db.volumes.values():
            if volume.server == server.id:
                volume.server = None
        for address in [p for p in db.primary_ips.values() if p.assignee_id == server.id]:
            address.assignee_id = None
            if address.auto_delete:
                del db.primary_ips[address.id]

    async def sync_networks(self) -> None:
        # One at a time: a list made before another request changed it must not be applied after.
        async with self._networks:
            await self.backend.set_networks(
                [
                    PrivateNetwork(bridge(n), f"{gateway_of(n.ip_range)}/{IPv4Network(n.ip_range).prefixlen}")
                    for n in self.db.networks.values()
                ]
            )

    def spec(self, server: Server) -> MachineSpec:
        db = self.db
        ipv4 = db.primary_ips[server.ipv4].ip if server.ipv4 else None
        ipv6 = db.primary_ips[server.ipv6].ip if server.ipv6 else None
        return MachineSpec(
            id=server.id,
            name=server.name,
            suite=IMAGES[server.image].suite,
            user_data=server.user_data,
            authorized_keys=tuple(server.authorized_keys),
            public_ipv4=f"{ipv4}/{PUBLIC_RANGE.prefixlen}" if ipv4 else None,
            public_ipv6=ipv6.replace("::/64", "::1/64") if ipv6 else None,
            public_mac=mac(0x96, server.id),
            nics=tuple(self._nic(server, at) for at in range(len(server.private_net))),
        )

    def _nic(self, server: Server, at: int) -> Nic:
        net = server.private_net[at]
        network = self.db.networks[net.network]
        prefix = IPv4Network(network.ip_range).prefixlen
        return Nic(
            name=f"enp{7 + at}s0",
            mac=net.mac_address,
            addresses=(f"{net.ip}/{prefix}", *(f"{alias}/32" for alias in net.alias_ips)),
            bridge=bridge(network),
        )

    def used_private(self, network: int) -> set[str]:
        nets = [n for s in self.db.servers.values() for n in s.private_net if n.network == network]
        return {n.ip for n in nets} | {alias for n in nets for alias in n.alias_ips}


def bridge(network: Network) -> str:
    return f"net{network.id}"


def require[R: Record](table: Mapping[int, R], kind: str, ident: object) -> R:
    """The record of that id, or Hetzner's not_found."""
    try:
        return table[int(str(ident))]
    except (KeyError, ValueError):
        raise not_found(kind, ident) from None
