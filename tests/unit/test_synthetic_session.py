"""The synthetic session: the same from the same seed, and what a venue would send."""

import json

import pytest

from baretick.events import BUY, SELL, SNAPSHOT, BookEvent, Gap, Ticker, Trade
from baretick.venues import BinanceClient, OkxClient
from baretick.venues.standin import synthetic
from baretick.venues.standin.recording import VENUES, Recording, Venue
from tests.unit.test_binance_client import client as binance_client
from tests.unit.test_binance_client import offer
from tests.unit.test_okx_client import client as okx_client


def texts(recording: Recording) -> list[tuple[int, str, str]]:
    return [(f.ts, f.topic, f.text) for f in recording.frames]


@pytest.mark.parametrize("venue", VENUES)
def test_a_seed_gives_the_same_session_and_another_seed_another(venue: Venue) -> None:
    assert texts(synthetic.recording(venue, 1, 3)) == texts(synthetic.recording(venue, 1, 3))
    assert texts(synthetic.recording(venue, 1, 3)) != texts(synthetic.recording(venue, 2, 3))
    assert synthetic.recording(venue, 9, 1).source == "synthetic:9"


def follow(recording: Recording) -> tuple[OkxClient | BinanceClient, list]:
    if recording.venue == "okx":
        client, sink = okx_client(recording.symbols)
    else:
        client, sink = binance_client(recording.venue, recording.symbols)
        client.resync = lambda symbol: None  # type: ignore[method-assign]
    for frame in recording.frames:
        if frame.is_snapshot:
            offer(client, json.loads(frame.text), frame.topic.partition("@")[0].upper())
        else:
            client.on_frame(frame.text.encode(), frame.ts)
        for book in client.books.values():
            bid, ask = book.best_bid, book.best_ask
            if book.valid and bid and ask:
                assert bid[0] < ask[0]
    return client, sink.events


@pytest.mark.parametrize("venue", VENUES)
def test_clients_find_no_fault_in_it_and_prices_are_sane(venue: Venue) -> None:
    recording = synthetic.recording(venue, 42, 30)
    client, events = follow(recording)
    assert not client.stats.garbage
    assert not any(isinstance(e, Gap) for e in events)
    assert all(b.valid and b.checksum_ok is not False for b in client.books.values())
    for symbol in recording.symbols:
        trades = [e for e in events if isinstance(e, Trade) and e.symbol == symbol]
        assert len(trades) > 30
        assert {t.side for t in trades} == {BUY, SELL}
        ids = [t.trade_id for t in trades]
        assert ids == sorted(set(ids))
        start = trades[0].price
        assert all(0.8 * start < t.price < 1.2 * start for t in trades)
        assert all(t.qty > 0 for t in trades)
        snapshots = [e for e in events if isinstance(e, BookEvent) and e.symbol == symbol and e.kind == SNAPSHOT]
        assert len(snapshots) == 1
        assert len(snapshots[0].bids) > 50 < len(snapshots[0].asks)


@pytest.mark.parametrize("venue", VENUES)
def test_the_ticker_shows_the_best_levels_of_the_book(venue: Venue) -> None:
    """Ticker and book of one step come from the same matching book, so they agree once both are heard."""
    recording = synthetic.recording(venue, 8, 10)
    client, events = follow(recording)
    for symbol, book in client.books.items():
        last = [e for e in events if isinstance(e, Ticker) and e.symbol == symbol][-1]
        assert book.best_bid == (last.bid, last.bid_qty)
        assert book.best_ask == (last.ask, last.ask_qty)
