"""Stories of the matching book: who trades with whom, at what price, and what is refused without a trace."""

import numpy as np
import pytest

from baretick.matching import (
    BUY,
    NO_ASK,
    NO_BID,
    REASONS,
    SELF_TRADE_CANCEL,
    SELL,
    TICKS,
    EventsFullError,
    MatchingBook,
)


@pytest.fixture
def book() -> MatchingBook:
    return MatchingBook(symbols=2, orders=64, events=64)


def traded(book: MatchingBook) -> list[tuple[int, int, int, int]]:
    return [(e.taker_id, e.maker_id, e.price, e.qty) for e in book.drain()]


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
    assert book.resting == 0


def test_reduce_keeps_the_place_in_the_queue_and_replace_loses_it(book):
    for order_id in (1, 2, 3):
        book.limit(0, SELL, order_id, 100, 10)
    assert book.reduce(1, 4) == 6
    assert book.replace(2, 100, 10) == 10
    assert [(o.order_id, o.qty) for o in book.queue(0, 100)] == [(1, 6), (3, 10), (2, 10)]
    assert book.reduce(3, 10) == 0
    assert [o.order_id for o in book.queue(0, 100)] == [1, 2]


def test_a_replace_that_crosses_trades_under_its_own_id(book):
    book.limit(0, SELL, 1, 105, 2)
    book.limit(0, BUY, 2, 100, 5)
    assert book.replace(2, 105, 5) == 3
    assert traded(book) == [(2, 1, 105, 2)]
    assert book.best_bid(0) == 105


def test_immediate_or_cancel_and_market_orders_never_rest(book):
    book.limit(0, SELL, 1, 100, 5)
    assert book.ioc(0, BUY, 2, 99, 3) == 3
    assert book.market(0, BUY, 3, 7) == 2
    assert traded(book) == [(3, 1, 100, 5)]
    assert book.resting == 0
    assert book.market(0, SELL, 4, 1) == 1


def test_symbols_do_not_meet(book):
    book.limit(0, SELL, 1, 100, 5)
    assert book.limit(1, BUY, 2, 100, 5) == 5
    assert book.pending == 0


def test_two_orders_of_one_account_do_not_trade_the_resting_one_is_cancelled(book):
    book.limit(0, SELL, 1, 100, 5, account=7)
    book.limit(0, SELL, 2, 100, 5, account=8)
    assert book.limit(0, BUY, 3, 100, 6, account=7) == 1
    own, other = book.drain()
    assert (own.kind, own.maker_id, own.qty) == (SELF_TRADE_CANCEL, 1, 5)
    assert (other.maker_id, other.qty) == (2, 5)


@pytest.mark.parametrize("order_id", [0, -1, 1, 2**63 - 1, -(2**63), 1 << 40, (1 << 40) + 8])
def test_any_64_bit_id_is_an_order_id(book, order_id):
    assert book.limit(0, BUY, order_id, 5, 1) == 1
    assert book.cancel(order_id) == 0
    assert REASONS[book.cancel(order_id)] == "unknown_id"


def test_the_edges_of_the_price_window_are_prices_and_what_lies_beyond_is_refused(book):
    assert book.limit(0, BUY, 1, 0, 1) == 1
    assert book.limit(0, SELL, 2, TICKS - 1, 1) == 1
    assert (book.best_bid(0), book.best_ask(0)) == (0, TICKS - 1)
    for price in (-1, TICKS, 2**62):
        assert REASONS[book.limit(0, BUY, 3, price, 1)] == "price_outside_window"
        assert REASONS[book.replace(1, price, 1)] == "price_outside_window"
    assert book.market(0, SELL, 4, 2) == 1
    assert book.best_bid(0) == NO_BID


def test_a_refusal_names_its_reason_and_changes_nothing(book):
    book.limit(0, SELL, 1, 100, 5, account=1)
    before = book.arena.copy()
    refusals = {
        "bad_quantity": book.limit(0, BUY, 2, 100, 0),
        "duplicate_id": book.limit(0, BUY, 1, 100, 1),
        "unknown_symbol": book.limit(2, BUY, 2, 100, 1),
        "bad_account": book.limit(0, BUY, 2, 100, 1, account=40_000),
        "price_outside_window": book.limit(0, BUY, 2, TICKS, 1),
        "unknown_id": book.reduce(99, 1),
    }
    assert {REASONS[code] for code in refusals.values()} == set(refusals)
    assert book.rejects == 1
    assert book.invalid == 5
    changed = np.flatnonzero(before != book.arena)
    assert len(changed) == 2, "only the two counters of refusals may differ"


def test_a_full_book_refuses_new_orders_until_one_leaves():
    book = MatchingBook(1, orders=2, events=8)
    book.limit(0, BUY, 1, 10, 1)
    book.limit(0, BUY, 2, 11, 1)
    assert REASONS[book.limit(0, BUY, 3, 12, 1)] == "book_full"
    assert book.replace(1, 9, 1) == 1
    assert book.ioc(0, SELL, 4, 9, 1) == 0
    assert book.limit(0, BUY, 3, 12, 1) == 1
    assert book.resting == 2


def test_an_order_with_more_fills_than_event_records_left_is_refused_whole():
    book = MatchingBook(1, orders=8, events=3)
    for order_id in range(1, 5):
        book.limit(0, SELL, order_id, 100 + order_id, 1)
    assert REASONS[book.market(0, BUY, 9, 4)] == "events_full"
    assert book.pending == 0
    assert book.resting == 4
    assert book.market(0, BUY, 9, 3) == 0
    assert REASONS[book.market(0, BUY, 10, 1)] == "events_full"
    assert len(book.drain()) == 3
    assert book.market(0, BUY, 10, 1) == 0


def test_a_stream_that_outgrows_the_event_buffer_of_a_small_book_says_which_row():
    rows = [(0, 0, 1, i, 100, 1) for i in range(1, 5)] + [(0, 5, 0, 9, 0, 4)]
    stream = np.array(rows, np.int64)
    assert MatchingBook(1, orders=8, events=4).run(stream).trades == 4
    with pytest.raises(EventsFullError, match="row 4 needs more than the 3 event records"):
        MatchingBook(1, orders=8, events=3).run(stream)


def test_a_stream_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="rows of 6 int64"):
        MatchingBook(1).run(np.zeros((3, 5), np.int64))


@pytest.mark.parametrize(("symbols", "orders", "events"), [(0, 1, 1), (5000, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_book_of_senseless_size_is_refused(symbols, orders, events):
    with pytest.raises(ValueError, match=r"book holds|at least one"):
        MatchingBook(symbols, orders, events)


def test_looking_outside_the_window_is_an_error_not_a_wild_read(book):
    with pytest.raises(IndexError):
        book.level_qty(0, TICKS)
    with pytest.raises(IndexError):
        list(book.queue(2, 0))
