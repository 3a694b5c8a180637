"""The one event model: what a venue said, what we did, and the wire form of both.

Every event is a msgspec struct, encoded as a tagged MessagePack array. Prices and quantities are scaled
integers (see PRICE_DECIMALS and QTY_DECIMALS): no binary float ever carries money. Timestamps are integer
nanoseconds since the Unix epoch: `exch_ts` is the venue's, `recv_ts` is taken when the frame reached us.
"""

from decimal import Decimal
from typing import Literal, Protocol

import msgspec

PRICE_DECIMALS = 10
QTY_DECIMALS = 8

TOPIC_TRADES = "md.trades"
TOPIC_BOOKS = "md.books"
TOPIC_TICKERS = "md.tickers"
TOPIC_GAPS = "md.gaps"
TOPIC_ORDERS = "trading.orders"
TOPIC_FILLS = "trading.fills"

BUY: Literal[1] = 1
SELL: Literal[2] = 2

SNAPSHOT: Literal[1] = 1
UPDATE: Literal[2] = 2

Level = tuple[int, int]


class ScaleError(ValueError):
    """A decimal string that the fixed scale cannot hold exactly."""


def to_scaled(text: str, decimals: int) -> int:
    """Turn a decimal string into an integer scaled by 10**decimals; raise ScaleError if digits would be lost."""
    whole, _, frac = text.partition(".")
    if len(frac) > decimals:
        if frac[decimals:].strip("0"):
            raise ScaleError(f"{text!r} has more than {decimals} decimals")
        frac = frac[:decimals]
    try:
        value: int = int(whole + frac) * 10 ** (decimals - len(frac))
    except ValueError:
        raise ScaleError(f"{text!r} is not a plain decimal number") from None
    if abs(value) >= 2**63:
        raise ScaleError(f"{text!r} does not fit 64 bits at {decimals} decimals")
    return value


def from_scaled(value: int, decimals: int) -> Decimal:
    """The exact Decimal of a scaled integer."""
    return Decimal(value).scaleb(-decimals)


class Trade(msgspec.Struct, array_like=True, tag="t", gc=False):
    """One public trade. `side` is the aggressor's (BUY or SELL); `trade_id` is the venue's number."""

    session: str
    venue: str
    symbol: str
    exch_ts: int
    recv_ts: int
    trade_id: int
    price: int
    qty: int
    side: int


class BookEvent(msgspec.Struct, array_like=True, tag="b"):
    """One L2 message as received: a snapshot or an update of price levels (price, absolute quantity; 0 removes).

    `seq` and `prev_seq` are the venue's sequence numbers (Binance: `u` and the id before `U`, or `pu`; OKX:
    `seqId` and `prevSeqId`, or a counter of ours where the venue sent none). `resync` marks a snapshot asked
    for after a gap or a reconnect.
    """

    session: str
    venue: str
    symbol: str
    exch_ts: int
    recv_ts: int
    seq: int
    prev_seq: int
    kind: int
    resync: bool
    bids: list[Level]
    asks: list[Level]


class Ticker(msgspec.Struct, array_like=True, tag="q", gc=False):
    """Best bid and offer as the venue's ticker channel says it."""

    session: str
    venue: str
    symbol: str
    exch_ts: int
    recv_ts: int
    seq: int
    bid: int
    bid_qty: int
    ask: int
    ask_qty: int


class Gap(msgspec.Struct, array_like=True, tag="g", gc=False):
    """A hole in a book stream: the book is invalid from here until the next snapshot."""

    session: str
    venue: str
    symbol: str
    recv_ts: int
    expected: int
    got: int
    reason: str


class OrderEvent(msgspec.Struct, array_like=True, tag="o", gc=False):
    """A state change of one of our orders at a venue. `status`: accepted, rejected, filled, partial, cancelled."""

    session: str
    venue: str
    symbol: str
    ts: int
    order_id: int
    side: int
    price: int
    qty: int
    remaining: int
    status: str
    reason: str
    tick_recv_ts: int


class Fill(msgspec.Struct, array_like=True, tag="f", gc=False):
    """An execution of one of our orders. `fill_id` is unique within a session; `maker` says if we were resting."""

    session: str
    venue: str
    symbol: str
    ts: int
    fill_id: int
    order_id: int
    side: int
    price: int
    qty: int
    maker: bool


Event = Trade | BookEvent | Ticker | Gap | OrderEvent | Fill

TOPIC_OF: dict[type, str] = {
    Trade: TOPIC_TRADES,
    BookEvent: TOPIC_BOOKS,
    Ticker: TOPIC_TICKERS,
    Gap: TOPIC_GAPS,
    OrderEvent: TOPIC_ORDERS,
    Fill: TOPIC_FILLS,
}

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def encode(event: Event) -> bytes:
    """The wire form of an event."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """The event behind its wire form; raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(data)


class Sink(Protocol):
    """Where a venue client delivers what it heard, in order, from the event loop's thread."""

    def publish(self, event: Event) -> None:
        """Take one event. Must not block."""
