"""Where events go: `Publisher`, to Kafka without loss or duplicates, or to memory for one-process runs.

A publisher never drops and never blocks. When it falls behind, `ready()` turns false: who feeds it stops reading
from its socket until `wait_ready()` returns, so the pressure reaches the venue's TCP window.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from baretick.config import KafkaConfig
from baretick.events import TOPIC_OF, Event, encode

log = logging.getLogger(__name__)

QUEUE_MESSAGES: Final = 200_000
HIGH_WATER: Final = 100_000
LOW_WATER: Final = 20_000
MAX_OVERFLOW: Final = 1_000_000
STALLED_AFTER_S: Final = 5.0
REPEAT_LOG_S: Final = 10.0
_TICK_S: Final = 0.02
_MAY_COME: Final = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
"""A topic that is not there now: asked again, it may be."""


class PublishError(RuntimeError):
    """Events can no longer be published; going on would lose them."""


class Publisher(Protocol):
    """Takes events in order and keeps that order for each venue and symbol."""

    def publish(self, event: Event) -> None:
        """Take one event; never blocks, never drops. Raises PublishError when neither can be promised."""

    def ready(self) -> bool:
        """False while whoever feeds should stop reading."""

    async def wait_ready(self) -> None:
        """Return when `ready()` holds."""

    async def close(self, timeout_s: float) -> int:
        """Deliver what is left within the time; returns how many events were not delivered."""


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes


class MemoryPublisher:
    """Topics as lists in memory, with offsets: the same records that Kafka would hold, in one partition."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self._keys = _Keys()

    def publish(self, event: Event) -> None:
        topic = self.topics.setdefault(TOPIC_OF[type(event)], [])
        topic.append(Record(len(topic), self._keys[event.venue, event.symbol], encode(event)))

    def read(self, topic: str, offset: int, limit: int | None = None) -> list[Record]:
        """Records from `offset` on, at most `limit`."""
        return self.topics.get(topic, [])[offset : None if limit is None else offset + limit]

    def ready(self) -> bool:
        return True

    async def wait_ready(self) -> None:
        return None

    async def close(self, timeout_s: float) -> int:
        return 0


class _Keys(dict[tuple[str, str], bytes]):
    def __missing__(self, pair: tuple[str, str]) -> bytes:
        key = self[pair] = f"{pair[0]}:{pair[1]}".encode()
        return key


class KafkaPublisher:
    """An idempotent producer: acknowledged by all replicas, retried for ever, in order for each key.

    A broker that dies and comes back loses and doubles nothing: every message carries its producer's sequence
    number, and none ever times out. What librdkafka's queue cannot take waits in an overflow of ours, bounded;
    long before that `ready()` is false.
    """

    def __init__(self, cfg: KafkaConfig, **overrides: Any) -> None:
        self.cfg = cfg
        self.produced = 0
        self.failed = 0
        self.errors = 0
        self.last_error: str | None = None
        self.fatal: str | None = None
        self._keys = _Keys()
        self._overflow: deque[tuple[str, bytes, bytes]] = deque()
        self._ready = True
        self._event = asyncio.Event()
        self._event.set()
        self._ticker: asyncio.Task[None] | None = None
        self._progress_at = time.monotonic()
        self._last_delivered = 0
        self._logged: dict[int, float] = {}
        self._closing = threading.Event()
        settings: dict[str, Any] = {
            "bootstrap.servers": cfg.bootstrap_servers,
            "client.id": "baretick-engine",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,  # 0 is for ever: the engine decides when to give up, not a timer
            "linger.ms": 2,
            "compression.type": "lz4",
            "queue.buffering.max.messages": QUEUE_MESSAGES,
            "queue.buffering.max.kbytes": 512 * 1024,
            "partitioner": "murmur2_random",  # what Java clients would choose for the same key
            "retry.backoff.ms": 100,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "delivery.report.only.error": True,  # delivered ones are counted, not called back one by one
            "on_delivery": self._on_delivery,
            "error_cb": self._on_error,
            "log_level": 0,  # error_cb tells the same, and is not said again twice a second
            **overrides,
        }
        self._producer = Producer(settings)
        # Only errors come back, so this thread sleeps inside librdkafka, without the interpreter's lock.
        self._poller = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._poller.start()

    async def wait_for_topics(self) -> None:
        """Return once the brokers answer and hold every topic of the event model; log what is missing till then."""
        said = ""
        while True:
            try:
                found = (await asyncio.to_thread(self._producer.list_topics, timeout=2.0)).topics
                missing = sorted({*TOPIC_OF.values()} - {name for name, t in found.items() if t.error is None})
                if not missing:
                    return
                why = f"topics are missing: {', '.join(missing)}"
            except KafkaException as e:
                why = e.args[0].str()
            self.last_error = why
            if why != said:
                log.warning("kafka %s: not ready, will try on: %s", self.cfg.bootstrap_servers, why)
                said = why
            await asyncio.sleep(0.5)

    def publish(self, event: Event) -> None:
        topic, key, value = TOPIC_OF[type(event)], self._keys[event.venue, event.symbol], encode(event)
        self.produced += 1
        if self._overflow or not self._produce(topic, key, value):
            if self.fatal is not None:
                raise PublishError(f"Kafka at {self.cfg.bootstrap_servers}: {self.fatal}")
            if len(self._overflow) >= MAX_OVERFLOW:
                raise PublishError(
                    f"{len(self._overflow)} events wait for Kafka at {self.cfg.bootstrap_servers} "
                    f"(last error: {self.last_error}): whoever feeds must honour ready()"
                )
            self._overflow.append((topic, key, value))
            self._hold()
        elif self.produced & 255 == 0 and len(self._producer) > HIGH_WATER:
            self._hold()
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self._tick(), name="kafka-drain")

    def ready(self) -> bool:
        return self._ready

    async def wait_ready(self) -> None:
        await self._event.wait()

    @property
    def outstanding(self) -> int:
        """Events taken, not yet acknowledged. Errors that wait to be told count too, so it may be a little high."""
        return min(self.produced - self.failed, len(self._producer) + len(self._overflow))

    @property
    def queued_here(self) -> int:
        """Events that librdkafka's queue could not take yet."""
        return len(self._overflow)

    @property
    def delivered(self) -> int:
        return max(0, self.produced - self.outstanding - self.failed)

    @property
    def state(self) -> str:
        """idle, delivering, stalled (nothing acknowledged for a while) or failed."""
        if self.fatal is not None:
            return "failed"
        if self.outstanding == 0:
            return "delivering" if self.produced else "idle"
        if time.monotonic() - self._progress_at > STALLED_AFTER_S:
            return "stalled"
        return "delivering"

    async def close(self, timeout_s: float) -> int:
        """Flush; what is left after the time is reported loudly and counted."""
        deadline = time.monotonic() + timeout_s
        if self._ticker is not None:
            self._ticker.cancel()
        while self.outstanding and self.fatal is None and time.monotonic() < deadline:
            self._drain()
            await asyncio.to_thread(self._producer.flush, min(0.2, max(0.01, deadline - time.monotonic())))
        left = self.outstanding
        self._closing.set()
        self._poller.join(timeout=2)
        if left or self.failed:
            log.error(
                "kafka %s: %d of %d events were NOT delivered within %.1f s, %d failed; last error: %s",
                self.cfg.bootstrap_servers, left, self.produced, timeout_s, self.failed, self.last_error,
            )  # fmt: skip
            self._producer.purge(in_queue=True, in_flight=True)
        return left + self.failed

    def _produce(self, topic: str, key: bytes, value: bytes) -> bool:
        if self.fatal is not None:
            return False
        try:
            self._producer.produce(topic, value, key)
        except BufferError:
            return False
        except KafkaException as e:
            error: KafkaError = e.args[0]
            if error.code() in _MAY_COME:
                self.last_error = str(error)
                return False
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                self._fail(error)
                return False
            self.failed += 1
            self.last_error = str(error)
            log.error("kafka: an event of %d bytes for %s is too large and is lost", len(value), topic)
        return True

    def _hold(self) -> None:
        if self._ready:
            self._ready = False
            self._event.clear()
            log.warning(
                "kafka %s: %d events wait, reading from venues is held back",
                self.cfg.bootstrap_servers, self.outstanding,
            )  # fmt: skip

    def _drain(self) -> None:
        while self._overflow and self._produce(*self._overflow[0]):
            self._overflow.popleft()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._drain()
            delivered = self.delivered
            if delivered > self._last_delivered or self.outstanding == 0:
                self._last_delivered, self._progress_at = delivered, time.monotonic()
            if not self._ready and not self._overflow and len(self._producer) < LOW_WATER:
                self._ready = True
                self._event.set()
                log.info("kafka %s: caught up, reading from venues again", self.cfg.bootstrap_servers)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.5)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
            self.last_error = str(error)
            log.error("kafka: an event of %s was refused for good: %s", message.topic(), error)

    def _on_error(self, error: KafkaError) -> None:
        self.errors += 1
        self.last_error = str(error)
        if error.fatal():
            self._fail(error)
            return
        code, now = error.code(), time.monotonic()
        if now - self._logged.get(code, -REPEAT_LOG_S) >= REPEAT_LOG_S:
            self._logged[code] = now
            log.warning("kafka %s: %s", self.cfg.bootstrap_servers, error.str())

    def _fail(self, error: KafkaError) -> None:
        self.last_error = str(error)
        if self.fatal is None:
            self.fatal = str(error)
            log.critical("kafka %s: cannot publish any more: %s", self.cfg.bootstrap_servers, error)
