"""How fast the matching engine is: nanoseconds an order over a stream, at depth, and a call from Python.

Run with `pytest tests/bench -s`. Times are printed; what is judged is that the work was really done, by the streams'
fingerprints, and ratios measured in one run.
"""

import hashlib
import time

import numpy as np
import pytest

from baretick.matching import kernel
from baretick.matching.book import Fingerprint, MatchingBook
from baretick.matching.layout import H_FRESH
from tests.support import orders

REPEATS = 5
BATCH = 4096


def replay(arena, commands, cycles=None):
    """Execute all commands in batches, dropping the events; CPU seconds."""
    began = time.process_time()
    for first in range(0, len(commands), BATCH):
        part, at = commands[first : first + BATCH], 0
        while at < len(part):
            if cycles is None:
                at = kernel.process(arena, part, at)
            else:
                at = kernel.process_timed(arena, part, at, cycles[first : first + BATCH])
            kernel.drained(arena)
    return time.process_time() - began


def fresh(symbols, open_orders, events=1 << 17):
    """An engine whose pages exist already."""
    book = MatchingBook(symbols, orders=open_orders, events=events, accounts=64)
    book.arena[:] = book.arena.copy()
    return book


def report(capsys, text):
    with capsys.disabled():
        print(f"\n{text}")


@pytest.mark.parametrize("name", sorted(orders.STREAMS | orders.LONG_STREAMS))
def test_a_stream_of_orders(name, capsys):
    pinned = (orders.STREAMS | orders.LONG_STREAMS)[name]
    stream = orders.make(pinned.seed, pinned.events, pinned.symbols)
    assert hashlib.sha256(stream.tobytes()).hexdigest() == pinned.sha256
    commands = orders.commands(stream)
    assert fresh(pinned.symbols, 1 << 17).run(commands) == Fingerprint(*pinned[4:])
    seconds = min(replay(fresh(pinned.symbols, 1 << 17).arena, commands) for _ in range(REPEATS))
    cycles = np.zeros(len(commands), np.int64)
    began = time.perf_counter()
    replay(fresh(pinned.symbols, 1 << 17).arena, commands, cycles)
    ns_a_cycle = (time.perf_counter() - began) * 1e9 / cycles.sum()
    p50, p99, p999 = np.percentile(cycles, [50, 99, 99.9]) * ns_a_cycle
    rate = len(commands) / seconds / 1e6
    text = f"{name}: mean {seconds / len(commands) * 1e9:.1f} ns an order ({rate:.1f} M/s)"
    report(capsys, f"{text}; p50 {p50:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} ns")


def test_a_million_resting_orders_take_a_line_each_and_cancel_at_depth_costs_little_more(capsys):
    stream = orders.make_deep(44, 1_000_000, cancels=True)
    added, everything = orders.DEEP["deep_add"], orders.DEEP["deep_all"]
    assert hashlib.sha256(stream.tobytes()).hexdigest() == everything.sha256
    commands = orders.commands(stream)
    half = len(commands) // 2
    book = MatchingBook(1, orders=1 << 20, accounts=64)
    assert book.run(commands[:half]) == Fingerprint(*added[4:])
    nodes = int(book.arena[H_FRESH // 8]) - 1
    grown = 64 * nodes + 8 * (1 << 21)
    assert book.run(commands[half:]) == Fingerprint(*everything[4:])
    book = fresh(1, 1 << 20)
    rest = replay(book.arena, commands[:half]) / half
    deep = replay(book.arena, commands[half:]) / half
    shallow_book = fresh(1, 1 << 20)
    shallow = orders.commands(shallow_stream(stream))
    replay(shallow_book.arena, shallow)
    one = replay(shallow_book.arena, shallow) / len(shallow)
    report(
        capsys,
        f"1 M resting orders: {grown / 1e6:.0f} MB ({64 * nodes / half:.1f} B an order, {grown / half:.1f} with its "
        f"table); rest {rest * 1e9:.0f} ns, cancel {deep * 1e9:.0f} ns; rest or cancel when shallow {one * 1e9:.0f} ns",
    )
    assert nodes <= half * 1.01
    assert grown < 100e6


def shallow_stream(stream):
    """The same orders, each cancelled right after it came."""
    half = len(stream) // 2
    out = np.repeat(stream[: half // 10], 2, axis=0)
    out[1::2, 1] = orders.CANCEL
    return out


def test_one_call_from_python(capsys):
    book = MatchingBook(1, orders=1024, events=1024)
    count = 50_000

    def rest_and_cancel():
        for i in range(count // 2):
            kernel.submit(book.arena, 1, i, 100, 1, 0, 0, 0, 0)
            kernel.submit(book.arena, 2, i, 0, 0, 0, 0, 0, 0)
            if i % 100 == 0:
                book.drain_array()

    def timed(work):
        began = time.process_time()
        work()
        return time.process_time() - began

    best = min(timed(rest_and_cancel) for _ in range(REPEATS))
    report(capsys, f"one call: {best / count * 1e9:.0f} ns to rest or cancel")
    assert book.open_orders == 0
