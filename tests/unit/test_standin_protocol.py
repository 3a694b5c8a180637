"""The stand-in speaks as the venues do, also to those who ask for what is not there."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from baretick.config import AppConfig, StandinConfig
from baretick.venues.standin import Standin, server, synthetic
from baretick.venues.standin.recording import Frame, Recording


@contextlib.asynccontextmanager
async def serving(
    speed: float = 0, settle_s: float = 0.05, **more
) -> AsyncIterator[tuple[Standin, aiohttp.ClientSession]]:
    standin = Standin(StandinConfig(port=0, speed=speed, settle_s=settle_s, synthetic_seconds=2, **more))
    await standin.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{standin.port}") as http:
            yield standin, http
    finally:
        await standin.stop()


@pytest.fixture(autouse=True)
def no_captures(monkeypatch) -> None:
    monkeypatch.delenv(server.CAPTURES_VARIABLE, raising=False)


async def ask(ws, *messages: str, answers: int | None = None) -> list[dict]:
    for message in messages:
        await ws.send_str(message)
    return [json.loads(await ws.receive_str(timeout=10)) for _ in range(len(messages) if answers is None else answers)]


def subscribe(*args: tuple[str, str], op: str = "subscribe") -> str:
    return json.dumps({"op": op, "args": [{"channel": c, "instId": i} for c, i in args]})


async def test_okx_acknowledges_and_answers_a_text_ping() -> None:
    async with serving() as (standin, http), http.ws_connect("/okx/ws/v5/public") as ws:
        await ws.send_str("ping")
        assert await ws.receive_str() == "pong"
        [ack] = await ask(ws, subscribe(("tickers", "BTC-USDT")))
        assert ack["event"] == "subscribe"
        assert ack["arg"] == {"channel": "tickers", "instId": "BTC-USDT"}
        assert ack["connId"]
        assert standin.stages["okx"].session.id


async def test_okx_refuses_with_its_own_codes() -> None:
    async with serving() as (_, http), http.ws_connect("/okx/ws/v5/public") as ws:
        errors = await ask(
            ws,
            "{",
            '{"op":"dance","args":[]}',
            '{"op":"subscribe"}',
            subscribe(("books", "DOGE-USDT")),
            subscribe(("candle1m", "BTC-USDT")),
        )
        assert [(e["event"], e["code"]) for e in errors] == [
            ("error", "60012"), ("error", "60012"), ("error", "60012"), ("error", "60018"), ("error", "60018"),
        ]  # fmt: skip
        assert "books,instId:DOGE-USDT doesn't exist" in errors[3]["msg"]


async def test_okx_unsubscribed_topics_end_and_a_new_subscription_starts_with_a_snapshot() -> None:
    async with serving(speed=1) as (standin, http), http.ws_connect("/okx/ws/v5/public") as ws:
        stage = standin.stages["okx"]
        await ask(ws, subscribe(("books", "BTC-USDT")))
        first = json.loads(await ws.receive_str(timeout=10))
        assert first["action"] == "snapshot"
        await ws.send_str(subscribe(("books", "BTC-USDT"), op="unsubscribe"))
        while (m := json.loads(await ws.receive_str(timeout=10))).get("event") != "unsubscribe":
            assert m["action"] == "update"
        assert stage.session.topics_of(next(iter(stage.clients))) == []
        [ack] = await ask(ws, subscribe(("books", "BTC-USDT")))
        assert ack["event"] == "subscribe"
        again = json.loads(await ws.receive_str(timeout=10))
        assert again["action"] == "snapshot"
        assert again["data"][0]["prevSeqId"] == -1
        # The updates go on from exactly this snapshot.
        update = json.loads(await ws.receive_str(timeout=10))
        assert update["data"][0]["prevSeqId"] == again["data"][0]["seqId"]


async def test_okx_a_second_subscription_to_the_same_topic_is_acknowledged_and_doubles_nothing() -> None:
    async with serving() as (standin, http), http.ws_connect("/okx/ws/v5/public") as ws:
        acks = await ask(ws, subscribe(("trades", "BTC-USDT")), subscribe(("trades", "BTC-USDT")))
        assert [a["event"] for a in acks] == ["subscribe"] * 2
        expected = [f.text for f in standin.stages["okx"].recording.frames if f.topic == "trades:BTC-USDT"]
        assert [await ws.receive_str(timeout=10) for _ in expected] == expected
        with pytest.raises(TimeoutError):
            await ws.receive_str(timeout=0.3)


async def test_binance_combined_stream_verbatim_and_live_subscriptions() -> None:
    async with serving() as (standin, http), http.ws_connect("/binance/stream?streams=btcusdt@trade") as ws:
        texts = [f.text for f in standin.stages["binance"].recording.frames if f.topic == "btcusdt@trade"]
        assert [await ws.receive_str(timeout=10) for _ in texts] == texts
        answers = await ask(
            ws,
            '{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":1}',
            '{"method":"LIST_SUBSCRIPTIONS","id":"x"}',
            '{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}',
            '{"method":"DANCE","id":3}',
            "{",
            '{"params":5}',
        )
        assert answers[0] == {"result": None, "id": 1}
        assert answers[1] == {"result": ["btcusdt@trade", "ethusdt@trade"], "id": "x"}
        assert answers[2] == {"result": None, "id": 2}
        assert answers[3]["error"]["code"] == 2
        assert answers[4]["error"]["code"] == 3
        assert answers[5]["error"]["code"] == 2


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", -1102),
        ("?symbol=DOGEUSDT", -1121),
        ("?symbol=BTCUSDT&limit=x", -1130),
        ("?symbol=BTCUSDT&limit=9999", -1130),
    ],
)
async def test_binance_rest_refuses_with_its_own_codes(query: str, code: int) -> None:
    async with serving() as (_, http):
        for path in ("/binance/api/v3/depth", "/binance_usdm/fapi/v1/depth"):
            async with http.get(path + query) as response:
                assert response.status == 400
                assert (await response.json())["code"] == code


async def test_reference_data_has_ticks_and_lots() -> None:
    async with serving() as (_, http):
        async with http.get("/binance/api/v3/exchangeInfo") as r:
            symbols = {s["symbol"]: s for s in (await r.json())["symbols"]}
        assert symbols["BTCUSDT"]["baseAsset"] == "BTC"
        assert symbols["BTCUSDT"]["quoteAsset"] == "USDT"
        assert {f["filterType"]: f for f in symbols["ETHUSDT"]["filters"]}["PRICE_FILTER"]["tickSize"] == "0.01"
        async with http.get("/okx/api/v5/public/instruments?instType=SPOT") as r:
            rows = (await r.json())["data"]
        assert {x["instId"]: x["tickSz"] for x in rows} == {"BTC-USDT": "0.1", "ETH-USDT": "0.01"}
        async with http.get("/okx/api/v5/public/instruments?instType=SPOT&instId=ETH-USDT") as r:
            assert [x["instId"] for x in (await r.json())["data"]] == ["ETH-USDT"]
        async with http.get("/okx/api/v5/public/instruments?instType=LOTTERY") as r:
            assert (await r.json())["code"] == "51000"


async def test_control_tells_and_starts_sessions() -> None:
    async with serving() as (_, http):
        async with http.get("/control/session") as r:
            before = (await r.json())["venues"]
        assert set(before) == {"okx", "binance", "binance_usdm"}
        for venue in before.values():
            assert venue["state"] == "waiting"
            assert venue["source"] == "synthetic:42"
            assert venue["sent"] == 0 < venue["total"]
        async with http.post("/control/session", json={"speed": 3, "venue": "okx"}) as r:
            after = (await r.json())["venues"]
        assert after["okx"]["session"] != before["okx"]["session"]
        assert after["okx"]["speed"] == 3
        assert after["binance"] == before["binance"]
        for bad in ('{"speed": -1}', '{"speed": "fast"}', '{"sped": 1}', "[", '{"venue": "nyse"}'):
            async with http.post("/control/session", data=bad) as r:
                assert r.status == 400
                assert (await r.json())["error"]
        async with http.get("/metrics") as r:
            text = await r.text()
        assert 'baretick_standin_frames_played_total{venue="okx"} 0.0' in text
        assert 'source="synthetic:42"' in text


async def test_a_new_session_is_announced_to_okx_clients_before_the_connection_closes() -> None:
    async with serving() as (standin, http), http.ws_connect("/okx/ws/v5/public") as ws:
        await standin.stages["okx"].restart(0)
        notice = json.loads(await ws.receive_str(timeout=5))
        assert (notice["event"], notice["code"]) == ("notice", "64008")
        closed = await ws.receive(timeout=5)
        assert closed.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


async def test_a_session_waits_while_nobody_listens_and_no_frame_is_spent() -> None:
    async with serving(speed=1) as (standin, http):
        session = standin.stages["binance"].session
        await asyncio.sleep(0.3)
        assert (session.state, session.position) == ("waiting", 0)
        async with http.ws_connect("/binance/stream?streams=btcusdt@trade") as ws:
            await ws.receive_str(timeout=10)
        await asyncio.sleep(0.2)
        at = session.position
        assert 0 < at < len(session.recording.frames)
        await asyncio.sleep(0.5)
        assert (session.state, session.position) == ("waiting", at)


async def test_speed_sets_the_pace(monkeypatch) -> None:
    ticks = [Frame(1_000_000_000 + i * 100_000_000, "btcusdt@trade", f'{{"n":{i}}}') for i in range(11)]
    recording = Recording("binance", "synthetic:0", ticks, [])
    monkeypatch.setattr(server, "recordings", lambda cfg: ({"binance": recording}, []))
    loop = asyncio.get_running_loop()
    async with serving(speed=2) as (_, http), http.ws_connect("/binance/stream?streams=btcusdt@trade") as ws:
        await ws.receive_str(timeout=5)
        began = loop.time()
        for _ in range(10):
            await ws.receive_str(timeout=5)
        assert 0.4 < loop.time() - began < 2.5  # one recorded second at double speed, on a machine that may be busy


async def test_a_reader_that_does_not_read_stops_the_session_instead_of_losing_frames(monkeypatch) -> None:
    text = json.dumps({"filler": "x" * 20_000})
    frames = [Frame(i, "btcusdt@trade", text) for i in range(3000)]
    recording = Recording("binance", "synthetic:0", frames, [])
    monkeypatch.setattr(server, "recordings", lambda cfg: ({"binance": recording}, []))
    async with serving() as (standin, _):
        session = standin.stages["binance"].session
        raw = socket.create_connection(("127.0.0.1", standin.port))
        raw.sendall(
            b"GET /binance/stream?streams=btcusdt@trade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await asyncio.sleep(1.5)
        stopped_at = session.position
        assert 0 < stopped_at < 3000
        await asyncio.sleep(0.5)
        assert session.position == stopped_at
        raw.setblocking(False)
        loop, got = asyncio.get_running_loop(), 0
        async with asyncio.timeout(60):
            while got < 3000 * len(text):
                got += len(await loop.sock_recv(raw, 1 << 20))
        assert session.state == "done"
        raw.close()


async def test_a_damaged_capture_is_reported_and_what_was_read_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "okx"
    folder.mkdir()
    head = '{"arg":{"channel":"trades","instId":"BTC-USDT"},'
    trade = head + '"data":[{"tradeId":"1","px":"1","sz":"2","side":"buy","ts":"3"}]}'
    (folder / "ws.raw").write_text(f"wss://ws.okx.com:8443/ws/v5/public <-> 1.0\n1.1: {trade}\n1.2: {trade[:50]}")
    async with serving(captures=tmp_path) as (_, http):
        async with http.get("/health") as r:
            health = await r.json()
        assert len(health["problems"]) == 1
        assert "ws.raw:3: " in health["problems"][0]
        assert health["venues"]["okx"]["source"] == "capture:okx/ws.raw"
        assert health["venues"]["okx"]["problems"]
        assert health["venues"]["binance"]["source"] == "synthetic:42"
        async with http.ws_connect("/okx/ws/v5/public") as ws:
            await ask(ws, subscribe(("trades", "BTC-USDT")))
            assert await ws.receive_str(timeout=5) == trade


@pytest.mark.parametrize("named", ["configured", "environment"])
def test_a_missing_captures_folder_ends_the_process_with_its_name(
    tmp_path: Path, caplog, monkeypatch, named: str
) -> None:
    missing = tmp_path / "nowhere"
    if named == "environment":
        monkeypatch.setenv(server.CAPTURES_VARIABLE, str(missing))
    cfg = StandinConfig(port=0, captures=missing if named == "configured" else None)
    assert server.main(AppConfig(standin=cfg)) == 2
    assert f"{missing}: no such folder of captures" in caplog.text


def test_a_taken_port_ends_the_process_and_says_so(caplog, monkeypatch) -> None:
    monkeypatch.setattr(server, "recordings", lambda cfg: ({"okx": synthetic.recording("okx", 1, 1)}, []))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert server.main(AppConfig(standin=StandinConfig(port=taken.getsockname()[1]))) == 2
    assert "check standin.captures, standin.host and standin.port" in caplog.text
