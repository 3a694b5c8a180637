"""A batch of records of one partition as rows of the warehouse's tables: which record becomes which rows of what.

Market data goes through the compiled pass of `decode`; all else, and whatever that pass leaves, through the event
model. A record that neither understands becomes a row of dead_letters with the reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from baretick import events
from baretick.warehouse import decode, native
from baretick.warehouse.decode import Rows

_I64_MIN, _I64_MAX = -(2**63), 2**63 - 1
_SIDES = (events.BUY, events.SELL)
_header = msgspec.msgpack.Decoder(str)

RAW_TICKS = "hft_data.raw_ticks"
GAPS = "hft_data.gaps"
ORDERS = "hft_data.orders"
FILLS = "hft_data.fills"
DEAD_LETTERS = "hft_data.dead_letters"


@dataclass(frozen=True)
class DeadLetter:
    offset: int
    payload: bytes
    error: str


@dataclass(frozen=True)
class Table:
    """Rows of one batch for one table, ready to be inserted; `offsets` holds each row's Kafka offset."""

    name: str
    columns: tuple[native.Column, ...]
    offsets: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.offsets)

    @property
    def insert(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(c.name for c in self.columns)})"

    @property
    def block(self) -> bytes:
        return native.block(self.columns)


@dataclass(frozen=True)
class TradeSpan:
    """Trades of one session and symbol in a batch: what the aggregates of this batch are made of."""

    session: str
    venue: str
    symbol: str
    first_ts: int
    last_ts: int


@dataclass(frozen=True)
class Batch:
    """Records first..last of a partition, decoded. The same records always make the same batch."""

    topic: str
    partition: int
    first: int
    last: int
    messages: int
    tables: tuple[Table, ...]
    spans: tuple[TradeSpan, ...] = ()
    recv_span: tuple[int, int] = (0, 0)
    size: int = field(default=0, compare=False)

    @property
    def token(self) -> str:
        return f"{self.topic}:{self.partition}:{self.first}-{self.last}"

    @property
    def rows(self) -> int:
        return sum(t.rows for t in self.tables)


def make_batch(topic: str, partition: int, offsets: Sequence[int], payloads: Sequence[bytes | None]) -> Batch:
    """Decode the records of a partition; offsets ascend, but need not be without holes."""
    at = np.asarray(offsets, np.int64)
    data = [p if p is not None else b"" for p in payloads]
    rows, heads, status = decode.decode(data)
    names, rows, status = _readable(heads, rows, status)
    others: dict[type, list[tuple[int, Any]]] = {}
    dead: list[DeadLetter] = []
    for m in np.flatnonzero(status == decode.SLOW).tolist():
        try:
            event = events.decode(data[m])
            _check(event)
        except (msgspec.DecodeError, ValueError) as e:
            dead.append(DeadLetter(int(at[m]), data[m], str(e) if data[m] else "empty record"))
            continue
        others.setdefault(type(event), []).append((m, event))
    rows, names = _append(rows, names, others)
    tables = [
        _raw_ticks(topic, partition, at, rows, names),
        _gaps(topic, partition, at, others.get(events.Gap, [])),
        _orders(topic, partition, at, others.get(events.OrderEvent, [])),
        _fills(topic, partition, at, others.get(events.Fill, [])),
        _dead_letters(topic, partition, dead),
    ]
    return Batch(
        topic=topic,
        partition=partition,
        first=int(at[0]),
        last=int(at[-1]),
        messages=len(data),
        tables=tuple(t for t in tables if t.rows),
        spans=tuple(_spans(rows, names)),
        recv_span=(int(rows.recv_ts.min()), int(rows.recv_ts.max())) if len(rows) else (0, 0),
        size=sum(map(len, data)),
    )


Names = tuple[str, str, str]
Status = npt.NDArray[np.uint8]


def _readable(heads: list[bytes], rows: Rows, status: Status) -> tuple[list[Names], Rows, Status]:
    """The headers as text. Records whose header is not UTF-8 go back to SLOW, where the event model says why."""
    names: list[Names] = []
    bad: list[int] = []
    for h, head in enumerate(heads):
        try:
            names.append(_names(head))
        except UnicodeDecodeError:
            names.append(("", "", ""))
            bad.append(h)
    if bad:
        unreadable = np.isin(rows.head, bad)
        status[rows.msg[unreadable]] = decode.SLOW
        rows = Rows(**{name: column[~unreadable] for name, column in vars(rows).items()})
    return names, rows, status


def _names(head: bytes) -> Names:
    """Session, venue, symbol from their MessagePack strings."""
    out = []
    for _ in range(3):
        size, body = (head[1], 2) if head[0] == 0xD9 else (head[0] & 0x1F, 1)
        out.append(_header.decode(head[: body + size]))
        head = head[body + size :]
    return out[0], out[1], out[2]


def _check(event: events.Event) -> None:
    """What the event model allows but the tables can't hold."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, int) and not _I64_MIN <= value <= _I64_MAX:
            raise ValueError(f"{name} {value} does not fit 64 bits")
    side = getattr(event, "side", events.BUY)
    if side not in _SIDES:
        raise ValueError(f"side {side} is neither {events.BUY} (buy) nor {events.SELL} (sell)")
    if isinstance(event, events.BookEvent):
        if event.kind not in (events.SNAPSHOT, events.UPDATE):
            raise ValueError(f"kind {event.kind} is neither {events.SNAPSHOT} (snapshot) nor {events.UPDATE} (update)")
        for level in (*event.bids, *event.asks):
            if not all(_I64_MIN <= v <= _I64_MAX for v in level):
                raise ValueError(f"level {level} does not fit 64 bits")


def _append(rows: Rows, names: list[Names], others: dict[type, list[tuple[int, Any]]]) -> tuple[Rows, list[Names]]:
    """Add the market data that the compiled pass left, row by row."""
    extra: list[tuple[int, ...]] = []
    names = list(names)
    for m, e in others.get(events.Trade, []):
        names.append((e.session, e.venue, e.symbol))
        h = len(names) - 1
        extra.append((m, 0, h, decode.TRADE, e.exch_ts, e.recv_ts, 0, 0, e.trade_id, 0, e.side, e.price, e.qty))
    for m, e in others.get(events.Ticker, []):
        names.append((e.session, e.venue, e.symbol))
        h = len(names) - 1
        common = (h, decode.TICKER, e.exch_ts, e.recv_ts, e.seq, 0, 0, 0)
        extra.append((m, 0, *common, events.BUY, e.bid, e.bid_qty))
        extra.append((m, 1, *common, events.SELL, e.ask, e.ask_qty))
    for m, e in others.get(events.BookEvent, []):
        names.append((e.session, e.venue, e.symbol))
        kind = decode.BOOK_SNAPSHOT if e.kind == events.SNAPSHOT else decode.BOOK_UPDATE
        common = (len(names) - 1, kind, e.exch_ts, e.recv_ts, e.seq, e.prev_seq, 0, int(e.resync))
        sides = [(events.BUY, p, q) for p, q in e.bids] + [(events.SELL, p, q) for p, q in e.asks]
        extra.extend((m, i, *common, *level) for i, level in enumerate(sides))
    if not extra:
        return rows, names
    columns = zip(*extra, strict=True)
    joined = {
        name: np.concatenate([column, np.array(more, column.dtype)])
        for (name, column), more in zip(vars(rows).items(), columns, strict=True)
    }
    return Rows(**joined), names


def _raw_ticks(topic: str, partition: int, at: npt.NDArray[np.int64], rows: Rows, names: list[Names]) -> Table:
    n = len(rows)
    offsets = at[rows.msg]
    texts = []
    for i, column in enumerate(("session", "venue", "symbol")):
        known: dict[str, int] = {}
        codes = np.array([known.setdefault(name[i], len(known)) for name in names], np.uint32)
        texts.append(native.low_cardinality(column, list(known), codes[rows.head] if n else codes[:0]))
    time = "DateTime64(9, 'UTC')"
    event = "Enum8('trade' = 1, 'book_snapshot' = 2, 'book_update' = 3, 'ticker' = 4)"
    columns = (
        *texts,
        native.numbers("event", event, rows.event),
        native.numbers("exch_ts", time, rows.exch_ts),
        native.numbers("recv_ts", time, rows.recv_ts),
        native.numbers("seq", "Int64", rows.seq),
        native.numbers("prev_seq", "Int64", rows.prev_seq),
        native.numbers("trade_id", "Int64", rows.trade_id),
        native.numbers("resync", "Bool", rows.resync),
        native.numbers("side", _SIDE, rows.side),
        native.numbers("price", _PRICE, rows.price),
        native.numbers("qty", _QTY, rows.qty),
        *_kafka(topic, partition, offsets),
        native.numbers("idx", "UInt32", rows.idx),
    )
    return Table(RAW_TICKS, columns, offsets)


_SIDE = "Enum8('none' = 0, 'buy' = 1, 'sell' = 2)"
_PRICE = f"Decimal(18, {events.PRICE_DECIMALS})"
_QTY = f"Decimal(18, {events.QTY_DECIMALS})"
_TIME = "DateTime64(9, 'UTC')"

# Column name, ClickHouse type and numpy type; no numpy type means text.
_GAP_COLUMNS = (("recv_ts", _TIME, "i8"), ("expected", "Int64", "i8"), ("got", "Int64", "i8"), ("reason", "", ""))
_ORDER_COLUMNS = (
    ("ts", _TIME, "i8"), ("order_id", "Int64", "i8"), ("side", _SIDE, "i1"), ("price", _PRICE, "i8"),
    ("qty", _QTY, "i8"), ("remaining", _QTY, "i8"), ("status", "", ""), ("reason", "", ""),
    ("tick_recv_ts", _TIME, "i8"),
)  # fmt: skip
_FILL_COLUMNS = (
    ("ts", _TIME, "i8"), ("fill_id", "Int64", "i8"), ("order_id", "Int64", "i8"), ("side", _SIDE, "i1"),
    ("price", _PRICE, "i8"), ("qty", _QTY, "i8"), ("maker", "Bool", "u1"),
)  # fmt: skip


def _gaps(topic: str, partition: int, at: npt.NDArray[np.int64], found: list[tuple[int, Any]]) -> Table:
    return _plain(GAPS, _GAP_COLUMNS, topic, partition, at, found)


def _orders(topic: str, partition: int, at: npt.NDArray[np.int64], found: list[tuple[int, Any]]) -> Table:
    return _plain(ORDERS, _ORDER_COLUMNS, topic, partition, at, found)


def _fills(topic: str, partition: int, at: npt.NDArray[np.int64], found: list[tuple[int, Any]]) -> Table:
    return _plain(FILLS, _FILL_COLUMNS, topic, partition, at, found)


def _plain(
    table: str,
    layout: tuple[tuple[str, str, str], ...],
    topic: str,
    partition: int,
    at: npt.NDArray[np.int64],
    found: list[tuple[int, Any]],
) -> Table:
    """Events whose fields are the table's columns, one row each."""
    columns = [native.words(name, [getattr(e, name) for _, e in found]) for name in ("session", "venue", "symbol")]
    for name, kind, width in layout:
        values = [getattr(e, name) for _, e in found]
        columns.append(native.numbers(name, kind, np.array(values, width)) if width else native.words(name, values))
    offsets = at[np.array([m for m, _ in found], np.int64)]
    return Table(table, (*columns, *_kafka(topic, partition, offsets)), offsets)


def _dead_letters(topic: str, partition: int, found: list[DeadLetter]) -> Table:
    offsets = np.array([d.offset for d in found], np.int64)
    columns = (
        native.strings("error", [d.error.encode() for d in found]),
        native.strings("payload", [d.payload for d in found]),
        *_kafka(topic, partition, offsets),
    )
    return Table(DEAD_LETTERS, columns, offsets)


def _kafka(topic: str, partition: int, offsets: npt.NDArray[np.int64]) -> tuple[native.Column, ...]:
    n = len(offsets)
    return (
        native.constant("kafka_topic", topic, n),
        native.numbers("kafka_partition", "UInt16", np.full(n, partition, np.uint16)),
        native.numbers("kafka_offset", "Int64", offsets),
    )


def _spans(rows: Rows, names: list[Names]) -> Iterable[TradeSpan]:
    trade = rows.event == decode.TRADE
    heads = rows.head[trade]
    times = rows.exch_ts[trade]
    found: dict[Names, tuple[int, int]] = {}
    for h in np.unique(heads).tolist():
        own = times[heads == h]
        first, last = int(own.min()), int(own.max())
        if names[h] in found:
            first, last = min(first, found[names[h]][0]), max(last, found[names[h]][1])
        found[names[h]] = (first, last)
    for name, (first, last) in found.items():
        yield TradeSpan(*name, first, last)
