"""How fast the matching book is: nanoseconds an order over a stream, and microseconds a call from Python.

Run with `pytest tests/bench -s`. The figures are printed, not judged: on a shared machine an absolute time means
little. What is judged is that the work was really done, by the stream's fingerprint.
"""

import time

import numpy as np
import pytest

from baretick.matching import BUY, SELL, Fingerprint, MatchingBook, kernel
from tests.data import orders

REPEATS = 5


def best_of(work) -> float:
    """The shortest CPU time of several runs: other tenants of the machine can only add to it."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("name", sorted(orders.STREAMS))
def test_a_stream_of_a_million_orders(name, capsys):
    pinned = orders.STREAMS[name]
    stream = orders.make(pinned.seed, pinned.events, pinned.symbols)
    book = MatchingBook(pinned.symbols, orders=1 << 17, events=400_000)
    fresh = book.arena.copy()
    assert book.run(stream) == Fingerprint(*pinned[4:])

    def once():
        book.arena[:] = fresh
        return kernel.run(book.arena, stream, 0)

    def copy_only():
        book.arena[:] = fresh

    seconds = best_of(once) - best_of(copy_only)
    copy_only()
    cycles = np.zeros(len(stream), np.int64)
    began = time.perf_counter()
    assert kernel.run_timed(book.arena, stream, 0, cycles) == len(stream)
    ns_a_cycle = (time.perf_counter() - began) * 1e9 / cycles.sum()
    p50, p99, p999 = np.percentile(cycles, [50, 99, 99.9]) * ns_a_cycle
    with capsys.disabled():
        print(
            f"\n{name}: mean {seconds / len(stream) * 1e9:.1f} ns an order "
            f"({len(stream) / seconds / 1e6:.1f} M/s); p50 {p50:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} ns"
        )


def test_one_call_from_python(capsys):
    book = MatchingBook(1, orders=1024, events=1024)
    count = 100_000

    def rest_and_cancel():
        for i in range(count // 2):
            book.limit(0, BUY, i, 100, 1)
            book.cancel(i)

    def trade():
        for i in range(count // 2):
            book.limit(0, SELL, i, 100, 1)
            book.ioc(0, BUY, -1 - i, 100, 1)
            book.drain_array()

    rest_and_cancel()
    trade()
    with capsys.disabled():
        print(f"\none call: {best_of(rest_and_cancel) / count * 1e6:.2f} us to rest or cancel", end=", ")
        print(f"{best_of(trade) / count * 1e6:.2f} us with every second one trading and drained")
    assert book.resting == 0
