"""The paper venue: our orders against the market's L2 book, filled only by what was really there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.book import L2Book
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent, Fill, OrderEvent
from baretick.execution import PaperVenue
from baretick.execution.ladder import MARKET_ACCOUNT, TICKS

KEY = ("okx", "BTC-USDT")
TICK = 10**9


class Market:
    """A venue's book and the paper venue that follows it, in whole ticks and lots."""

    def __init__(self, bids, asks, tick=TICK):
        self.tick, self.seq = tick, 0
        self.view = L2Book()
        self.paper = PaperVenue([KEY], orders=4096, first_id=0)
        self.heard = self.snapshot(bids, asks)

    def _event(self, kind, bids, asks):
        self.seq += 1
        scaled = [[(p * self.tick, q) for p, q in side] for side in (bids, asks)]
        event = BookEvent("s", *KEY, 0, 0, self.seq, self.seq - 1, kind, False, *scaled)
        assert self.view.apply(event) is None
        return self.paper.on_book(event, self.view)

    def snapshot(self, bids, asks):
        return self._event(SNAPSHOT, bids, asks)

    def update(self, bids=(), asks=()):
        return self._event(UPDATE, list(bids), list(asks))

    def send(self, side, price, qty, tif="ioc"):
        return self.paper.send("s", KEY, side, price * self.tick, qty, tif, 0)

    def market_side(self, side):
        """What rests of the market, as {price in ticks: quantity}."""
        book, out = self.paper.book, {}
        base = int(self.paper._ladder[0])
        for p, _ in book.levels(0, side - 1):
            qty = sum(o.qty for o in book.queue(0, p) if o.account == MARKET_ACCOUNT)
            if qty:
                out[(p + base) * int(self.paper._ladder[1]) // self.tick] = qty
        return out


def fills(events, tick=TICK):
    return [(e.price // tick, e.qty, e.maker) for e in events if isinstance(e, Fill)]


def statuses(events):
    return [(e.status, e.reason) for e in events if isinstance(e, OrderEvent)]


@pytest.fixture
def market():
    return Market([(99, 5), (98, 5), (97, 7)], [(101, 5), (102, 5), (103, 7)])


def test_an_order_across_the_spread_takes_what_rests_price_by_price(market):
    events = market.send(BUY, 102, 8)
    assert fills(events) == [(101, 5, False), (102, 3, False)]
    assert statuses(events) == [("accepted", ""), ("partial", "taker"), ("filled", "taker")]
    position = market.paper.positions[KEY]
    assert position.qty == 8
    assert position.cash == -(101 * 5 + 102 * 3) * TICK


def test_what_an_immediate_order_does_not_get_is_cancelled(market):
    events = market.send(BUY, 101, 9)
    assert statuses(events) == [("accepted", ""), ("partial", "taker"), ("cancelled", "ioc_partial")]
    assert statuses(market.send(BUY, 100, 9))[-1] == ("cancelled", "ioc_unfilled")
    assert not market.paper.open


def test_the_same_quantity_cannot_be_bought_twice(market):
    assert fills(market.send(BUY, 101, 5)) == [(101, 5, False)]
    assert fills(market.send(BUY, 101, 5)) == []
    market.update(asks=[(101, 7)])
    assert fills(market.send(BUY, 101, 5)) == [(101, 2, False)], "only what the feed has added since"


def test_a_resting_order_fills_as_maker_at_its_own_price_when_the_market_comes_through(market):
    assert statuses(market.send(BUY, 100, 4, "gtc")) == [("accepted", "")]
    events = market.update(bids=[(99, 0)], asks=[(100, 3)])
    assert fills(events) == [(100, 3, True)]
    assert statuses(events) == [("partial", "maker")]
    assert fills(market.update(asks=[(99, 9)])) == [(100, 1, True)]
    assert not market.paper.open
    assert market.paper.positions[KEY].qty == 4


def test_a_resting_order_waits_behind_what_was_there_before_it(market):
    market.send(BUY, 99, 4, "gtc")
    market.update(bids=[(99, 12)])
    queue = [(o.account == MARKET_ACCOUNT, o.qty) for o in market.paper.book.queue(0, market.paper.book.best_bid(0))]
    assert queue == [(True, 5), (False, 4), (True, 7)]


def test_decreases_leave_from_behind_us_first(market):
    market.send(BUY, 99, 4, "gtc")
    market.update(bids=[(99, 12)])
    market.update(bids=[(99, 3)])
    queue = [(o.account == MARKET_ACCOUNT, o.qty) for o in market.paper.book.queue(0, market.paper.book.best_bid(0))]
    assert queue == [(True, 3), (False, 4)]


def test_a_message_that_moves_the_market_does_not_trade_with_what_it_removes(market):
    assert market.update(bids=[(101, 4)], asks=[(101, 0), (102, 6)]) == []
    assert market.market_side(BUY)[101] == 4
    assert market.market_side(SELL) == {102: 6, 103: 7}
    assert market.paper.counters(KEY)["crossed"] == 0


def test_a_feed_that_crosses_itself_is_counted_and_never_becomes_a_trade_of_ours(market):
    assert market.update(bids=[(102, 4)]) == []
    assert market.paper.counters(KEY)["crossed"] == 2
    assert market.market_side(SELL) == {103: 7}
    market.update(bids=[(102, 0)], asks=[(101, 5), (102, 5)])
    assert market.market_side(SELL) == {101: 5, 102: 5, 103: 7}


def test_after_a_hole_nothing_trades_until_the_next_snapshot_and_our_orders_are_still_there(market):
    market.send(BUY, 98, 4, "gtc")
    market.paper.suspend(KEY)
    assert statuses(market.send(BUY, 101, 1)) == [("rejected", "book_invalid")]
    assert market.snapshot([(98, 5), (97, 5)], [(99, 5)]) == []
    assert [o.price // TICK for o in market.paper.open.values()] == [98]
    assert market.market_side(BUY) == {98: 5, 97: 5}
    assert fills(market.send(BUY, 99, 1)) == [(99, 1, False)]


def test_a_snapshot_across_our_resting_order_fills_it_as_maker(market):
    market.send(BUY, 98, 4, "gtc")
    market.paper.suspend(KEY)
    assert fills(market.snapshot([(90, 5)], [(95, 1), (96, 9)])) == [(98, 1, True), (98, 3, True)]


def test_a_price_off_the_grid_refines_it_without_losing_our_order():
    market = Market([(90, 5), (80, 5)], [(110, 5), (120, 5)])
    market.send(BUY, 80, 4, "gtc")
    assert market.update(bids=[(93, 2)]) == []
    assert market.market_side(BUY) == {93: 2, 90: 5, 80: 5}
    assert fills(market.send(SELL, 93, 3)) == [(93, 2, False)]
    assert len(market.paper.open) == 1


def test_a_market_that_walks_out_of_the_window_takes_the_window_with_it():
    price = 10 * TICKS
    market = Market([(price - 1, 5), (price - 2, 5)], [(price + 1, 5), (price + 2, 5)])
    far = price + TICKS // 2 - 10
    market.update(bids=[(price - 1, 0), (price - 2, 0), (far - 1, 3)], asks=[(price + 1, 0), (price + 2, 0), (far, 3)])
    assert market.paper.counters(KEY)["rebuilds"] == 2
    assert fills(market.send(BUY, far, 3)) == [(far, 3, False)]
    jump = far + 5 * TICKS
    market.update(bids=[(far - 1, 0), (jump - 1, 3)], asks=[(far, 0), (jump, 3)])
    assert fills(market.send(BUY, jump, 3)) == [(jump, 3, False)]


def test_levels_outside_the_window_are_counted_and_an_order_priced_there_is_refused():
    price = 10 * TICKS
    market = Market([(price - 1, 5)], [(price + 1, 5), (price + TICKS, 5)])
    assert market.paper.counters(KEY)["outside_window"] == 1
    assert statuses(market.send(BUY, price + TICKS, 1)) == [("rejected", "price_outside_window")]


def test_a_touch_wider_than_the_window_is_followed_at_its_bid_without_laying_the_book_anew_each_time():
    market = Market([(10 * TICKS, 5), (10 * TICKS - 1, 5)], [(20 * TICKS, 5)])
    market.update(bids=[(10 * TICKS - 1, 7)])
    assert market.paper.counters(KEY)["rebuilds"] == 1
    assert fills(market.send(SELL, 10 * TICKS, 5)) == [(10 * TICKS, 5, False)]
    assert statuses(market.send(BUY, 20 * TICKS, 5)) == [("rejected", "price_outside_window")]


def test_orders_off_the_grid_or_for_unknown_symbols_are_refused(market):
    assert statuses(market.paper.send("s", KEY, BUY, 101 * TICK + 1, 1, "ioc", 0)) == [("rejected", "off_tick")]
    assert statuses(market.paper.send("s", ("okx", "X"), BUY, TICK, 1, "ioc", 0)) == [("rejected", "unknown_symbol")]


def test_our_own_orders_do_not_trade_with_each_other(market):
    market.send(SELL, 100, 2, "gtc")
    events = market.send(BUY, 100, 3, "gtc")
    assert ("cancelled", "self_trade") in statuses(events)
    assert fills(events) == []
    assert [(o.side, o.remaining) for o in market.paper.open.values()] == [(BUY, 3)]


def test_an_order_that_is_cancelled_is_told_once(market):
    order_id = market.send(BUY, 98, 2, "gtc")[0].order_id
    assert statuses(market.paper.cancel(order_id)) == [("cancelled", "requested")]
    assert market.paper.cancel(order_id) == []
    assert market.paper.working(KEY, BUY) == 0


def test_an_update_that_the_book_passed_over_changes_nothing():
    market = Market([(99, 5)], [(101, 5)])
    stale = BookEvent("s", *KEY, 0, 0, 0, -1, UPDATE, False, [(99 * TICK, 50)], [])
    assert market.paper.on_book(stale, market.view) == []
    assert market.market_side(BUY) == {99: 5}


levels = st.dictionaries(st.integers(80, 120), st.integers(0, 9), max_size=6)
actions = st.one_of(
    st.tuples(st.just("update"), levels, levels),
    st.tuples(st.just("snapshot"), levels, levels),
    st.tuples(
        st.sampled_from(["ioc", "gtc"]),
        st.sampled_from([BUY, SELL]),
        st.tuples(st.integers(80, 120), st.integers(1, 9)),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=40))
def test_whatever_the_feed_and_we_do_quantities_add_up(steps):
    """Nobody is filled beyond their order or their limit, and the market never shows more than the feed said."""
    market = Market([(95, 5)], [(105, 5)])
    feed = {BUY: {95: 5}, SELL: {105: 5}}
    bought = {}
    events = []
    for what, a, b in steps:
        if what == "snapshot" or what == "update":
            # A venue's book is not crossed: what would cross is moved to the other side of 100.
            bids = {min(p, 99): q for p, q in a.items()}
            asks = {max(p, 101): q for p, q in b.items()}
            if what == "snapshot":
                feed = {BUY: {}, SELL: {}}
            for side, changes in ((BUY, bids), (SELL, asks)):
                feed[side].update(changes)
                feed[side] = {p: q for p, q in feed[side].items() if q}
            happened = getattr(market, what)(bids.items(), asks.items())
        else:
            happened = market.send(a, *b, tif=what)
            first = happened[0]
            if first.status == "accepted":
                bought[first.order_id] = [first.side, first.price // TICK, first.qty]
        events += happened
        if market.paper.live(KEY):
            for side in (BUY, SELL):
                for price, qty in market.market_side(side).items():
                    assert qty <= feed[side].get(price, 0)
                if not bought:
                    assert market.market_side(side) == feed[side]
    for event in events:
        if isinstance(event, Fill):
            order = bought[event.order_id]
            order[2] -= event.qty
            price = event.price // TICK
            assert price <= order[1] if order[0] == BUY else price >= order[1]
            assert not event.maker or price == order[1]
    assert all(left >= 0 for _, _, left in bought.values())
    held = sum((e.qty if e.side == BUY else -e.qty) for e in events if isinstance(e, Fill))
    assert market.paper.positions[KEY].qty == held
    assert market.paper.counters(KEY)["crossed"] == 0
    book = market.paper.book
    resting = [o for side in (0, 1) for p, _ in book.levels(0, side) for o in book.queue(0, p)]
    ours = {o.order_id: o.qty for o in resting if o.account != MARKET_ACCOUNT}
    assert ours == {o.order_id: o.remaining for o in market.paper.open.values()}
