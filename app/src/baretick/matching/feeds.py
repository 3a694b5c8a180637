"""Market data from events: the best bid and ask (L1), the depth that shows (L2), and the trades.

    feed = MarketData(symbols=2)
    feed.apply(book.drain_records())     # whole commands at a time, which a drain gives
    feed.top(0), feed.depth(0, 10), feed.take_changes(), feed.trades(events)

Nothing here looks into the engine: what a consumer of the event stream can know is exactly what is derived. Levels
are kept for the sides' prices as quantities; an order that was accepted joins its level when its command is over,
with what its trades left of it.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from baretick.matching.records import EVENT, EventKind, Events, Reason

TRADE_FEED: Final[np.dtype[np.void]] = np.dtype(
    [("seq", "<u8"), ("ts", "<i8"), ("symbol", "<u2"), ("aggressor", "u1"), ("price", "<i8"), ("qty", "<i8")]
)
_ENTERS: Final = (EventKind.ACCEPTED, EventKind.REPLACED, EventKind.TRIGGERED)
_AT_REST: Final = (Reason.NONE, Reason.REQUESTED, Reason.MASS_CANCEL, Reason.AMENDED)
"""Reasons that only an order at rest leaves for: the last one that entered has settled by then."""


class Top(NamedTuple):
    """Best prices of a symbol and what shows there; None where a side is empty."""

    bid: int | None
    bid_qty: int
    ask: int | None
    ask_qty: int


class Change(NamedTuple):
    """A level's new quantity; 0 when it is gone."""

    symbol: int
    side: int
    price: int
    qty: int


class MarketData:
    """L1 and L2 of every symbol, kept by applying the engine's events in order."""

    __slots__ = ("_changed", "_entering", "_levels", "last_seq")

    def __init__(self, symbols: int) -> None:
        self._levels: list[dict[int, int]] = [{} for _ in range(2 * symbols)]
        self._changed: dict[tuple[int, int], None] = {}
        self._entering: list[int] | None = None
        self.last_seq = 0

    def apply(self, events: Events) -> None:
        """Take in event records, whole commands at a time. Raises ValueError when some are missing."""
        rows = np.ascontiguousarray(events).view(EVENT).reshape(-1)
        if not len(rows):
            return
        first = int(rows["seq"][0])
        if self.last_seq and first != self.last_seq + 1:
            raise ValueError(f"events {self.last_seq + 1} to {first - 1} are missing: start anew from a full depth")
        for row in rows.tolist():
            self._apply(*row)
        self._settle()
        self.last_seq = int(rows["seq"][-1])

    def _apply(
        self, seq: int, ts: int, command: int, order_id: int, aux: int, price: int, qty: int,
        kind: int, reason: int, tag: int, account: int, counterparty: int,
    ) -> None:  # fmt: skip
        entering = self._entering
        if kind == EventKind.TRADE:
            self._add(tag ^ 1, price, -qty)
            if entering:
                entering[3] -= qty
        elif kind in _ENTERS:
            self._settle()
            # Its price is where it will rest; a stop that waits and an order that never rests show nothing (aux 0).
            self._entering = [order_id, tag, price, qty, aux]
        elif kind == EventKind.RESTATED:
            self._add(tag, price, qty)
        elif kind in (EventKind.CANCELLED, EventKind.REDUCED):
            if reason in _AT_REST:
                self._settle()
                self._add(tag, price, -aux)
            elif entering and entering[0] == order_id:
                entering[3] -= qty
            else:
                self._add(tag, price, -aux)

    def _settle(self) -> None:
        """The last order that entered has done its trading: what is left of it shows."""
        if self._entering is not None:
            _, tag, price, left, shows = self._entering
            self._entering = None
            self._add(tag, price, min(left, shows))

    def _add(self, tag: int, price: int, change: int) -> None:
        if change == 0:
            return
        levels = self._levels[tag]
        qty = levels.get(price, 0) + change
        if qty:
            levels[price] = qty
        else:
            del levels[price]
        self._changed[tag, price] = None

    def top(self, symbol: int) -> Top:
        """L1."""
        bids, asks = self._levels[2 * symbol], self._levels[2 * symbol + 1]
        bid, ask = max(bids, default=None), min(asks, default=None)
        return Top(bid, bids[bid] if bid is not None else 0, ask, asks[ask] if ask is not None else 0)

    def depth(self, symbol: int, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """L2: (price, quantity) of the best `levels` bids and asks, best first."""
        bids, asks = self._levels[2 * symbol], self._levels[2 * symbol + 1]
        return sorted(bids.items(), reverse=True)[:levels], sorted(asks.items())[:levels]

    def take_changes(self) -> Iterable[Change]:
        """L2 as increments: every level that changed since the last call, with its quantity now."""
        changed, self._changed = self._changed, {}
        return [Change(tag >> 1, tag & 1, price, self._levels[tag].get(price, 0)) for tag, price in changed]


def trades(events: Events) -> np.ndarray[Any, np.dtype[np.void]]:
    """The public trades among event records, as TRADE_FEED: no ids and no accounts."""
    made = events[events["kind"] == EventKind.TRADE]
    out = np.zeros(len(made), TRADE_FEED)
    for name in ("seq", "ts", "price", "qty"):
        out[name] = made[name]
    out["symbol"], out["aggressor"] = made["tag"] >> 1, made["tag"] & 1
    return out
