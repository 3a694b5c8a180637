"""A dedicated server with a real system on it: nspawn hosts that boot the rescue system or what is on the disks."""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from infra.emulator.dedicated import disk, layout, rescue
from infra.emulator.dedicated.storage import Storage
from infra.emulator.errors import EmulatorError
from infra.emulator.faults import Faults
from infra.emulator.machines import network
from infra.emulator.machines.launcher import REBOOT
from infra.emulator.machines.nspawn import remove_tree
from infra.emulator.machines.supervised import Supervised, nspawn_argv
from infra.emulator.robot.machine import BootMode, NextBoot, SshFace
from infra.emulator.robot.model import Address, DedicatedServer, Disk, ResetType, System

log = logging.getLogger(__name__)

POWER_OFF_SECONDS = 30.0
VSWITCH_MTU = 1400
# Bridges of vSwitches are named so, and the vSwitch's id.
VSWITCH_PREFIX = "vs"

# Base image (its name below the images' folder) and its tree.
Base = Callable[[], Coroutine[Any, Any, tuple[str, Path]]]
# (vSwitch, VLAN) pairs that the server is on now.
Links = Callable[[DedicatedServer], list[tuple[int, int]]]


class NspawnDedicated:
    kind = "nspawn"

    def __init__(
        self,
        instance: str,
        folder: Path,
        images: Path,
        server: DedicatedServer,
        address: Address,
        next_boot: NextBoot,
        faults: Faults,
        base: Base,
        links: Links,
        save: Callable[[], None],
    ) -> None:
        self.server = server
        self._instance = instance
        self._folder = folder
        self._images = images
        self._address = layout.Address(address.ip, address.gateway, server.hardware.mac)
        self._next_boot = next_boot
        self._faults = faults
        self._base = base
        self._links = links
        self._save = save
        self._host = Supervised(instance, folder, f"dedicated server {server.number}")
        self._busy = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wired: list[dict[str, Any]] = []

    # What the webservice does.

    async def power(self, on: bool) -> None:
        state = self.server.machine
        if on and not state.powered:
            state.powered = True
            self._begin(self._boot())
        elif not on:
            state.powered, state.running = False, None
            await self._host.kill()

    async def reset(self, kind: ResetType) -> None:
        state = self.server.machine
        if kind == "power":
            await (self.power(True) if not state.powered else self._press())
        elif kind == "power_long":
            await self.power(False)
        elif state.powered and kind == "sw" and self._host.alive():
            # Ctrl-alt-del; a system that hangs does not hear it.
            if init := self._host.status().get("init"):
                os.kill(init, signal.SIGINT)
        elif state.powered and kind in ("sw", "hw"):
            self._begin(self._boot())

    async def _press(self) -> None:
        """The power button, pressed shortly: the system powers itself off."""
        self.server.machine.powered, self.server.machine.running = False, None
        self._begin(self._host.shutdown(POWER_OFF_SECONDS))

    def powered(self) -> bool:
        return self.server.machine.powered

    def disks(self) -> list[Disk]:
        return [d.model_copy() for d in self.server.hardware.disks]

    def ssh(self) -> SshFace | None:
        state = self.server.machine
        if state.running is None or not self._host.alive():
            return None
        if state.running == "rescue":
            return SshFace("rescue", "rescue", state.boot_id, tuple(state.rescue_host_keys), tuple(state.rescue_keys))
        system = state.installed
        assert system is not None
        return SshFace("disk", system.hostname, state.boot_id, tuple(system.host_keys), tuple(system.authorized_keys))

    async def remove(self) -> None:
        self.server.machine.powered, self.server.machine.running = False, None
        await self.close()
        await self._host.kill()
        await asyncio.to_thread(remove_tree, self._folder)

    # What the ground does.

    async def resume(self) -> None:
        """After a start of the emulator: what was on and is gone is booted, as after a power cut."""
        state = self.server.machine
        if state.installed and not (self._folder / "disks").exists():
            # It came with a system on its disks.
            name, tree = await self._base()
            storage = disk.ensure(self._folder / "disks", self.disks())
            await asyncio.to_thread(disk.put, storage, state.installed, self._address, name, tree)
        if state.powered and state.running and not self._host.alive() and not self._host.started():
            self._begin(self._boot())

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look(self) -> None:
        """Follow what the system did by itself (rebooted, powered off, died), and what it is wired to."""
        state = self.server.machine
        if self._busy.locked() or self._tasks or not state.powered or state.running is None:
            return
        if not self._host.alive():
            code = self._host.status().get("code")
            log.info("dedicated server %s ended with %s", self.server.number, code)
            if code == REBOOT:
                self._begin(self._boot())
            else:
                state.powered, state.running = code != 0, None
                self._save()
        elif (wired := self._interfaces()) != self._wired:
            async with self._busy:
                await self._host.reconfigure(await self._description())
                self._wired = wired

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._busy:
                await work
        except (EmulatorError, OSError) as error:
            log.error("dedicated server %s: %s", self.server.number, error)
            self.server.machine.running = None
        self._save()

    async def _boot(self) -> None:
        """Pull the reset line: what runs ends at once, and what is next in order comes up."""
        state, number = self.server.machine, self.server.number
        await self._host.kill()
        state.boots += 1
        state.boot_id = secrets.token_hex(16)
        state.running = None
        if self._faults.strikes("no-return", number):
            log.info("dedicated server %s does not come back: injected", number)
            return
        mode = self._next_boot()
        await self._prepare(mode)
        if mode.system == "disk" and state.installed is None:
            log.info("dedicated server %s finds nothing to boot", number)
            return
        state.running = mode.system
        self._wired = self._interfaces()
        await self._host.start(await self._description())
        log.info("dedicated server %s boots %s", number, mode.system)

    async def _prepare(self, mode: BootMode) -> None:
        state = self.server.machine
        name, tree = await self._base()
        disks = self.disks()
        if mode.system == "rescue" and disks and self._faults.strikes("smart-fails", self.server.number):
            disks[0].smart_ok = False
        storage = disk.ensure(self._folder / "disks", disks)
        if mode.install:
            hostname = self.server.name or f"server-{self.server.number}"
            system = System(hostname=hostname, release=mode.install, authorized_keys=list(mode.authorized_keys))
            await asyncio.to_thread(disk.put, storage, system, self._address, name, tree)
        if mode.system == "rescue":
            state.rescue_keys = list(mode.authorized_keys)
            key = rescue.prepare(self._folder / "rescue", self._address, mode.authorized_keys, name)
            state.rescue_host_keys = [key]
        state.installed = disk.system(storage)
        (self._folder / "root").mkdir(exist_ok=True)

    async def _description(self) -> dict[str, Any]:
        root, storage = self._folder / "root", Storage(self._folder / "disks")
        binds: list[str] = []
        if self.server.machine.running == "rescue":
            base, _ = await self._base()
            upper, work = self._folder / "rescue/upper", self._folder / "rescue/work"
            images = {base, *(n.image for n in storage.nodes.values() if n.image)}
            binds = [f"--bind={storage.folder}:/emulated/disks"]
            binds += [f"--bind-ro={self._tree(i)}:/emulated/images/{i}" for i in sorted(images)]
        else:
            found = disk.bootable(storage)
            if found is None:
                raise EmulatorError("its disks hold nothing that boots")
            base, upper, work = found.image, found.upper, found.work
            binds = [f"--bind={folder}:{at}" for folder, at in found.mounts]
        return {
            "disk": {"base": str(self._tree(base)), "upper": str(upper), "work": str(work)},
            "argv": nspawn_argv(self._instance, f"d{self.server.number}", root, *binds),
            "reboots": False,
            "interfaces": self._interfaces(),
        }

    def _tree(self, image: str) -> Path:
        tree = self._images / image / "rootfs"
        if not tree.is_dir():
            raise EmulatorError(f"it stands on the image {tree}, which is gone: have the server installed anew")
        return tree

    def _interfaces(self) -> list[dict[str, Any]]:
        """The public one, and one a vSwitch: the NIC takes the VLAN tags off, as the kernel here may know none."""
        number, rescued = self.server.number, self.server.machine.running == "rescue"
        common = {"mac": self.server.hardware.mac, "addresses": [], "managed": False}
        public = {
            **common,
            "name": rescue.NIC if rescued else self.server.hardware.nic,
            "outer": f"r{number}",
            "mtu": "1500",
            "bridge": network.PUBLIC_BRIDGE,
            # Neighbours are reached through the gateway alone.
            "isolated": True,
        }
        vlans = [
            {
                **common,
                "name": f"vlan{vlan}",
                "outer": f"r{number}.{ident}",
                "mtu": str(VSWITCH_MTU),
                "bridge": vswitch_bridge(ident),
                "isolated": False,
            }
            for ident, vlan in self._links(self.server)
        ]
        return [public, *vlans]


def vswitch_bridge(ident: int) -> str:
    return f"{VSWITCH_PREFIX}{ident}"
