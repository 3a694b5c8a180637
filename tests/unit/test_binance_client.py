"""BinanceClient without a network: frames in, events and books out."""

import functools
import json
from collections import Counter, deque
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.config import VenueConfig
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent, Gap, Ticker, Trade
from baretick.venues import BinanceClient
from baretick.venues.standin import capture


class Sink:
    def __init__(self) -> None:
        self.events: list = []

    def publish(self, event) -> None:
        self.events.append(event)


def client(kind: str = "binance", symbols: list[str] | None = None) -> tuple[BinanceClient, Sink]:
    sink = Sink()
    return BinanceClient(VenueConfig(name=kind, kind=kind, symbols=symbols or ["btcusdt"]), sink), sink


def offer(c: BinanceClient, snapshot: dict, symbol: str = "BTCUSDT") -> None:
    """What the client does with the answer to its REST request."""
    from baretick.venues.binance import DepthSnapshot
    from baretick.venues.wire import levels

    s = msgspec.json.decode(json.dumps(snapshot), type=DepthSnapshot)
    c.publish_book(
        BookEvent("s", c.venue, symbol, 0, 1, s.lastUpdateId, -1, SNAPSHOT, False, levels(s.bids), levels(s.asks))
    )


def test_production_streams_and_symbols_as_the_venue_writes_them() -> None:
    c, _ = client(symbols=["btcusdt", "ETHUSDT"])
    assert c.symbols == ["BTCUSDT", "ETHUSDT"]
    assert c.url() == (
        "wss://stream.binance.com:9443/stream?streams=btcusdt@depth@100ms/btcusdt@trade/btcusdt@bookTicker/"
        "ethusdt@depth@100ms/ethusdt@trade/ethusdt@bookTicker"
    )
    futures, _ = client("binance_usdm")
    assert futures.url().startswith("wss://fstream.binance.com/public/stream?streams=btcusdt@depth@0ms/")
    assert futures.cfg.rest_url == "https://fapi.binance.com"


def test_frames_become_events() -> None:
    c, sink = client()
    c.session = "s"
    c.resync = lambda symbol: None  # type: ignore[method-assign]
    c.on_frame(
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
        b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}',
        5,
    )
    c.on_frame(
        b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000",'
        b'"B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}',
        6,
    )
    c.on_frame(
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,'
        b'"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"]]}}',
        7,
    )
    assert sink.events == [
        Trade("s", "binance", "BTCUSDT", 1723161255342_000000, 5, 3735683259, 618376300000000, 2000000, SELL),
        Ticker("s", "binance", "BTCUSDT", 0, 6, 50093239212, 618376300000000, 378826000, 618376400000000, 154698000),
        BookEvent(
            "s", "binance", "BTCUSDT", 1723161255308_000000, 7, 50093239207, 50093239202, UPDATE, False,
            [(556538700000000, 0)], [(618380400000000, 32332000)],
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"{", "DecodeError"),
        (b"\xff", "DecodeError"),
        (b'{"stream":"btcusdt@depth@100ms","data":{}}', "ValidationError"),
        (b'{"stream":"btcusdt@kline_1m","data":{}}', "unknown stream"),
        (b'{"result":null,"id":1}', "unknown stream"),
        (b'{"stream":"x@trade","data":{"s":"X","t":1,"p":"1","q":"1","T":1,"m":true}}', "unexpected symbol"),
        (b'{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"a","q":"1","T":1,"m":true}}', "ScaleError"),
        (
            b'{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1e30,"m":true}}',
            "ValidationError",
        ),
    ],
)
def test_garbage_is_counted_and_publishes_nothing(raw: bytes, kind: str) -> None:
    c, sink = client()
    c.on_frame(raw, 1)
    assert c.stats.garbage == {kind: 1}
    assert sink.events == []


word = st.sampled_from(["1", "0.5", "0", "x", "", "9" * 25])
whole = st.integers(-5, 40) | st.integers()
row = st.lists(word, max_size=3)
data = st.fixed_dictionaries(
    {},
    optional={
        "s": st.sampled_from(["BTCUSDT", "X"]), "E": whole, "T": whole, "U": whole, "u": whole, "pu": whole,
        "t": whole, "b": st.lists(row, max_size=3) | word, "a": st.lists(row, max_size=3) | word, "p": word,
        "q": word, "m": st.booleans(), "B": word, "A": word,
    },
)  # fmt: skip
frames = st.one_of(
    st.binary(max_size=50),
    st.builds(
        lambda stream, d: json.dumps({"stream": stream, "data": d}, separators=(",", ":")).encode(),
        st.sampled_from(["btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker", "@", "", "btcusdt@"]),
        data,
    ),
)


@settings(max_examples=300)
@given(st.lists(frames, max_size=8))
def test_no_frame_whatever_crashes_the_client(raws: list[bytes]) -> None:
    c, sink = client()
    c.resync = lambda symbol: None  # type: ignore[method-assign]
    offer(c, {"lastUpdateId": 10, "bids": [["1", "1"]], "asks": []})
    for raw in raws:
        c.on_frame(raw, 1)
    for event in sink.events:
        msgspec.msgpack.encode(event)


@functools.cache
def recordings(folder: Path):
    return capture.load(folder)[0]


def play(captures: Path, kind: str):
    """All frames of a venue's recording through a client, snapshots where they were recorded."""
    recording = recordings(captures / "binance")[kind]  # type: ignore[index]
    c, sink = client(kind, recording.symbols)
    c.resync = lambda symbol: None  # type: ignore[method-assign]
    for frame in recording.frames:
        if frame.is_snapshot:
            offer(c, json.loads(frame.text), frame.topic.partition("@")[0].upper())
        else:
            c.on_frame(frame.text.encode(), frame.ts)
        yield c, sink


def test_the_futures_book_agrees_with_the_ticker_of_the_same_update(captures: Path) -> None:
    """Two independent streams say the same best bid and offer wherever both speak of one update id."""
    book_says: dict[int, tuple] = {}
    ticker_says: dict[int, tuple] = {}
    seen = 0
    for c, sink in play(captures, "binance_usdm"):
        book = c.books["BTCUSDT"]
        for event in sink.events[seen:]:
            if isinstance(event, Ticker):
                ticker_says[event.seq] = ((event.bid, event.bid_qty), (event.ask, event.ask_qty))
            elif isinstance(event, BookEvent) and book.valid and event.kind == UPDATE and book.seq == event.seq:
                book_says[event.seq] = (book.best_bid, book.best_ask)
        seen = len(sink.events)
    both = book_says.keys() & ticker_says.keys()
    assert [u for u in sorted(both) if book_says[u] != ticker_says[u]] == []
    assert len(both) == 629


@pytest.mark.parametrize("kind", ["binance", "binance_usdm"])
def test_the_recorded_sequence_has_no_gap_and_ends_with_valid_uncrossed_books(captures: Path, kind: str) -> None:
    c, sink = deque(play(captures, kind), maxlen=1)[0]
    kinds = Counter(type(e) for e in sink.events)
    assert Gap not in kinds
    assert not c.stats.garbage
    for book in c.books.values():
        assert book.valid
        assert book.best_bid is not None and book.best_ask is not None
        assert book.best_bid[0] < book.best_ask[0]
    assert {e.side for e in sink.events if isinstance(e, Trade)} == {BUY, SELL}
