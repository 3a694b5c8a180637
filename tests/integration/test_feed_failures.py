"""Clients against venues that misbehave: silent, dead, refusing, sending rubbish."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from baretick.config import VenueConfig
from baretick.events import BUY, SNAPSHOT, BookEvent, Gap, Trade
from baretick.venues import BinanceClient, OkxClient, VenueClient, connection
from baretick.venues.connection import Backoff
from tests.integration.feed_rig import Sink, until


@contextlib.asynccontextmanager
async def venue_of(routes: list[web.RouteDef]) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running(make: Callable[..., VenueClient], kind: str, port: int) -> AsyncIterator[tuple[VenueClient, Sink]]:
    sink = Sink()
    cfg = VenueConfig(
        name=kind,
        kind=kind,  # type: ignore[arg-type]
        ws_url=f"ws://127.0.0.1:{port}/ws",
        rest_url=f"http://127.0.0.1:{port}",
        symbols=["BTC-USDT" if kind == "okx" else "BTCUSDT"],
    )
    client = make(cfg, sink)
    task = asyncio.create_task(client.run())
    try:
        yield client, sink
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def diff(first: int, last: int, price: str = "10.0") -> str:
    data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last, "b": [[price, "1.0"]], "a": []}
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data}, separators=(",", ":"))


async def test_nobody_listening_is_tried_again_and_again(monkeypatch) -> None:
    monkeypatch.setattr(connection.Backoff, "delay", lambda self: 0.01)
    async with venue_of([]) as port:
        pass
    async with running(OkxClient, "okx", port) as (client, sink):
        await asyncio.sleep(0.3)
        assert not client.stats.connected
        assert sink.events == []


async def test_a_silent_venue_is_pinged_and_kept_when_it_answers_and_left_when_it_does_not(monkeypatch) -> None:
    monkeypatch.setattr(connection, "PING_AFTER_S", 1.0)
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 3.0)
    pings: list[str] = []
    answering = True

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.data == "ping":
                pings.append(message.data)
                if answering:
                    await ws.send_str("pong")
        return ws

    async with venue_of([web.get("/ws", handle)]) as port, running(OkxClient, "okx", port) as (client, _):
        await until(lambda: len(pings) >= 3, "three pings", 15)
        assert client.stats.connects == 1
        answering = False
        await until(lambda: client.stats.reconnects >= 1, "a reconnection", 20)


async def test_a_binance_connection_that_died_without_a_word_is_left(monkeypatch) -> None:
    monkeypatch.setattr(connection, "PING_AFTER_S", 0.5)
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 2.0)

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        async for _ in ws:
            pass  # reads, and answers nothing: as good as dead
        return ws

    async with venue_of([web.get("/ws", handle)]) as port, running(BinanceClient, "binance", port) as (client, _):
        await until(lambda: client.stats.reconnects >= 1, "a reconnection", 20)


async def test_a_client_that_is_held_back_pings_on_and_is_not_taken_for_cut_off(monkeypatch) -> None:
    monkeypatch.setattr(connection, "PING_AFTER_S", 0.5)
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 1.5)
    pings: list[str] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        await ws.send_str('{"event":"notice","msg":"one frame to read","code":"0"}')
        async for message in ws:
            pings.append(message.data)  # and no answer: while held back, none could be read
        return ws

    async with venue_of([web.get("/ws", handle)]) as port, running(OkxClient, "okx", port) as (client, sink):
        sink.free.clear()
        await until(lambda: client.held, "the client to be held", 10)
        await asyncio.sleep(4)
        assert client.stats.reconnects == 0
        assert set(pings) == {"ping"} and len(pings) >= 2


async def test_rest_refusals_rubbish_and_stale_snapshots_are_asked_again_until_the_book_joins() -> None:
    answers = [
        web.Response(status=429, headers={"Retry-After": "0"}),
        web.Response(status=500, text="oops"),
        web.Response(text="<html>"),
        web.json_response({"lastUpdateId": 50, "bids": [["9.0", "1.0"]], "asks": []}),  # older than the stream
        web.json_response({"lastUpdateId": 105, "bids": [["9.0", "1.0"]], "asks": [["11.0", "2.0"]]}),
    ]
    asked: list[str] = []

    async def depth(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        return answers[min(len(asked), len(answers)) - 1]

    async def stream(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for frame in (diff(101, 103), diff(104, 108, "10.5"), "rubbish", diff(109, 110, "10.7")):
            await ws.send_str(frame)
        async for _ in ws:
            pass
        return ws

    routes = [web.get("/ws", stream), web.get("/api/v3/depth", depth)]
    async with venue_of(routes) as port, running(BinanceClient, "binance", port) as (client, sink):
        await until(lambda: client.books["BTCUSDT"].valid, "a valid book", 30)
        assert asked == ["symbol=BTCUSDT&limit=1000"] * 5
        book = client.books["BTCUSDT"]
        assert [p for p, _ in book.levels(BUY)] == [107000000000, 105000000000, 90000000000]
        assert client.stats.garbage == {"DecodeError": 1, "snapshot DecodeError": 1}
        # The refused snapshot is in the stream of events as well, with the gap that it caused.
        assert [e.seq for e in sink.of(BookEvent) if e.kind == SNAPSHOT] == [50, 105]
        assert [g.reason for g in sink.of(Gap)] == ["snapshot is older than the updates"]
        assert [e.resync for e in sink.of(BookEvent) if e.kind == SNAPSHOT] == [False, True]


async def test_rubbish_between_frames_costs_only_itself() -> None:
    head = '{"arg":{"channel":"trades","instId":"BTC-USDT"},'
    trade = head + '"data":[{"tradeId":"%d","px":"1","sz":"2","side":"buy","ts":"3"}]}'

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        for i in range(5):
            await ws.send_str(trade % i)
            await ws.send_str("{]")
            await ws.send_bytes(b"\x00\xff")
        async for _ in ws:
            pass
        return ws

    async with venue_of([web.get("/ws", handle)]) as port, running(OkxClient, "okx", port) as (client, sink):
        await until(lambda: client.stats.messages >= 15, "all frames", 15)
        assert [t.trade_id for t in sink.of(Trade)] == list(range(5))
        assert client.stats.garbage == {"DecodeError": 10}
        assert client.stats.connects == 1


async def test_okx_books_that_stay_wrong_are_asked_again_ever_less_often() -> None:
    book = {"asks": [], "bids": [["1", "1", "0", "1"]], "ts": "1", "checksum": 12345, "seqId": 1, "prevSeqId": -1}
    snapshot = json.dumps({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "snapshot", "data": [book]})
    times: list[float] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.data != "ping" and json.loads(message.data)["op"] == "subscribe":
                times.append(asyncio.get_running_loop().time())
                await ws.send_str(snapshot)
        return ws

    async with venue_of([web.get("/ws", handle)]) as port, running(OkxClient, "okx", port) as (client, sink):
        await asyncio.sleep(3.0)
        assert not client.books["BTC-USDT"].valid
        assert 3 <= len(times) < 20, "asks again, but does not hammer"
        assert {g.reason for g in sink.of(Gap)} == {"checksum"}


def test_the_stand_in_runs_as_a_process_and_ends_on_sigterm(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = tmp_path / "venue.yaml"
    config.write_text(f"standin: {{port: {port}, synthetic_seconds: 1}}\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BARETICK_")}
    process = subprocess.Popen([sys.executable, "-m", "baretick.cli", "standin", "-c", str(config)], env=environment)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert json.load(answer)["status"] == "ok"
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@given(st.integers(1, 60))
def test_backoff_grows_is_jittered_and_bounded(failures: int) -> None:
    backoff = Backoff(first_s=0.25, most_s=30.0)
    delays = [backoff.delay() for _ in range(failures)]
    for i, delay in enumerate(delays):
        ceiling = min(30.0, 0.25 * 2.0**i)
        assert 0.1 * ceiling <= delay <= ceiling
    backoff.reset()
    assert backoff.delay() <= 0.25
