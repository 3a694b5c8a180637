"""A stage: one venue of the stand-in, its recording, the session that plays on it now, and who listens."""

import asyncio
import itertools
import logging
import time
from datetime import UTC, datetime

from aiohttp import web

from baretick.venues.connection import JOINED_HEADER, SESSION_HEADER
from baretick.venues.standin.recording import Recording, Venue
from baretick.venues.standin.session import Session

log = logging.getLogger(__name__)

CLOSE_WITHIN_S = 2.0

_numbers = itertools.count(1)


class Client:
    """One websocket. Whoever holds `lock` has it alone: what is written together arrives together."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self.ws = ws
        self.lock = asyncio.Lock()
        self.sending = False
        self.last_sent = time.monotonic()
        self._transport = transport

    async def send(self, text: str) -> None:
        """One frame; waits while the client does not read. Raises ConnectionError when it is gone."""
        async with self.lock:
            await self.write(text)

    async def write(self, text: str) -> None:
        """As send, for who holds the lock."""
        self.sending = True
        try:
            await self.ws.send_str(text)
        finally:
            self.sending = False
            self.last_sent = time.monotonic()

    async def close(self, farewell: str) -> None:
        """Politely where the client reads, at once where it does not."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                if farewell:
                    await self.send(farewell)
                await self.ws.close(code=1012, message=b"service restart")
        except (TimeoutError, ConnectionError):
            if isinstance(self._transport, asyncio.Transport):
                self._transport.abort()


class Stage:
    """One venue."""

    def __init__(self, recording: Recording, speed: float, settle_s: float) -> None:
        self.venue: Venue = recording.venue
        self.recording = recording
        self.settle_s = settle_s
        self.clients: dict[Client, None] = {}
        self.farewell = ""
        """What the venue says before it closes a connection."""
        self.session = self._new_session(speed)
        self._play: asyncio.Task[None] | None = None

    def _new_session(self, speed: float) -> Session:
        kind = self.recording.source.partition(":")[0]
        session_id = f"{self.venue}-{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{next(_numbers)}"
        return Session(self.recording, session_id, speed, self.settle_s)

    def start(self) -> None:
        self._play = asyncio.get_running_loop().create_task(self.session.play(), name=f"play-{self.venue}")
        self._play.add_done_callback(self._done)

    async def stop(self) -> None:
        """Stop playing, close every connection."""
        if self._play is not None:
            self._play.cancel()
            await asyncio.gather(self._play, return_exceptions=True)
        await asyncio.gather(*(client.close(self.farewell) for client in list(self.clients)))
        self.clients.clear()

    async def restart(self, speed: float) -> None:
        """A new session from the beginning, under a new id. Clients find out as they would of maintenance."""
        await self.stop()
        self.session = self._new_session(speed)
        self.start()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session %s stopped: %r", self.session.id, error)

    def headers(self) -> dict[str, str]:
        return {SESSION_HEADER: self.session.id, JOINED_HEADER: self.session.joined}

    async def accept(self, request: web.Request) -> tuple[web.WebSocketResponse, Client]:
        ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        ws.headers.update(self.headers())
        await ws.prepare(request)
        client = Client(ws, request.transport)
        self.clients[client] = None
        return ws, client

    def forget(self, client: Client) -> None:
        self.clients.pop(client, None)
        self.session.leave(client)

    def describe(self) -> dict[str, object]:
        """What /control/session says of this venue."""
        s = self.session
        return {
            "session": s.id,
            "source": self.recording.source,
            "state": s.state,
            "sent": s.position,
            "total": len(self.recording.frames),
            "speed": s.speed,
            "clients": len(self.clients),
            "symbols": self.recording.symbols,
            "problems": self.recording.problems,
        }
