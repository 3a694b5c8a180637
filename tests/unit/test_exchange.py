"""Order entry, end to end in one process: what may be sent, what comes back, and what nobody may do."""

import asyncio
import json
import random

import aiohttp
import numpy as np
import pytest

from baretick.config import ConfigError, LoginConfig, load
from baretick.exchange.gateway import tokens
from baretick.exchange.service import main
from baretick.exchange.sessions import JSON, SUPERSEDED, TOO_SLOW
from baretick.journal import recovery
from baretick.matching import digest
from baretick.matching.book import MatchingBook
from baretick.matching.layout import allocate
from baretick.matching.records import EventKind, Kill, Op, Param, Reason, Scope, Side
from tests.support import exchange as rig
from tests.support.exchange import Client, admin, cancel, new

K, R = EventKind, Reason


def state(exchange):
    """What decides the future of the engine, but for the numbers of commands and events."""
    arena = exchange.core.arena
    book = MatchingBook.over(arena)
    positions = [book.position(a, s) for a in range(rig.ACCOUNTS) for s in range(rig.SYMBOLS)]
    return digest.fold_book(arena), positions, book.open_orders


def facts(events):
    return [(K(e["kind"]), R(e["reason"]), int(e["order_id"])) for e in events]


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def exchange(tmp_path, monkeypatch):
    async with rig.running(rig.write(tmp_path, fsync="off"), monkeypatch) as found:
        yield found


@pytest.fixture
async def one(exchange, http):
    return await Client(http, exchange.gateway.port, "one").open()


@pytest.fixture
async def two(exchange, http):
    return await Client(http, exchange.gateway.port, "two").open()


async def test_two_accounts_trade_and_neither_learns_who_the_other_is(one, two):
    assert facts(await one.ask(new(7, 100, 5))) == [(K.ACCEPTED, R.NONE, 7)]
    await two.send(new(9, 100, 3, Side.SELL, account=2))
    await two.until(lambda: len(two.seen) == 2)
    await one.until(lambda: len(one.seen) == 2)
    taker, maker = two.seen[1], one.seen[1]
    assert taker["kind"] == maker["kind"] == K.TRADE
    assert (taker["order_id"], taker["aux"], taker["account"], taker["counterparty"]) == (9, 0, 2, 0)
    assert (maker["order_id"], maker["aux"], maker["account"], maker["counterparty"]) == (0, 7, 0, 1)
    assert (taker["price"], taker["qty"], taker["seq"]) == (maker["price"], maker["qty"], maker["seq"])


async def test_each_bad_command_gets_its_reason_and_changes_nothing(exchange, one):
    await one.ask(new(1, 100, 4, symbol=1), new(2, 105, 4, Side.SELL, symbol=1))
    before = state(exchange)
    bad = {
        R.UNKNOWN_SYMBOL: [new(3, symbol=2), new(3, symbol=999)],
        R.BAD_QTY: [new(3, qty=0), new(3, qty=-5)],
        R.OFF_TICK: [new(3, 101, 2, symbol=1)],
        R.OFF_LOT: [new(3, 100, 3, symbol=1)],
        R.DUPLICATE_ID: [new(1, 100, 2, symbol=1)],
        R.UNKNOWN_ORDER: [cancel(99)],
        R.MAX_ORDER_QTY: [new(3, qty=1001)],
        R.BAD_COMMAND: [new(3, side=2), admin(0, account=1), admin(200, account=1)],
        R.FORBIDDEN: [new(3, account=2), cancel(1, account=3), admin(Op.KILL, Kill.HALT),
                      admin(Op.SET, Param.OPEN, Scope.ACCOUNT, 1), admin(Op.MASS_CANCEL, account=1)],
    }  # fmt: skip
    for reason, rows in bad.items():
        for row in rows:
            assert [(e["kind"], R(e["reason"])) for e in await one.ask(row)] == [(K.REJECTED, reason)]
            assert state(exchange) == before


async def test_malformed_and_oversized_frames_get_a_reason_and_change_nothing(exchange, one, http):
    before, limit = state(exchange), exchange.cfg.exchange.max_frame_bytes
    frames = [b"", b"x", new(5).tobytes()[:63], new(5).tobytes() + b"y", new(5).tobytes() * (limit // 64 + 1)]
    for data in frames:
        await one.ws.send_bytes(data)
        await one.until(lambda: one.refusals)
        answer = one.refusals.pop()
        assert (answer["kind"], R(answer["reason"]), answer["qty"]) == (K.REJECTED, R.MALFORMED, len(data))
    await one.ws.send_bytes(bytes(4 * limit + 64))
    with pytest.raises(ConnectionError):
        await one.receive()
    assert one.ws.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    assert state(exchange) == before
    assert facts(await (await one.open()).ask(new(5))) == [(K.ACCEPTED, R.NONE, 5)]


async def test_garbage_gets_answers_and_the_service_goes_on(exchange, http):
    rng = random.Random(5)
    one = await Client(http, exchange.gateway.port, "one").open()
    for _ in range(150):
        n = rng.choice((1, 2, 63, 64, 65, 128, 640))
        data = bytearray(rng.randbytes(n))
        for at in range(0, n - 63, 64):  # most of it under the right account, so that it reaches the engine
            if rng.random() < 0.7:
                data[at + 62 : at + 64] = (1).to_bytes(2, "little")
                data[at : at + 8] = bytes(8)
                data[at + 56] = rng.choice((1, 2, 3, 4, 5, 6, 7, 0, 255))
        await one.ws.send_bytes(bytes(data))
    for text in ("", "{", "[]", '{"op":"new"}', '{"op":"cancel","id":1e9}', "\0" * 50, '{"op":[' * 3000, "[" * 30000):
        await one.ws.send_str(text)
    await one.send(new(1234567, 100, 1))
    await one.until(lambda: any(e["order_id"] == 1234567 for e in one.seen))
    assert exchange.core.alive


async def test_the_numbers_of_a_session_have_to_count_on(exchange, one):
    assert facts(await one.ask(new(1, seq=1), new(2, seq=2))) == [(K.ACCEPTED, R.NONE, 1), (K.ACCEPTED, R.NONE, 2)]
    refused = await one.ask(new(3, seq=4), new(4, seq=5))
    assert [(R(e["reason"]), e["command"], e["seq"]) for e in refused] == [
        (R.BAD_SEQUENCE, 4, 0),
        (R.BAD_SEQUENCE, 5, 0),
    ]
    assert facts(await one.ask(new(3, seq=3))) == [(K.ACCEPTED, R.NONE, 3)]
    assert facts(await one.ask(new(4))) == [(K.ACCEPTED, R.NONE, 4)]


async def test_who_comes_back_learns_what_happened_meanwhile(exchange, one, two):
    await one.ask(new(1, 100, 5), new(2, 99, 5))
    last = one.last
    await one.send(new(3, 98, 1))
    one.ws._response.connection.transport.abort()  # before it has read the answer
    await two.ask(new(9, 99, 7, Side.SELL, account=2))
    await one.open(after=last)
    assert [(K(e["kind"]), int(e["qty"])) for e in one.seen[2:]] == [(K.ACCEPTED, 1), (K.TRADE, 5), (K.TRADE, 2)]
    note = one.notes[0]
    assert (K(note["kind"]), note["qty"], note["account"]) == (K.WELCOME, 3, 1)
    assert note["aux"] == 1, "nothing has been forgotten yet"
    seen = list(one.seen)
    one.seen = []
    await one.open(after=0)
    assert np.array_equal(np.array(one.seen), np.array(seen)), "the past is told the same way again"


async def test_a_newer_session_ends_the_older_one(exchange, one, http):
    other = await Client(http, exchange.gateway.port, "one").open()
    with pytest.raises(ConnectionError):
        await one.receive()
    assert one.ws.close_code == SUPERSEDED
    assert facts(await other.ask(new(1))) == [(K.ACCEPTED, R.NONE, 1)]


async def test_the_risk_desk_sees_everything_and_may_stop_everyone(exchange, one, two, http):
    desk = await Client(http, exchange.gateway.port, "desk").open()
    await one.ask(new(1, 100, 5))
    await two.ask(new(2, 101, 5, Side.SELL, account=2))
    await desk.until(lambda: len(desk.seen) == 2)
    assert facts(await desk.ask(admin(Op.MASS_CANCEL)))[-1][0] == K.DONE
    await desk.ask(admin(Op.KILL, Kill.NO_NEW_ENTRIES, Scope.ACCOUNT, account=1))
    await one.until(lambda: facts(one.seen[-1:]) == [(K.DONE, R.NONE, 0)])
    assert facts(await one.ask(new(3)))[-1] == (K.REJECTED, R.NO_NEW_ENTRIES, 3)
    assert facts(await two.ask(new(4, account=2)))[-1] == (K.ACCEPTED, R.NONE, 4)
    assert facts(await desk.ask(new(5))) == [(K.REJECTED, R.FORBIDDEN, 5)]


async def test_without_a_token_nobody_gets_in_and_no_token_is_logged(exchange, http, caplog):
    url = f"http://127.0.0.1:{exchange.gateway.port}/orders"
    for value in ("", "Bearer", "Bearer wrong-wrong-wrong-wrong", "Basic " + rig.TOKENS["one"]):
        async with http.get(url, headers={"Authorization": value} if value else {}) as answer:
            assert answer.status == 401
            assert "Bearer" in await answer.text()
    good = {"Authorization": "Bearer " + rig.TOKENS["one"]}
    for query, status in (("?after=-1", 400), ("?after=x", 400), ("", 426)):
        async with http.get(url + query, headers=good) as answer:
            assert answer.status == status
    assert not any(token in caplog.text for token in rig.TOKENS.values())
    assert exchange.gateway.counts["logins_refused"] == 4


async def test_a_session_that_does_not_read_is_closed_and_loses_nothing(tmp_path, monkeypatch, http):
    path = rig.write(tmp_path, fsync="off", session_buffer_bytes=1 << 19)
    async with rig.running(path, monkeypatch) as exchange:
        desk = await Client(http, exchange.gateway.port, "desk").open()
        one = await Client(http, exchange.gateway.port, "one").open()
        desk.ws._response.connection.transport.pause_reading()
        sent = 0
        while exchange.gateway.counts["evicted"] == 0:
            assert sent < 400_000
            await one.send(*[cancel(i) for i in range(sent, sent + 500)])
            sent += 500
            await one.until(lambda: len(one.seen) >= sent)  # noqa: B023
        desk.ws._response.connection.transport.resume_reading()
        with pytest.raises(ConnectionError):
            while True:
                await desk.receive()
        assert desk.ws.close_code in (TOO_SLOW, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
        await desk.open(after=desk.last)
        assert len(desk.seen) + exchange.gateway.delivery.first_seq >= sent - 1


async def test_cancel_on_disconnect(tmp_path, monkeypatch, http):
    path = rig.write(tmp_path, fsync="off")
    path.write_text(path.read_text().replace("- account: 1\n", "- account: 1\n    cancel_on_disconnect: true\n"))
    async with rig.running(path, monkeypatch) as exchange:
        one = await Client(http, exchange.gateway.port, "one").open()
        await one.ask(new(1), new(2))
        await one.close()
        await one.open(after=one.last)
        assert facts(one.seen[2:]) == [
            (K.CANCELLED, R.MASS_CANCEL, 1),
            (K.CANCELLED, R.MASS_CANCEL, 2),
            (K.DONE, R.NONE, 0),
        ]


async def test_json_says_the_same_in_words(exchange, http):
    url = f"ws://127.0.0.1:{exchange.gateway.port}/orders"
    headers = {"Authorization": "Bearer " + rig.TOKENS["one"]}
    async with http.ws_connect(url, protocols=(JSON,), headers=headers) as ws:

        async def ask(text):
            await ws.send_str(text)
            return json.loads(await ws.receive_str(timeout=10))

        assert [json.loads(await ws.receive_str())[0]["event"] for _ in range(2)] == ["welcome", "ready"]
        rest = '{"op":"new","id":7,"symbol":"ETH-USDT","side":"buy","price":100,"qty":4}'
        (accepted,) = await ask(rest)
        assert (accepted["event"], accepted["symbol"], accepted["side"], accepted["shows"]) == (
            "accepted",
            "ETH-USDT",
            "buy",
            4,
        )
        assert [(e["event"], e["reason"]) for e in await ask(f"[{rest},{rest}]")] == [("rejected", "duplicate_id")] * 2
        reduced, replaced = (
            await ask('{"op":"reduce","id":7,"qty":2}'),
            await ask('{"op":"replace","id":7,"price":95,"qty":6}'),
        )
        assert [e["event"] for e in reduced + replaced] == ["reduced", "cancelled", "replaced"]
        (unknown,) = await ask('{"op":"new","id":8,"symbol":"DOGE","side":"sell","price":1,"qty":1}')
        assert unknown["reason"] == "unknown_symbol"
        (forbidden,) = await ask('{"op":"kill","state":"halt"}')
        assert forbidden["reason"] == "forbidden"
        (bad,) = await ask('{"op":"new","id":8,"symbol":"BTC-USDT","side":"long","price":1,"qty":1}')
        assert bad["reason"] == "malformed"
        assert "`$.side`" in bad["detail"]
        (many,) = await ask("[" + ",".join(['{"op":"cancel","id":1}'] * 1025) + "]")
        assert (many["reason"], "1025 commands are too many" in many["detail"]) == ("malformed", True)
        swept = await ask('{"op":"mass_cancel"}')
        assert [e["event"] for e in swept] == ["cancelled", "done"]


async def test_limits_are_reloaded_whole_or_not_at_all(exchange, one, tmp_path):
    await one.ask(new(1, 100, 4, symbol=1))
    good = json.loads(json.dumps(rig.LIMITS))
    good["symbols"][0]["max_order_qty"] = 10
    good["symbols"].append({"id": 2, "name": "SOL-USDT"})
    rig.write_limits(tmp_path, good)
    await exchange._reload_now(exchange.core)
    assert (exchange.reload_error, exchange.reloads["ok"]) == (None, 1)
    answers = await one.ask(new(2, 100, 11), new(3, 100, 1, symbol=2))
    assert facts(answers) == [(K.REJECTED, R.MAX_ORDER_QTY, 2), (K.ACCEPTED, R.NONE, 3)]
    commands_before = exchange.core.durable
    for change, complaint in (
        (
            {"symbols": [*good["symbols"][:1], {**good["symbols"][1], "tick": 25}]},
            "tick cannot go from 5 to 25 under 1",
        ),
        ({"symbols": [{"id": 0, "name": "ETH-BTC"}]}, "id 0 is BTC-USDT"),
        ({"symbols": [{"id": 99, "name": "X"}]}, "the engine holds 3"),
        ({"symbols": [{"id": 0, "name": "A", "tcik": 1}]}, "symbols.0.tcik"),
        ({"accounts": [{"id": 1, "positions": {"NO": 1}}]}, "there is no symbol NO"),
        ({"accounts": [{"id": 1, "max_order_qty": 3}, {"id": 1}]}, "account id 1 is given twice"),
    ):
        rig.write_limits(tmp_path, {**good, **change})
        await exchange._reload_now(exchange.core)
        assert complaint in exchange.reload_error
    (tmp_path / "limits.yaml").write_text("symbols: [")
    await exchange._reload_now(exchange.core)
    assert "is not YAML" in exchange.reload_error
    assert exchange.core.durable == commands_before, "a refused reload sends no command"
    assert exchange.reloads["refused"] == 7


async def test_what_the_file_does_not_name_is_closed_and_an_engine_in_step_needs_no_command(exchange, one, tmp_path):
    last = exchange.core.durable
    await exchange._reload_now(exchange.core)
    assert (exchange.reloads["ok"], exchange.core.durable) == (1, last)
    rig.write_limits(tmp_path, {**rig.LIMITS, "accounts": [{"id": 2, "rate_per_s": 5, "burst": 3, "stp": "decrement"}]})
    await exchange._reload_now(exchange.core)
    assert facts(await one.ask(new(1))) == [(K.REJECTED, R.UNKNOWN_ACCOUNT, 1)]
    await exchange._reload_now(exchange.core)
    assert exchange.core.durable == last + 6, "two closed; rate, burst and stp; the order: and nothing twice"


def test_tokens_come_from_files_and_the_environment_and_are_never_repeated(tmp_path, monkeypatch):
    from baretick.config import load

    monkeypatch.setenv("GOOD", "g" * 20)
    monkeypatch.setenv("SHORT", "short-secret")
    good = LoginConfig(name="a", account=1, token_env="GOOD")
    assert len(tokens([good])) == 1
    for other, complaint in (
        ({"token_env": "SHORT"}, "b: the variable SHORT holds no token of 16 characters"),
        ({"token_env": "MISSING"}, "b: the variable MISSING holds no token"),
        ({"token_env": "GOOD"}, "b and a have the same token"),
        ({"token_file": str(tmp_path / "none")}, "b: cannot read .*: FileNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=complaint) as e:
            tokens([good, LoginConfig(name="b", account=2, **other)])
        assert "short-secret" not in str(e.value)
        assert "ggg" not in str(e.value)
    path = tmp_path / "c.yaml"
    for text, complaint in (
        ("{name: a, account: 1}", "either token_env or token_file"),
        ("{name: a, token_env: X}", "a trader has an account"),
        ("{name: a, role: risk, account: 1, token_env: X}", "risk has none"),
        ("{name: a, account: 999, token_env: X}", "there are 256"),
    ):
        path.write_text(f"exchange: {{logins: [{text}]}}")
        with pytest.raises(ConfigError, match=complaint):
            load(path)


def test_without_a_usable_token_it_does_not_start(tmp_path, caplog):
    path = rig.write(tmp_path)
    (tmp_path / "two.token").write_text("short")
    assert main(load(path)) == 2
    assert "exchange.logins: two: " in caplog.text
    path.write_text("exchange: {}")
    assert main(load(path)) == 2
    assert "exchange.limits: name the file" in caplog.text


async def test_after_the_end_the_journal_leads_to_the_same_engine(tmp_path, monkeypatch, http):
    path = rig.write(tmp_path)
    async with rig.running(path, monkeypatch) as exchange:
        one = await Client(http, exchange.gateway.port, "one").open()
        await one.ask(*[new(i, 100 - i % 7, 1 + i % 5) for i in range(40)])
        arena = exchange.core.arena
    assert exchange.task.result() == 0
    assert one.ws.close_code is None or one.ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
    state = recovery.recover(tmp_path / "data", lambda: allocate(rig.SYMBOLS, rig.ACCOUNTS, rig.ORDERS, rig.EVENTS))
    assert state.replayed == 0
    assert digest.fold_state(state.arena) == digest.fold_state(arena)
    async with rig.running(path, monkeypatch) as exchange:
        seen, one.seen = one.seen, []
        one.port = exchange.gateway.port
        await one.open(after=0)
        assert np.array_equal(np.array(one.seen), np.array(seen)), "events of before the snapshot are still known"
    await asyncio.sleep(0)
