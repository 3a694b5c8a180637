"""OkxClient without a network: frames in, events and books out."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.config import VenueConfig
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent, Gap, Ticker, Trade, to_scaled
from baretick.venues import OkxClient
from baretick.venues.standin import capture
from baretick.venues.standin.books import okx_checksum

SYMBOL = "BTC-USDT"


class Sink:
    def __init__(self) -> None:
        self.events: list = []

    def publish(self, event) -> None:
        self.events.append(event)


def client(symbols: list[str] | None = None) -> tuple[OkxClient, Sink]:
    sink = Sink()
    return OkxClient(VenueConfig(name="okx", kind="okx", symbols=symbols or [SYMBOL]), sink), sink


def books(action: str, bids, asks, checksum: int = 0, symbol: str = SYMBOL, **seq: int) -> bytes:
    row = lambda p, q: [p, q, "0", "1"]  # noqa: E731
    data = {"asks": [row(*x) for x in asks], "bids": [row(*x) for x in bids], "ts": "1700000000123"}
    frame = {
        "arg": {"channel": "books", "instId": symbol},
        "action": action,
        "data": [{**data, "checksum": checksum, **seq}],
    }
    return json.dumps(frame, separators=(",", ":")).encode()


def test_production_is_the_default_endpoint() -> None:
    c, _ = client()
    assert c.url() == "wss://ws.okx.com:8443/ws/v5/public"


def test_a_frame_becomes_events_with_scaled_integers_and_both_times() -> None:
    c, sink = client()
    c.session = "s"
    c.on_frame(
        b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476307",'
        b'"px":"30236","sz":"0.0002","side":"sell","ts":"1652459224818"}]}',
        77,
    )
    c.on_frame(
        b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT",'
        b'"last":"1","askPx":"30228.7","askSz":"1.55896972","bidPx":"","bidSz":"","ts":"1652459224956"}]}',
        78,
    )
    c.on_frame(books("snapshot", [("10.5", "2")], [("11", "0.5")], seqId=7, prevSeqId=-1), 79)
    assert sink.events == [
        Trade("s", "okx", SYMBOL, 1652459224818_000000, 77, 338476307, 302360000000000, 20000, SELL),
        Ticker("s", "okx", SYMBOL, 1652459224956_000000, 78, 0, 0, 0, 302287000000000, 155896972),
        BookEvent(
            "s", "okx", SYMBOL, 1700000000123_000000, 79, 7, -1, SNAPSHOT, False,
            [(105000000000, 200000000)], [(110000000000, 50000000)],
        ),
    ]  # fmt: skip


def test_the_order_of_keys_does_not_matter() -> None:
    c, sink = client()
    frame = json.loads(books("snapshot", [("1", "1")], [], seqId=1))
    c.on_frame(json.dumps(dict(reversed(frame.items()))).encode(), 1)
    assert isinstance(sink.events[0], BookEvent)
    assert c.books[SYMBOL].valid


async def test_a_sequence_gap_publishes_the_update_then_a_gap_and_asks_again() -> None:
    c, sink = client()
    c.on_frame(books("snapshot", [("1", "1")], [], seqId=10, prevSeqId=-1), 1)
    c.on_frame(books("update", [("1", "2")], [], seqId=12, prevSeqId=10), 2)
    c.on_frame(books("update", [("1", "3")], [], seqId=15, prevSeqId=14), 3)
    c.on_frame(books("update", [("1", "4")], [], seqId=16, prevSeqId=15), 4)
    assert [type(e) for e in sink.events] == [BookEvent, BookEvent, BookEvent, Gap, BookEvent]
    gap = sink.events[3]
    assert (gap.expected, gap.got, gap.reason, gap.recv_ts) == (12, 14, "sequence", 3)
    assert not c.books[SYMBOL].valid
    assert c.stats.gaps == 1
    c.on_frame(books("snapshot", [("1", "5")], [], seqId=20, prevSeqId=-1), 5)
    assert sink.events[-1].resync is True
    assert c.books[SYMBOL].valid


async def test_a_wrong_checksum_is_a_gap() -> None:
    c, sink = client()
    good = okx_checksum([["1", "1"]], [["2", "3"]])
    c.on_frame(books("snapshot", [("1", "1")], [("2", "3")], good, seqId=1, prevSeqId=-1), 1)
    assert c.books[SYMBOL].checksum_ok is True
    c.on_frame(books("update", [("1", "2")], [], good, seqId=2, prevSeqId=1), 2)
    assert [type(e) for e in sink.events] == [BookEvent, BookEvent, Gap]
    assert sink.events[-1].reason == "checksum"
    assert not c.books[SYMBOL].valid


def test_a_checksum_of_zero_is_what_the_venue_sends_since_it_stopped_computing_them() -> None:
    c, _ = client()
    c.on_frame(books("snapshot", [("1", "1")], [], 0, seqId=1, prevSeqId=-1), 1)
    c.on_frame(books("update", [("1", "2")], [], 0, seqId=2, prevSeqId=1), 1)
    assert c.books[SYMBOL].valid
    assert c.books[SYMBOL].checksum_ok is None


def test_without_sequence_numbers_a_counter_of_ours_stands_in() -> None:
    c, sink = client()
    c.on_frame(books("snapshot", [("1", "1")], []), 1)
    c.on_frame(books("update", [("1", "2")], []), 2)
    c.on_frame(books("snapshot", [("1", "1")], []), 3)
    assert [(e.seq, e.prev_seq) for e in sink.events] == [(1, -1), (2, 1), (3, -1)]
    assert [e.kind for e in sink.events] == [SNAPSHOT, UPDATE, SNAPSHOT]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "DecodeError"),
        (b"\xff\xfe", "DecodeError"),
        (b"[1,2]", "ValidationError"),
        (b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"merge","data":[]}', "ValidationError"),
        (b'{"arg":{"channel":"candles","instId":"BTC-USDT"},"data":[]}', "unknown channel"),
        (b'{"arg":{"channel":"trades","instId":"DOGE-USDT"},"data":[]}', "unexpected symbol"),
        (b'{"event":"error","code":"60018","msg":"no such channel","connId":"a"}', "error 60018"),
        (b'{"event":"party"}', "unknown event"),
        (books("snapshot", [("1e5", "1")], []), "ScaleError"),
        (books("snapshot", [("1.00000000001", "1")], []), "ScaleError"),
        (books("snapshot", [("-1", "1")], []), "ScaleError"),
        (books("snapshot", [("1", "1")], [], seqId=2**63), "ValidationError"),
    ],
)
def test_garbage_is_counted_by_kind_logged_once_and_nothing_is_published(raw: bytes, kind: str, caplog) -> None:
    c, sink = client()
    for _ in range(3):
        c.on_frame(raw, 1)
    assert c.stats.garbage == {kind: 3}
    assert sink.events == []
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 1


def test_control_frames_are_neither_events_nor_garbage() -> None:
    c, sink = client()
    c.on_frame(b"pong", 1)
    c.on_frame(b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"accb8e21"}', 1)
    c.on_frame(b'{"event":"notice","code":"64008","msg":"soon","connId":"x"}', 1)
    assert sink.events == []
    assert not c.stats.garbage


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda x: (
        st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(["arg", "data", "px", "channel"]), x, max_size=4)
    ),
    max_leaves=12,
)
number = st.sampled_from(["1", "0", "1.5", "x", "", "1e3", "9" * 30, "0.00000000001", "-2"])
level = st.lists(number, max_size=5) | json_values
book_data = st.fixed_dictionaries(
    {"asks": st.lists(level, max_size=3), "bids": st.lists(level, max_size=3), "ts": number | st.just("1700000000000")},
    optional={"seqId": st.integers(), "prevSeqId": st.integers(), "checksum": st.integers()},
)
frames = st.one_of(
    st.binary(max_size=60),
    json_values.map(lambda v: json.dumps(v).encode()),
    st.builds(
        lambda channel, action, data: json.dumps(
            {"arg": {"channel": channel, "instId": SYMBOL}, "action": action, "data": data}, separators=(",", ":")
        ).encode(),
        st.sampled_from(["books", "trades", "tickers"]),
        st.sampled_from(["snapshot", "update", "x"]),
        st.lists(book_data | json_values, max_size=2),
    ),
)


@settings(max_examples=300)
@given(st.lists(frames, max_size=8))
def test_no_frame_whatever_crashes_the_client_or_makes_an_event_that_cannot_be_encoded(raws: list[bytes]) -> None:
    c, sink = client()
    c.resync = lambda symbol: None  # type: ignore[method-assign] # there is no connection to ask over
    for raw in raws:
        c.on_frame(raw, 1)
    for event in sink.events:
        msgspec.msgpack.encode(event)


def test_every_checksum_of_the_capture_holds(captures: Path) -> None:
    found, _ = capture.load(captures / "okx")
    recording = found["okx"]
    c, sink = client(recording.symbols)
    checked = 0
    for frame in recording.frames:
        c.on_frame(frame.text.encode(), frame.ts)
        channel, _, symbol = frame.topic.partition(":")
        if channel == "books":
            sent = json.loads(frame.text)["data"][0]["checksum"]
            assert c.books[symbol].checksum_ok is True
            assert c.books[symbol].checksum() == sent
            checked += 1
    assert checked == 290
    assert not c.stats.garbage
    assert not any(isinstance(e, Gap) for e in sink.events)
    trades = [e for e in sink.events if isinstance(e, Trade)]
    assert {e.side for e in trades} <= {BUY, SELL}
    assert sum(e.qty for e in trades) == sum(
        to_scaled(d["sz"], 8)
        for f in recording.frames
        if f.topic.startswith("trades:")
        for d in json.loads(f.text)["data"]
    )


async def test_any_one_update_missing_from_the_capture_is_found(captures: Path) -> None:
    """The capture has no sequence numbers: the checksum alone must notice."""
    found, _ = capture.load(captures / "okx")
    frames = [f for f in found["okx"].frames if f.topic == "books:BTC-USDT"]
    for drop in range(1, len(frames) - 1, 7):
        c, sink = client()
        for i, frame in enumerate(frames):
            if i != drop:
                c.on_frame(frame.text.encode(), frame.ts)
        gaps = [e for e in sink.events if isinstance(e, Gap)]
        # A lost change beyond the best 25 levels shows later, when the market gets there, or never.
        assert len(gaps) <= 1
        if any(abs_level_in_top(frames, drop)):
            assert gaps and gaps[0].reason == "checksum", f"update {drop} was lost unseen"
            assert not c.books[SYMBOL].valid


def abs_level_in_top(frames, drop: int) -> list[bool]:
    """For each change of the dropped update: whether it alters the best 25 levels."""
    c, _ = client()
    for frame in frames[:drop]:
        c.on_frame(frame.text.encode(), frame.ts)
    bids, asks = c.books[SYMBOL].top(25)
    lowest, highest = bids[-1][0], asks[-1][0]
    data = json.loads(frames[drop].text)["data"][0]
    changed = [to_scaled(x[0], 10) > lowest for x in data["bids"]] + [
        to_scaled(x[0], 10) < highest for x in data["asks"]
    ]
    # The next update may say the same level again, and so mend it before a checksum sees it.
    following = {
        x[0] for f in frames[drop + 1 : drop + 2] for s in ("bids", "asks") for x in json.loads(f.text)["data"][0][s]
    }
    names = [x[0] for x in data["bids"]] + [x[0] for x in data["asks"]]
    return [c and n not in following for c, n in zip(changed, names, strict=True)]
