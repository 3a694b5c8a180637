"""The trading core: what it does with market data, whom it asks before it trades, what it publishes."""

import time

import pytest

from baretick.config import AppConfig, RiskConfig, StrategyConfig, VenueConfig
from baretick.engine import TradingCore
from baretick.events import (
    BUY,
    SELL,
    SNAPSHOT,
    UPDATE,
    BookEvent,
    Fill,
    Gap,
    OrderEvent,
    Ticker,
    Trade,
    decode,
)
from baretick.publish import MemoryPublisher

SECOND = 10**9
COIN = 10**8


def scaled(levels):
    return [(round(p * 10) * 10**9, q) for p, q in levels]


class Session:
    """A market around a price of 50,000 that a test can lean on, and the core that trades on it."""

    def __init__(self, kind="okx", risk=None, **strategy):
        venue = VenueConfig(name="v", kind=kind, ws_url="ws://x", rest_url="http://x", symbols=["A", "B"])
        chosen = {"threshold_bps": 0.001, "cooldown_s": 0.5, **strategy}
        self.memory = MemoryPublisher()
        self.core = TradingCore(
            AppConfig(venues=[venue], strategy=StrategyConfig(**chosen), risk=risk or RiskConfig()), self.memory
        )
        self.now, self.seq = time.time_ns(), 0

    def book(self, kind, bids, asks, symbol="A", after=SECOND):
        self.now += after
        self.seq += 1
        self.core.publish(
            BookEvent(
                "s", "v", symbol, self.now, self.now, self.seq, self.seq - 1, kind, False, scaled(bids), scaled(asks)
            )
        )

    def start(self):
        """A balanced book that the signal has listened to for long enough."""
        self.book(SNAPSHOT, [(49_999.9, COIN), (49_000, 9 * COIN)], [(50_000.1, COIN), (51_000, 9 * COIN)])
        self.book(UPDATE, [(49_999.9, COIN)], [], after=2 * SECOND)

    def lean(self, side, after=SECOND):
        """Let the touch say that the price will go up (BUY) or down (SELL)."""
        heavy = [(49_999.9, 90 * COIN)], [(50_000.1, COIN)]
        light = [(49_999.9, COIN)], [(50_000.1, 90 * COIN)]
        self.book(UPDATE, *(heavy if side == BUY else light), after=after)

    def heard(self, topic):
        return [decode(r.value) for r in self.memory.read(topic, 0)]

    def orders(self):
        return [(e.side, e.status, e.reason) for e in self.heard("trading.orders")]


def test_a_touch_that_leans_makes_it_cross_the_spread_and_every_step_is_published():
    s = Session()
    s.start()
    s.lean(BUY)
    assert s.orders() == [(BUY, "accepted", ""), (BUY, "filled", "taker")]
    (fill,) = s.heard("trading.fills")
    assert isinstance(fill, Fill)
    assert (fill.price, fill.maker) == (500_001 * 10**9, False)
    assert fill.price * fill.qty <= 1000 * 10**18 < fill.price * (fill.qty + 1), "order_notional, rounded down"
    accepted = s.heard("trading.orders")[0]
    assert isinstance(accepted, OrderEvent)
    assert accepted.tick_recv_ts == s.now
    assert s.core.symbols["v", "A"].position.qty == fill.qty
    assert s.core.tick_to_order.count == 1


def test_market_data_is_published_as_it_came_and_in_order():
    s = Session()
    s.start()
    for n in range(3):
        s.core.publish(Trade("s", "v", "A", n, n, n, 10**14, 5, SELL))
    s.core.publish(Ticker("s", "v", "A", 1, 1, 1, 1, 1, 2, 2))
    assert [e.seq for e in s.heard("md.books")] == [1, 2]
    assert [e.trade_id for e in s.heard("md.trades")] == [0, 1, 2]
    assert len(s.heard("md.tickers")) == 1
    assert s.core.symbols["v", "A"].counts[Trade] == 3


def test_it_waits_between_orders_and_asks_risk_for_each():
    s = Session(risk=RiskConfig(max_position_notional=1500))
    s.start()
    s.lean(BUY)
    s.lean(BUY, after=SECOND // 10)
    assert s.core.orders["accepted"] == 1, "too soon after the last"
    s.lean(BUY)
    assert s.orders()[-1] == (BUY, "rejected", "position_notional")
    assert s.core.rejects == {"position_notional": 1}
    s.lean(SELL)
    assert s.orders()[-1][:2] == (SELL, "filled")
    assert s.core.fills == 2


def test_with_the_kill_switch_on_it_trades_no_more_but_publishes_on():
    s = Session()
    s.start()
    s.core.risk.kill("operator")
    s.lean(BUY)
    assert s.orders() == [(BUY, "rejected", "kill_switch")]
    assert len(s.heard("md.books")) == 3


def test_an_error_inside_stops_trading_and_loses_nothing(monkeypatch):
    s = Session()
    s.start()
    monkeypatch.setattr(s.core.paper, "on_book", lambda *_: 1 / 0)
    s.lean(BUY)
    assert s.core.risk.killed_by == "internal_error"
    assert s.core.errors == 1
    assert len(s.heard("md.books")) == 3


def test_after_a_gap_it_neither_trades_nor_remembers_until_it_has_listened_anew():
    s = Session()
    s.start()
    s.core.publish(Gap("s", "v", "A", s.now, 1, 2, "checksum"))
    assert not s.core.book_valid(("v", "A"))
    s.lean(BUY)
    assert s.orders() == []
    s.book(SNAPSHOT, [(49_999.9, 90 * COIN)], [(50_000.1, COIN)])
    assert s.core.book_valid(("v", "A"))
    assert s.orders() == [], "one look is no average"
    assert len(s.heard("md.gaps")) == 1


def test_a_passive_strategy_rests_at_the_near_touch_and_follows_its_opinion():
    s = Session(time_in_force="gtc")
    s.start()
    s.lean(BUY)
    (order,) = s.core.paper.open.values()
    assert (order.side, order.price) == (BUY, 499_999 * 10**9)
    s.lean(SELL)
    (order,) = s.core.paper.open.values()
    assert (order.side, order.price) == (SELL, 500_001 * 10**9)
    assert (BUY, "cancelled", "replaced") in s.orders()
    s.core.cancel_all("shutdown")
    assert s.orders()[-1] == (SELL, "cancelled", "shutdown")


def test_only_the_named_symbols_are_traded():
    s = Session(symbols=["v:B"])
    s.start()
    s.lean(BUY)
    assert s.orders() == []


def test_a_strategy_for_a_symbol_that_no_venue_has_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"'v:C' is not among .*\(v:A, v:B\)"):
        Session(symbols=["v:C"])


def test_events_of_a_symbol_nobody_configured_are_published_and_counted():
    s = Session()
    s.core.publish(Trade("s", "v", "C", 1, 1, 1, 10**14, 5, SELL))
    assert s.core.unexpected == 1
    assert len(s.heard("md.trades")) == 1


def test_the_same_session_heard_again_leads_to_the_same_orders_and_fills():
    def told():
        s = Session()
        for side in (BUY, SELL, BUY, BUY, SELL):
            s.start() if not s.seq else None
            s.lean(side)
        fills = [(e.side, e.price, e.qty, e.maker) for e in s.heard("trading.fills")]
        return s.orders(), fills

    assert told() == told()
