"""What hosts find on their gateway, and what this machine finds of the hosts: the mirror, the apt proxy, forwards."""

import logging
import socket
import sys

from infra.emulator import squid
from infra.emulator.apt import mirror_hosts
from infra.emulator.children import Child
from infra.emulator.errors import ApiError, EmulatorError
from infra.emulator.instance import Instance
from infra.emulator.machines import network
from infra.emulator.model import Forward
from infra.emulator.relay import Namespace, Relay, parse_address
from infra.paths import repo_root

log = logging.getLogger(__name__)

MIRROR_PORT = 8480
APT_PORT = 3142
SUITE = "trixie"


class Gateway:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._outside = Namespace(None)
        self._inside: Namespace | None = None
        self._services: list[Relay] = []
        self._forwards: dict[Forward, Relay] = {}
        self.children: list[Child] = []

    async def start(self) -> None:
        """Relays on every gateway address, and behind them the children that answer."""
        self._inside = Namespace(network.namespace_path(self._instance.name))
        run, root = self._instance.run, repo_root()
        apt_port = free_port()
        argv = squid.prepare(
            self._instance.name,
            apt_port,
            mirror_hosts(SUITE),
            self._instance.apt_cache,
            self._instance.folder / "squid",
        )
        self.children.append(Child("squid", argv, run, root))
        await self._serve(APT_PORT, apt_port)
        port = free_port()
        argv = [sys.executable, "-m", "infra.mirror", "serve", "--host", "127.0.0.1", "--port", str(port)]
        self.children.append(Child("mirror", argv, run, root))
        await self._serve(MIRROR_PORT, port)
        for child in self.children:
            child.start()

    async def close(self) -> None:
        for relay in [*self._services, *self._forwards.values()]:
            await relay.close()
        for child in self.children:
            await child.close()
        if self._inside:
            self._inside.close()

    async def _serve(self, port: int, target: int) -> None:
        assert self._inside is not None
        # Any address of the namespace is one of its gateways.
        listener = await self._inside.listen(("0.0.0.0", port))  # noqa: S104 - inside the namespace
        self._services.append(Relay(listener, lambda: ("127.0.0.1", target), self._outside))

    async def set_forwards(self, forwards: list[Forward]) -> None:
        """Exactly these forwards; those that stay keep their connections. A port that is taken changes nothing."""
        if self._inside is None:
            raise ApiError("conflict", "no machines here, so there is nothing to forward to (--machines none)")
        wanted = list(dict.fromkeys(forwards))
        listens = [f.listen for f in wanted]
        if twice := sorted({x for x in listens if listens.count(x) > 1}):
            raise ApiError("conflict", f"forwarded twice: {', '.join(twice)}")
        replaced = {f: self._forwards.pop(f) for f in list(self._forwards) if f not in wanted}
        for relay in replaced.values():
            await relay.close()
        made: dict[Forward, Relay] = {}
        try:
            for forward in wanted:
                if forward not in self._forwards:
                    made[forward] = await self._forward(forward)
        except EmulatorError as error:
            for relay in made.values():
                await relay.close()
            for forward in replaced:
                self._forwards[forward] = await self._forward(forward)
            raise ApiError("conflict", str(error)) from error
        self._forwards |= made

    async def _forward(self, forward: Forward) -> Relay:
        assert self._inside is not None
        target = parse_address(forward.to)
        listener = await self._outside.listen(parse_address(forward.listen))
        return Relay(listener, lambda: target, self._inside)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
