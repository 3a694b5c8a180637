"""VenueClient: one websocket connection that is kept alive, counted, and turned into events in order.

What venues share is here: reconnecting with backoff, keepalive, garbage that must not crash, gaps, the session's
name, and holding back when whoever takes the events falls behind. The protocols are in `okx` and `binance`.
"""

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from baretick.book import Fault, L2Book
from baretick.config import VenueConfig
from baretick.events import SNAPSHOT, BookEvent, Event, Gap, ScaleError, Sink

log = logging.getLogger(__name__)

SESSION_HEADER = "X-Baretick-Session"
JOINED_HEADER = "X-Baretick-Joined"
"""Set by the stand-in: `start`, or `late` when part of the session was played before we came."""

USER_AGENT = "baretick"
MAX_FRAME = 16 << 20
PING_AFTER_S = 20.0  # OKX closes a connection that is silent for 30 s
DEAD_AFTER_S = 35.0
STABLE_AFTER_S = 5.0
"""A connection that held this long ends the streak of failures that backoff counts."""

NOT_A_FRAME = (msgspec.MsgspecError, ScaleError, UnicodeDecodeError, RecursionError)


class ConnectionStats(msgspec.Struct):
    """Counters of one client since its start, for /metrics and /health."""

    connected: bool = False
    session: str = ""
    messages: int = 0
    bytes: int = 0
    events: int = 0
    connects: int = 0
    reconnects: int = 0
    gaps: int = 0
    snapshots: int = 0
    last_recv_ts: int = 0
    last_error: str | None = None
    """Why the last connection ended or none came about."""
    garbage: Counter[str] = msgspec.field(default_factory=Counter)
    """Frames that could not be used, by kind."""


class Backoff:
    """Exponential delays with full jitter: a venue that restarts is not stormed by all its clients at once."""

    def __init__(self, first_s: float = 0.25, most_s: float = 30.0) -> None:
        self.first_s = first_s
        self.most_s = most_s
        self.failures = 0

    def delay(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return random.uniform(0.1, 1.0) * ceiling  # noqa: S311 - spreading load, not a secret

    def reset(self) -> None:
        self.failures = 0


async def _always_ready() -> None:
    return None


class VenueClient(ABC):
    """`run()` until cancelled. `books` holds each configured symbol's book, current before its event is published."""

    def __init__(self, cfg: VenueConfig, sink: Sink, *, bridged: bool) -> None:
        self.cfg = cfg
        self.venue = cfg.name
        self.symbols = list(cfg.symbols)
        self.books = {symbol: L2Book(bridged=bridged) for symbol in self.symbols}
        self.stats = ConnectionStats()
        self.session = f"live-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self.http: aiohttp.ClientSession | None = None
        self.held = False
        """True while we do not read because the sink has fallen behind: silence is ours then, not the venue's."""
        self._ws: ClientConnection | None = None
        self._publish = sink.publish
        # A sink may say that it has fallen behind (see publish.Publisher); one that cannot is always ready.
        self._ready = cast(Callable[[], bool], getattr(sink, "ready", lambda: True))
        self._wait_ready = cast(Callable[[], Awaitable[None]], getattr(sink, "wait_ready", _always_ready))
        self._awaiting_resync: set[str] = set()
        self._backoff = Backoff()
        self._tasks: set[asyncio.Task[None]] = set()

    # What a protocol provides.

    @abstractmethod
    def url(self) -> str:
        """Where to connect."""

    @abstractmethod
    async def greet(self, ws: ClientConnection) -> None:
        """Subscribe, on a connection just made."""

    @abstractmethod
    def decode(self, raw: bytes, recv_ts: int) -> None:
        """Turn one frame into events and publish them; raises one of NOT_A_FRAME before it publishes anything."""

    @abstractmethod
    def resync(self, symbol: str) -> None:
        """Ask for a new snapshot of a symbol whose book is invalid."""

    @abstractmethod
    async def ping(self, ws: ClientConnection) -> bool:
        """Make the venue send something. True when the answer has come; False when it will come as a frame."""

    def overdue(self) -> str:
        """What the venue owes us for too long, in words; empty when nothing."""
        return ""

    # The connection.

    async def run(self) -> None:
        """Connect, read, and connect again, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=60, connect=10)
        async with aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": USER_AGENT}) as self.http:
            while True:
                began = time.monotonic()
                why = ""
                try:
                    await self._connection()
                except (OSError, TimeoutError, WebSocketException) as e:
                    why = self.stats.last_error = f"{type(e).__name__}: {e}"
                finally:
                    await self._lost()
                if time.monotonic() - began >= STABLE_AFTER_S:
                    self._backoff.reset()
                delay = self._backoff.delay()
                log.warning("%s: connection to %s: %s; again in %.2f s", self.venue, self.cfg.ws_url, why, delay)
                await asyncio.sleep(delay)

    async def _connection(self) -> None:
        async with connect(
            self.url(),
            compression=None,  # time matters more than bytes
            proxy=None,  # a proxy in the path of market data is a mistake, not a convenience
            max_size=MAX_FRAME,
            open_timeout=10,
            close_timeout=1,
            ping_interval=None,  # see _keepalive
            user_agent_header=USER_AGENT,
        ) as ws:
            self._ws = ws
            self._met(ws)
            await self.greet(ws)
            beside = asyncio.create_task(self._keepalive(ws), name=f"{self.venue}-keepalive")
            try:
                await self._read(ws)
            finally:
                beside.cancel()

    async def _keepalive(self, ws: ClientConnection) -> None:
        """Ping when the line is silent; cut it when that brings nothing, or when something asked for never comes."""
        heard = pinged = patient_since = time.monotonic()
        last = -1
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            if self.stats.messages != last:
                heard, last = now, self.stats.messages
            if self.held:  # what we do not read we cannot miss; but the venue wants to hear from us all the same
                patient_since = now
            silent = now - max(heard, patient_since)
            why = self.overdue()
            if not why and silent > DEAD_AFTER_S:
                why = f"silent for {silent:.0f} s, pings unanswered"
            if why:
                log.warning("%s: %s", self.venue, why)
                ws.transport.abort()  # a peer that is dead would not answer a polite close
                return
            if now - heard > PING_AFTER_S and now - pinged > PING_AFTER_S / 2:
                pinged = now
                try:
                    async with asyncio.timeout(PING_AFTER_S / 2):
                        if await self.ping(ws):
                            heard = time.monotonic()
                except TimeoutError:
                    continue
                except WebSocketException:
                    return  # closed: the reader sees it too

    def _met(self, ws: ClientConnection) -> None:
        headers = ws.response.headers if ws.response is not None else {}
        session = headers.get(SESSION_HEADER, self.session)
        again = self.stats.connects > 0 and session == self.session
        self.session = session
        # A snapshot at the start of a session is part of it; one that we need because we were away is not.
        joined = headers.get(JOINED_HEADER)
        late = again if joined is None else joined == "late"
        self._awaiting_resync = set(self.symbols) if late else set()
        self.stats.session = session
        self.stats.connected = True
        self.stats.reconnects += self.stats.connects > 0
        self.stats.connects += 1
        log.info("%s: connected to %s, session %s%s", self.venue, self.cfg.ws_url, session, " (late)" if late else "")

    async def _read(self, ws: ClientConnection) -> None:
        recv, stats, ready, clock = ws.recv, self.stats, self._ready, time.time_ns
        while True:  # until recv raises ConnectionClosed
            raw = await recv(decode=False)
            now = clock()
            stats.messages += 1
            stats.bytes += len(raw)
            stats.last_recv_ts = now
            self.on_frame(raw, now)
            if not stats.messages & 63:  # recv does not yield while frames are buffered; others must live too
                await asyncio.sleep(0)
            if not ready():
                self.held = True
                await self._wait_ready()
                self.held = False

    async def _lost(self) -> None:
        """No book may be traded on without its connection; say so in the stream of events."""
        self._ws = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.stats.connected:
            self.stats.connected = False
            now = time.time_ns()
            for symbol, book in self.books.items():
                was = book.valid
                book.invalidate()
                if was:
                    self._gap(symbol, Fault(expected=book.seq, got=-1, reason="disconnected"), now)

    def spawn(self, work: Awaitable[None], name: str) -> None:
        """Run something that ends with this connection."""

        async def guarded() -> None:
            await work

        task = asyncio.get_running_loop().create_task(guarded(), name=f"{self.venue}-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %s failed: %r; connecting anew", self.venue, task.get_name(), error)
            if self._ws is not None:
                self._ws.transport.abort()

    # Frames and events.

    def on_frame(self, raw: bytes, recv_ts: int) -> None:
        """One frame as it came; what cannot be used is counted, and logged once a kind."""
        try:
            self.decode(raw, recv_ts)
        except NOT_A_FRAME as e:
            self.unusable(type(e).__name__, f"{e}", raw)

    def unusable(self, kind: str, why: str, raw: bytes) -> None:
        """Count a frame that is none of ours."""
        self.stats.garbage[kind] += 1
        if self.stats.garbage[kind] == 1:
            log.warning(
                "%s: a frame cannot be used (%s: %s); more of this kind are only counted: %r",
                self.venue, kind, why, raw[:200],
            )  # fmt: skip

    def publish(self, event: Event) -> None:
        """Hand over an event that is no book event."""
        self.stats.events += 1
        self._publish(event)

    def publish_book(
        self, event: BookEvent, texts: tuple[list[str], list[str]] | None = None, checksum: int | None = None
    ) -> None:
        """Apply to the book, then hand over; on a fault say Gap and ask for a new snapshot."""
        book = self.books[event.symbol]
        fault = book.apply(event, texts)
        if fault is None and checksum is not None:
            fault = book.verify(checksum)
        self.stats.events += 1
        if event.kind == SNAPSHOT:
            self.stats.snapshots += 1
            self._awaiting_resync.discard(event.symbol)
        self._publish(event)
        if fault is not None:
            self._awaiting_resync.add(event.symbol)
            self._gap(event.symbol, fault, event.recv_ts)
            self.resync(event.symbol)

    def _gap(self, symbol: str, fault: Fault, recv_ts: int) -> None:
        self.stats.gaps += 1
        log.warning("%s: %s: gap: %s, expected %d, got %d", self.venue, symbol, fault.reason, fault.expected, fault.got)
        self.publish(Gap(self.session, self.venue, symbol, recv_ts, fault.expected, fault.got, fault.reason))
