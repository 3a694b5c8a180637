"""Exactly once, proven the hard way: kill -9 of Kafka, of the warehouse and of the ingestor while records flow."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import Producer

from baretick import events
from baretick.events import BookEvent, Fill, OrderEvent, Ticker, Trade
from baretick.warehouse import migrate
from baretick.warehouse.client import WarehouseUnavailable
from tests.integration.ingest_rig import Ingestor, Kafka, Warehouse, kafka_home

TOPICS = {
    "md.trades": 3,
    "md.books": 3,
    "md.tickers": 3,
    "md.gaps": 3,
    "trading.orders": 1,
    "trading.fills": 1,
}
PARTITIONS = sum(TOPICS.values())
SYMBOLS = [("okx", "BTC-USDT"), ("okx", "ETH-USDT"), ("binance", "BTCUSDT"), ("binance_usdm", "BTCUSDT")]
EVENTS_PER_BURST = 150


class Stream(threading.Thread):
    """Produces a seeded stream, and keeps its own account of what it said."""

    def __init__(self, address: str) -> None:
        super().__init__(name="producer")
        self.stop = threading.Event()
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.prices: Counter[tuple[str, str, str, str]] = Counter()
        self.qtys: Counter[tuple[str, str, str, str]] = Counter()
        self.orders = 0
        self.fills = 0
        self.bad = 0
        self.failed: list[str] = []
        self._rng = random.Random(7)
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "delivery.timeout.ms": 600_000,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            for _ in range(EVENTS_PER_BURST):
                number += 1
                self._one(number)
            self._producer.poll(0)
            time.sleep(0.03)
        self._producer.flush(90)

    def _one(self, n: int) -> None:
        venue, symbol = self._rng.choice(SYMBOLS)
        now = time.time_ns()
        exch = 1_723_161_255_000_000_000 + n * 3_000_000
        kind = self._rng.random()
        if kind < 0.5:
            side = self._rng.choice((events.BUY, events.SELL))
            price, qty = self._rng.randrange(10**15), self._rng.randrange(1, 10**9)
            self._count(venue, symbol, "trade", side, price, qty)
            self._send(Trade("test", venue, symbol, exch, now, n, price, qty, side))
        elif kind < 0.9:
            book = self._rng.choice((events.SNAPSHOT, events.UPDATE))
            name = "book_snapshot" if book == events.SNAPSHOT else "book_update"
            sides = {}
            for side in (events.BUY, events.SELL):
                levels = [
                    (self._rng.randrange(10**15), self._rng.randrange(10**9)) for _ in range(self._rng.randrange(9))
                ]
                for level in levels:
                    self._count(venue, symbol, name, side, *level)
                sides[side] = levels
            self._send(
                BookEvent(
                    "test", venue, symbol, exch, now, n, n - 1, book, False, sides[events.BUY], sides[events.SELL]
                )
            )
        elif kind < 0.95:
            self._count(venue, symbol, "ticker", events.BUY, n, 5)
            self._count(venue, symbol, "ticker", events.SELL, n + 1, 6)
            self._send(Ticker("test", venue, symbol, exch, now, n, n, 5, n + 1, 6))
        elif kind < 0.97:
            self.orders += 1
            self._send(OrderEvent("test", venue, symbol, now, n, events.BUY, 10, 20, 20, "accepted", "", now))
        elif kind < 0.99:
            self.fills += 1
            self._send(Fill("test", venue, symbol, now, n, n, events.SELL, 10, 20, True))
        else:
            self.bad += 1
            self._produce("md.trades", b"k", b"\xc1 not a record %d" % n)

    def _count(self, venue: str, symbol: str, event: str, side: int, price: int, qty: int) -> None:
        key = (venue, symbol, event, "buy" if side == events.BUY else "sell")
        self.counts[key] += 1
        self.prices[key] += price
        self.qtys[key] += qty

    def _send(self, event: events.Event) -> None:
        self._produce(events.TOPIC_OF[type(event)], f"{event.venue}:{event.symbol}".encode(), events.encode(event))

    def _produce(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: object, message: object) -> None:
        if error is not None:
            self.failed.append(str(error))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[tuple[Kafka, Warehouse, Ingestor]]:
    kafka = Kafka(kafka_home(tmp_path / "dist"), tmp_path)
    warehouse = Warehouse(tmp_path)
    ingest = Ingestor(tmp_path, kafka.address, warehouse, linger_s=0.15)
    processes = (kafka, warehouse, ingest)
    try:
        kafka.start()
        warehouse.start()
        kafka.create_topics(TOPICS)
        warehouse.wait()
        migrate.migrate(warehouse.db, migrate.shipped())
        ingest.start()
        yield processes
    finally:
        for process in reversed(processes):
            process.kill()


@pytest.mark.timeout(1500)
def test_each_record_lands_once_whatever_is_killed(rig: tuple[Kafka, Warehouse, Ingestor]) -> None:
    kafka, warehouse, ingest = rig
    stream = Stream(kafka.address)
    stream.start()
    kills: Counter[str] = Counter()
    try:
        rng = random.Random(20)
        # Every order of deaths, among them all three at once; most hit the ends that hold the state in flight.
        victims: list[list[Kafka | Warehouse | Ingestor]] = [
            [ingest], [warehouse], [ingest, warehouse], [kafka], [warehouse], [ingest], [warehouse, ingest, kafka],
            [warehouse], [ingest],
        ]  # fmt: skip
        landed = 0
        for group in victims:
            landed = wait_for_rows(warehouse, ingest, landed)
            time.sleep(rng.uniform(0.0, 0.6))
            for victim in group:
                victim.kill()
                kills[victim.name] += 1
            time.sleep(rng.uniform(0.0, 0.3))
            for victim in group:
                victim.start()
        wait_for_rows(warehouse, ingest, landed)
    finally:
        stream.stop.set()
        stream.join(100)
    assert not stream.is_alive(), "the producer could not deliver"
    assert stream.failed == []
    assert all(kills[name] >= 2 for name in ("kafka", "warehouse", "ingest"))
    warehouse.wait()
    ingest.wait_caught_up(PARTITIONS, seconds=240)

    db = warehouse.db
    landed = db.query(
        "SELECT venue, symbol, event, side, count() AS n, sum(price) AS price, sum(qty) AS qty, "
        "uniqExact(kafka_topic, kafka_partition, kafka_offset, idx) AS distinct "
        "FROM hft_data.raw_ticks GROUP BY venue, symbol, event, side"
    )
    found = {(r["venue"], r["symbol"], r["event"], r["side"]): r for r in landed}
    assert {k: r["n"] for k, r in found.items()} == dict(stream.counts)
    assert {k: r["distinct"] for k, r in found.items()} == dict(stream.counts)
    assert {k: Decimal(r["price"]) for k, r in found.items()} == scaled(stream.prices, events.PRICE_DECIMALS)
    assert {k: Decimal(r["qty"]) for k, r in found.items()} == scaled(stream.qtys, events.QTY_DECIMALS)

    for table, expected in (("orders", stream.orders), ("fills", stream.fills), ("dead_letters", stream.bad)):
        [row] = db.query(f"SELECT count() AS n, uniqExact(kafka_partition, kafka_offset) AS u FROM hft_data.{table}")
        assert (row["n"], row["u"]) == (expected, expected), table

    trades = {k: v for k, v in stream.counts.items() if k[2] == "trade"}
    for unit in ("1s", "1m"):
        rows = db.query(
            f"SELECT venue, symbol, sum(trades) AS n, sum(volume) AS volume FROM hft_analytics.ohlc_{unit} "
            "GROUP BY venue, symbol"
        )
        assert sum(r["n"] for r in rows) == sum(trades.values())
        for r in rows:
            keys = [(r["venue"], r["symbol"], "trade", side) for side in ("buy", "sell")]
            assert r["n"] == sum(trades[k] for k in keys), unit
            assert Decimal(r["volume"]) == sum(events.from_scaled(stream.qtys[k], events.QTY_DECIMALS) for k in keys)

    assert ingest.terminate() == 0
    assert warehouse.terminate() == 0


def wait_for_rows(warehouse: Warehouse, ingest: Ingestor, more_than: int) -> int:
    """Until rows land again: a kill counts for something only in mid-stream."""
    deadline = time.monotonic() + 240  # on a machine that is busy with other things a process starts in half a minute
    while True:
        ingest.check()
        warehouse.check()
        try:
            [row] = warehouse.db.query("SELECT count() AS n FROM hft_data.raw_ticks")
            if row["n"] > more_than:
                return int(row["n"])
        except WarehouseUnavailable:
            pass
        assert time.monotonic() < deadline, f"nothing lands: {ingest.log.read_text()[-3000:]}"
        time.sleep(0.1)


def scaled(sums: Counter[tuple[str, str, str, str]], decimals: int) -> dict[tuple[str, str, str, str], Decimal]:
    return {k: events.from_scaled(v, decimals) for k, v in sums.items()}
