"""A recording: one venue's frames in the order in which they are to be served, and what is known of its symbols."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from baretick.events import PRICE_DECIMALS, QTY_DECIMALS, ScaleError, from_scaled
from baretick.venues.wire import PRICES, QTYS

Venue = Literal["okx", "binance", "binance_usdm"]
VENUES: tuple[Venue, ...] = ("okx", "binance", "binance_usdm")


class Frame(msgspec.Struct, gc=False):
    """One message of the venue, verbatim.

    `topic` is what a client subscribes to: "books:BTC-USDT" (OKX), "btcusdt@trade" (Binance). A REST snapshot of
    Binance, recorded between the frames, has the topic "btcusdt@snapshot" and no subscribers.
    """

    ts: int
    topic: str
    text: str

    @property
    def is_snapshot(self) -> bool:
        return self.topic.endswith("@snapshot")


class Instrument(msgspec.Struct, frozen=True):
    """A symbol with the steps of its prices and quantities, as decimal text."""

    symbol: str
    tick: str
    lot: str


class Recording(msgspec.Struct):
    """What a session of one venue plays."""

    venue: Venue
    source: str
    frames: list[Frame]
    instruments: list[Instrument]
    documents: dict[str, str] = msgspec.field(default_factory=dict)
    """REST answers recorded beside the stream: OKX's instrument lists by instType."""
    problems: list[str] = msgspec.field(default_factory=list)

    @property
    def symbols(self) -> list[str]:
        return [i.symbol for i in self.instruments]

    @property
    def topics(self) -> set[str]:
        return {f.topic for f in self.frames}


class Steps:
    """Finds tick and lot size from the prices and quantities seen: the greatest power of ten that divides all."""

    def __init__(self) -> None:
        self._seen: dict[str, list[int]] = {}

    def add(self, symbol: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Take (price, quantity) texts of a symbol; texts that are no numbers say nothing."""
        seen = self._seen.setdefault(symbol, [0, 0])
        for price, qty in pairs:
            try:
                seen[0] = math.gcd(seen[0], PRICES[price])
                seen[1] = math.gcd(seen[1], QTYS[qty])
            except ScaleError:
                continue

    def instruments(self) -> list[Instrument]:
        return [
            Instrument(symbol, _step(price, PRICE_DECIMALS), _step(qty, QTY_DECIMALS))
            for symbol, (price, qty) in sorted(self._seen.items())
        ]


def _step(gcd: int, decimals: int) -> str:
    power = 1
    while gcd and gcd % (power * 10) == 0:
        power *= 10
    return f"{from_scaled(power, decimals).normalize():f}"
