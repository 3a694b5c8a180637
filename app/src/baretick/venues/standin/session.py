"""A session: one recording, played exactly once to whoever has subscribed, never faster than they read.

It starts when its first client has subscribed and settled, waits while nobody listens, and shortens long silences.
Every frame goes to every subscriber of its topic before the next one is sent: the slowest reader sets the pace,
and no frame is dropped.
"""

import asyncio
import logging
import time
from typing import Literal, Protocol

from baretick.venues.standin.books import BinanceBooks
from baretick.venues.standin.recording import Frame, Recording

log = logging.getLogger(__name__)

MAX_SILENCE_S = 5.0
"""Recorded silence longer than this is played as this: files of different days can follow each other."""

FIRST_SNAPSHOT_WAIT_S = 120.0  # the client may be held back by a broker that is starting
LATER_SNAPSHOT_WAIT_S = 3.0
SNAPSHOT_HOLD_S = 40.0
SNAPSHOT_NEAR_NS = 5_000_000_000
YIELD_EVERY = 64

State = Literal["waiting", "playing", "done"]


class Subscriber(Protocol):
    """A connected client."""

    async def send(self, text: str) -> None:
        """Write one frame; waits while the client does not read."""


class Session:
    """The play of one recording. A new one starts from the beginning under a new id."""

    def __init__(self, recording: Recording, session_id: str, speed: float, settle_s: float) -> None:
        self.id = session_id
        self.recording = recording
        self.speed = speed
        self.settle_s = settle_s
        self.position = 0
        """How many frames were played."""
        self.started = False
        self._topics = recording.topics
        self._subscribers: dict[str, dict[Subscriber, None]] = {}
        self._someone = asyncio.Event()
        self._offered: set[str] = set()
        self._asked = asyncio.Event()
        self._held: dict[str, list[asyncio.Future[str]]] = {}

    @property
    def state(self) -> State:
        if self.position >= len(self.recording.frames):
            return "done"
        return "playing" if self.started and self._someone.is_set() else "waiting"

    @property
    def joined(self) -> str:
        """What a client that connects now is told: whether it hears the session from its start."""
        return "late" if self.position else "start"

    def subscribe(self, who: Subscriber, topic: str) -> bool:
        """True if this is new."""
        of = self._subscribers.setdefault(topic, {})
        if who in of:
            return False
        of[who] = None
        if topic in self._topics:
            self._someone.set()
        return True

    def unsubscribe(self, who: Subscriber, topic: str) -> None:
        self._subscribers.get(topic, {}).pop(who, None)
        if not any(self._subscribers.get(t) for t in self._topics):
            self._someone.clear()

    def leave(self, who: Subscriber) -> None:
        """The client is gone."""
        for topic, of in self._subscribers.items():
            if who in of:
                self.unsubscribe(who, topic)

    def topics_of(self, who: Subscriber) -> list[str]:
        return [topic for topic, of in self._subscribers.items() if who in of]

    async def play(self) -> None:
        """Play to the end; cancel to stop."""
        frames = self.recording.frames
        due = 0.0
        before: int | None = None
        while self.position < len(frames):
            if not self._someone.is_set():
                await self._someone.wait()
                await asyncio.sleep(self.settle_s)  # others may be about to subscribe
                self.started = True
                due, before = time.monotonic(), None
                continue
            frame = frames[self.position]
            if self.speed and before is not None:
                due += min(max(frame.ts - before, 0) / 1e9, MAX_SILENCE_S) / self.speed
                ahead = due - time.monotonic()
                if ahead > 0.001:
                    await asyncio.sleep(ahead)
            before = frame.ts
            if frame.is_snapshot:
                await self._offer(frame)
                due = max(due, time.monotonic())
                self.position += 1
            else:
                # Who subscribes from here on gets a book that has this frame in it, so not the frame as well.
                self.position += 1
                for who in list(self._subscribers.get(frame.topic, ())):
                    await self._send(who, frame)
            if self.position % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        log.info("session %s: all %d frames are played", self.id, len(frames))

    async def _send(self, who: Subscriber, frame: Frame) -> None:
        try:
            await who.send(frame.text)
        except ConnectionError:
            self.leave(who)

    # REST snapshots: recorded between the frames, asked for by the client.

    async def _offer(self, frame: Frame) -> None:
        """A recorded snapshot: the client that follows this book asks for one about now, and is to get this one."""
        name = frame.topic.partition("@")[0]
        first = frame.topic not in self._offered
        self._offered.add(frame.topic)
        wait = FIRST_SNAPSHOT_WAIT_S if first else LATER_SNAPSHOT_WAIT_S
        if any(of for topic, of in self._subscribers.items() if topic.startswith(f"{name}@depth")):
            try:
                async with asyncio.timeout(wait):
                    while not self._held.get(frame.topic):
                        self._asked.clear()
                        await self._asked.wait()
            except TimeoutError:
                log.warning("session %s: nobody asked for the snapshot of %s within %.0f s", self.id, name, wait)
        for future in self._held.pop(frame.topic, []):
            if not future.done():
                future.set_result(frame.text)

    async def snapshot(self, books: BinanceBooks, name: str, limit: int) -> tuple[str, bool]:
        """The answer to a REST request, and whether it is the recorded one."""
        topic = f"{name}@snapshot"
        if self._is_near(topic):
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._held.setdefault(topic, []).append(future)
            self._asked.set()
            try:
                async with asyncio.timeout(SNAPSHOT_HOLD_S):
                    return await future, True
            except TimeoutError:
                log.warning("session %s: the snapshot of %s was not reached in time", self.id, name)
            finally:
                if future in self._held.get(topic, []):
                    self._held[topic].remove(future)
        return books.at(name, self.position, limit), False

    def _is_near(self, topic: str) -> bool:
        """True when the next recorded snapshot is the one that this request is about."""
        if self.state != "playing":
            return False
        frames = self.recording.frames
        here = frames[self.position].ts
        for i in range(self.position, len(frames)):
            if frames[i].topic == topic:
                return True
            if topic in self._offered and frames[i].ts - here > SNAPSHOT_NEAR_NS:
                return False
        return False
