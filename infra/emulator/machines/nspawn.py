"""Servers as systemd-nspawn hosts: an overlay over the shared image, an own cgroup, veth pairs to the bridges."""

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from infra.emulator.errors import EmulatorError, invalid
from infra.emulator.machines import cgroups, image, launcher, network, seed
from infra.emulator.machines.base import MachineInfo, MachineSpec, PrivateNetwork
from infra.emulator.process import ProcessRef, read_ref, write_ref

log = logging.getLogger(__name__)

# A second or two on a quiet machine; the limit is for one that does much else.
BOOT_SECONDS = 90.0
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
        self._generation = time.time_ns()
        # Launchers this daemon started, to be reaped when they end. Those of an earlier daemon are init's.
        self._started: dict[int, subprocess.Popen[bytes]] = {}

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
            return
        await asyncio.to_thread(self._clear, spec.id)
        await asyncio.to_thread(cgroups.make, self._cgroup(spec.id))
        folder = self._home(spec.id)
        (folder / "status.json").unlink(missing_ok=True)
        generation = self._describe(spec)
        with (folder / "console.log").open("ab") as console:
            child = subprocess.Popen(  # noqa: ASYNC220 - returns at once; the launcher is not waited for
                [sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                start_new_session=True,
            )
        self._started[spec.id] = child
        if ref := ProcessRef.of(child.pid):
            write_ref(folder / "launcher.json", ref)
        await self._until(spec, generation, child)

    async def reconfigure(self, spec: MachineSpec) -> None:
        generation = self._describe(spec)
        ref = self._launcher(spec.id)
        if ref is None:
            raise EmulatorError(f"machine {spec.name} is not running")
        ref.kill(signal.SIGHUP)
        await self._until(spec, generation, None)

    async def shutdown(self, ident: int, grace: float) -> None:
        if ref := self._launcher(ident):
            ref.kill(signal.SIGTERM)
            await asyncio.to_thread(ref.wait, grace)
        await self.kill(ident)

    async def kill(self, ident: int) -> None:
        await asyncio.to_thread(self._clear, ident)

    async def delete(self, ident: int) -> None:
        await self.kill(ident)
        folder = self._home(ident)
        if folder.exists():
            # Renamed first: an interrupted removal leaves no machine that looks whole.
            doomed = folder.with_suffix(".gone")
            if doomed.exists():
                await asyncio.to_thread(shutil.rmtree, doomed)
            folder.rename(doomed)
            await asyncio.to_thread(shutil.rmtree, doomed)

    def alive(self, ident: int) -> bool:
        if (child := self._started.get(ident)) and child.poll() is not None:
            del self._started[ident]
        return self._launcher(ident) is not None

    def info(self, ident: int) -> MachineInfo:
        status = self._status(ident) if self.alive(ident) else {}
        return MachineInfo(pid=status.get("pid"), init_pid=status.get("init"), boots=status.get("boots", 0))

    def known(self) -> set[int]:
        return {int(p.name) for p in self.folder.iterdir() if p.name.isdecimal()} if self.folder.is_dir() else set()

    def _home(self, ident: int) -> Path:
        return self.folder / str(ident)

    def _base(self, spec: MachineSpec) -> Path:
        base = Path((self._home(spec.id) / "base").read_text().strip())
        if not base.is_dir():
            raise EmulatorError(
                f"machine {spec.name} stands on the image {base}, which is gone: delete the server and create it anew"
            )
        return base

    def _cgroup(self, ident: int) -> Path:
        return cgroups.instance(self.name) / str(ident)

    def _launcher(self, ident: int) -> ProcessRef | None:
        return read_ref(self._home(ident) / "launcher.json")

    def _status(self, ident: int) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self._home(ident) / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return status

    def _clear(self, ident: int) -> None:
        """No process of the machine, no cgroup."""
        cgroups.kill(self._cgroup(ident))
        cgroups.remove(self._cgroup(ident))
        if child := self._started.pop(ident, None):
            child.wait()
        (self._home(ident) / "launcher.json").unlink(missing_ok=True)

    async def _until(self, spec: MachineSpec, generation: int, child: "subprocess.Popen[bytes] | None") -> None:
        """Until the launcher reports that it runs what was described."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            status = self._status(spec.id)
            if status.get("generation") == generation and status["state"] == "running":
                if status["error"]:
                    raise EmulatorError(f"machine {spec.name}: {status['error']}")
                return
            if (child and child.poll() is not None) or (child is None and not self.alive(spec.id)):
                break
            await asyncio.sleep(0.05)
        raise EmulatorError(f"machine {spec.name} did not boot; the end of its console:\n{self._console(spec.id)}")

    def _console(self, ident: int) -> str:
        log = self._home(ident) / "console.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else "(nothing)"

    def _describe(self, spec: MachineSpec) -> int:
        """Write what the launcher is to run; returns the number by which its answer is recognised."""
        self._generation += 1
        folder = self._home(spec.id)
        machine = f"bt-{self.name}-{spec.name}"[:64].rstrip("-.")
        description = {
            "generation": self._generation,
            "cgroup": str(self._cgroup(spec.id)),
            "netns": str(network.namespace_path(self.name)),
            "base": str(self._base(spec)),
            "argv": nspawn_argv(machine, folder / "root"),
            "env": {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            "interfaces": interfaces(spec),
        }
        scratch = folder / "machine.new"
        scratch.write_text(json.dumps(description, indent=1))
        scratch.replace(folder / "machine.json")
        return self._generation


def nspawn_argv(machine: str, root: Path) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={root}",
        f"--machine={machine}",
        "--private-network",
        # No machined, no scopes: PID 1 of this system need not be systemd, and the launcher keeps the cgroup.
        "--register=no",
        "--keep-unit",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        # mlockall of the engine. The kernel's limit on locked memory still holds.
        "--capability=CAP_IPC_LOCK",
    ]


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
            }
        )
    return found
