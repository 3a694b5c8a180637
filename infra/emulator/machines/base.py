"""The ground a server stands on, as the API sees it: what a machine is made from, and what can be asked of it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Nic:
    """A private interface: enp7s0 for the first network, enp8s0 for the second, as on Hetzner's servers."""

    name: str
    mac: str
    # With the prefix of the whole network: everything in it is on the link, as it is reachable on Hetzner's.
    addresses: tuple[str, ...]
    bridge: str


@dataclass(frozen=True)
class PrivateNetwork:
    bridge: str
    # The gateway's address with the prefix of the network.
    gateway: str


@dataclass(frozen=True)
class MachineSpec:
    id: int
    name: str
    suite: str | None
    user_data: str | None
    authorized_keys: tuple[str, ...]
    # With prefix; None for a server without a public interface of that family.
    public_ipv4: str | None
    public_ipv6: str | None
    public_mac: str
    nics: tuple[Nic, ...]


@dataclass(frozen=True)
class MachineInfo:
    """What runs: the process that supervises the machine, and the init of the host itself."""

    pid: int | None
    init_pid: int | None
    boots: int


class Backend(Protocol):
    kind: str

    async def start(self) -> None:
        """Prepare the ground: image, namespace, bridges. Safe to repeat."""

    async def set_networks(self, networks: list[PrivateNetwork]) -> None:
        """Have exactly these private networks."""

    def check_image(self, name: str, suite: str | None) -> None:
        """Raise ApiError where no machine can be made from the image."""

    async def create(self, spec: MachineSpec) -> None:
        """Give the server its disk and first-boot data. Leaves a disk that is already there as it is."""

    async def boot(self, spec: MachineSpec) -> None:
        """Boot from the disk; returns once init runs and the private interfaces are there."""

    async def reconfigure(self, spec: MachineSpec) -> None:
        """Bring the private interfaces of a running machine in line with the spec."""

    async def shutdown(self, ident: int, grace: float) -> None:
        """Ask the host to power off, and pull the plug where it has not within `grace` seconds."""

    async def kill(self, ident: int) -> None:
        """Pull the plug."""

    async def delete(self, ident: int) -> None:
        """Remove the machine and its disk. Nothing to remove is not an error."""

    def alive(self, ident: int) -> bool: ...

    def info(self, ident: int) -> MachineInfo: ...

    def known(self) -> set[int]:
        """Servers that have a disk here."""
