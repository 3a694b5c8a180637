"""What the engine knows of one symbol at one venue."""

from baretick.config import StrategyConfig
from baretick.events import BookEvent, Event, Fill, Gap, OrderEvent, Ticker, Trade
from baretick.execution import Key, Position
from baretick.signals import MicropriceSignal

EVENT_NAMES: dict[type[Event], str] = {
    Trade: "trade",
    BookEvent: "book",
    Ticker: "ticker",
    Gap: "gap",
    OrderEvent: "order",
    Fill: "fill",
}


class SymbolState:
    """Last values, signal and counters. Written on the hot path, read by metrics, health and Redis."""

    __slots__ = (
        "ask",
        "ask_qty",
        "bid",
        "bid_qty",
        "counts",
        "key",
        "last_order_ns",
        "last_recv_ns",
        "position",
        "session",
        "signal",
        "trade_price",
        "trade_qty",
        "trade_ts",
        "traded",
        "working_id",
    )

    def __init__(self, key: Key, strategy: StrategyConfig, position: Position) -> None:
        self.key = key
        self.session = ""
        self.traded = not strategy.symbols or f"{key[0]}:{key[1]}" in strategy.symbols
        self.signal = MicropriceSignal(strategy.ema_half_life_s, strategy.threshold_bps)
        self.position = position
        self.counts: dict[type[Event], int] = dict.fromkeys(EVENT_NAMES, 0)
        self.bid = self.bid_qty = self.ask = self.ask_qty = 0
        self.trade_price = self.trade_qty = self.trade_ts = 0
        self.last_recv_ns = 0
        self.last_order_ns = 0
        self.working_id = 0

    @property
    def mark(self) -> int:
        """The price that the position is valued at: the middle of the touch."""
        return (self.bid + self.ask) // 2
