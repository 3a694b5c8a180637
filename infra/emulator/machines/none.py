"""No machines: the API alone, for contract tests and previews. A server is as alive as it was asked to be."""

from infra.emulator.machines.base import MachineInfo, MachineSpec, PrivateNetwork


class NoMachines:
    kind = "none"

    def __init__(self) -> None:
        self._disks: set[int] = set()
        self._boots: dict[int, int] = {}
        self._running: set[int] = set()

    async def start(self) -> None:
        pass

    async def set_networks(self, networks: list[PrivateNetwork]) -> None:
        pass

    def check_image(self, name: str, suite: str | None) -> None:
        pass

    async def create(self, spec: MachineSpec) -> None:
        self._disks.add(spec.id)

    async def boot(self, spec: MachineSpec) -> None:
        self._running.add(spec.id)
        self._boots[spec.id] = self._boots.get(spec.id, 0) + 1

    async def reconfigure(self, spec: MachineSpec) -> None:
        pass

    async def shutdown(self, ident: int, grace: float) -> None:
        self._running.discard(ident)

    async def kill(self, ident: int) -> None:
        self._running.discard(ident)

    async def delete(self, ident: int) -> None:
        self._running.discard(ident)
        self._disks.discard(ident)

    def alive(self, ident: int) -> bool:
        return ident in self._running

    def info(self, ident: int) -> MachineInfo:
        return MachineInfo(pid=None, init_pid=None, boots=self._boots.get(ident, 0))

    def known(self) -> set[int]:
        return set(self._disks)
