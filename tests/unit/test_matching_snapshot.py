"""A snapshot gives back the engine to the byte, and damaged ones are refused; feeds agree with the book they follow."""

import numpy as np
import pytest

from baretick.matching import digest, feeds, snapshot
from baretick.matching.book import MatchingBook
from baretick.matching.layout import allocate
from baretick.matching.records import COMMAND, EventKind, Kind, Op, words

N = 6_000


def busy(n=N, seed=3):
    """Commands of all kinds around a price that wanders."""
    rng = np.random.default_rng(seed)
    batch = np.zeros(n, COMMAND)
    batch["seq"], batch["ts"] = np.arange(1, n + 1), np.arange(n) * 1000
    batch["op"] = rng.choice([Op.NEW] * 6 + [Op.CANCEL, Op.REDUCE, Op.REPLACE, Op.REPLACE], n)
    batch["order_id"] = np.where(batch["op"] == Op.NEW, np.arange(n), rng.integers(0, n, n) * np.arange(n) // n)
    batch["account"] = batch["order_id"] % 7
    batch["symbol"], batch["side"] = rng.integers(0, 2, n), rng.integers(0, 2, n)
    middle = 1000 + np.cumsum(rng.integers(-1, 2, n)) // 4
    batch["price"] = middle + rng.integers(-9, 10, n)
    batch["qty"] = rng.integers(1, 60, n)
    batch["kind"] = rng.choice([Kind.GTC] * 8 + [Kind.IOC, Kind.FOK, Kind.POST_ONLY], n)
    batch["option"] = rng.choice([0] * 12 + [1, 2, 3], n)
    batch["stop_price"] = np.where((batch["option"] > 0) & (batch["op"] == Op.NEW), middle, 0)
    batch["display"] = np.where((rng.random(n) < 0.2) & (batch["kind"] == Kind.GTC), batch["qty"] // 3 + 1, 0)
    return words(batch)


def events_of(book, rows):
    at, out = 0, []
    while at < len(rows):
        at = book.process(rows, at)
        out.append(book.drain_records().copy())
    return np.concatenate(out)


def engine():
    return MatchingBook(2, orders=N, events=20_000, accounts=8)


def test_what_is_restored_behaves_the_same_to_the_last_byte_of_its_events():
    rows = busy()
    first = engine()
    assert len(set(events_of(first, rows[: N // 2])["kind"].tolist())) >= 8
    saved = snapshot.save(first.arena)
    second = MatchingBook.over(snapshot.restore(saved))
    assert snapshot.last_command(saved) == N // 2
    assert digest.fold_state(first.arena) == digest.fold_state(second.arena)
    assert events_of(first, rows[N // 2 :]).tobytes() == events_of(second, rows[N // 2 :]).tobytes()
    assert snapshot.save(first.arena) == snapshot.save(second.arena)


def test_the_same_commands_give_the_same_bytes_however_often_events_are_drained():
    rows = busy()
    whole, small = engine(), MatchingBook(2, orders=N, events=900, accounts=8)
    assert events_of(whole, rows).tobytes() == events_of(small, rows).tobytes()
    assert digest.fold_state(whole.arena) == digest.fold_state(small.arena)


def test_a_small_engine_makes_a_small_snapshot():
    book = MatchingBook(8, orders=1 << 20)
    book.limit(0, 0, 1, 100, 1)
    book.drain_array()
    assert len(snapshot.save(book.arena)) < 200_000


@pytest.mark.parametrize("where", [0, 9, 40, 110, 4_000, -1])
def test_a_damaged_snapshot_is_refused(where):
    book = engine()
    events_of(book, busy(300))
    saved = bytearray(snapshot.save(book.arena))
    saved[where] ^= 0x10
    with pytest.raises(snapshot.SnapshotError):
        snapshot.restore(bytes(saved))


@pytest.mark.parametrize("cut", [0, 50, 111, -1])
def test_a_cut_snapshot_is_refused(cut):
    saved = snapshot.save(engine().arena)
    with pytest.raises(snapshot.SnapshotError):
        snapshot.restore(saved[:cut])


def test_an_engine_with_events_waiting_cannot_be_saved():
    book = engine()
    book.limit(0, 0, 1, 1, 1)
    with pytest.raises(snapshot.SnapshotError, match="drain"):
        snapshot.save(book.arena)


def test_memory_of_another_size_is_refused():
    with pytest.raises(snapshot.SnapshotError, match="takes"):
        snapshot.restore(snapshot.save(engine().arena), allocate(1, 1, 1, 16))


def test_feeds_made_from_events_alone_show_the_book_that_the_engine_has():
    book, market = engine(), feeds.MarketData(2)
    mirror = {}
    rows, volume = busy(), 0
    for first in range(0, N, 500):
        at = 0
        part = np.ascontiguousarray(rows[first : first + 500])
        while at < len(part):
            at = book.process(part, at)
            events = book.drain_records().copy()
            market.apply(events)
            volume += int(feeds.trades(events)["qty"].sum())
            for change in market.take_changes():
                mirror[change[:3]] = change.qty
        for symbol in (0, 1):
            bids, asks = book.levels(symbol, 0), book.levels(symbol, 1)
            assert market.depth(symbol, 1 << 20) == (bids, asks)
            top = market.top(symbol)
            assert (top.bid, top.bid_qty) == (bids[0] if bids else (None, 0))
            assert (top.ask, top.ask_qty) == (asks[0] if asks else (None, 0))
            for side, levels in ((0, bids), (1, asks)):
                kept = {p: q for (s, d, p), q in mirror.items() if (s, d) == (symbol, side) and q}
                assert kept == dict(levels)
    assert volume > 0


def test_a_hole_in_the_events_is_noticed():
    book, market = engine(), feeds.MarketData(2)
    events = events_of(book, busy(100))
    market.apply(events[:10])
    with pytest.raises(ValueError, match="missing"):
        market.apply(events[11:])
    assert EventKind.TRADE in events["kind"]
