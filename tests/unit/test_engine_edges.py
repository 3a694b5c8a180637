"""Around the core: last values to Redis, the HTTP page, CPUs."""

import asyncio
import logging
import os

import pytest
from aiohttp.test_utils import TestClient, TestServer

from baretick import host
from baretick.config import AppConfig, KafkaConfig, RedisConfig, VenueConfig
from baretick.engine import TradingCore
from baretick.engine.last_values import LastValues
from baretick.engine.view import EngineView
from baretick.engine.web import application
from baretick.events import SELL, SNAPSHOT, BookEvent, Trade
from baretick.publish import KafkaPublisher, MemoryPublisher
from baretick.venues import make_client

VENUE = VenueConfig(name="okx", kind="okx", ws_url="ws://x", rest_url="http://x", symbols=["BTC-USDT"])


@pytest.fixture
def core():
    core = TradingCore(AppConfig(venues=[VENUE]), MemoryPublisher())
    core.publish(
        BookEvent(
            "s1", "okx", "BTC-USDT", 1, 2, 1, 0, SNAPSHOT, False, [(10**14, 10**8)], [(10**14 + 10**9, 3 * 10**8)]
        )
    )
    core.publish(Trade("s1", "okx", "BTC-USDT", 7, 8, 1, 10**14, 25 * 10**6, SELL))
    return core


class Redis:
    """As much of a Redis as takes hashes: parses commands, keeps HSETs."""

    def __init__(self):
        self.hashes = {}
        self.server = None
        self.port = 0

    async def start(self):
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def talk(self, reader, writer):
        try:
            while line := await reader.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                if words[0] == "HSET":
                    self.hashes.setdefault(words[1], {}).update(zip(words[2::2], words[3::2], strict=True))
                    writer.write(b":1\r\n")
                elif words[0] == "HELLO":
                    writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                else:
                    writer.write(b"+OK\r\n")
        finally:
            writer.close()


async def test_last_values_arrive_as_exact_decimals_and_only_when_they_changed(core):
    redis = Redis()
    await redis.start()
    values = LastValues(RedisConfig(port=redis.port), core)
    await values.flush()
    found = redis.hashes["md:okx:BTC-USDT"]
    assert (found["bid"], found["ask"], found["ask_qty"]) == ("10000", "10000.1", "3")
    assert (found["trade_price"], found["trade_qty"], found["trade_ts"]) == ("10000", "0.25", "7")
    assert found["session"] == "s1"
    assert (values.written, values.state) == (1, "up")
    await values.flush()
    assert values.written == 1
    await values.close()
    redis.server.close()


async def test_a_redis_that_is_away_is_counted_and_gets_the_latest_when_it_is_back(core):
    redis = Redis()
    await redis.start()
    redis.server.close()
    await redis.server.wait_closed()
    values = LastValues(RedisConfig(port=redis.port), core)
    running = asyncio.create_task(values.run())
    for _ in range(100):
        await asyncio.sleep(0.05)
        if values.failures:
            break
    assert values.state == "down"
    assert "ConnectionError" in values.last_error
    await redis.start()
    for _ in range(200):
        await asyncio.sleep(0.05)
        if values.written:
            break
    assert redis.hashes["md:okx:BTC-USDT"]["bid"] == "10000"
    assert values.state == "up"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await values.close()
    redis.server.close()


@pytest.fixture
async def page(core):
    client = make_client(VENUE, core)
    kafka = KafkaPublisher(KafkaConfig(bootstrap_servers="127.0.0.1:1"))
    view = EngineView(core, {"okx": client}, kafka, LastValues(RedisConfig(port=1), core))
    async with TestClient(TestServer(application(view))) as http:
        http.view, http.venue = view, client
        yield http
    await kafka.close(0)


async def test_health_gives_every_reason_and_is_ok_when_there_is_none(page):
    answer = await page.get("/health")
    assert answer.status == 503
    body = await answer.json()
    assert body["reasons"] == ["engine is starting", "okx: not connected to ws://x"]
    page.view.phase = "running"
    page.venue.stats.connected = True
    assert (await page.get("/health")).status == 200
    page.view.core.risk.kill("operator")
    page.view.core.paper.suspend(("okx", "BTC-USDT"))
    page.view.core._books["okx", "BTC-USDT"].invalidate()
    assert (await (await page.get("/health")).json())["reasons"] == [
        "okx:BTC-USDT: book is not valid",
        "kill switch: operator",
    ]


async def test_integrations_tell_where_each_is_and_how_it_does(page):
    body = await (await page.get("/integrations")).json()
    assert body["okx"]["url"] == "ws://x"
    assert body["okx"]["state"] == "disconnected"
    assert body["kafka"]["url"] == "127.0.0.1:1"
    assert body["redis"]["state"] == "idle"


async def test_metrics_show_books_events_and_latencies(page):
    text = await (await page.get("/metrics")).text()
    for line in (
        'baretick_events_total{symbol="BTC-USDT",type="book",venue="okx"} 1.0',
        'baretick_book_valid{symbol="BTC-USDT",venue="okx"} 1.0',
        'baretick_best_ask{symbol="BTC-USDT",venue="okx"} 10000.1',
        'baretick_venue_connected{venue="okx"} 0.0',
        'baretick_tick_to_publish_seconds_bucket{le="+Inf"} 2.0',
        "baretick_kafka_outstanding 0.0",
        "baretick_kill_switch 0.0",
    ):
        assert line in text.splitlines()


def test_cpus_that_are_not_there_are_named_and_the_others_taken(monkeypatch, caplog):
    taken = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: taken.append(cpus))
    with caplog.at_level(logging.WARNING):
        assert host.pin([1, 6, 7]) == [1]
    assert taken == [[1]]
    assert "CPUs 6, 7 are not available here (available: 0, 1)" in caplog.text
    assert host.pin([9]) == [0, 1]
    assert "running unpinned" in caplog.text
    assert host.pin([]) == [0, 1]
