"""`baretick ingest`: Kafka to ClickHouse, each record once.

The main thread polls Kafka and gathers records by partition; a few workers land the batches (see `writer`), one at a
time for each partition. ClickHouse is the truth about what has landed: Kafka's committed offsets are written for the
lag tools of others and never read.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from baretick import events
from baretick.config import AppConfig
from baretick.warehouse.client import HttpDatabase, WarehouseError, WarehouseUnavailable
from baretick.warehouse.ingest_http import Telemetry
from baretick.warehouse.rows import Batch, make_batch
from baretick.warehouse.writer import Claim, Superseded, Writer

log = logging.getLogger(__name__)

TOPICS = sorted(set(events.TOPIC_OF.values()))

_WORKERS = 4
_POLL_SECONDS = 0.1
_POLL_RECORDS = 10_000
_RESOLVE_SECONDS = 1.0
_LAG_SECONDS = 1.0
_BACKOFF_SECONDS = (0.2, 5.0)
_STOP_SECONDS = 30.0
_REPLAY_STALL_SECONDS = 10.0

Key = tuple[str, int]


class TopicLost(Exception):
    """Kafka has less than the warehouse: going on would mix two different logs under the same offsets."""

    def __init__(self, topic: str, partition: int, end: int, last: int) -> None:
        super().__init__(
            f"{topic}:{partition} ends at offset {end}, but the warehouse has its records up to {last}: the topic was "
            "made anew or has lost data. Bring the old log back; or, to ingest the new one from its start, remove the "
            f"row of topic {topic}, partition {partition} from hft_data.ingest_batches."
        )


@dataclass
class Partition:
    """What was read of a partition and has not landed yet."""

    key: Key
    next_offset: int  # the first record that has not landed
    replay_to: int | None = None  # last record of a claimed batch whose fate is unknown
    offsets: list[int] = field(default_factory=list)
    payloads: list[bytes | None] = field(default_factory=list)
    size: int = 0
    since: float = 0.0
    flight: "Future[Batch] | None" = None
    paused: bool = False
    stale: bool = False  # taken away from us while a batch was in flight

    def add(self, offset: int, payload: bytes | None) -> None:
        if not self.offsets:
            self.since = time.monotonic()
        elif offset <= self.offsets[-1]:
            return
        self.offsets.append(offset)
        self.payloads.append(payload)
        self.size += len(payload or b"")

    def due(self, now: float, batch_bytes: int, linger_s: float) -> bool:
        if not self.offsets or self.flight is not None:
            return False
        if self.replay_to is not None:
            return self.offsets[-1] >= self.replay_to or now - self.since > _REPLAY_STALL_SECONDS
        return self.size >= batch_bytes or now - self.since >= linger_s

    def take(self, batch_bytes: int) -> tuple[list[int], list[bytes | None]]:
        """The records of the next batch: just the claimed ones in a replay, else about `batch_bytes`."""
        end = len(self.offsets)
        if self.replay_to is not None:
            end = sum(1 for offset in self.offsets if offset <= self.replay_to)
        elif self.size > batch_bytes:
            total = end = 0
            while total < batch_bytes:
                total += len(self.payloads[end] or b"")
                end += 1
        offsets, self.offsets = self.offsets[:end], self.offsets[end:]
        payloads, self.payloads = self.payloads[:end], self.payloads[end:]
        self.size -= sum(len(p or b"") for p in payloads)
        self.since = time.monotonic()
        return offsets, payloads


class Ingest:
    def __init__(self, cfg: AppConfig, writer: Writer, consumer: Consumer, telemetry: Telemetry) -> None:
        self._cfg = cfg.ingest
        self._writer = writer
        self._consumer = consumer
        self._grumble = _Grumble()
        self._telemetry = telemetry
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="land")
        self._parts: dict[Key, Partition] = {}
        self._wanted: list[TopicPartition] | None = None
        self._resolve_at = 0.0
        self._lag_at = 0.0
        self._give_up = threading.Event()
        self._abandoned: list[Future[Batch]] = []

    def run(self, stop: threading.Event) -> None:
        self._consumer.subscribe(TOPICS, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        try:
            while not stop.is_set():
                self._step()
            self._drain()
        finally:
            self._give_up.set()
            self._pool.shutdown(wait=True)
            self._consumer.close()

    def _step(self) -> None:
        messages = self._consumer.consume(_POLL_RECORDS, _POLL_SECONDS)
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(message, error)
                continue
            part = self._parts.get(cast(Key, (message.topic(), message.partition())))
            if part is not None:
                part.add(cast(int, message.offset()), message.value())
        if self._wanted is not None and time.monotonic() >= self._resolve_at:
            self._resolve(self._wanted)
        self._reap()
        self._submit()
        self._throttle()
        self._report()

    # Which partitions, and from where.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("assigned %s", ", ".join(f"{p.topic}:{p.partition}" for p in partitions) or "nothing")
        consumer.assign([])  # nothing is fetched until the warehouse has said from where
        self._wanted = partitions
        self._resolve_at = 0.0

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """What is in flight may land: claims and tokens keep it from colliding with the next owner's work."""
        log.info("%d partitions revoked", len(partitions))
        self._abandon()
        self._wanted = None
        self._telemetry.forget_partitions()
        consumer.unassign()

    def _abandon(self) -> None:
        for part in self._parts.values():
            part.stale = True
            if part.flight is not None:
                self._abandoned.append(part.flight)
        self._parts = {}

    def _resolve(self, wanted: list[TopicPartition]) -> None:
        """Ask the warehouse where each partition stands, and start reading there."""
        self._abandoned = [flight for flight in self._abandoned if not flight.done()]
        if self._abandoned:
            return  # a batch of ours from before is still in flight: two must not settle the same records
        try:
            claims = self._writer.positions()
            start = [self._start(p.topic, p.partition, claims.get((p.topic, p.partition))) for p in wanted]
        except (WarehouseUnavailable, WarehouseError, KafkaException, TopicLost) as e:
            log.warning("cannot start reading yet: %s", e)
            self._telemetry.problem("positions", str(e))
            self._resolve_at = time.monotonic() + _RESOLVE_SECONDS
            return
        self._telemetry.solved("positions")
        self._wanted = None
        self._consumer.assign(start)

    def _start(self, topic: str, partition: int, claim: Claim | None) -> TopicPartition:
        if claim is None:
            self._parts[topic, partition] = Partition((topic, partition), 0)
            return TopicPartition(topic, partition, OFFSET_BEGINNING)
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        if high <= claim.last:
            raise TopicLost(topic, partition, high, claim.last)
        if low > claim.last:
            if low > claim.last + 1:
                lost = low - claim.last - 1
                log.error("%s:%d: %d records expired in Kafka before they were ingested", topic, partition, lost)
                self._telemetry.expired(lost)
            self._parts[topic, partition] = Partition((topic, partition), low)
            return TopicPartition(topic, partition, low)
        first = max(claim.first, low)
        log.info("%s:%d: the fate of %d-%d is checked", topic, partition, first, claim.last)
        self._parts[topic, partition] = Partition((topic, partition), first, replay_to=claim.last)
        return TopicPartition(topic, partition, first)

    def _restart(self, why: str) -> None:
        """Forget what is gathered and ask the warehouse again, for all partitions."""
        log.warning("asking the warehouse anew where to go on: %s", why)
        assigned = self._consumer.assignment()
        self._abandon()
        self._consumer.assign([])
        self._wanted = assigned
        self._resolve_at = time.monotonic() + _RESOLVE_SECONDS

    def _on_error(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._restart(f"Kafka no longer has the offset: {error}")
            return
        self._grumble(error)

    # Landing batches.

    def _submit(self) -> None:
        now = time.monotonic()
        for part in self._parts.values():
            if part.due(now, self._cfg.batch_bytes, self._cfg.linger_s):
                self._launch(part)

    def _launch(self, part: Partition) -> None:
        replay = part.replay_to is not None
        offsets, payloads = part.take(self._cfg.batch_bytes)
        stale: Callable[[], bool] = lambda: part.stale or self._give_up.is_set()  # noqa: E731  one line, one use
        part.flight = self._pool.submit(self._land, part.key, offsets, payloads, replay, stale)

    def _land(
        self, key: Key, offsets: list[int], payloads: list[bytes | None], replay: bool, stale: Callable[[], bool]
    ) -> Batch:
        """Decode and write, again and again until it has landed; on a worker."""
        batch = make_batch(*key, offsets, payloads)
        if replay:
            self._telemetry.replayed(batch)
        delay, longest = _BACKOFF_SECONDS
        attempt = 0
        started = time.monotonic()
        while True:
            try:
                if replay:
                    self._writer.settle(batch)
                elif attempt == 0:
                    self._writer.write(batch)
                else:
                    self._writer.claim(batch)
                    self._writer.settle(batch)
            except (WarehouseUnavailable, WarehouseError, RuntimeError) as e:
                attempt += 1
                log.warning("%s: attempt %d failed, again in %.1f s: %s", batch.token, attempt, delay, e)
                self._telemetry.problem(batch.token, str(e))
                if stale():
                    raise
                time.sleep(delay)
                delay = min(delay * 2, longest)
                continue
            self._telemetry.landed(batch, time.monotonic() - started)
            return batch

    def _reap(self) -> None:
        done: list[TopicPartition] = []
        for part in list(self._parts.values()):
            if part.flight is None or not part.flight.done():
                continue
            flight, part.flight = part.flight, None
            try:
                batch = flight.result()
            except Superseded as e:
                self._restart(str(e))
                break
            part.next_offset = batch.last + 1
            if part.replay_to is not None and batch.last >= part.replay_to:
                part.replay_to = None
            done.append(TopicPartition(*part.key, part.next_offset))
        if done:
            self._consumer.commit(offsets=done, asynchronous=True)

    def _throttle(self) -> None:
        """Stop fetching a partition that has more waiting than it can land, until it has caught up."""
        for part in self._parts.values():
            much = part.size > 4 * self._cfg.batch_bytes and part.replay_to is None
            if much != part.paused:
                where = [TopicPartition(*part.key)]
                try:
                    (self._consumer.pause if much else self._consumer.resume)(where)
                except KafkaException:
                    continue  # the assignment is just changing; the next step sees to it
                part.paused = much

    def _drain(self) -> None:
        """Land what is gathered, within a limit: what does not land now lands after the next start."""
        log.info("stopping: landing what was read")
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            for part in self._parts.values():
                if part.flight is None and part.offsets and part.replay_to is None:
                    self._launch(part)
            flights = [p.flight for p in self._parts.values() if p.flight is not None]
            if not flights:
                break
            wait(flights, timeout=1.0, return_when=FIRST_COMPLETED)
            self._reap()
        landed = [TopicPartition(*p.key, p.next_offset) for p in self._parts.values() if p.next_offset]
        if landed:
            try:
                self._consumer.commit(offsets=landed, asynchronous=False)
            except KafkaException as e:
                log.warning("offsets not committed (only lag tools read them): %s", e)

    def _report(self) -> None:
        now = time.monotonic()
        if now < self._lag_at:
            return
        self._lag_at = now + _LAG_SECONDS
        for part in self._parts.values():
            try:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(*part.key), cached=True)
            except KafkaException:
                continue  # not known yet
            if high >= 0:
                self._telemetry.lag(*part.key, max(0, high - max(part.next_offset, low)))


class _Grumble:
    """Says what is wrong with Kafka, but not the same thing twice within a while."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._every = every_s
        self._said: dict[int, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._said.get(error.code(), -self._every) >= self._every:
            self._said[error.code()] = now
            log.warning("kafka: %s", error.str())


def make_consumer(cfg: AppConfig) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": cfg.kafka.bootstrap_servers,
            "group.id": cfg.kafka.group,
            "client.id": f"baretick-ingest-{socket.gethostname()}",
            # A static member: after a kill -9 the successor goes on at once instead of waiting for the session to end.
            "group.instance.id": f"{socket.gethostname()}-{cfg.http.port}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "topic.metadata.refresh.interval.ms": 5_000,
            "reconnect.backoff.ms": 200,
            "reconnect.backoff.max.ms": 2_000,
            "log_level": 2,  # a broker that is away is told once, by error_cb, not at each attempt to reach it
            "error_cb": _Grumble(),
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 2_000,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 65_536,
        },
        logger=logging.getLogger("librdkafka"),
    )


def main(cfg: AppConfig) -> int:
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if cfg.cpu_affinity:
        os.sched_setaffinity(0, cfg.cpu_affinity)
    stop = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: stop.set())
    db = HttpDatabase(cfg.clickhouse.url, cfg.clickhouse.user, cfg.clickhouse.password.get_secret_value())
    telemetry = Telemetry()
    try:
        server = telemetry.serve(cfg.http.host, cfg.http.port)
    except OSError as e:
        log.error("cannot listen on %s:%d: %s", cfg.http.host, cfg.http.port, e.strerror or e)
        return 3
    log.info("kafka %s -> clickhouse %s", cfg.kafka.bootstrap_servers, cfg.clickhouse.url)
    try:
        Ingest(cfg, Writer(db, f"{socket.gethostname()}:{os.getpid()}"), make_consumer(cfg), telemetry).run(stop)
    finally:
        server.shutdown()
    log.info("stopped")
    return 0
