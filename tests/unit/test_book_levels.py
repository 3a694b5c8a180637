"""L2Book against a plain dictionary, and the rules by which updates continue each other."""

from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.book import L2Book
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent

levels = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=30)
sides = st.tuples(levels, levels)


def event(seq: int, prev: int, bids=(), asks=(), kind: int = UPDATE) -> BookEvent:
    return BookEvent("s", "v", "X", 1, 2, seq, prev, kind, False, list(bids), list(asks))


class Model:
    """The obvious book: two dictionaries."""

    def __init__(self, bids, asks) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.put(bids, asks)

    def put(self, bids, asks) -> None:
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, qty in changes:
                side[price] = qty
            for price in [p for p, q in side.items() if not q]:
                del side[price]

    def check(self, book: L2Book) -> None:
        bids = sorted(self.bids.items(), reverse=True)
        asks = sorted(self.asks.items())
        assert book.levels(BUY) == bids
        assert book.levels(SELL) == asks
        assert book.best_bid == (bids[0] if bids else None)
        assert book.best_ask == (asks[0] if asks else None)
        assert book.top(3) == (bids[:3], asks[:3])
        assert book.depth() == (len(bids), len(asks))
        assert all(book.qty_at(BUY, p) == self.bids.get(p, 0) for p in range(62))
        assert all(book.qty_at(SELL, p) == self.asks.get(p, 0) for p in range(62))


@given(sides, st.lists(sides, max_size=20))
def test_book_equals_a_dictionary_after_any_updates(snapshot, updates) -> None:
    book = L2Book()
    # A snapshot names a price once.
    first = [list(dict(side).items()) for side in snapshot]
    model = Model(*first)
    assert book.apply(event(0, -1, *first, kind=SNAPSHOT)) is None
    model.check(book)
    for i, (bids, asks) in enumerate(updates, 1):
        assert book.apply(event(i, i - 1, bids, asks)) is None
        model.put(bids, asks)
        model.check(book)


def test_nothing_is_valid_before_the_first_snapshot() -> None:
    book = L2Book()
    assert book.apply(event(5, 4, [(1, 1)])) is None
    assert not book.valid
    assert book.best_bid is None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True))
def test_any_lost_update_is_a_fault_and_ends_validity_until_a_snapshot(lost) -> None:
    book = L2Book()
    book.apply(event(0, -1, [(10, 1)], [(11, 1)], SNAPSHOT))
    first_fault = None
    for i in range(1, 32):
        if i - 1 in lost:
            continue
        fault = book.apply(event(i, i - 1, [(10, i)]))
        if fault is not None:
            assert first_fault is None, "only the first update after a hole is a fault"
            first_fault = fault
            assert not book.valid
    expect_fault = min(lost) + 1 < 31 and any(i - 1 not in lost for i in range(min(lost) + 1, 32))
    assert (first_fault is not None) == expect_fault
    if first_fault is not None:
        assert first_fault.reason == "sequence"
        assert first_fault.expected == min(lost)
    book.apply(event(100, -1, [(7, 7)], [], SNAPSHOT))
    assert book.valid
    assert book.apply(event(101, 100)) is None
    assert book.best_bid == (7, 7)


def test_a_message_without_changes_keeps_the_sequence() -> None:
    # OKX sends one a minute on a quiet book, with prevSeqId == seqId; and after maintenance seqId may fall.
    book = L2Book()
    book.apply(event(50, -1, [(1, 1)], [(2, 1)], SNAPSHOT))
    assert book.apply(event(50, 50)) is None
    assert book.apply(event(3, 50)) is None
    assert book.apply(event(5, 3)) is None
    assert book.valid


@settings(max_examples=200)
@given(st.data())
def test_a_snapshot_joins_the_stream_wherever_it_falls(data) -> None:
    """Binance: updates before, across and after the snapshot give the book of the whole stream."""
    futures = data.draw(st.booleans())
    updates, truth, at = [], [], 0
    model = Model([], [])
    for _ in range(data.draw(st.integers(1, 15))):
        prev = at
        first = prev + 1 + (data.draw(st.integers(0, 5)) if futures else 0)
        at = first + data.draw(st.integers(0, 4))
        bids, asks = data.draw(sides)
        model.put(bids, asks)
        truth.append((at, dict(model.bids), dict(model.asks)))
        updates.append(event(at, prev, bids, asks))
    # The snapshot shows the state after update k, under any id up to where the next one begins.
    k = data.draw(st.integers(0, len(updates) - 1))
    last_id, bids, asks = truth[k]
    snapshot = event(last_id, -1, bids.items(), asks.items(), SNAPSHOT)
    heard_from = data.draw(st.integers(0, k + 1))  # the stream was opened before the snapshot was made
    arrives = data.draw(st.integers(heard_from, len(updates)))  # and the answer came after some more updates
    book = L2Book(bridged=True)
    for update in updates[heard_from:arrives]:
        assert book.apply(update) is None
        assert not book.valid
    assert book.apply(snapshot) is None
    assert book.valid
    for update in updates[arrives:]:
        assert book.apply(update) is None
    model.check(book)
    assert book.stale == len([u for u in updates[heard_from:] if u.seq <= last_id])


def test_a_snapshot_inside_an_update_is_joined_by_it() -> None:
    # U <= lastUpdateId + 1 <= u: quantities are absolute, so the part that it contains is said again, unchanged.
    book = L2Book(bridged=True)
    book.apply(event(110, 100, [(10, 4)]))
    assert book.apply(event(105, -1, [(10, 1)], [(12, 1)], SNAPSHOT)) is None
    assert book.best_bid == (10, 4)
    assert book.apply(event(120, 110, [(11, 1)])) is None
    assert book.best_bid == (11, 1)


def test_a_snapshot_older_than_the_stream_is_refused_and_a_newer_one_accepted() -> None:
    book = L2Book(bridged=True)
    book.apply(event(110, 100, [(10, 4)]))
    book.apply(event(120, 110, [(11, 4)]))
    fault = book.apply(event(90, -1, [(9, 9)], [], SNAPSHOT))
    assert fault is not None
    assert fault.reason == "snapshot is older than the updates"
    assert not book.valid
    assert book.apply(event(105, -1, [(10, 1)], [], SNAPSHOT)) is None
    assert book.valid
    assert book.best_bid == (11, 4)


def test_after_a_gap_the_updates_from_the_gap_on_are_kept_for_the_next_snapshot() -> None:
    book = L2Book(bridged=True)
    book.apply(event(10, -1, [(10, 1)], [], SNAPSHOT))
    assert book.apply(event(11, 10)) is None
    fault = book.apply(event(15, 13, [(20, 2)]))
    assert fault is not None and (fault.expected, fault.got) == (11, 13)
    book.apply(event(16, 15, [(21, 2)]))
    assert book.apply(event(14, -1, [(10, 9)], [], SNAPSHOT)) is None
    assert book.levels(BUY) == [(21, 2), (20, 2), (10, 9)]


def test_losing_the_connection_forgets_what_was_kept() -> None:
    book = L2Book(bridged=True)
    book.apply(event(11, 10, [(1, 1)]))
    book.invalidate()
    assert book.apply(event(5, -1, [(2, 2)], [], SNAPSHOT)) is None
    assert book.levels(BUY) == [(2, 2)]


def test_checksum_alternates_and_then_takes_the_longer_side() -> None:
    # The example of OKX's documentation for a book with more asks than bids.
    book = L2Book()
    bids, asks = [("3366.1", "7")], [("3366.8", "9"), ("3368", "8"), ("3372", "8")]
    texts = ([f"{p}:{q}" for p, q in bids], [f"{p}:{q}" for p, q in asks])
    book.apply(
        event(0, -1, [(33661, 7)], [(33668, 9), (33680, 8), (33720, 8)], SNAPSHOT),
        texts,
    )
    from zlib import crc32

    expected = crc32(b"3366.1:7:3366.8:9:3368:8:3372:8")
    assert book.checksum() & 0xFFFFFFFF == expected
    assert book.verify(book.checksum()) is None
    assert book.checksum_ok is True
    fault = book.verify(book.checksum() ^ 1)
    assert fault is not None and fault.reason == "checksum"
    assert not book.valid and book.checksum_ok is False
