"""The Robot account: its records, the machines behind its servers, the clock, and what every family of calls shares."""

import itertools
import secrets
import string
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Protocol

from infra.emulator.faults import Faults
from infra.emulator.robot.errors import not_found
from infra.emulator.robot.machine import BootMode, DedicatedMachine, NextBoot
from infra.emulator.robot.model import Address, DedicatedServer, Disk, Hardware, RobotAccount, System
from infra.emulator.robot.state_only import StateOnlyMachine
from infra.emulator.store import Store

# The documentation range that the emulated cloud leaves free.
DEDICATED_RANGE = IPv4Network("203.0.113.0/24")
# A server's subnet is a quarter of it, with the gateway first, as on Hetzner's.
SUBNET_PREFIX = 26
# More servers than that range has addresses are given those of the range kept for benchmarks.
OVERFLOW_RANGE = IPv4Network("198.18.0.0/16")


class MachineMaker(Protocol):
    def __call__(self, server: DedicatedServer, next_boot: NextBoot) -> DedicatedMachine: ...


class Account:
    def __init__(
        self,
        store: Store,
        faults: Faults,
        clock: Callable[[], float] = time.time,
        make_machine: MachineMaker | None = None,
    ) -> None:
        self.store = store
        self.faults = faults
        self.clock = clock
        self._make = make_machine or self._state_only
        self._machines: dict[int, DedicatedMachine] = {}

    @property
    def db(self) -> RobotAccount:
        return self.store.db.robot

    def _state_only(self, server: DedicatedServer, next_boot: NextBoot) -> DedicatedMachine:
        return StateOnlyMachine(server, next_boot, self.faults, self.clock, lambda: self.db.settings.delay_scale)

    def machine(self, server: DedicatedServer) -> DedicatedMachine:
        if server.number not in self._machines:
            self._machines[server.number] = self._make(server, lambda: self._next_boot(server))
        return self._machines[server.number]

    def _next_boot(self, server: DedicatedServer) -> BootMode:
        """What the server boots now. An order is used up by the boot that follows it."""
        order = server.boot
        if order is None or self.faults.strikes("rescue-boots-disk", server.number):
            return BootMode("disk")
        server.boot = None
        order.boot_time = self.stamp()
        server.last[order.kind] = order
        keys = tuple(self.db.keys[f].data for f in order.keys if f in self.db.keys)
        if order.kind == "rescue":
            return BootMode("rescue", keys, order.password)
        return BootMode("disk", keys, order.password, install=order.os)

    def later(self, seconds: float) -> float:
        """The time at which something is over that takes Hetzner so many seconds."""
        return self.clock() + seconds * self.db.settings.delay_scale

    def stamp(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%d %H:%M:%S")

    def today(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%d")

    def server(self, key: str, code: str = "SERVER_NOT_FOUND") -> DedicatedServer:
        """By number; by main address too, which Hetzner still takes."""
        for server in self.db.servers.values():
            if key in (str(server.number), server.ip):
                return server
        raise not_found(f"server with id {key} not found", code)

    def rack(
        self,
        *,
        number: int | None = None,
        name: str = "",
        product: str = "AX41-NVMe",
        dc: str = "FSN1-DC14",
        hardware: Hardware | None = None,
        installed: System | None = None,
    ) -> DedicatedServer:
        """A server of the customer's, powered on; with `installed` it runs that system, else nothing answers on it."""
        number = number or self.db.next_number
        self.db.next_number = max(self.db.next_number, number + 1)
        address = self._free_address(number)
        server = DedicatedServer(
            number=number,
            name=name,
            ip=address.ip,
            ipv6_net=f"2001:db8:{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}::",
            product=product,
            dc=dc,
            hardware=hardware or usual_hardware(number),
        )
        self.db.servers[number] = server
        self.db.addresses[address.ip] = address
        state = server.machine = server.machine.model_copy()
        state.boot_id = secrets.token_hex(16)
        state.installed = installed
        state.running = "disk" if installed else None
        return server

    async def retire(self, server: DedicatedServer) -> None:
        """Take a server out of the account, with all that names it."""
        await self.machine(server).remove()
        self._machines.pop(server.number, None)
        del self.db.servers[server.number]
        for ip in [a.ip for a in self.db.addresses.values() if a.server_number == server.number]:
            del self.db.addresses[ip]
            self.db.rdns.pop(ip, None)
        for vswitch in self.db.vswitches.values():
            vswitch.members = [m for m in vswitch.members if m.server_number != server.number]

    def _free_address(self, number: int) -> Address:
        blocks = itertools.chain(
            DEDICATED_RANGE.subnets(new_prefix=SUBNET_PREFIX), OVERFLOW_RANGE.subnets(new_prefix=SUBNET_PREFIX)
        )
        for block in blocks:
            for ip in list(block.hosts())[1:]:
                if str(ip) not in self.db.addresses:
                    return Address(
                        ip=str(ip),
                        server_number=number,
                        gateway=str(block[1]),
                        mask=block.prefixlen,
                        broadcast=str(block.broadcast_address),
                    )
        raise not_found("the emulator has no address left for another dedicated server")


def usual_hardware(number: int) -> Hardware:
    """Two NVMe disks of 512 GB, as most of Hetzner's servers have."""
    serials = (f"S64GNX{number:06d}A", f"S64GNX{number:06d}B")
    return Hardware(
        mac=f"02:52:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        disks=[
            Disk(
                name=f"nvme{i}n1",
                by_id=f"nvme-SAMSUNG_MZVL2512HCJQ-00B00_{serial}",
                wwn=f"eui.002538b{number & 0xFFFFFFFF:08x}{i}",
                bytes=512110190592,
            )
            for i, serial in enumerate(serials)
        ],
    )


def new_password() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
