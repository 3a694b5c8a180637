"""The engine agrees with other matching engines, order by order, over a million commands, with everything on."""

import hashlib

import numpy as np
import pytest

from baretick.matching.book import Fingerprint, MatchingBook
from baretick.matching.records import MAX_QTY, Op, Param, Scope
from tests.support import orders


def wide_open(symbols, **sizes):
    """An engine whose every limit is set, and out of the way."""
    book = MatchingBook(symbols, accounts=64, **sizes)
    for account in range(64):
        for param, value in [
            (Param.MAX_ORDER_QTY, MAX_QTY - 1),
            (Param.MAX_NOTIONAL, 1 << 62),
            (Param.MAX_POSITION, MAX_QTY - 1),
            (Param.MAX_OPEN_ORDERS, 1 << 30),
            (Param.RATE_INTERVAL, 1),
            (Param.RATE_BURST, 1000),
        ]:
            assert book.admin(Op.SET, param, Scope.ACCOUNT, account=account, value=value) == 0
    for symbol in range(symbols):
        assert book.admin(Op.SET, Param.COLLAR, Scope.SYMBOL, symbol=symbol, value=1 << 40) == 0
    book.drain_array()
    return book


@pytest.mark.parametrize("name", sorted(orders.STREAMS))
def test_a_million_commands_end_in_the_trades_and_the_book_that_other_engines_give(name):
    pinned = orders.STREAMS[name]
    stream = orders.make(pinned.seed, pinned.events, pinned.symbols)
    assert hashlib.sha256(stream.tobytes()).hexdigest() == pinned.sha256, "the generator has changed"
    commands = orders.commands(stream)
    # The event buffer is smaller than what some orders could need: they are walked first, or wait for a drain.
    book = wide_open(pinned.symbols, orders=100_000, events=5_000)
    assert book.run(commands) == Fingerprint(*pinned[4:])
    assert book.rejects == book.unknown
    bought = sum(book.position(a, s) for a in range(2, 64, 2) for s in range(pinned.symbols))
    sold = sum(book.position(a, s) for a in range(3, 64, 2) for s in range(pinned.symbols))
    assert (bought, sold) == (pinned.volume, -pinned.volume)


def test_ids_that_share_their_low_bits_cost_no_correctness():
    stream = orders.make(7, 50_000, 2)
    plain = wide_open(2, orders=50_000).run(orders.commands(stream))
    commands = orders.commands(stream)
    commands[:, 2] <<= 34
    scattered = wide_open(2, orders=50_000).run(commands)
    assert (scattered.trades, scattered.volume, scattered.resting, scattered.rejects) == (
        plain.trades,
        plain.volume,
        plain.resting,
        plain.rejects,
    )
    assert np.all(commands[:, 2] % (1 << 34) == 0)
