"""What dedicated servers stand on: their machines looked after, the networks between them, their firewalls in force."""

import asyncio
import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.emulator.dedicated import filters
from infra.emulator.dedicated.machine import VSWITCH_MTU, VSWITCH_PREFIX, NspawnDedicated, vswitch_bridge
from infra.emulator.errors import EmulatorError
from infra.emulator.instance import Instance
from infra.emulator.machines import image, network
from infra.emulator.machines.network import PRIVATE_PREFIX, PUBLIC_BRIDGE
from infra.emulator.robot.account import Account
from infra.emulator.robot.firewall import in_process
from infra.emulator.robot.machine import NextBoot
from infra.emulator.robot.model import DedicatedServer
from infra.emulator.robot.vswitch import coupled, expired

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
SUITE = "trixie"


@dataclass(frozen=True)
class Wanted:
    """The networks as they should be."""

    # Gateways of the servers' subnets, with prefix.
    gateways: tuple[str, ...]
    # Bridge of each vSwitch, and its gateway where a cloud network is coupled to it.
    vswitches: tuple[tuple[str, str | None], ...]
    # (bridge of the cloud network, bridge of the vSwitch)
    couplings: tuple[tuple[str, str], ...]


class DedicatedGround:
    """Nothing of it exists before the first server is racked."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._account: Account
        self._task: asyncio.Task[None] | None = None
        self._have: Wanted | None = None
        self._rules: dict[int, str] = {}
        # The trouble that was logged last: it is looked at five times a second.
        self._told = ""

    def make_machine(self, server: DedicatedServer, next_boot: NextBoot) -> NspawnDedicated:
        if shutil.which("nft") is None:
            raise EmulatorError("dedicated servers need nftables on this system: apt-get install nftables")
        address = self._account.db.addresses[server.ip]
        return NspawnDedicated(
            self._instance.name,
            self._instance.machines / f"d{server.number}",
            self._instance.images,
            server,
            address,
            next_boot,
            self._account.faults,
            self._base,
            self._links,
            self._account.store.save,
        )

    async def start(self, account: Account) -> None:
        self._account = account
        self._task = asyncio.create_task(self._keep())
        if account.db.servers:
            await self._sync()
        for server in account.db.servers.values():
            await account.machine(server).resume()

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for server in self._account.db.servers.values():
            await self._account.machine(server).close()

    async def _base(self) -> tuple[str, Path]:
        tree = await asyncio.to_thread(image.ensure, self._instance.images, SUITE, log.info)
        return tree.parent.name, tree

    def _links(self, server: DedicatedServer) -> list[tuple[int, int]]:
        """From when the change begins: a member that is ready has its link."""
        return [
            (vswitch.id, vswitch.vlan)
            for vswitch in self._account.db.vswitches.values()
            if not expired(self._account, vswitch)
            for member in vswitch.members
            if member.server_number == server.number and member.ready_at is not None
        ]

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._account.db.servers and self._have is None:
                continue
            try:
                await self._sync()
                for server in list(self._account.db.servers.values()):
                    # One may have been taken out while another was looked at.
                    if server.number in self._account.db.servers:
                        await self._account.machine(server).look()
                self._told = ""
            except (EmulatorError, OSError) as error:
                if str(error) != self._told:
                    log.error("dedicated servers: %s", error)
                self._told = str(error)

    async def _sync(self) -> None:
        wanted = self._wanted()
        if wanted != self._have:
            await asyncio.to_thread(_build, self._instance.name, wanted)
            self._have = wanted
        servers = self._account.db.servers
        for server in servers.values():
            # Until the switch has the new rules, the old ones hold.
            if not in_process(self._account, server.firewall):
                await self._enforce(server.number, filters.firewall(server))
        for gone in self._rules.keys() - servers.keys():
            name = filters.table_of(gone)
            await asyncio.to_thread(_load, self._instance.name, f"table bridge {name}\ndelete table bridge {name}\n")
            del self._rules[gone]

    async def _enforce(self, number: int, rules: str) -> None:
        if self._rules.get(number) != rules:
            await asyncio.to_thread(_load, self._instance.name, rules)
            self._rules[number] = rules

    def _wanted(self) -> Wanted:
        db = self._account.db
        addresses = [db.addresses[s.ip] for s in db.servers.values()]
        vswitches: dict[str, str | None] = {}
        couplings: list[tuple[str, str]] = []
        for vswitch in [v for v in db.vswitches.values() if not expired(self._account, v)]:
            bridge = vswitch_bridge(vswitch.id)
            vswitches[bridge] = None
            for cloud in coupled(self._account, vswitch):
                vswitches[bridge] = f"{cloud.gateway}/{cloud.mask}"
                couplings.append((f"{PRIVATE_PREFIX}{cloud.id}", bridge))
        return Wanted(
            gateways=tuple(sorted({f"{a.gateway}/{a.mask}" for a in addresses})),
            vswitches=tuple(sorted(vswitches.items())),
            couplings=tuple(sorted(couplings)),
        )


def _build(name: str, wanted: Wanted) -> None:
    network.ensure(name, wanted.gateways)
    network.set_bridges(name, VSWITCH_PREFIX, dict(wanted.vswitches), VSWITCH_MTU)
    settings = {
        # Frames between two ports of a bridge are no traffic that is routed.
        "net.bridge.bridge-nf-call-iptables": 0,
        "net.bridge.bridge-nf-call-ip6tables": 0,
        "net.bridge.bridge-nf-call-arptables": 0,
        # A neighbour that is reached through the gateway is not to be told of a shorter way.
        "net.ipv4.conf.all.send_redirects": 0,
        f"net.ipv4.conf.{PUBLIC_BRIDGE}.send_redirects": 0,
    }
    for cloud, _ in wanted.couplings:
        # Cloud servers take all of the network for their link: the gateway answers for what is on a vSwitch.
        settings |= {f"net.ipv4.conf.{cloud}.proxy_arp": 1, f"net.ipv4.neigh.{cloud}.proxy_delay": 0}
    _load(name, filters.routes(wanted.couplings))
    for key, value in settings.items():
        if key.startswith("net.bridge.") and not Path("/proc/sys/net/bridge").is_dir():
            continue
        network.inside(name, "sysctl", "-q", "-w", f"{key}={value}")
    network.inside(name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")


def _load(name: str, rules: str) -> None:
    network.inside(name, "nft", "-f", "-", text=rules)
