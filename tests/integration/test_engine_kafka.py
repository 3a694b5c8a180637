"""A real broker is killed with SIGKILL under the publisher, twice: nothing is lost, nothing comes twice."""

import asyncio
import time
from collections import defaultdict

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from baretick.config import KafkaConfig
from baretick.events import BUY, TOPIC_OF, TOPIC_TRADES, Trade, decode
from baretick.publish import KafkaPublisher
from tests.integration.ingest_rig import Kafka, kafka_home

PARTITIONS = 3
SYMBOLS = 5


def read(address: str) -> dict[str, list[int]]:
    """Trade ids of the topic by symbol, in the order of their offsets."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "t", "enable.partition.eof": True})
    consumer.assign([TopicPartition(TOPIC_TRADES, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    found, ended = defaultdict(list), 0
    while ended < PARTITIONS:
        for message in consumer.consume(5000, 2.0):
            if message.error() is None:
                event = decode(message.value())
                found[event.symbol].append(event.trade_id)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended += 1
    consumer.close()
    return found


async def test_a_broker_killed_in_mid_stream_loses_and_doubles_nothing(tmp_path):
    kafka = Kafka(await asyncio.to_thread(kafka_home, tmp_path), tmp_path)
    kafka.start()
    try:
        await asyncio.to_thread(kafka.create_topics, dict.fromkeys(set(TOPIC_OF.values()), PARTITIONS))
        publisher = KafkaPublisher(KafkaConfig(bootstrap_servers=kafka.address))
        await asyncio.wait_for(publisher.wait_for_topics(), 60)

        enough, sent = asyncio.Event(), 0

        async def feed():
            nonlocal sent
            while not enough.is_set():
                for _ in range(20):
                    for symbol in range(SYMBOLS):
                        publisher.publish(Trade("s", "okx", f"S{symbol}", sent, sent, sent, 10**14, 10**8, BUY))
                    sent += 1
                await asyncio.sleep(0.02)
                await publisher.wait_ready()

        feeding = asyncio.create_task(feed())
        for _ in range(2):
            taken, deadline = publisher.delivered, time.monotonic() + 90
            while publisher.delivered < taken + 2000:  # it is to be killed while it takes events
                assert time.monotonic() < deadline, publisher.last_error
                await asyncio.sleep(0.05)
            await asyncio.to_thread(kafka.kill)
            await asyncio.sleep(1.0)
            kafka.start()
            await asyncio.to_thread(kafka.wait)
        enough.set()
        await asyncio.wait_for(feeding, 180)
        assert await publisher.close(120) == 0
        assert publisher.delivered == SYMBOLS * sent
        found = await asyncio.to_thread(read, kafka.address)
    finally:
        kafka.kill()
    assert set(found) == {f"S{symbol}" for symbol in range(SYMBOLS)}
    for symbol, ids in found.items():
        assert ids == list(range(sent)), f"{symbol}: lost, doubled or out of order"
