"""A price-time (FIFO) matching book: the paper venue's heart, the benchmark, the synthetic session's maker.

    from baretick.matching import BUY, SELL, MatchingBook

    book = MatchingBook(symbols=2, orders=100_000)      # all memory is taken here
    book.limit(0, SELL, order_id=1, price=65_000, qty=5)  # rests: returns 5, the open quantity
    book.ioc(0, BUY, order_id=2, price=65_001, qty=8)     # trades 5, returns 3, which is dropped
    for event in book.drain():                            # MatchEvent(taker_id, maker_id, price, qty, symbol, ...)
        ...

Commands: `limit` (GTC), `ioc`, `market`, `cancel`, `reduce` (keeps priority), `replace` (loses it). Each returns
the open quantity after it, or a refusal below zero (`REASONS[result]`) that has changed nothing. Symbols count
from 0, sides are BUY = 0 and SELL = 1, prices are ticks 0 .. TICKS - 1, ids any 64-bit integer. Trades are made at
the maker's price. Two orders of one `account` (not 0) never trade: the resting one is cancelled, and an event
of kind SELF_TRADE_CANCEL says so.

`best_bid(symbol)` is NO_BID and `best_ask(symbol)` is NO_ASK when that side is empty; `level_qty(symbol, price)`,
`queue(symbol, price)` and `levels(symbol, side)` show what rests. The event buffer holds `events` records: when a
command would write more than are left it is refused as events_full, so call `drain` (or `drain_array`) in time.

Whole streams: `book.run(array of shape (n, 6) int64)` with rows (ts, command, symbol*2 + side, id, price, qty)
returns a Fingerprint that other matching engines reproduce.
"""

from typing import Final

from baretick.matching.arena import EVENT_COLUMNS, NO_ASK, NO_BID, SELF_TRADE_CANCEL, TICKS, TRADE
from baretick.matching.book import (
    REASONS,
    EventsFullError,
    Fingerprint,
    MatchEvent,
    MatchingBook,
    RestingOrder,
    compile_live,
)
from baretick.matching.kernel import CANCEL, IOC, LIMIT, MARKET, REDUCE, REPLACE

BUY: Final = 0
SELL: Final = 1

__all__ = [
    "BUY",
    "CANCEL",
    "EVENT_COLUMNS",
    "IOC",
    "LIMIT",
    "MARKET",
    "NO_ASK",
    "NO_BID",
    "REASONS",
    "REDUCE",
    "REPLACE",
    "SELF_TRADE_CANCEL",
    "SELL",
    "TICKS",
    "TRADE",
    "EventsFullError",
    "Fingerprint",
    "MatchEvent",
    "MatchingBook",
    "RestingOrder",
    "compile_live",
]
