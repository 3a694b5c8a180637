"""What a dedicated server is to the webservice: something with power, a reset line, disks, and a face on port 22."""

from dataclasses import dataclass
from typing import Literal, Protocol

from infra.emulator.robot.model import Disk, ResetType

SystemKind = Literal["rescue", "disk"]


@dataclass(frozen=True)
class BootMode:
    """What a machine that starts is to boot; a rescue system comes with what it lets in and proves itself by."""

    system: SystemKind
    authorized_keys: tuple[str, ...] = ()
    password: str | None = None
    # An unattended installation of this distribution, which then is what the disk boots.
    install: str | None = None


@dataclass(frozen=True)
class SshFace:
    """What answers on port 22: host keys in OpenSSH's form, and who may log in."""

    system: SystemKind
    hostname: str
    boot_id: str
    host_keys: tuple[str, ...]
    authorized_keys: tuple[str, ...]


class NextBoot(Protocol):
    """Asked by a machine each time it starts, whoever started it: PXE comes before the disk."""

    def __call__(self) -> BootMode: ...


class DedicatedMachine(Protocol):
    """One machine. Its `next_boot` is given to it when it is made."""

    kind: str

    async def power(self, on: bool) -> None:
        """Press the button: off is immediate, on boots. Nothing to do is no error."""

    async def reset(self, kind: ResetType) -> None:
        """`sw` asks the system to restart (ctrl-alt-del), `hw` pulls the reset line. Returns when it was done, not when
        the machine is up again."""

    def powered(self) -> bool: ...

    def disks(self) -> list[Disk]:
        """As they are now, health included."""

    def ssh(self) -> SshFace | None:
        """None while nothing answers."""

    async def resume(self) -> None:
        """After a start of the emulator, and when the server is racked: have run what should."""

    async def look(self) -> None:
        """Follow what the system has done by itself."""

    async def close(self) -> None:
        """The emulator ends; the machine stays."""

    async def remove(self) -> None:
        """Take the machine and its disks away. Nothing to remove is no error."""
