"""Our own orders: what was asked for, what is left of it, and the events that tell of it."""

import time
from dataclasses import dataclass
from typing import Literal

from baretick.events import Fill, OrderEvent

TimeInForce = Literal["ioc", "gtc"]
Key = tuple[str, str]
"""Venue and symbol."""


@dataclass(slots=True)
class OurOrder:
    order_id: int
    session: str
    key: Key
    side: int
    price: int
    qty: int
    remaining: int
    tick_recv_ts: int

    def event(self, status: str, reason: str = "", ts: int | None = None) -> OrderEvent:
        """The state change as everyone downstream sees it."""
        return OrderEvent(
            self.session,
            self.key[0],
            self.key[1],
            time.time_ns() if ts is None else ts,
            self.order_id,
            self.side,
            self.price,
            self.qty,
            self.remaining,
            status,
            reason,
            self.tick_recv_ts,
        )

    def fill(self, fill_id: int, price: int, qty: int, maker: bool) -> Fill:
        """Take an execution off the open quantity."""
        self.remaining -= qty
        return Fill(
            self.session,
            self.key[0],
            self.key[1],
            time.time_ns(),
            fill_id,
            self.order_id,
            self.side,
            price,
            qty,
            maker,
        )
