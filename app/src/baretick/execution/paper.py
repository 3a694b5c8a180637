"""The paper venue: our orders trade against the market's L2 book in a real price-time matching book.

The market's levels rest as orders of one account, ours as orders of another. An order of ours that crosses takes
what rests, price by price; one that rests waits its turn and fills as maker when the market comes through it.
What we took stays taken until the feed changes that level: the same quantity cannot be bought twice.

Prices live on a grid of ticks inside a window around the market. The tick is the greatest common divisor of all
prices of a snapshot; a price off the grid refines it, a market that nears the window's edge moves it, and both
rebuild the market's side from the venue's whole book. Levels outside the window are counted, and an order priced
there is refused: nothing is ever filled at a price that the window cannot hold.
"""

import logging
import math
import struct
import time
from itertools import chain
from typing import Any, Final, Protocol

import numpy as np

from baretick.events import SNAPSHOT, BookEvent, Event, Level
from baretick.execution import ladder
from baretick.execution.ladder import TICKS
from baretick.execution.orders import Key, OurOrder, TimeInForce
from baretick.execution.positions import Position
from baretick.matching.book import MatchingBook
from baretick.matching.records import EventKind, Kind, Op, Param, Reason, Scope
from baretick.risk.limits import UNLIMITED

log = logging.getLogger(__name__)

EDGE: Final = TICKS // 8
CENTRE: Final = TICKS // 2
_ALL: Final = 1 << 30


class BookView(Protocol):
    """What the paper venue reads of a venue's L2 book."""

    @property
    def valid(self) -> bool: ...

    @property
    def seq(self) -> int:
        """Sequence number of the last event that it took."""

    @property
    def best_bid(self) -> Level | None: ...

    @property
    def best_ask(self) -> Level | None: ...

    def top(self, n: int) -> tuple[list[Level], list[Level]]:
        """The best n bids and asks, best first."""


def _anchor(view: BookView, tick: int) -> int:
    """The price that the window must hold well inside: the middle of the touch.

    Of a touch too wide for the window it is the bid (the asks are then outside, and counted); 0 of an empty book.
    """
    bid, ask = view.best_bid, view.best_ask
    if bid is None or ask is None:
        side = bid or ask
        return side[0] if side else 0
    return (bid[0] + ask[0]) // 2 if ask[0] - bid[0] < 2 * EDGE * tick else bid[0]


class _Market:
    """One symbol's place in the paper venue."""

    __slots__ = ("high", "index", "key", "live", "low", "rebuilds", "tick")

    def __init__(self, index: int, key: Key) -> None:
        self.index = index
        self.key = key
        self.live = False
        self.tick = 0
        self.low = self.high = 0
        self.rebuilds = 0


class PaperVenue:
    """All symbols of all venues that we may trade. Feed it book events, send it orders; it returns events."""

    def __init__(self, keys: list[Key], orders: int = 1 << 18, first_id: int | None = None) -> None:
        # One account could fill every resting order of the other at once: the event buffer holds that.
        self.book = MatchingBook(max(1, len(keys)), orders=orders, events=2 * orders + 16)
        # The market has no position limit; ours are risk's business, before an order comes here.
        for index in range(len(keys)):
            self.book.admin(Op.SET, Param.MAX_POSITION, Scope.SYMBOL, symbol=index, value=UNLIMITED)
            for account in (ladder.OUR_ACCOUNT, ladder.MARKET_ACCOUNT):
                pair = {"symbol": index, "account": account, "value": UNLIMITED}
                self.book.admin(Op.SET, Param.MAX_POSITION, Scope.ACCOUNT, **pair)
                self.book.admin(Op.SET, Param.MAX_POSITION, Scope.ACCOUNT_SYMBOL, **pair)
        self.book.drain_array()
        self.open: dict[int, OurOrder] = {}
        self.positions: dict[Key, Position] = {key: Position() for key in keys}
        self._ladder = ladder.allocate(max(1, len(keys)))
        self._markets = {key: _Market(i, key) for i, key in enumerate(keys)}
        self._buffer: np.ndarray[Any, np.dtype[np.int64]]
        self._resize(1 << 12)
        # Ids go on rising over restarts within a session: milliseconds of the epoch above a counter.
        self._next_id = (time.time_ns() // 1_000_000) << 20 if first_id is None else first_id

    def live(self, key: Key) -> bool:
        """True while the market's side is known and orders can trade."""
        market = self._markets.get(key)
        return market is not None and market.live

    def on_book(self, event: BookEvent, view: BookView) -> list[Event]:
        """Follow the venue's book, which `view` shows after the event; returns what that did to our orders."""
        market = self._markets.get((event.venue, event.symbol))
        if market is None:
            return []
        if not view.valid:
            market.live = False
            return []
        if event.kind == SNAPSHOT or not market.live:
            return self._rebuild(market, view)
        if event.seq != view.seq:
            return []  # the book passed this update over: its snapshot is newer
        bids, asks = dict(event.bids), dict(event.asks)  # a price said twice counts as said last
        if not self._apply(market, [*bids.items(), *asks.items()], len(bids), len(asks)):
            return self._rebuild(market, view)
        if not market.low <= _anchor(view, market.tick) < market.high:
            return self._rebuild(market, view)
        return self._collect()

    def suspend(self, key: Key) -> None:
        """The market's book has a hole: our orders rest on, nothing trades until the next snapshot."""
        market = self._markets.get(key)
        if market is not None:
            market.live = False

    def send(
        self, session: str, key: Key, side: int, price: int, qty: int, tif: TimeInForce, tick_recv_ts: int
    ) -> list[Event]:
        """A new order of ours; returns its events and fills, the acceptance or rejection first."""
        order = OurOrder(self.next_id(), session, key, side, price, qty, qty, tick_recv_ts)
        market = self._markets.get(key)
        if market is None or not market.live:
            return [order.event("rejected", "book_invalid" if market else "unknown_symbol")]
        if price % market.tick:
            return [order.event("rejected", "off_tick")]
        tick = self._to_tick(market, price)
        if not 0 <= tick < TICKS:
            return [order.event("rejected", "price_outside_window")]
        kind = Kind.IOC if tif == "ioc" else Kind.GTC
        left = self.book.new(market.index, side - 1, order.order_id, tick, qty, ladder.OUR_ACCOUNT, kind)
        if left < 0:
            self.book.drain_array()  # the refusal's own record
            return [order.event("rejected", Reason(-left).name.lower())]
        events: list[Event] = [order.event("accepted")]
        self.open[order.order_id] = order
        events += self._collect()
        if order.remaining and tif == "ioc":
            del self.open[order.order_id]
            events.append(order.event("cancelled", "ioc_unfilled" if order.remaining == qty else "ioc_partial"))
        return events

    def cancel(self, order_id: int, reason: str = "requested") -> list[Event]:
        """Take one of our resting orders back; nothing happens if it does not rest any more."""
        order = self.open.pop(order_id, None)
        if order is None:
            return []
        self.book.cancel(order_id, ladder.OUR_ACCOUNT)
        self.book.drain_array()  # the cancel's own record
        return [order.event("cancelled", reason)]

    def working(self, key: Key, side: int) -> int:
        """Open quantity of our resting orders on one side."""
        return sum(o.remaining for o in self.open.values() if o.key == key and o.side == side)

    def counters(self, key: Key) -> dict[str, int]:
        """What did not fit: levels outside the window, crossed, clipped or without room; and rebuilds."""
        market = self._markets[key]
        row = self._ladder[market.index * ladder.ROW :]
        return {
            "outside_window": int(row[ladder.L_OUTSIDE]),
            "crossed": int(row[ladder.L_CROSSED]),
            "clipped": int(row[ladder.L_CLIPPED]),
            "no_room": int(row[ladder.L_FULL]),
            "rebuilds": market.rebuilds,
        }

    def next_id(self) -> int:
        """An id for an order or a fill, above all earlier ones."""
        self._next_id += 1
        return self._next_id

    def _to_tick(self, market: _Market, price: int) -> int:
        return price // market.tick - int(self._ladder[market.index * ladder.ROW + ladder.L_BASE])

    def _resize(self, rows: int) -> None:
        self._buffer = np.zeros((rows, 2), np.int64)
        self._bytes = memoryview(self._buffer).cast("B")

    def _apply(self, market: _Market, rows: list[Level], bids: int, asks: int) -> bool:
        n = bids + asks
        if n == 0:
            return True
        if n > len(self._buffer):
            self._resize(1 << n.bit_length())
        # Packing is three times faster here than numpy's own conversion of a list of pairs.
        struct.pack_into(f"={2 * n}q", self._bytes, 0, *chain.from_iterable(rows))
        done = ladder.apply_levels(self.book.arena, self._ladder, market.index, self._buffer, bids, asks)
        return bool(done == 0)

    def _rebuild(self, market: _Market, view: BookView) -> list[Event]:
        """Lay the market's side anew from the venue's whole book, around its touch, and ours into it.

        Ours come first, so that a market that now lies across them fills them as makers at their own price;
        what is left of them then goes to the tail of its level: after a hole no one knows our place.
        """
        bids, asks = view.top(_ALL)
        if not bids and not asks:
            market.live = False
            return []
        ours = [o for o in self.open.values() if o.key == market.key]
        grid = math.gcd(*(p for p, _ in bids), *(p for p, _ in asks), *(o.price for o in ours), market.tick)
        events: list[Event] = []
        for order in ours:
            self.book.cancel(order.order_id, ladder.OUR_ACCOUNT)
        self.book.drain_array()
        ladder.clear_market(self.book.arena, self._ladder, market.index)
        market.tick, market.live = grid, True
        market.rebuilds += 1
        base = max(0, _anchor(view, grid) // grid - CENTRE)
        # A window that starts at price 0 cannot move down: nearing that edge is no reason to move it.
        market.low, market.high = (base + EDGE) * grid if base else 0, (base + TICKS - EDGE) * grid
        at = market.index * ladder.ROW
        self._ladder[at + ladder.L_BASE] = base
        self._ladder[at + ladder.L_TICK] = grid
        kept = []
        for order in ours:
            tick = self._to_tick(market, order.price)
            placed = -1
            if 0 <= tick < TICKS:
                placed = self.book.limit(
                    market.index, order.side - 1, order.order_id, tick, order.remaining, ladder.OUR_ACCOUNT
                )
            if placed < 0:
                del self.open[order.order_id]
                events.append(order.event("cancelled", "price_outside_window"))
            else:
                kept.append((order, tick))
        self._apply(market, bids + asks, len(bids), len(asks))
        events += self._collect()
        for order, tick in kept:
            if order.remaining:
                self.book.replace(order.order_id, tick, order.remaining, ladder.OUR_ACCOUNT)
        self.book.drain_array()
        return events

    def _collect(self) -> list[Event]:
        """Turn the matching book's records into our fills and order events."""
        if not self.book.pending:
            return []
        events: list[Event] = []
        base = self._ladder
        for record in self.book.drain():
            if record.kind == EventKind.TRADE:
                maker = record.aux < ladder.FIRST_MARKET_ID
                order_id = record.aux if maker else record.order_id
            elif record.kind == EventKind.CANCELLED and record.reason == Reason.SELF_TRADE:
                order_id = record.order_id
            else:
                continue
            row = record.symbol * ladder.ROW
            price = (record.price + int(base[row + ladder.L_BASE])) * int(base[row + ladder.L_TICK])
            order = self.open.get(order_id)
            if order is None:
                continue  # the market crossed itself: counted by the ladder, none of ours
            if record.kind != EventKind.TRADE:
                del self.open[order.order_id]
                events.append(order.event("cancelled", "self_trade"))
                continue
            fill = order.fill(self.next_id(), price, record.qty, maker)
            self.positions[order.key].apply(fill)
            events.append(fill)
            if order.remaining == 0:
                del self.open[order.order_id]
            events.append(order.event("filled" if order.remaining == 0 else "partial", "maker" if maker else "taker"))
        return events


def compile_paper() -> float:
    """Compile (or load from numba's cache) all that the paper venue calls; returns the seconds it took."""
    began = time.perf_counter()
    book = MatchingBook(1, orders=8, events=64)
    rungs = ladder.allocate(1)
    rungs[ladder.L_TICK] = 1
    book.limit(0, 0, 1, 1, 1, ladder.OUR_ACCOUNT)
    ladder.apply_levels(book.arena, rungs, 0, np.array([[1, 1], [5, 1]], np.int64), 1, 1)
    ladder.clear_market(book.arena, rungs, 0)
    return time.perf_counter() - began
