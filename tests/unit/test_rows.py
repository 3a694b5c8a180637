"""Records to rows: the compiled decoder and the event model agree on every record, and nothing stops a batch."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick import events
from baretick.events import BookEvent, Fill, Gap, OrderEvent, Ticker, Trade
from baretick.warehouse import decode, native
from baretick.warehouse.rows import make_batch

i64 = st.integers(-(2**63), 2**63 - 1)
name = st.text(max_size=40)
side = st.sampled_from((events.BUY, events.SELL))
levels = st.lists(st.tuples(i64, i64), max_size=20)

trades = st.builds(Trade, name, name, name, i64, i64, i64, i64, i64, side)
books = st.builds(
    BookEvent, name, name, name, i64, i64, i64, i64, st.sampled_from((1, 2)), st.booleans(), levels, levels
)
tickers = st.builds(Ticker, name, name, name, i64, i64, i64, i64, i64, i64, i64)
market = st.one_of(trades, books, tickers)
others = st.one_of(
    st.builds(Gap, name, name, name, i64, i64, i64, name),
    st.builds(OrderEvent, name, name, name, i64, i64, side, i64, i64, i64, name, name, i64),
    st.builds(Fill, name, name, name, i64, i64, i64, side, i64, i64, st.booleans()),
)


def expected(event: events.Event) -> list[tuple[object, ...]]:
    """The rows of an event, written down from its definition."""
    head = (event.session, event.venue, event.symbol)
    match event:
        case Trade():
            times = (event.exch_ts, event.recv_ts)
            return [(*head, decode.TRADE, *times, 0, 0, event.trade_id, 0, event.side, event.price, event.qty)]
        case Ticker():
            common = (*head, decode.TICKER, event.exch_ts, event.recv_ts, event.seq, 0, 0, 0)
            return [
                (*common, events.BUY, event.bid, event.bid_qty),
                (*common, events.SELL, event.ask, event.ask_qty),
            ]
        case BookEvent():
            kind = decode.BOOK_SNAPSHOT if event.kind == events.SNAPSHOT else decode.BOOK_UPDATE
            times = (event.exch_ts, event.recv_ts, event.seq, event.prev_seq)
            common = (*head, kind, *times, 0, int(event.resync))
            sides = [(events.BUY, *level) for level in event.bids] + [(events.SELL, *level) for level in event.asks]
            return [(*common, *level) for level in sides]
    return []


def rows_of(payloads: list[bytes]) -> tuple[list[list[tuple[object, ...]]], list[int]]:
    """Rows by record as the compiled pass sees them, and the records that it left."""
    rows, heads, status = decode.decode(payloads)
    found: list[list[tuple[object, ...]]] = [[] for _ in payloads]
    columns = [
        rows.event, rows.exch_ts, rows.recv_ts, rows.seq, rows.prev_seq, rows.trade_id, rows.resync, rows.side,
        rows.price, rows.qty,
    ]  # fmt: skip
    for i in range(len(rows)):
        assert rows.idx[i] == len(found[rows.msg[i]])
        names = msgspec.msgpack.decode(b"\x93" + heads[rows.head[i]])
        found[rows.msg[i]].append((*names, *(column[i].item() for column in columns)))
    return found, np.flatnonzero(status == decode.SLOW).tolist()


@settings(deadline=None)
@given(st.lists(market, max_size=12))
def test_the_compiled_pass_reads_market_data_as_the_event_model_does(found: list[events.Event]) -> None:
    rows, left = rows_of([events.encode(e) for e in found])
    assert left == []
    assert rows == [expected(e) for e in found]


@settings(max_examples=400, deadline=None)
@given(market, st.data())
def test_a_damaged_record_is_read_as_the_event_model_does_or_left_to_it(
    event: events.Event, data: st.DataObject
) -> None:
    payload = bytearray(events.encode(event))
    at = data.draw(st.integers(0, len(payload) - 1))
    match data.draw(st.sampled_from(("flip", "cut", "insert", "drop"))):
        case "flip":
            payload[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del payload[at:]
        case "insert":
            payload.insert(at, data.draw(st.integers(0, 255)))
        case "drop":
            del payload[at]
    batch = make_batch("md.trades", 0, [5], [bytes(payload)])
    try:
        model = events.decode(bytes(payload))
    except (msgspec.DecodeError, UnicodeDecodeError):
        assert [(t.name, t.rows) for t in batch.tables] == [("hft_data.dead_letters", 1)]
        return
    rows, left = rows_of([bytes(payload)])
    if left == []:
        assert rows == [expected(model)]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=200), others.map(events.encode)), min_size=1, max_size=8))
def test_no_record_stops_a_batch(payloads: list[bytes | None]) -> None:
    batch = make_batch("trading.orders", 0, list(range(10, 10 + len(payloads))), payloads)
    assert (batch.first, batch.last, batch.messages) == (10, 9 + len(payloads), len(payloads))
    for table in batch.tables:
        assert table.block
        assert set(table.offsets.tolist()) <= set(range(10, 10 + len(payloads)))


def test_values_beyond_the_tables_are_dead_letters_with_the_reason() -> None:
    good = Trade("s", "v", "x", 1, 2, 3, 4, 5, events.BUY)
    bad = {
        "exch_ts 9223372036854775808 does not fit 64 bits": msgspec.structs.replace(good, exch_ts=2**63),
        "side 3 is neither 1 (buy) nor 2 (sell)": msgspec.structs.replace(good, side=3),
        "kind 9 is neither 1 (snapshot) nor 2 (update)": BookEvent("s", "v", "x", 1, 2, 3, 4, 9, False, [], []),
        "level (18446744073709551615, 1) does not fit 64 bits": BookEvent(
            "s", "v", "x", 1, 2, 3, 4, 1, False, [(2**64 - 1, 1)], []
        ),
    }
    batch = make_batch("md.trades", 0, range(len(bad) + 1), [events.encode(good), *map(events.encode, bad.values())])
    tables = {t.name: t for t in batch.tables}
    assert tables["hft_data.raw_ticks"].offsets.tolist() == [0]
    assert tables["hft_data.dead_letters"].offsets.tolist() == [1, 2, 3, 4]
    blob = tables["hft_data.dead_letters"].block
    for reason in bad:
        assert reason.encode() in blob


def test_a_header_that_is_no_text_spoils_only_its_own_record() -> None:
    good = events.encode(Trade("s", "v", "x", 1, 2, 3, 4, 5, events.BUY))
    bad = good.replace(b"\xa1v", b"\xa1\xff")
    batch = make_batch("md.trades", 0, [7, 8, 9], [good, bad, good])
    tables = {t.name: t.offsets.tolist() for t in batch.tables}
    assert tables == {"hft_data.raw_ticks": [7, 9], "hft_data.dead_letters": [8]}


@settings(deadline=None)
@given(st.lists(market, min_size=1, max_size=10))
def test_the_same_records_make_the_same_bytes(found: list[events.Event]) -> None:
    payloads = [events.encode(e) for e in found]
    one, two = (make_batch("md.books", 1, range(len(payloads)), payloads) for _ in range(2))
    assert [t.block for t in one.tables] == [t.block for t in two.tables]
    assert one.token == two.token == f"md.books:1:0-{len(payloads) - 1}"


@settings(deadline=None)
@given(st.lists(trades, min_size=1, max_size=20))
def test_trade_spans_cover_just_the_trades_of_each_symbol(found: list[Trade]) -> None:
    batch = make_batch("md.trades", 0, range(len(found)), [events.encode(e) for e in found])
    times: dict[tuple[str, str, str], list[int]] = {}
    for e in found:
        times.setdefault((e.session, e.venue, e.symbol), []).append(e.exch_ts)
    spans = {(s.session, s.venue, s.symbol): (s.first_ts, s.last_ts) for s in batch.spans}
    assert spans == {k: (min(v), max(v)) for k, v in times.items()}


def test_a_block_refuses_columns_of_different_length() -> None:
    columns = [native.numbers("a", "Int64", np.zeros(2, np.int64)), native.numbers("b", "Int64", np.zeros(3, np.int64))]
    try:
        native.block(columns)
    except ValueError as e:
        assert "column b has 3 rows, a has 2" in str(e)
    else:
        raise AssertionError("accepted")
