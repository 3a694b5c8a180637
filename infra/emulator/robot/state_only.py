"""Machines that are nothing but their state: they boot, install and answer as records do. No system runs anywhere.

For the webservice alone (`MACHINES=none`): contract tests, previews, a hundred hosts on a laptop. What a login would
show is asked through `ssh()` and the operations below, not over a socket.
"""

import secrets
from collections.abc import Callable

from infra.emulator.faults import Faults
from infra.emulator.robot.machine import NextBoot, SshFace
from infra.emulator.robot.model import DedicatedServer, Disk, Installation, ResetType, System
from infra.keys import generate

# A server of Hetzner's needs about a minute from reset to SSH, and installimage about three.
BOOT_SECONDS = 60.0
INSTALL_SECONDS = 180.0


class StateOnlyMachine:
    kind = "none"

    def __init__(
        self,
        server: DedicatedServer,
        next_boot: NextBoot,
        faults: Faults,
        clock: Callable[[], float],
        scale: Callable[[], float],
    ) -> None:
        self._server = server
        self._next_boot = next_boot
        self._faults = faults
        self._clock = clock
        self._scale = scale

    async def power(self, on: bool) -> None:
        state = self._server.machine
        if on and not state.powered:
            state.powered = True
            self.boot()
        elif not on:
            state.powered, state.running = False, None

    async def reset(self, kind: ResetType) -> None:
        state = self._server.machine
        if kind == "power":
            await self.power(not state.powered)
        elif kind == "power_long":
            await self.power(False)
        elif kind in ("sw", "hw") and state.powered:
            self.boot()

    def boot(self) -> None:
        """Start anew, as after a reset or a reboot from within: what runs ends at once, what comes takes its time."""
        state = self._server.machine
        # What was finished is on the disk; what was not, and all that the rescue system knew of it, is gone.
        self.installation()
        state.installation = None
        state.boots += 1
        state.boot_id = secrets.token_hex(16)
        state.ready_at = self._clock() + BOOT_SECONDS * self._scale()
        if self._faults.strikes("no-return", self._server.number):
            state.running = None
            return
        mode = self._next_boot()
        if mode.install:
            state.installed = System(
                hostname=self._server.name or f"server-{self._server.number}",
                release=mode.install,
                host_keys=[_host_key()],
                authorized_keys=list(mode.authorized_keys),
            )
        if mode.system == "rescue":
            state.running = "rescue"
            state.rescue_keys = list(mode.authorized_keys)
            state.rescue_host_keys = [_host_key()]
        else:
            state.running = "disk" if state.installed else None

    def powered(self) -> bool:
        return self._server.machine.powered

    def disks(self) -> list[Disk]:
        disks = [disk.model_copy() for disk in self._server.hardware.disks]
        if disks and self._faults.strikes("smart-fails", self._server.number):
            disks[0].smart_ok = False
        return disks

    def ssh(self) -> SshFace | None:
        state = self._server.machine
        if not state.powered or state.running is None or self._clock() < state.ready_at:
            return None
        if state.running == "rescue":
            return SshFace("rescue", "rescue", state.boot_id, tuple(state.rescue_host_keys), tuple(state.rescue_keys))
        system = state.installed
        assert system is not None
        return SshFace("disk", system.hostname, state.boot_id, tuple(system.host_keys), tuple(system.authorized_keys))

    async def resume(self) -> None:
        pass

    async def look(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def remove(self) -> None:
        self._server.machine.powered = False

    # What a person logged in to the rescue system does.

    def begin_install(self, install_id: str, autosetup: str, hostname: str, release: str, keys: list[str]) -> None:
        """Start an installation in the rescue system; one with this id that was begun already is left as it is."""
        state = self._server.machine
        if state.running != "rescue":
            raise RuntimeError(f"server {self._server.number} runs no rescue system")
        if state.installation and state.installation.install_id == install_id and not state.installation.failed:
            return
        # From here on the old system is gone, whether or not the new one is finished.
        state.installed = None
        state.installation = Installation(
            install_id=install_id,
            autosetup=autosetup,
            system=System(
                hostname=hostname,
                release=release,
                install_id=install_id,
                host_keys=[_host_key()],
                authorized_keys=keys,
            ),
            done_at=self._clock() + INSTALL_SECONDS * self._scale(),
        )

    def installation(self) -> Installation | None:
        """The installation of this boot of the rescue system; what it installed is on the disk once it is done."""
        state = self._server.machine
        if state.installation and state.running == "rescue" and self.installed(state.installation):
            state.installed = state.installation.system
        return state.installation

    def installed(self, installation: Installation) -> bool:
        return not installation.failed and self._clock() >= installation.done_at

    def wipe(self) -> None:
        self._server.machine.installed = None


def _host_key() -> str:
    return " ".join(generate("").public.split()[:2])
