"""The book agrees with other matching engines, order by order, over a million commands."""

import hashlib

import pytest

from baretick.matching import Fingerprint, MatchingBook
from tests.data import orders


@pytest.mark.parametrize("name", sorted(orders.STREAMS))
def test_a_million_commands_end_in_the_trades_and_the_book_that_other_engines_give(name):
    pinned = orders.STREAMS[name]
    stream = orders.make(pinned.seed, pinned.events, pinned.symbols)
    assert hashlib.sha256(stream.tobytes()).hexdigest() == pinned.sha256, "the generator has changed"
    # The event buffer is smaller than the stream's trades: it is drained in between.
    book = MatchingBook(pinned.symbols, orders=100_000, events=120_000)
    assert book.run(stream) == Fingerprint(*pinned[4:])
    assert book.invalid == 0
