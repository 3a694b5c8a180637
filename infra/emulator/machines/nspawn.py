"""Servers as systemd-nspawn hosts: an overlay over the shared image, an own cgroup, veth pairs to the bridges."""

import asyncio
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from infra.emulator.errors import EmulatorError, invalid
from infra.emulator.machines import cgroups, image, network, seed
from infra.emulator.machines.base import MachineInfo, MachineSpec, PrivateNetwork
from infra.emulator.machines.supervised import Supervised, nspawn_argv

log = logging.getLogger(__name__)

# program -> Debian package
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "squid": "squid",
    "socat": "socat",
}


def require_machine_tools() -> None:
    """Refuse, before anything is made, what this system cannot carry."""
    if os.geteuid() != 0:
        raise EmulatorError(
            "machines need root (namespaces, mounts, cgroups): run as root, or take --machines none for the API alone"
        )
    # Debian keeps some of them out of an ordinary PATH.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise EmulatorError(f"missing on this system: {', '.join(missing)}. Mend: apt-get install {' '.join(missing)}")
    cgroups.root()


class NspawnMachines:
    kind = "nspawn"

    def __init__(self, name: str, folder: Path, images: Path) -> None:
        self.name = name
        self.folder = folder
        self.images = images
        self._hosts: dict[int, Supervised] = {}

    async def start(self) -> None:
        require_machine_tools()
        cgroups.claim(self.name, self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Only the owner lists the machines; services inside reach their own files through it.
        self.folder.chmod(0o711)
        for half in [*self.folder.glob("*.new"), *self.folder.glob("*.gone")]:
            await asyncio.to_thread(shutil.rmtree, half)  # what an interrupted creation or removal left
        await asyncio.to_thread(network.ensure, self.name)

    async def set_networks(self, networks: list[PrivateNetwork]) -> None:
        await asyncio.to_thread(network.set_private, self.name, networks)

    def check_image(self, name: str, suite: str | None) -> None:
        if suite is None:
            raise invalid("image", f"no machine boots {name} here; the emulator's machines boot debian-13")

    async def create(self, spec: MachineSpec) -> None:
        folder = self._home(spec.id)
        if (folder / "upper").is_dir():
            return
        scratch = folder.with_suffix(".new")
        if scratch.exists():
            await asyncio.to_thread(shutil.rmtree, scratch)
        for part in ("upper", "work", "root"):
            (scratch / part).mkdir(parents=True)
        # The layer's top is the host's own `/`.
        (scratch / "upper").chmod(0o755)
        seed.write(scratch / "upper", spec, self.name)
        # The layer belongs to the image it was begun on, whatever image newer machines are made from.
        base = await asyncio.to_thread(image.ensure, self.images, spec.suite or "", log.info)
        (scratch / "base").write_text(f"{base}\n")
        scratch.rename(folder)

    async def boot(self, spec: MachineSpec) -> None:
        if self.alive(spec.id):
            await self.reconfigure(spec)
        else:
            await self._host(spec.id, spec.name).start(self._describe(spec))

    async def reconfigure(self, spec: MachineSpec) -> None:
        await self._host(spec.id, spec.name).reconfigure(self._describe(spec))

    async def shutdown(self, ident: int, grace: float) -> None:
        await self._host(ident).shutdown(grace)

    async def kill(self, ident: int) -> None:
        await self._host(ident).kill()

    async def delete(self, ident: int) -> None:
        await self.kill(ident)
        await asyncio.to_thread(remove_tree, self._home(ident))
        self._hosts.pop(ident, None)

    def alive(self, ident: int) -> bool:
        return self._host(ident).alive()

    def info(self, ident: int) -> MachineInfo:
        status = self._host(ident).status() if self.alive(ident) else {}
        return MachineInfo(pid=status.get("pid"), init_pid=status.get("init"), boots=status.get("boots", 0))

    def known(self) -> set[int]:
        return {int(p.name) for p in self.folder.iterdir() if p.name.isdecimal()} if self.folder.is_dir() else set()

    def _home(self, ident: int) -> Path:
        return self.folder / str(ident)

    def _host(self, ident: int, name: str = "") -> Supervised:
        host = self._hosts.setdefault(ident, Supervised(self.name, self._home(ident), str(ident)))
        host.label = name or host.label
        return host

    def _base(self, spec: MachineSpec) -> Path:
        base = Path((self._home(spec.id) / "base").read_text().strip())
        if not base.is_dir():
            raise EmulatorError(
                f"machine {spec.name} stands on the image {base}, which is gone: delete the server and create it anew"
            )
        return base

    def _describe(self, spec: MachineSpec) -> dict[str, Any]:
        home = self._home(spec.id)
        return {
            "disk": {"base": str(self._base(spec)), "upper": str(home / "upper"), "work": str(home / "work")},
            "argv": nspawn_argv(self.name, spec.name, home / "root"),
            "reboots": True,
            "interfaces": interfaces(spec),
        }


def remove_tree(folder: Path) -> None:
    """Renamed first: an interrupted removal leaves no machine that looks whole."""
    if not folder.exists():
        return
    doomed = folder.with_suffix(".gone")
    if doomed.exists():
        shutil.rmtree(doomed)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def interfaces(spec: MachineSpec) -> list[dict[str, Any]]:
    """host0 to the public bridge, then one interface a private network, as the launcher wires them."""
    found: list[dict[str, Any]] = [
        {
            "name": "host0",
            "outer": f"p{spec.id}",
            "mac": spec.public_mac,
            "mtu": "1500",
            "bridge": network.PUBLIC_BRIDGE,
            "addresses": [],
            "managed": False,
            "isolated": False,
        }
    ]
    for at, nic in enumerate(spec.nics):
        found.append(
            {
                "name": nic.name,
                "outer": f"n{spec.id}.{at}",
                "mac": nic.mac,
                "mtu": str(network.PRIVATE_MTU),
                "bridge": nic.bridge,
                "addresses": list(nic.addresses),
                "managed": True,
                "isolated": False,
            }
        )
    return found
