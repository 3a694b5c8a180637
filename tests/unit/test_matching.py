"""Stories of the matching engine: who trades with whom, at what price, and what is refused without a trace."""

import numpy as np
import pytest

from baretick.matching.book import EventsFullError, MatchingBook
from baretick.matching.layout import H_FREE, H_FRESH, NO_ASK, NO_BID, WINDOW
from baretick.matching.records import (
    COMMAND,
    MAX_PRICE,
    MAX_QTY,
    EventKind,
    Kill,
    Kind,
    Op,
    Param,
    Reason,
    Scope,
    Side,
    Stp,
    Trigger,
    words,
)

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def book() -> MatchingBook:
    return MatchingBook(symbols=2, orders=64, events=512, accounts=8)


def traded(book):
    return [(e.order_id, e.aux, e.price, e.qty) for e in book.drain() if e.kind == EventKind.TRADE]


def story(book):
    return [(e.kind, e.reason, e.order_id, e.qty) for e in book.drain()]


def refusal(result):
    assert result < 0
    return Reason(-result)


def test_an_order_that_crosses_trades_at_the_makers_price_and_rests_with_what_is_left(book):
    assert book.limit(0, SELL, 1, 100, 5) == 5
    assert book.limit(0, BUY, 2, 103, 8) == 3
    assert traded(book) == [(2, 1, 100, 5)]
    assert (book.best_bid(0), book.best_ask(0)) == (103, NO_ASK)
    assert book.level_qty(0, 103) == 3


def test_the_best_price_trades_first_and_within_a_price_the_oldest(book):
    book.limit(0, SELL, 1, 101, 1)
    book.limit(0, SELL, 2, 100, 1)
    book.limit(0, SELL, 3, 100, 1)
    book.ioc(0, BUY, 9, 101, 3)
    assert traded(book) == [(9, 2, 100, 1), (9, 3, 100, 1), (9, 1, 101, 1)]
    assert book.open_orders == 0


def test_reduce_keeps_the_place_in_the_queue_and_replace_loses_it(book):
    for order_id in (1, 2, 3):
        book.limit(0, SELL, order_id, 100, 10)
    assert book.reduce(1, 4) == 6
    assert book.replace(2, 100, 10) == 10
    assert [(o.order_id, o.qty) for o in book.queue(0, 100)] == [(1, 6), (3, 10), (2, 10)]
    assert book.reduce(3, 10) == 0
    assert [o.order_id for o in book.queue(0, 100)] == [1, 2]


def test_immediate_or_cancel_and_market_orders_never_rest(book):
    book.limit(0, SELL, 1, 100, 5)
    assert book.ioc(0, BUY, 2, 99, 3) == 3
    assert book.market(0, BUY, 3, 7) == 2
    assert traded(book) == [(3, 1, 100, 5)]
    assert book.market(0, SELL, 4, 1) == 1
    assert book.open_orders == 0


def test_fill_or_kill_fills_whole_or_not_at_all(book):
    book.limit(0, SELL, 1, 100, 5)
    book.new(0, SELL, 2, 101, 50, kind=Kind.GTC, display=10)
    assert refusal(book.new(0, BUY, 3, 101, 56, kind=Kind.FOK)) == Reason.WOULD_NOT_FILL
    assert refusal(book.new(0, BUY, 3, 100, 6, kind=Kind.FOK)) == Reason.WOULD_NOT_FILL
    assert book.new(0, BUY, 3, 101, 55, kind=Kind.FOK) == 0
    assert sum(qty for *_, qty in traded(book)) == 55


def test_post_only_never_takes(book):
    book.limit(0, SELL, 1, 100, 5)
    assert refusal(book.new(0, BUY, 2, 100, 1, kind=Kind.POST_ONLY)) == Reason.WOULD_TAKE
    assert book.new(0, BUY, 2, 99, 1, kind=Kind.POST_ONLY) == 1
    assert refusal(book.replace(2, 100, 1)) == Reason.WOULD_TAKE


def test_an_iceberg_shows_its_display_and_goes_to_the_tail_when_it_shows_anew(book):
    book.new(0, SELL, 1, 100, 25, display=10)
    book.limit(0, SELL, 2, 100, 5)
    assert book.level_qty(0, 100) == 15
    book.ioc(0, BUY, 9, 100, 12)
    assert traded(book) == [(9, 1, 100, 10), (9, 2, 100, 2)]
    assert [tuple(o) for o in book.queue(0, 100)] == [(2, 3, 0, 0), (1, 10, 0, 5)]
    assert book.reduce(1, 9) == 6, "the reserve goes first"
    assert [tuple(o) for o in book.queue(0, 100)] == [(2, 3, 0, 0), (1, 6, 0, 0)]


def test_stops_go_off_one_after_another_and_each_may_set_off_the_next(book):
    book.limit(0, SELL, 1, 105, 1)
    book.limit(0, SELL, 2, 110, 1)
    book.limit(0, SELL, 3, 120, 9)
    book.new(0, BUY, 11, 0, 1, kind=Kind.MARKET, trigger=Trigger.LAST, stop_price=110)
    book.new(0, BUY, 10, 0, 1, kind=Kind.MARKET, trigger=Trigger.LAST, stop_price=105)
    book.drain()
    book.ioc(0, BUY, 5, 105, 1)
    kinds = [(e.kind, e.order_id, e.price) for e in book.drain()]
    assert kinds == [
        (EventKind.ACCEPTED, 5, 105),
        (EventKind.TRADE, 5, 105),
        (EventKind.TRIGGERED, 10, 0),
        (EventKind.TRADE, 10, 110),
        (EventKind.TRIGGERED, 11, 0),
        (EventKind.TRADE, 11, 120),
    ]


def test_a_stop_limit_watches_the_bid_or_the_ask(book):
    book.limit(0, BUY, 1, 100, 5)
    book.limit(0, SELL, 2, 110, 5)
    assert book.new(0, SELL, 3, 98, 2, trigger=Trigger.BID, stop_price=99) == 2
    assert book.new(0, BUY, 4, 111, 2, trigger=Trigger.ASK, stop_price=112) == 2
    assert book.open_orders == 4
    book.limit(0, BUY, 5, 98, 1)
    book.cancel(1)  # the bid falls to 98
    assert [e.order_id for e in book.drain() if e.kind == EventKind.TRIGGERED] == [3]
    book.cancel(2)
    assert book.best_ask(0) == 98


@pytest.mark.parametrize(
    ("mode", "expected", "left"),
    [
        (Stp.EXPIRE_MAKER, [(EventKind.CANCELLED, 1, 5), (EventKind.TRADE, 3, 5)], 1),
        (Stp.EXPIRE_TAKER, [(EventKind.CANCELLED, 3, 6)], 0),
        (Stp.EXPIRE_BOTH, [(EventKind.CANCELLED, 1, 5), (EventKind.CANCELLED, 3, 6)], 0),
        (Stp.DECREMENT, [(EventKind.CANCELLED, 1, 5), (EventKind.REDUCED, 3, 5), (EventKind.TRADE, 3, 1)], 0),
        (Stp.NONE, [(EventKind.TRADE, 3, 5), (EventKind.TRADE, 3, 1)], 0),
    ],
)
def test_two_orders_of_one_account_meet_as_the_account_wants(book, mode, expected, left):
    book.admin(Op.SET, Param.STP, Scope.ACCOUNT, account=7, value=mode)
    book.limit(0, SELL, 1, 100, 5, account=7)
    book.limit(0, SELL, 2, 100, 5, account=6)
    book.drain()
    assert book.limit(0, BUY, 3, 100, 6, account=7) == left
    assert [(e.kind, e.order_id, e.qty) for e in book.drain()][1:] == expected


@pytest.mark.parametrize("order_id", [0, -1, 1, 2**63 - 1, -(2**63), 1 << 40, (1 << 40) + 8])
def test_any_64_bit_id_is_an_order_id(book, order_id):
    assert book.limit(0, BUY, order_id, 5, 1) == 1
    assert refusal(book.limit(0, BUY, order_id, 5, 1)) == Reason.DUPLICATE_ID
    assert book.cancel(order_id) == 0
    assert refusal(book.cancel(order_id)) == Reason.UNKNOWN_ORDER


def test_no_price_is_too_far_and_no_order_is_lost_when_the_window_moves(book):
    far = [1, 100, 100 + WINDOW, 100 + 5 * WINDOW, 1 << 40, MAX_PRICE - 1]
    for i, price in enumerate(far):
        assert book.limit(0, BUY, i, price, 1 + i) == 1 + i
        assert book.limit(0, BUY, 100 + i, price, 1) == 1
    assert book.levels(0, BUY) == [(p, 2 + i) for i, p in reversed(list(enumerate(far)))]
    assert refusal(book.limit(0, BUY, 50, MAX_PRICE + 1, 1)) == Reason.BAD_PRICE
    book.market(0, SELL, 200, sum(2 + i for i in range(len(far))))
    assert [t[1] for t in traded(book)] == [x for i in reversed(range(len(far))) for x in (i, 100 + i)]
    assert book.best_bid(0) == NO_BID


def test_an_account_cannot_touch_the_orders_of_another(book):
    book.limit(0, BUY, 1, 100, 5, account=1)
    for result in (book.cancel(1, account=2), book.reduce(1, 1, account=2), book.replace(1, 101, 1, account=2)):
        assert refusal(result) == Reason.UNKNOWN_ORDER
    assert book.level_qty(0, 100) == 5


def test_a_refusal_names_its_reason_and_changes_nothing(book):
    book.admin(Op.SET, Param.TICK, Scope.SYMBOL, symbol=1, value=5)
    book.admin(Op.SET, Param.LOT, Scope.SYMBOL, symbol=1, value=10)
    book.admin(Op.SET, Param.BAND_HIGH, Scope.SYMBOL, symbol=1, value=1000)
    book.limit(0, SELL, 1, 100, 5, account=1)
    book.drain()
    levels, live = book.levels(0, SELL), book.open_orders
    refusals = {
        Reason.BAD_QTY: book.limit(0, BUY, 2, 100, 0),
        Reason.OFF_LOT: book.limit(1, BUY, 2, 100, 5),
        Reason.OFF_TICK: book.limit(1, BUY, 2, 101, 10),
        Reason.OUTSIDE_BAND: book.limit(1, BUY, 2, 1005, 10),
        Reason.BAD_PRICE: book.limit(0, BUY, 2, MAX_PRICE + 1, 1),
        Reason.DUPLICATE_ID: book.limit(0, BUY, 1, 100, 1),
        Reason.UNKNOWN_SYMBOL: book.limit(2, BUY, 2, 100, 1),
        Reason.UNKNOWN_ACCOUNT: book.limit(0, BUY, 2, 100, 1, account=8),
        Reason.UNKNOWN_ORDER: book.reduce(99, 1),
        Reason.BAD_COMMAND: book.new(0, 2, 2, 100, 1),
        Reason.BAD_STOP: book.new(0, BUY, 2, 100, 1, stop_price=5),
        Reason.BAD_DISPLAY: book.new(0, BUY, 2, 100, 5, display=6),
        Reason.SYMBOL_BUSY: book.admin(Op.SET, Param.TICK, Scope.SYMBOL, symbol=0, value=2),
        Reason.BAD_VALUE: book.admin(Op.SET, Param.TICK, Scope.SYMBOL, symbol=1, value=0),
    }
    assert {Reason(-r) for r in refusals.values()} == set(refusals)
    events = book.drain()
    assert [(e.kind, e.reason) for e in events] == [(EventKind.REJECTED, reason) for reason in refusals]
    assert (book.levels(0, SELL), book.open_orders, book.rejects) == (levels, live, len(refusals))


def test_limits_of_size_notional_position_and_number_hold(book):
    def account(param, value):
        book.admin(Op.SET, param, Scope.ACCOUNT, account=1, value=value)

    account(Param.MAX_ORDER_QTY, 10)
    assert refusal(book.limit(0, BUY, 1, 100, 11, account=1)) == Reason.MAX_ORDER_QTY
    account(Param.MAX_NOTIONAL, 500)
    assert refusal(book.limit(0, BUY, 1, 100, 6, account=1)) == Reason.MAX_NOTIONAL
    account(Param.MAX_POSITION, 7)
    assert book.limit(0, BUY, 1, 100, 5, account=1) == 5
    assert refusal(book.limit(0, BUY, 2, 100, 3, account=1)) == Reason.POSITION_LIMIT
    assert refusal(book.replace(1, 50, 8, account=1)) == Reason.POSITION_LIMIT
    book.limit(0, SELL, 3, 100, 5, account=2)
    assert book.position(1, 0) == 5
    assert refusal(book.limit(0, BUY, 2, 100, 3, account=1)) == Reason.POSITION_LIMIT
    assert book.limit(0, SELL, 2, 110, 4, account=1) == 4
    account(Param.MAX_OPEN_ORDERS, 1)
    assert refusal(book.limit(0, SELL, 4, 110, 1, account=1)) == Reason.OPEN_ORDERS


def test_a_notional_beyond_64_bits_is_over_every_limit(book):
    book.admin(Op.SET, Param.MAX_NOTIONAL, Scope.SYMBOL, symbol=0, value=1 << 62)
    assert refusal(book.limit(0, BUY, 1, MAX_PRICE - 1, MAX_QTY)) == Reason.MAX_NOTIONAL


def test_the_order_rate_is_a_token_bucket_on_the_commands_own_clock(book):
    book.admin(Op.SET, Param.RATE_INTERVAL, Scope.ACCOUNT, account=1, value=100)
    book.admin(Op.SET, Param.RATE_BURST, Scope.ACCOUNT, account=1, value=2)

    def at(ts, order_id):
        return book.new(0, BUY, order_id, 10, 1, account=1, ts=ts)

    assert [at(1000, 1), at(1000, 2)] == [1, 1]
    assert refusal(at(1099, 3)) == Reason.ORDER_RATE
    assert at(1100, 3) == 1
    assert refusal(at(1100, 4)) == Reason.ORDER_RATE
    assert refusal(at(0, 4)) == Reason.ORDER_RATE, "a clock that steps back gives no tokens"
    assert book.new(0, BUY, 9, 10, 1, account=2, ts=1100) == 1


def test_the_collar_holds_orders_near_the_last_price(book):
    book.limit(0, SELL, 1, 100, 1)
    book.ioc(0, BUY, 2, 100, 1)
    book.admin(Op.SET, Param.COLLAR, Scope.SYMBOL, symbol=0, value=5)
    assert refusal(book.limit(0, BUY, 3, 106, 1)) == Reason.COLLAR
    assert refusal(book.limit(0, SELL, 3, 94, 1)) == Reason.COLLAR
    book.limit(0, SELL, 4, 105, 1)
    book.limit(0, SELL, 5, 106, 1)
    book.drain()
    assert book.market(0, BUY, 6, 2) == 1, "a market order reaches as far as the collar"
    assert traded(book) == [(6, 4, 105, 1)]


def test_each_kill_state_refuses_what_it_says(book):
    book.limit(0, BUY, 1, 100, 9, account=1)

    def state(value, scope=Scope.ALL, account=0):
        book.admin(Op.KILL, value, scope, account=account)

    state(Kill.NO_NEW_ENTRIES)
    assert refusal(book.limit(0, BUY, 2, 100, 1)) == Reason.NO_NEW_ENTRIES
    assert book.replace(1, 101, 9, account=1) == 9
    state(Kill.OFF)
    state(Kill.CANCEL_ONLY, Scope.ACCOUNT, account=1)
    assert refusal(book.replace(1, 102, 9, account=1)) == Reason.CANCEL_ONLY
    assert book.reduce(1, 1, account=1) == 8
    assert book.limit(0, BUY, 2, 99, 1, account=2) == 1, "other accounts trade on"
    state(Kill.HALT)
    assert refusal(book.cancel(1, account=1)) == Reason.HALTED
    assert book.admin(Op.MASS_CANCEL, 0, Scope.ALL) == 2
    assert book.open_orders == 0


def test_mass_cancel_takes_an_accounts_or_a_symbols_orders_and_waits_for_room():
    book = MatchingBook(symbols=2, orders=200, events=16, accounts=4)
    for i in range(200):
        book.new(i % 2, SELL, i, 100 + i, 1, account=1 + i % 3)
        book.drain()
    command = np.zeros(1, COMMAND)
    command["op"], command["option"], command["account"] = Op.MASS_CANCEL, Scope.ACCOUNT, 2
    events, rounds = [], 0
    while book.process(words(command)) == 0:
        events += book.drain()
        rounds += 1
    events += book.drain()
    assert rounds > 3
    assert [e.order_id for e in events[:-1]] == [i for i in range(200) if i % 3 == 1]
    assert (events[-1].kind, events[-1].qty) == (EventKind.DONE, len(events) - 1)
    assert book.open_orders == 200 - 67


def test_a_full_book_refuses_new_orders_until_one_leaves():
    book = MatchingBook(1, orders=2, events=64)
    book.limit(0, BUY, 1, 10, 1)
    book.limit(0, BUY, 2, 11, 1)
    assert refusal(book.limit(0, BUY, 3, 12, 1)) == Reason.BOOK_FULL
    assert book.replace(1, 9, 1) == 1
    assert book.ioc(0, SELL, 4, 9, 1) == 0
    assert book.limit(0, BUY, 3, 12, 1) == 1


def test_an_order_whose_events_no_buffer_could_hold_is_refused_and_one_that_fits_waits():
    book = MatchingBook(1, orders=32, events=32)
    for order_id in range(20):
        book.limit(0, SELL, order_id, 100 + order_id, 1)
        book.drain()
    assert refusal(book.market(0, BUY, 99, 20)) == Reason.EVENTS_FULL
    assert book.open_orders == 20
    book.drain()
    assert book.market(0, BUY, 98, 10) == 0
    with pytest.raises(EventsFullError, match="drain it"):
        book.market(0, BUY, 97, 10)
    book.drain()
    assert book.market(0, BUY, 97, 10) == 0


def test_after_the_start_no_memory_is_taken_and_nodes_are_used_again():
    tracemalloc = pytest.importorskip("tracemalloc")
    book = MatchingBook(1, orders=1000, events=4096)
    rng = np.random.default_rng(5)
    batch = np.zeros(2000, COMMAND)
    batch["op"][:1000], batch["op"][1000:] = Op.NEW, Op.CANCEL
    batch["side"][:1000] = rng.integers(0, 2, 1000)
    batch["order_id"] = np.tile(np.arange(1000), 2)
    batch["price"], batch["qty"] = 1000 + rng.integers(-50, 50, 2000), 5
    rows = words(batch)
    for _ in range(2):
        book.process(rows)
        book.drain_array()
    fresh = int(book.arena[H_FRESH // 8])
    pages = resident_pages()
    tracemalloc.start()
    for _ in range(300):
        book.process(rows)
        book.drain_array()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 4096, "Python objects stayed behind"
    assert resident_pages() - pages < 64, "the process has grown by memory that Python does not see"
    assert book.arena[H_FRESH // 8] == fresh, "nodes that were given back were not used again"
    assert book.open_orders == 0
    assert book.arena[H_FREE // 8] != 0


def resident_pages() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])


@pytest.mark.parametrize(
    "sizes", [(0, 1, 16, 1), (5000, 1, 16, 1), (1, 0, 16, 1), (1, 1, 1, 1), (1, 1, 16, 0), (1, 1, 16, 70_000)]
)
def test_an_engine_of_senseless_size_is_refused(sizes):
    with pytest.raises(ValueError, match=r"holds|at least 16"):
        MatchingBook(*sizes)


def test_commands_of_another_shape_are_refused(book):
    with pytest.raises(ValueError, match="rows of 8 int64"):
        book.process(np.zeros((3, 5), np.int64))
    with pytest.raises(ValueError, match="rows of 8 int64"):
        book.process(np.zeros((6, 8), np.int64)[::2])
