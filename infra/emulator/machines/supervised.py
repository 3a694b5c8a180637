"""One nspawn host and the launcher beside it: described, started, brought up to date, ended, looked at."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from infra.emulator.errors import EmulatorError
from infra.emulator.machines import cgroups, launcher, network
from infra.emulator.process import ProcessRef, read_ref, write_ref

# A second or two on a quiet machine; the limit is for one that does much else.
BOOT_SECONDS = 90.0


class Supervised:
    """The host whose files are in `folder`, in a cgroup of that name below the instance's."""

    def __init__(self, instance: str, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label
        self.instance = instance
        self.cgroup = cgroups.instance(instance) / folder.name
        self._generation = time.time_ns()
        # The launcher, where this daemon started it: to be reaped when it ends. An earlier daemon's are init's.
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self, description: dict[str, Any]) -> None:
        """Boot what is described; returns once init runs and the interfaces are there."""
        await asyncio.to_thread(self._clear)
        await asyncio.to_thread(cgroups.make, self.cgroup)
        (self.folder / "status.json").unlink(missing_ok=True)
        generation = self._describe(description)
        with (self.folder / "console.log").open("ab") as console:
            child = subprocess.Popen(  # noqa: ASYNC220 - returns at once; the launcher is not waited for
                [sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                start_new_session=True,
            )
        self._child = child
        if ref := ProcessRef.of(child.pid):
            write_ref(self.folder / "launcher.json", ref)
        await self._until(generation, child)

    async def reconfigure(self, description: dict[str, Any]) -> None:
        """Bring the interfaces of the running host in line with the description."""
        generation = self._describe(description)
        ref = self._ref()
        if ref is None:
            raise EmulatorError(f"machine {self.label} is not running")
        ref.kill(signal.SIGHUP)
        await self._until(generation, None)

    async def shutdown(self, grace: float) -> None:
        if ref := self._ref():
            ref.kill(signal.SIGTERM)
            await asyncio.to_thread(ref.wait, grace)
        await self.kill()

    async def kill(self) -> None:
        await asyncio.to_thread(self._clear)

    def alive(self) -> bool:
        if self._child and self._child.poll() is not None:
            self._child = None
        return self._ref() is not None

    def started(self) -> bool:
        """Whether there is, or was, a launcher that nobody has cleared away."""
        return (self.folder / "launcher.json").exists()

    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return status

    def _ref(self) -> ProcessRef | None:
        return read_ref(self.folder / "launcher.json")

    def _clear(self) -> None:
        """No process of the machine, no cgroup."""
        cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
        if self._child:
            self._child.wait()
            self._child = None
        (self.folder / "launcher.json").unlink(missing_ok=True)

    async def _until(self, generation: int, child: "subprocess.Popen[bytes] | None") -> None:
        """Until the launcher reports that it runs what was described."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            status = self.status()
            if status.get("generation") == generation and status["state"] == "running":
                if status["error"]:
                    raise EmulatorError(f"machine {self.label}: {status['error']}")
                return
            if (child and child.poll() is not None) or (child is None and not self.alive()):
                break
            await asyncio.sleep(0.05)
        raise EmulatorError(f"machine {self.label} did not boot; the end of its console:\n{self._console()}")

    def _console(self) -> str:
        log = self.folder / "console.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else "(nothing)"

    def _describe(self, description: dict[str, Any]) -> int:
        """Write what the launcher is to run; returns the number by which its answer is recognised."""
        self._generation += 1
        described = {
            "generation": self._generation,
            "cgroup": str(self.cgroup),
            "netns": str(network.namespace_path(self.instance)),
            "env": {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            **description,
        }
        scratch = self.folder / "machine.new"
        scratch.write_text(json.dumps(described, indent=1))
        scratch.replace(self.folder / "machine.json")
        return self._generation


def nspawn_argv(instance: str, name: str, root: Path, *more: str) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={root}",
        "--machine=" + f"bt-{instance}-{name}"[:64].rstrip("-."),
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
        *more,
    ]
