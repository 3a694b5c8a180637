"""Garbage in, a reason out: whatever 64 bytes a command is made of, it ends in an event and leaves the book whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from baretick.matching import snapshot
from baretick.matching.book import MatchingBook
from baretick.matching.records import COMMAND, EVENT, RECORD_BYTES, EventKind, Op, Reason, from_words, words

EXTREMES = np.array([0, 1, -1, 2, 63, 64, 1 << 48, -(1 << 48), 1 << 61, (1 << 63) - 1, -(1 << 63)], np.int64)


def drive(book, rows):
    """Execute all rows, draining as need be; returns the events."""
    at, events = 0, []
    while at < len(rows):
        before = at
        at = book.process(rows, at)
        drained = book.drain_records().copy()
        assert at > before or len(drained), "neither a command was executed nor an event drained: it hangs"
        events.append(drained)
    return np.concatenate(events) if events else np.zeros(0, EVENT)


def whole(book):
    """The book is not crossed, and its counters agree with a walk over it."""
    for symbol in range(book.symbols):
        bids, asks = book.levels(symbol, 0), book.levels(symbol, 1)
        assert not (bids and asks) or bids[0][0] < asks[0][0]
        for side, levels in ((0, bids), (1, asks)):
            assert sorted(levels, reverse=side == 0) == levels
            assert all(qty == sum(o.qty for o in book.queue(symbol, price)) > 0 for price, qty in levels)


def check(book, rows):
    events = drive(book, rows)
    assert (np.diff(events["seq"].astype(np.int64)) == 1).all()
    assert set(np.unique(events["kind"])) <= set(EventKind)
    assert set(np.unique(events["reason"])) <= set(Reason)
    refused = events[events["kind"] == EventKind.REJECTED]
    assert (refused["reason"] > 0).all()
    assert set(range(len(rows))) <= set(events["command"].tolist()), "each command is answered"
    whole(book)
    snapshot.restore(snapshot.save(book.arena))


def test_random_bytes_are_refused_or_executed_but_never_crash_or_hang():
    rng = np.random.default_rng(11)
    book = MatchingBook(3, orders=200, events=600, accounts=5)
    for _ in range(20):
        rows = rng.integers(-(1 << 63), (1 << 63) - 1, (500, 8), np.int64, endpoint=True)
        rows[:, 0] = np.arange(500)
        check(book, rows)
    assert book.rejects > 9_000


def test_nearly_valid_commands_with_one_field_spoilt_leave_the_book_whole():
    rng = np.random.default_rng(12)
    book = MatchingBook(3, orders=100, events=600, accounts=5)
    for _ in range(30):
        n = 400
        batch = np.zeros(n, COMMAND)
        batch["op"] = rng.choice([Op.NEW] * 8 + [Op.CANCEL, Op.REDUCE, Op.REPLACE, Op.MASS_CANCEL, Op.SET, Op.KILL], n)
        admin = batch["op"] >= Op.KILL
        batch["order_id"] = rng.integers(0, 60, n)
        batch["price"], batch["qty"] = rng.integers(95, 106, n), rng.integers(1, 20, n)
        batch["side"], batch["kind"] = rng.integers(0, 2, n), np.where(admin, 0, rng.integers(0, 5, n))
        batch["option"] = np.where(admin, 1, rng.choice([0, 0, 0, 1, 2, 3], n))
        batch["stop_price"] = np.where(batch["option"] > 0, rng.integers(95, 106, n), 0)
        batch["display"] = np.where(rng.random(n) < 0.2, rng.integers(1, 6, n), 0)
        batch["price"][(batch["kind"] == 4) & ~admin] = 0
        batch["symbol"], batch["account"] = rng.integers(0, 3, n), rng.integers(0, 5, n)
        batch["seq"] = np.arange(n)
        rows = words(batch)
        spoilt = rng.choice(n, n // 3, replace=False)
        rows[spoilt, rng.integers(1, 7, len(spoilt))] = rng.choice(EXTREMES, len(spoilt))
        raw = rows.view(np.uint8).reshape(n, RECORD_BYTES)
        spoilt = rng.choice(n, n // 8, replace=False)
        raw[spoilt, rng.integers(56, 64, len(spoilt))] = rng.integers(0, 256, len(spoilt))
        check(book, rows)


@settings(max_examples=200)
@given(
    hnp.arrays(np.int64, (4, 8), elements=st.one_of(st.sampled_from(EXTREMES.tolist()), st.integers(-300, 300))),
    st.lists(st.integers(0, 8), min_size=4, max_size=4),
)
def test_extreme_values_in_every_field_are_answered(rows, ops):
    rows[:, 0] = range(4)
    raw = rows.view(np.uint8).reshape(4, RECORD_BYTES)
    raw[:, 56] = ops
    raw[:, 57:60] %= 6
    raw[:, 60:] %= 3
    check(MatchingBook(2, orders=4, events=64, accounts=2), rows)


def test_zeroed_memory_is_no_command():
    book = MatchingBook(1)
    drive(book, np.zeros((2, 8), np.int64))
    assert (book.rejects, book.open_orders) == (2, 0)


def test_records_are_the_same_memory_by_field_and_by_word():
    batch = np.zeros(2, COMMAND)
    rows = words(batch)
    batch["price"] = [7, 8]
    assert rows[:, 3].tolist() == [7, 8]
    assert from_words(rows, COMMAND)["price"].tolist() == [7, 8]
    assert COMMAND.itemsize == EVENT.itemsize == 64
