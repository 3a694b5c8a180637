"""The engine as a process: it hears the venue stand-in, delivers to brokers over TCP, answers HTTP, obeys signals.

The brokers are librdkafka's own mock cluster, held by a producer of the test; its death is the producer's.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from baretick.config import StandinConfig
from baretick.events import TOPIC_OF, Trade, decode
from baretick.venues.standin.server import Standin

COMPILE_S = 240
"""Time for a cold start: the compiled core is made first."""


class Brokers:
    """A mock cluster with the topics of the event model."""

    def __init__(self):
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        for topic in set(TOPIC_OF.values()):
            brokers = self.producer.list_topics(topic, 10).brokers.values()
        self.address = ",".join(f"{b.host}:{b.port}" for b in brokers)

    def read(self, topic):
        """Everything in a topic."""
        partitions = self.producer.list_topics(topic, 10).topics[topic].partitions
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "t", "enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        found, ended = [], 0
        while ended < len(partitions):
            for message in consumer.consume(1000, 1.0):
                if message.error() is None:
                    found.append(decode(message.value()))
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended += 1
        consumer.close()
        return found


@pytest.fixture
async def standin():
    server = Standin(StandinConfig(port=0, speed=10, synthetic_seconds=20))
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def engine(folder: Path, port: int, venues, kafka: str):
    """A running engine process; its log is in `folder`."""
    config = folder / "engine.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "venues": venues,
                "kafka": {"bootstrap_servers": kafka},
                "http": {"port": port},
                "strategy": {"threshold_bps": 0.01, "ema_half_life_s": 0.01, "cooldown_s": 0.0},
            }
        )
    )
    with (folder / "engine.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "baretick.cli", "engine", "-c", str(config), stdout=log, stderr=log
        )
    try:
        yield process
    except BaseException as e:
        e.add_note(f"engine's exit code {process.returncode}, log:\n{(folder / 'engine.log').read_text()[-3000:]}")
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def okx(standin, port=None):
    base = f"127.0.0.1:{port or standin.port}"
    return [
        {
            "name": "okx",
            "kind": "okx",
            "ws_url": f"ws://{base}/okx/ws/v5/public",
            "rest_url": f"http://{base}/okx",
            "symbols": ["BTC-USDT", "ETH-USDT"],
        }
    ]


async def ask(port: int, path: str):
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await (answer.json() if path != "/metrics" else answer.text())


async def until(condition, timeout_s: float, what: str, port: int):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if (value := await condition()) is not None:
                return value
        except (aiohttp.ClientError, OSError):
            pass  # not listening yet
        await asyncio.sleep(0.1)
    try:
        last = (await ask(port, "/health"))[1], (await ask(port, "/integrations"))[1]
    except (aiohttp.ClientError, OSError) as e:
        last = repr(e)
    pytest.fail(f"not within {timeout_s} s: {what}; at the end: {last}")


async def test_a_session_arrives_whole_with_orders_and_fills_and_sigterm_drains(standin, tmp_path, unused_tcp_port):
    brokers = await asyncio.to_thread(Brokers)
    async with engine(tmp_path, unused_tcp_port, okx(standin), brokers.address) as process:

        async def healthy():
            status, _ = await ask(unused_tcp_port, "/health")
            return status == 200 or None

        async def played():
            return standin.stages["okx"].session.state == "done" or None

        async def acknowledged():
            _, body = await ask(unused_tcp_port, "/integrations")
            return body if body["okx"]["messages"] and not body["kafka"]["outstanding"] else None

        await until(healthy, COMPILE_S, "engine healthy", unused_tcp_port)
        await until(played, 120, "session played", unused_tcp_port)
        body = await until(acknowledged, 60, "everything acknowledged", unused_tcp_port)
        assert body["okx"]["session"] == standin.stages["okx"].session.id
        _, text = await ask(unused_tcp_port, "/metrics")
        assert 'baretick_book_valid{symbol="BTC-USDT",venue="okx"} 1.0' in text
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0, (tmp_path / "engine.log").read_text()
    trades = await asyncio.to_thread(brokers.read, "md.trades")
    served = Counter()
    for frame in standin.stages["okx"].recording.frames:
        channel, _, symbol = frame.topic.partition(":")
        if channel == "trades":
            served[symbol] += len(json.loads(frame.text)["data"])
    assert all(type(e) is Trade for e in trades)
    assert Counter(e.symbol for e in trades) == served
    assert len({(e.symbol, e.trade_id) for e in trades}) == len(trades), "no trade twice"
    fills = await asyncio.to_thread(brokers.read, "trading.fills")
    orders = await asyncio.to_thread(brokers.read, "trading.orders")
    assert fills
    assert len({f.fill_id for f in fills}) == len(fills)
    assert {f.order_id for f in fills} <= {o.order_id for o in orders if o.status == "accepted"}


async def test_without_brokers_it_says_so_and_waits_and_still_stops_when_asked(standin, tmp_path, unused_tcp_port):
    async with engine(tmp_path, unused_tcp_port, okx(standin), "127.0.0.1:1") as process:

        async def waiting():
            status, body = await ask(unused_tcp_port, "/health")
            return body if status == 503 and "engine is waiting for kafka" in body["reasons"] else None

        await until(waiting, COMPILE_S, "engine waits for Kafka", unused_tcp_port)
        assert standin.stages["okx"].session.state == "waiting", "no market data before it can be published"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_venue_that_is_away_is_a_reason_to_be_unhealthy(tmp_path, unused_tcp_port):
    brokers = await asyncio.to_thread(Brokers)
    async with engine(tmp_path, unused_tcp_port, okx(None, 1), brokers.address) as process:

        async def away():
            status, body = await ask(unused_tcp_port, "/health")
            return body["reasons"] if status == 503 and body["phase"] == "running" else None

        reasons = await until(away, COMPILE_S, "engine runs", unused_tcp_port)
        assert "okx: not connected to ws://127.0.0.1:1/okx/ws/v5/public" in reasons
        assert "okx:BTC-USDT: book is not valid" in reasons
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_with_the_brokers_gone_a_second_signal_ends_the_wait_at_once(standin, tmp_path, unused_tcp_port):
    brokers = await asyncio.to_thread(Brokers)
    async with engine(tmp_path, unused_tcp_port, okx(standin), brokers.address) as process:

        async def hears():
            _, body = await ask(unused_tcp_port, "/integrations")
            return body["okx"]["messages"] or None

        await until(hears, COMPILE_S, "engine hears the venue", unused_tcp_port)
        brokers.producer = None  # the mock cluster dies with it
        await standin.stages["okx"].restart(0)

        async def stuck():
            _, body = await ask(unused_tcp_port, "/integrations")
            return body["kafka"]["outstanding"] or None

        await until(stuck, 60, "events wait for Kafka", unused_tcp_port)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1.5)
        assert process.returncode is None, "it still tries to deliver"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 128 + signal.SIGTERM
    assert "what is not delivered is lost" in (tmp_path / "engine.log").read_text()


async def test_an_engine_without_venues_is_refused_before_anything_starts(tmp_path, unused_tcp_port):
    async with engine(tmp_path, unused_tcp_port, [], "127.0.0.1:1") as process:
        assert await asyncio.wait_for(process.wait(), 120) == 2
    assert "venues is empty" in (tmp_path / "engine.log").read_text()
