"""TCP relays between network namespaces: a listener in one, connections made in the other, nothing routed."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.emulator.errors import EmulatorError

log = logging.getLogger(__name__)

CHUNK = 128 * 1024
BACKLOG = 128
Address = tuple[str, int]


class Namespace:
    """Makes sockets in a network namespace. A socket stays in the namespace it was made in, whoever uses it later."""

    def __init__(self, path: Path | None) -> None:
        """The namespace at `path`; None is the one this process lives in."""
        self._pool = ThreadPoolExecutor(1, "netns", initializer=_enter, initargs=(path,)) if path else None

    async def open(self) -> socket.socket:
        if self._pool is None:
            return _make()
        return await asyncio.get_running_loop().run_in_executor(self._pool, _make)

    async def listen(self, address: Address) -> socket.socket:
        sock = await self.open()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise EmulatorError(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from error
        sock.listen(BACKLOG)
        return sock

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False)


def _enter(path: Path) -> None:
    # Of this thread alone: the rest of the process stays where it is.
    with path.open() as file:
        os.setns(file.fileno(), os.CLONE_NEWNET)


def _make() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


class Relay:
    """Hands every connection at `listener` on to an address in another namespace."""

    def __init__(self, listener: socket.socket, target: Callable[[], Address], namespace: Namespace) -> None:
        self._listener = listener
        self._target = target
        self._namespace = namespace
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._accept())

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # out of descriptors, or a client that was gone again: not the relay's end
                log.warning("relay: accept failed: %s", error)
                await asyncio.sleep(0.1)
                continue
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client:
            upstream = await self._namespace.open()
            with upstream:
                target = self._target()
                try:
                    await asyncio.wait_for(loop.sock_connect(upstream, target), 10)
                except (OSError, TimeoutError) as error:
                    log.debug("relay: %s:%s does not answer: %s", *target, error)
                    return
                for sock in (client, upstream):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await asyncio.gather(_pump(client, upstream), _pump(upstream, client))


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """All bytes one way; the end of them is passed on too, so that a half-closed connection stays one."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(sink, data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def parse_address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    try:
        socket.inet_aton(host)
        number = int(port)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not <IPv4 address>:<port>") from None
    if not 1 <= number <= 65535:
        raise ValueError(f"{text!r}: {number} is not a port")
    return host, number
