"""Publishers take everything in order, never block, and say when they fall behind."""

import asyncio
import time

import pytest
from confluent_kafka import Consumer, KafkaError

from baretick import publish
from baretick.config import KafkaConfig
from baretick.events import BUY, TOPIC_OF, TOPIC_TRADES, Gap, Trade, decode
from baretick.publish import KafkaPublisher, MemoryPublisher, PublishError


def trade(n: int, symbol: str = "BTC-USDT") -> Trade:
    return Trade("s", "okx", symbol, n, n, n, 10**14, 10**8, BUY)


def test_memory_keeps_each_topic_in_order_with_offsets():
    memory = MemoryPublisher()
    for n in range(5):
        memory.publish(trade(n))
    memory.publish(Gap("s", "okx", "BTC-USDT", 1, 2, 3, "sequence"))
    records = memory.read(TOPIC_TRADES, 2, 2)
    assert [(r.offset, decode(r.value).trade_id) for r in records] == [(2, 2), (3, 3)]
    assert records[0].key == b"okx:BTC-USDT"
    assert len(memory.read("md.gaps", 0)) == 1
    assert memory.read("nothing", 0) == []


@pytest.fixture
async def cluster():
    """A producer whose client library plays the brokers itself; the topics are made."""
    kafka = KafkaPublisher(KafkaConfig(bootstrap_servers=""), **{"test.mock.num.brokers": 1})
    for topic in set(TOPIC_OF.values()):
        await asyncio.to_thread(kafka._producer.list_topics, topic, 10)
    yield kafka
    await kafka.close(5)


async def read_all(kafka: KafkaPublisher, topic: str, count: int) -> list:
    """What a consumer of the mock cluster finds."""
    brokers = (await asyncio.to_thread(kafka._producer.list_topics, topic, 10)).brokers.values()
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(f"{b.host}:{b.port}" for b in brokers),
            "group.id": "test",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    found, deadline = [], time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        message = await asyncio.to_thread(consumer.poll, 0.2)
        if message is not None and message.error() is None:
            found.append((message.partition(), message.key(), decode(message.value())))
    consumer.close()
    return found


async def test_what_is_published_arrives_once_and_in_order_for_each_key(cluster):
    await asyncio.wait_for(cluster.wait_for_topics(), 30)
    for n in range(3000):
        cluster.publish(trade(n, f"S{n % 3}"))
    assert await cluster.close(30) == 0
    assert cluster.delivered == 3000
    found = await read_all(cluster, TOPIC_TRADES, 3000)
    assert len(found) == 3000
    for symbol in range(3):
        mine = [(p, e.trade_id) for p, key, e in found if key == f"okx:S{symbol}".encode()]
        assert [n for _, n in mine] == list(range(symbol, 3000, 3))
        assert len({p for p, _ in mine}) == 1, "one key lives in one partition"


def unreachable(**overrides) -> KafkaPublisher:
    return KafkaPublisher(KafkaConfig(bootstrap_servers="127.0.0.1:1"), **overrides)


async def test_without_a_broker_everything_is_kept_and_the_feed_is_held_back():
    kafka = unreachable(**{"queue.buffering.max.messages": 100})
    for n in range(150):
        kafka.publish(trade(n))
    assert (kafka.produced, kafka.outstanding, kafka.queued_here) == (150, 150, 50)
    assert kafka.delivered == 0
    assert not kafka.ready()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kafka.wait_ready(), 0.1)
    began = time.monotonic()
    assert await kafka.close(0.5) == 150
    assert time.monotonic() - began < 5


async def test_what_is_not_delivered_at_shutdown_is_reported_loudly(caplog):
    kafka = unreachable()
    kafka.publish(trade(1))
    await kafka.close(0.2)
    assert "1 of 1 events were NOT delivered" in caplog.text


async def test_a_silent_broker_is_called_stalled(monkeypatch):
    monkeypatch.setattr(publish, "STALLED_AFTER_S", 0.1)
    kafka = unreachable()
    assert kafka.state == "idle"
    kafka.publish(trade(1))
    await asyncio.sleep(0.3)
    assert kafka.state == "stalled"
    await kafka.close(0)


async def test_a_feed_that_ignores_the_pressure_is_stopped_before_memory_runs_out(monkeypatch):
    monkeypatch.setattr(publish, "MAX_OVERFLOW", 10)
    kafka = unreachable(**{"queue.buffering.max.messages": 5})
    for n in range(15):
        kafka.publish(trade(n))
    with pytest.raises(PublishError, match="must honour ready"):
        kafka.publish(trade(15))
    await kafka.close(0)


async def test_when_the_queue_has_room_again_the_overflow_goes_first_and_the_feed_may_read(monkeypatch, cluster):
    real, full = cluster._produce, True

    def produce(topic: str, key: bytes, value: bytes) -> bool:
        return False if full else real(topic, key, value)

    monkeypatch.setattr(cluster, "_produce", produce)
    for n in range(20):
        cluster.publish(trade(n))
    assert not cluster.ready()
    full = False
    cluster.publish(trade(20))
    await asyncio.wait_for(cluster.wait_ready(), 10)
    assert cluster.ready()
    assert await cluster.close(30) == 0
    found = await read_all(cluster, TOPIC_TRADES, 21)
    assert [e.trade_id for _, _, e in found] == list(range(21))


async def test_an_event_too_large_for_kafka_is_counted_and_the_others_still_arrive(cluster, caplog):
    cluster.publish(trade(1, "S" * 2_000_000))
    cluster.publish(trade(2))
    assert await cluster.close(30) == 1
    assert (cluster.produced, cluster.delivered, cluster.failed) == (2, 1, 1)
    assert "too large" in caplog.text


async def test_an_error_that_cannot_heal_stops_publishing():
    kafka = unreachable()
    kafka._on_error(KafkaError(KafkaError._FATAL, "sequence out of order", fatal=True))
    assert kafka.state == "failed"
    with pytest.raises(PublishError, match="sequence out of order"):
        kafka.publish(trade(1))
    await kafka.close(0)


async def test_missing_brokers_are_named_while_waiting(caplog):
    kafka = unreachable()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kafka.wait_for_topics(), 3)
    assert "not ready, will try on" in caplog.text
    await kafka.close(0)
