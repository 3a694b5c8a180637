"""The websocket server of order entry: who may log in, sessions, and the two rings on the event loop's side."""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, Final

import numpy as np
from aiohttp import web

from baretick.config import ConfigError, ExchangeConfig, LoginConfig
from baretick.exchange import delivery as deliveries
from baretick.exchange import entry, ring
from baretick.exchange.core import Core
from baretick.exchange.delivery import EVERYTHING, Delivery
from baretick.exchange.limits import Limits
from baretick.exchange.sessions import BINARY, CLOSE_S, JSON, RETRY_S, SUPERSEDED, Session, Sessions
from baretick.matching.layout import H_TS
from baretick.matching.records import Reason
from baretick.telemetry import HdrHistogram

log = logging.getLogger(__name__)

MIN_TOKEN: Final = 16
BATCH: Final = 4096
"""Events delivered before anything else of the event loop gets its turn."""
DRAIN_S: Final = 5.0
LIBRARY_LIMIT: Final = 4
"""Frames up to so many times the limit are read and refused with a reason; longer ones close the session (1009)."""


def tokens(logins: list[LoginConfig]) -> dict[bytes, LoginConfig]:
    """Logins by the digest of their token; ConfigError for each one that has no usable token. No message holds one."""
    found: dict[bytes, LoginConfig] = {}
    problems = []
    for login in logins:
        try:
            if login.token_file is not None:
                source, text = str(login.token_file), login.token_file.read_text().strip()
            else:
                source, text = f"the variable {login.token_env}", os.environ.get(login.token_env or "", "")
        except (OSError, UnicodeDecodeError) as e:
            problems.append(
                f"exchange.logins: {login.name}: cannot read its token: {e.__class__.__name__}: {login.token_file}"
            )
            continue
        if len(text) < MIN_TOKEN:
            problems.append(f"exchange.logins: {login.name}: {source} holds no token of {MIN_TOKEN} characters or more")
        elif (key := _digest(text)) in found:
            problems.append(f"exchange.logins: {login.name} and {found[key].name} have the same token")
        else:
            found[key] = login
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _digest(token: str) -> bytes:
    """Compared instead of the token: how long a look-up takes says nothing about what is stored."""
    return hashlib.sha256(token.encode()).digest()


class Gateway:
    """Order entry over one core. Everything here runs on the event loop's thread."""

    def __init__(
        self, cfg: ExchangeConfig, core: Core, delivery: Delivery, logins: dict[bytes, LoginConfig], wake_fd: int
    ) -> None:
        """`wake_fd` is the eventfd of the outgoing ring."""
        self.cfg, self.core, self.delivery = cfg, core, delivery
        self.loop = asyncio.get_running_loop()
        self.sessions: Sessions = {}
        self.ids: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        self.refused: Counter[Reason] = Counter()
        self.round_trips = HdrHistogram()
        self.closing = False
        self._logins, self._wake_fd = logins, wake_fd
        self._by_login: dict[str, Session] = {}
        self._locks = {x.name: asyncio.Lock() for x in logins.values()}
        self._pending: deque[tuple[int, int]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._staging = np.zeros(cfg.max_frame_bytes // 8, np.int64)
        self._staging_bytes = memoryview(self._staging).cast("B")
        self._now = int(core.arena[H_TS // 8])
        self._reply_spin = int(cfg.reply_spin_us * 1000)
        self._runner: web.AppRunner | None = None
        self.loop.add_reader(wake_fd, self._on_wake)
        self.pump()

    def use(self, limits: Limits) -> None:
        """The names of symbols from here on."""
        self.ids = limits.names
        self.names = {i: name for name, i in self.ids.items()}

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be bound."""
        app = web.Application()
        app.router.add_get("/orders", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.cfg.host, self.cfg.port).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def drain(self) -> bool:
        """Take nothing more in, let everything taken be executed and its events be sent; False if time was up."""
        self.closing = True
        try:
            async with asyncio.timeout(DRAIN_S):
                await self.everything_taken()
                while not all(s.idle for s in self.sessions.values()):  # noqa: ASYNC110 - at the end, once
                    await asyncio.sleep(0.001)
        except TimeoutError:
            return False
        return self.core.alive

    async def stop(self, code: int, why: str) -> None:
        """End all sessions and stop listening."""
        self.closing = True
        await asyncio.gather(*(s.close(code, why) for s in list(self.sessions.values())))
        for s in list(self._by_login.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await s.done.wait()
        if self._runner is not None:
            await self._runner.cleanup()

    def forget(self) -> None:
        """Stop listening to the core."""
        self.loop.remove_reader(self._wake_fd)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the side, and keep it alive."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The rings.

    def enter(self, data: bytes, n: int, account: int, role: int, due: int) -> int:
        """As `entry.enter`, dated: the engine's clock never goes back."""
        self._staging_bytes[: len(data)] = data
        self._now = max(self._now, time.time_ns())
        return int(entry.enter(self._staging, n, self.core.inbox, account, role, due, self._now))

    def entered(self, head: int, n: int, began: int) -> None:
        """A frame was passed on: count it, and wait for its events if that is how it is configured."""
        self.counts["frames"] += 1
        self.counts["commands"] += n
        self._pending.append((head, began))
        if self._reply_spin and deliveries.linger(self.delivery.outgoing, self._reply_spin):
            self.pump()

    async def everything_taken(self) -> None:
        """Until all commands that were entered so far are executed, durable and delivered."""
        head = ring.position(self.core.inbox, ring.R_HEAD)
        while self.core.alive and ring.position(self.core.inbox, ring.R_TAIL) < head:  # noqa: ASYNC110 - a thread's
            await asyncio.sleep(RETRY_S)
        while self.delivery.behind:
            self.pump()

    def pump(self) -> None:
        """Deliver what is in the outgoing ring, and ask to be woken for more."""
        outgoing = self.delivery.outgoing
        while True:
            n, touched = self.delivery.pump(BATCH)
            for slot in touched:
                session = self.sessions.get(slot)
                if session is not None:
                    session.flush()
            self._record()
            if n == BATCH:
                self.loop.call_soon(self.pump)
                return
            if not deliveries.rest(outgoing):
                return

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)
        self.pump()

    def _record(self) -> None:
        """How long frames took whose events have just been sent."""
        if self._pending:
            shown, now = ring.position(self.core.inbox, ring.R_TAIL), time.monotonic_ns()
            while self._pending and self._pending[0][0] <= shown:
                self.round_trips.record(now - self._pending.popleft()[1])

    @property
    def backlog(self) -> int:
        """Commands that wait for the core."""
        inbox = self.core.inbox
        return int(ring.position(inbox, ring.R_HEAD)) - int(ring.position(inbox, ring.R_TAIL))

    # Sessions.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.closing:
            return _error(503, "the exchange is stopping")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        login = self._logins.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if login is None:
            self.counts["logins_refused"] += 1
            log.warning("order entry: login refused from %s", request.remote)
            return _error(401, "log in with a header `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})
        try:
            after = int(request.query["after"]) if "after" in request.query else None
            if after is not None and not 0 <= after < 1 << 63:
                raise ValueError
        except ValueError:
            return _error(400, "after= is the sequence number of the last event that you have, 0 for all")
        ws = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=self.cfg.heartbeat_s,
            compress=False,
            max_msg_size=LIBRARY_LIMIT * self.cfg.max_frame_bytes,
            protocols=(BINARY, JSON),
        )
        if not ws.can_prepare(request):
            return _error(426, "this is a websocket", {"Upgrade": "websocket"})
        await ws.prepare(request)
        session = Session(self, ws, request, login)
        async with self._locks[login.name]:
            before = self._by_login.get(login.name)
            if before is not None and not before.done.is_set():
                self.counts["superseded"] += 1
                await before.close(SUPERSEDED, "the account has logged in again")
                await before.done.wait()
            self._by_login[login.name] = session
        who = "risk" if session.account == EVERYTHING else f"account {session.account}"
        log.info("session of %s (%s) from %s opens", login.name, who, request.remote)
        self.counts["sessions"] += 1
        await session.run(after)
        log.info("session of %s ends: %s", login.name, ws.close_code)
        return ws


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


__all__ = ["Gateway", "tokens"]
