"""Stand-in to client to events over loopback: what comes out is what an independent count of the session says."""

import asyncio
import json
from pathlib import Path

import pytest

from baretick.events import BUY, SELL, SNAPSHOT, BookEvent, Gap, Ticker, Trade, to_scaled
from baretick.venues.standin import synthetic
from baretick.venues.standin.books import BinanceBooks, OkxBooks
from baretick.venues.standin.recording import VENUES, Frame, Recording, Venue
from baretick.venues.standin.stage import Stage
from tests.integration.feed_rig import (
    binance_lines,
    count_binance,
    count_events,
    count_okx,
    count_recording,
    listening,
    okx_lines,
    played,
    serving,
    until,
)


async def test_the_okx_capture_arrives_whole(captures: Path, monkeypatch) -> None:
    expected = count_okx(okx_lines(captures / "okx" / "ws_2022-05-13.raw"))
    async with serving(monkeypatch, captures=captures / "okx") as standin, listening(standin, "okx") as (client, sink):
        await played(standin, "okx", sink)
        assert count_events(sink.events) == expected
        assert len(sink.of(Ticker)) == 28
        assert not sink.of(Gap)
        assert not client.stats.garbage
        assert all(book.valid and book.checksum_ok for book in client.books.values())
        assert sum(n for (_, what), (n, _) in expected.items() if what == "trade") == 74
        assert {e.session for e in sink.events} == {standin.stages["okx"].session.id}


async def test_the_spot_captures_arrive_whole_with_their_recorded_snapshots(captures: Path, monkeypatch) -> None:
    folder = captures / "binance"
    expected = count_binance(
        binance_lines(folder / "spot_btcusdt_20240808.gz", "BTCUSDT")
        + binance_lines(folder / "spot_ethusdt_20240808.gz", "ETHUSDT")
    )
    async with serving(monkeypatch, captures=folder) as standin, listening(standin, "binance") as (client, sink):
        await played(standin, "binance", sink)
        assert count_events(sink.events) == expected
        assert not sink.of(Gap)
        assert not client.stats.garbage
        assert all(book.valid for book in client.books.values())


async def test_the_futures_capture_arrives_whole(captures: Path, monkeypatch) -> None:
    folder = captures / "binance"
    expected = count_binance(binance_lines(folder / "usdm_btcusdt_20240808.gz", "BTCUSDT"))
    async with serving(monkeypatch, captures=folder) as standin, listening(standin, "binance_usdm") as (client, sink):
        await played(standin, "binance_usdm", sink)
        assert count_events(sink.events) == expected
        assert not sink.of(Gap)
        assert client.books["BTCUSDT"].valid


@pytest.mark.parametrize("venue", VENUES)
async def test_a_synthetic_session_arrives_whole_and_says_what_it_is(venue: Venue, monkeypatch) -> None:
    recording = synthetic.recording(venue, 7, 20)
    async with serving(monkeypatch, {venue: recording}) as standin, listening(standin, venue) as (client, sink):
        await played(standin, venue, sink)
        assert count_events(sink.events) == count_recording(recording)
        assert not sink.of(Gap)
        assert not client.stats.garbage
        assert all(book.valid for book in client.books.values())
        assert all(b.best_bid[0] < b.best_ask[0] for b in client.books.values() if b.best_bid and b.best_ask)
        assert sink.of(Trade) and sink.of(Ticker)
        assert "-synthetic-" in client.session
        assert standin.describe()["venues"][venue]["source"] == "synthetic:7"  # type: ignore[index]


@pytest.mark.parametrize("venue", VENUES)
async def test_a_subset_of_symbols_gets_only_its_frames(venue: Venue, monkeypatch) -> None:
    recording = synthetic.recording(venue, 7, 5)
    one = recording.symbols[0]
    async with serving(monkeypatch, {venue: recording}) as standin, listening(standin, venue, [one]) as (client, sink):
        await played(standin, venue, sink)
        expected = {k: v for k, v in count_recording(recording).items() if k[0] == one}
        assert count_events(sink.events) == expected
        assert not client.stats.garbage


@pytest.mark.parametrize("venue", VENUES)
async def test_who_comes_late_gets_the_current_book_and_no_recorded_frame(venue: Venue, monkeypatch) -> None:
    recording = synthetic.recording(venue, 3, 5)
    async with serving(monkeypatch, {venue: recording}) as standin, listening(standin, venue) as (first, heard):
        await played(standin, venue, heard)
        async with listening(standin, venue) as (late, sink):
            await until(lambda: late.stats.connected, "the late client's connection")
            if venue != "okx":  # Binance: the book comes by REST, when there is a stream to join
                for symbol in late.symbols:
                    late.resync(symbol)
            await until(lambda: all(b.valid for b in late.books.values()), "the late client's books")
            for symbol, book in late.books.items():
                assert book.levels(BUY) == first.books[symbol].levels(BUY)
                assert book.levels(SELL) == first.books[symbol].levels(SELL)
            assert all(isinstance(e, BookEvent) and e.kind == SNAPSHOT and e.resync for e in sink.events)
            assert count_events(sink.events) == {}


def lose(stage: Stage, topic: str, nth: int) -> None:
    """Lose one frame of a topic on its way to the client."""
    deliver, seen = stage.session._send, [0]

    async def send(who, frame: Frame) -> None:
        seen[0] += frame.topic == topic
        if frame.topic != topic or seen[0] != nth:
            await deliver(who, frame)

    stage.session._send = send  # type: ignore[method-assign]


def final_bids(recording: Recording, symbol: str) -> list[tuple[int, int]]:
    """The bids after the last frame, by the stand-in's own bookkeeping."""
    if recording.venue == "okx":
        rows = json.loads(OkxBooks(recording).at(f"books:{symbol}", len(recording.frames)) or "")["data"][0]["bids"]
    else:
        rows = json.loads(BinanceBooks(recording).at(symbol.lower(), len(recording.frames), 5000))["bids"]
    return [(to_scaled(row[0], 10), to_scaled(row[1], 8)) for row in rows]


@pytest.mark.parametrize(
    ("venue", "topic"),
    [("okx", "books:BTC-USDT"), ("binance", "btcusdt@depth@100ms"), ("binance_usdm", "btcusdt@depth@0ms")],
)
async def test_a_lost_update_is_a_gap_and_the_book_recovers(venue: Venue, topic: str, monkeypatch) -> None:
    recording = synthetic.recording(venue, 11, 5)
    symbol = recording.symbols[0]
    async with serving(monkeypatch, {venue: recording}, speed=5) as standin, listening(standin, venue) as (c, sink):
        lose(standin.stages[venue], topic, 20)
        await played(standin, venue, sink)
        gaps = sink.of(Gap)
        assert [(g.symbol, g.reason) for g in gaps] == [(symbol, "sequence")]
        assert gaps[0].got > gaps[0].expected
        resyncs = [e for e in sink.of(BookEvent) if e.resync]
        assert [(e.symbol, e.kind) for e in resyncs] == [(symbol, SNAPSHOT)]
        assert all(book.valid for book in c.books.values())
        assert c.stats.gaps == 1
        assert c.books[symbol].levels(BUY) == final_bids(recording, symbol)
        assert count_events(e for e in sink.events if e.symbol != symbol) == {
            k: v for k, v in count_recording(recording).items() if k[0] != symbol
        }


@pytest.mark.parametrize("venue", VENUES)
async def test_a_cut_connection_is_a_gap_and_the_client_comes_back(venue: Venue, monkeypatch) -> None:
    recording = synthetic.recording(venue, 5, 5)
    async with serving(monkeypatch, {venue: recording}, speed=4) as standin, listening(standin, venue) as (c, sink):
        stage = standin.stages[venue]
        await until(lambda: stage.session.position > len(recording.frames) // 2, "half of the session")
        await until(lambda: all(b.valid for b in c.books.values()), "valid books")
        next(iter(stage.clients))._transport.abort()  # type: ignore[union-attr]
        await until(lambda: c.stats.reconnects == 1, "the reconnection")
        await played(standin, venue, sink)
        gaps = sink.of(Gap)
        assert {g.symbol for g in gaps} == set(recording.symbols)
        assert {g.reason for g in gaps} == {"disconnected"}
        assert all(book.valid for book in c.books.values())
        after = sink.events[max(i for i, e in enumerate(sink.events) if isinstance(e, Gap)) :]
        assert {e.symbol for e in after if isinstance(e, BookEvent) and e.kind == SNAPSHOT and e.resync} == set(c.books)
        assert not c.stats.garbage


async def test_a_new_session_closes_connections_and_plays_again_under_a_new_id(monkeypatch) -> None:
    recording = synthetic.recording("okx", 5, 5)
    async with serving(monkeypatch, {"okx": recording}) as standin, listening(standin, "okx") as (client, sink):
        await played(standin, "okx", sink)
        first = client.session
        await standin.stages["okx"].restart(0)
        assert standin.stages["okx"].session.id != first
        await until(lambda: client.session != first, "the new session's id")
        await played(standin, "okx", sink)
        by_session = {s: [e for e in sink.events if e.session == s] for s in (first, client.session)}
        assert count_events(by_session[first]) == count_recording(recording)
        assert count_events(by_session[client.session]) == count_recording(recording)
        assert not any(e.resync for e in sink.of(BookEvent))


async def test_a_sink_that_falls_behind_holds_the_session_back_and_loses_nothing(monkeypatch) -> None:
    recording = synthetic.recording("binance", 5, 60)
    async with serving(monkeypatch, {"binance": recording}) as standin, listening(standin, "binance") as (client, sink):
        stage = standin.stages["binance"]
        await until(lambda: len(sink.events) > 100, "the first events")
        sink.free.clear()
        await asyncio.sleep(0.5)
        held_at = len(sink.events)
        assert client.held
        await asyncio.sleep(1.0)
        assert len(sink.events) == held_at
        sink.free.set()
        await played(standin, "binance", sink)
        assert stage.session.state == "done"
        assert count_events(sink.events) == count_recording(recording)
        assert client.stats.reconnects == 0
