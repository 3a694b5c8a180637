"""What the installation asks of the world beside Robot: a login on the host, and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class NoLogin(Exception):
    """No session with the host."""


class Silent(NoLogin):
    """Nothing answers on port 22, or the connection ended."""


class Denied(NoLogin):
    """Something answers that does not know our key."""


class WrongKey(NoLogin):
    """Something answers with another host key than the pinned one."""


@dataclass(frozen=True)
class Face:
    """Who answered."""

    system: Literal["rescue", "disk"]
    hostname: str
    boot_id: str
    # In OpenSSH's form, as this connection saw them.
    host_keys: tuple[str, ...]
    release: str = ""
    # What an installation of ours has left there.
    install_id: str | None = None


@dataclass(frozen=True)
class FoundDisk:
    name: str
    # Names under /dev/disk/by-id.
    ids: tuple[str, ...]
    bytes: int
    rotational: bool = False
    model: str = ""


@dataclass(frozen=True)
class FoundHardware:
    disks: tuple[FoundDisk, ...]
    cpus: int
    memory_bytes: int
    nic: str
    nic_driver: str
    uefi: bool
    # Who configures the network there, and with networkd the .network file of that interface.
    network: Literal["netplan", "ifupdown", "networkd"] = "ifupdown"
    network_file: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundSystem:
    """Something on the disks: an operating system, an array, a volume group, a file system."""

    what: str
    # Kernel names of the disks that it lies on.
    disks: tuple[str, ...]
    install_id: str | None = None
    # Of a system of ours: what its SSH will prove itself by.
    host_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class InstallJob:
    install_id: str
    autosetup: str
    hostname: str
    public_key: str


@dataclass(frozen=True)
class Progress:
    state: Literal["none", "running", "done", "failed"]
    host_keys: tuple[str, ...] = ()
    log: str = ""


class Session(Protocol):
    """A login. Every call may raise Silent."""

    face: Face

    def reboot(self) -> None:
        """Ask the system to restart. Returns also where the connection ended on the way."""

    def hardware(self) -> FoundHardware: ...

    def failing(self, disks: Sequence[str]) -> list[str]:
        """What is wrong with these disks, a line each (SMART, reads that are too slow)."""

    def found(self) -> list[FoundSystem]: ...

    def wipe(self, disks: Sequence[str]) -> None: ...

    def begin_install(self, job: InstallJob) -> None:
        """Start installimage. One that was begun with this id in this rescue system goes on instead."""

    def progress(self, install_id: str) -> Progress: ...

    def configure(self, files: Mapping[str, str]) -> None:
        """Write these files and have the network take them."""

    def crosses(self, address: str, mtu: int) -> bool:
        """Whether a packet of that size gets to the address and back without being cut up."""


class Connect(Protocol):
    def __call__(self, address: str, pins: Sequence[str]) -> Session:
        """Log in. With pins nobody else is accepted; without, who answers is believed for this session alone, over
        which nothing secret goes. Raises NoLogin."""


class Clock(Protocol):
    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...
