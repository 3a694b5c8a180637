"""MatchingBook: the arena behind a Python interface, for live trading one command a call, or whole streams."""

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from baretick.matching import digest, kernel
from baretick.matching.arena import (
    EVENT_WORDS,
    H_EVENT_COUNT,
    H_INVALID,
    H_LIVE,
    H_O_BEST,
    H_O_EVENTS,
    H_O_LEVELS,
    H_O_ORDERS,
    H_REJECTS,
    TICKS,
    TRADE,
    allocate,
)

Words = np.ndarray[Any, np.dtype[np.int64]]

REASONS: Final = {
    kernel.UNKNOWN_ID: "unknown_id",
    kernel.DUPLICATE_ID: "duplicate_id",
    kernel.BAD_PRICE: "price_outside_window",
    kernel.BAD_QTY: "bad_quantity",
    kernel.BAD_SYMBOL: "unknown_symbol",
    kernel.BAD_ACCOUNT: "bad_account",
    kernel.BAD_COMMAND: "bad_command",
    kernel.BOOK_FULL: "book_full",
    kernel.EVENTS_FULL: "events_full",
}
"""What a result below zero means."""


class EventsFullError(RuntimeError):
    """A stream needs more event records than the book was given, and no one takes them away."""


class MatchEvent(NamedTuple):
    """One record: a trade at the maker's price, or (`kind` SELF_TRADE_CANCEL) a maker cancelled, not traded."""

    taker_id: int
    maker_id: int
    price: int
    qty: int
    symbol: int
    taker_side: int
    kind: int


class RestingOrder(NamedTuple):
    """One order of a level's queue, as `MatchingBook.queue` shows it."""

    order_id: int
    qty: int
    account: int


class Fingerprint(NamedTuple):
    """What two matching engines must agree on after the same stream."""

    trades: int
    volume: int
    tradehash: str
    resting: int
    restqty: int
    bookhash: str
    rejects: int


class MatchingBook:
    """A price-time order book over `symbols` symbols, each with a window of TICKS prices.

    `orders` is how many may rest at once, `events` how many event records fit between two `drain` calls. All
    memory is taken here, none later. Not safe for two threads at once.
    """

    __slots__ = ("_best", "_events", "_head", "_levels", "_links", "_orders", "arena", "symbols")

    def __init__(self, symbols: int, orders: int = 1 << 17, events: int = 1 << 16) -> None:
        self.arena: Words = allocate(symbols, orders, events)
        self.symbols = symbols
        head = self._head = self.arena[:64]
        at = head[H_O_BEST]
        self._best = self.arena[at : at + 2 * symbols]
        at = head[H_O_EVENTS]
        self._events = self.arena[at : at + events * EVENT_WORDS].reshape(events, EVENT_WORDS)
        at = head[H_O_LEVELS]
        self._levels = self.arena[at : at + symbols * TICKS * 2].reshape(symbols * TICKS, 2)
        at = head[H_O_ORDERS]
        self._orders = self.arena[at : at + (orders + 1) * 4].reshape(orders + 1, 4)
        self._links = self._orders.view(np.int32)

    # Commands. Each returns the open quantity after it (0: nothing rests), or a refusal below zero: see REASONS.

    def limit(self, symbol: int, side: int, order_id: int, price: int, qty: int, account: int = 0) -> int:
        """Good-till-cancelled: trade as far as `price` allows, rest with what is left."""
        result: int = kernel.submit(self.arena, kernel.LIMIT, symbol * 2 + side, account, order_id, price, qty)
        return result

    def ioc(self, symbol: int, side: int, order_id: int, price: int, qty: int, account: int = 0) -> int:
        """Immediate-or-cancel: trade as far as `price` allows, drop what is left; returns what was dropped."""
        result: int = kernel.submit(self.arena, kernel.IOC, symbol * 2 + side, account, order_id, price, qty)
        return result

    def market(self, symbol: int, side: int, order_id: int, qty: int, account: int = 0) -> int:
        """Trade at any price, drop what is left; returns what was dropped."""
        result: int = kernel.submit(self.arena, kernel.MARKET, symbol * 2 + side, account, order_id, 0, qty)
        return result

    def cancel(self, order_id: int) -> int:
        result: int = kernel.submit(self.arena, kernel.CANCEL, 0, 0, order_id, 0, 0)
        return result

    def reduce(self, order_id: int, qty: int) -> int:
        """Take `qty` off, keep the place in the queue; all of it or more cancels."""
        result: int = kernel.submit(self.arena, kernel.REDUCE, 0, 0, order_id, 0, qty)
        return result

    def replace(self, order_id: int, price: int, qty: int) -> int:
        """New price and open quantity under the same id, at the tail of the queue; may trade at once."""
        result: int = kernel.submit(self.arena, kernel.REPLACE, 0, 0, order_id, price, qty)
        return result

    # What happened.

    @property
    def pending(self) -> int:
        """How many event records wait."""
        return int(self._head[H_EVENT_COUNT])

    def drain_array(self) -> Words:
        """The waiting records as rows of EVENT_COLUMNS, a view that the next command may overwrite."""
        n = self._head[H_EVENT_COUNT]
        self._head[H_EVENT_COUNT] = 0
        return self._events[:n]

    def drain(self) -> list[MatchEvent]:
        """The waiting records, taken out of the buffer."""
        if not self._head[H_EVENT_COUNT]:
            return []
        return [MatchEvent(t, m, p, q, s >> 1, s & 1, k) for t, m, p, q, s, k in self.drain_array().tolist()]

    # What rests.

    def best_bid(self, symbol: int) -> int:
        """Best bid tick, NO_BID if there is none."""
        return int(self._best[2 * symbol])

    def best_ask(self, symbol: int) -> int:
        """Best ask tick, NO_ASK if there is none."""
        return int(self._best[2 * symbol + 1])

    def level_qty(self, symbol: int, price: int) -> int:
        """Open quantity at a tick, whichever side rests there."""
        self._check(symbol, price)
        return int(self._levels[symbol * TICKS + price, 1])

    def queue(self, symbol: int, price: int) -> Iterator[RestingOrder]:
        """The orders at a tick, first in first out."""
        self._check(symbol, price)
        x = int(self._levels[symbol * TICKS + price].view(np.int32)[0])
        while x:
            order = self._orders[x]
            yield RestingOrder(int(order[2]), int(order[3]), int(self._links[x, 3]) >> 16)
            x = int(self._links[x, 0])

    def levels(self, symbol: int, side: int) -> list[tuple[int, int]]:
        """(tick, open quantity) from the best outwards. For tools and tests: looks at every tick of the window."""
        self._check(symbol, 0)
        qtys = self._levels[symbol * TICKS : (symbol + 1) * TICKS, 1]
        ticks = np.flatnonzero(qtys)
        ticks = ticks[ticks <= self.best_bid(symbol)][::-1] if side == 0 else ticks[ticks >= self.best_ask(symbol)]
        return list(zip(ticks.tolist(), qtys[ticks].tolist(), strict=True))

    @property
    def resting(self) -> int:
        """How many orders rest."""
        return int(self._head[H_LIVE])

    @property
    def rejects(self) -> int:
        """Amendments of ids that did not rest."""
        return int(self._head[H_REJECTS])

    @property
    def invalid(self) -> int:
        """Commands refused for any other reason."""
        return int(self._head[H_INVALID])

    # Whole streams.

    def run(self, stream: Words) -> Fingerprint:
        """Execute a stream of rows (ts, command, symbol*2 + side, id, price, qty) and fingerprint what came of it.

        Events are folded and dropped whenever the buffer fills; raises EventsFullError if one command alone
        needs more records than the buffer has.
        """
        if stream.ndim != 2 or stream.shape[1] != 6 or stream.dtype != np.int64:
            raise ValueError(f"a stream has rows of 6 int64, this one is {stream.dtype} of shape {stream.shape}")
        h, trades, volume, row = digest.FNV_BASIS, 0, 0, 0
        while True:
            at: int = kernel.run(self.arena, stream, row)
            events = self.drain_array()
            if at < len(stream) and not len(events):
                raise EventsFullError(
                    f"row {at} needs more than the {len(self._events)} event records of this book: "
                    "give MatchingBook more `events`"
                )
            folded, n, v = digest.fold_trades(h, events)
            h = np.uint64(folded)
            trades, volume, row = trades + n, volume + v, at
            if at == len(stream):
                break
        bookhash, resting, restqty = digest.fold_book(self.arena)
        return Fingerprint(trades, volume, f"{int(h):016x}", resting, restqty, f"{int(bookhash):016x}", self.rejects)

    def _check(self, symbol: int, price: int) -> None:
        if not (0 <= symbol < self.symbols and 0 <= price < TICKS):
            raise IndexError(f"symbol {symbol} price {price}: outside {self.symbols} symbols of {TICKS} ticks")


def compile_live() -> float:
    """Compile (or load from numba's cache) what live trading calls; returns the seconds it took."""
    began = time.perf_counter()
    book = MatchingBook(1, orders=8, events=8)
    book.limit(0, 0, 1, 1, 1)
    book.cancel(1)
    return time.perf_counter() - began


__all__ = [
    "REASONS",
    "TRADE",
    "EventsFullError",
    "Fingerprint",
    "MatchEvent",
    "MatchingBook",
    "RestingOrder",
    "compile_live",
]
