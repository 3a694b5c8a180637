"""The L2 part of the benchmark: level updates of a stream, and our L2Book over them.

The updates are what the bare book's levels do under the stream: rows (ts, 0, symbol*2 + side, 0, price, new quantity
at that price). The digest folds the touch after each update, then all levels, so a book that is wrong for one moment
is found out.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import time
from typing import Any

import numpy as np
from numba import njit

from baretick.bench import bare
from baretick.bench.measure import CURVE_LEVELS, dense
from baretick.book import L2Book
from baretick.events import SNAPSHOT, UPDATE, BookEvent
from baretick.telemetry import HdrHistogram

Rows = np.ndarray[Any, np.dtype[np.int64]]
NO_ASK = (1 << 63) - 1


@njit(cache=True)
def _derive(s, rows, out):
    n = 0
    for i in range(rows.shape[0]):
        op, tag, x = rows[i, 1], rows[i, 2], rows[i, 3]
        touched = np.int64(-1)
        if s.orders[x, 3] != 0:
            touched, tag = np.int64(s.orders[x, 2]), np.int64(s.orders[x, 3]) - 1
        s.counters[0] = 0
        bare.apply(s, op, rows[i, 2], x, rows[i, 4], rows[i, 5])
        base = (tag >> 1) * bare.TICKS
        if touched >= 0:
            n = _note(out, n, rows[i, 0], tag, touched - base, s.totals[touched, 1])
        last = np.int64(-1)
        for k in range(s.counters[0]):
            price = s.trades[k, 2]
            if price != last:
                # What is left of the taker may rest where the last maker was: that is not the makers' side any more.
                head = s.levels[base + price, 0]
                theirs = head != 0 and (s.orders[head, 3] - 1) & 1 != tag & 1
                n = _note(out, n, rows[i, 0], tag ^ 1, price, s.totals[base + price, 1] if theirs else 0)
            last = price
        if s.orders[x, 3] != 0 and np.int64(s.orders[x, 2]) != touched:
            level = np.int64(s.orders[x, 2])
            n = _note(out, n, rows[i, 0], tag, level - base, s.totals[level, 1])
    return n


@njit(cache=True)
def _note(out, n, ts, tag, price, qty):
    out[n, 0], out[n, 1], out[n, 2], out[n, 3], out[n, 4], out[n, 5] = ts, 0, tag, 0, price, qty
    return n + 1


def updates(rows: Rows, symbols: int, limit: int = 1 << 62) -> Rows:
    """The first `limit` level updates that a stream causes; prices must lie in the bare book's window."""
    stream = dense(rows)
    book = bare.allocate(symbols, int(stream[:, 3].max()), len(rows) + 1)
    out = np.zeros((6 * len(rows), 6), np.int64)
    return np.ascontiguousarray(out[: min(_derive(book, stream, out), limit)])


@njit(cache=True)
def _fold(h, values):
    for x in values:
        h = bare.fold(h, x)
    return h


def measure(rows: Rows, symbols: int) -> dict[str, Any]:
    """Our L2Book over updates, one event each: digests as the peers fold them, CPU time an update, latencies."""
    events = [
        BookEvent("bench", "bench", "S", ts, ts, n + 1, n, UPDATE, False,
                  [] if tag & 1 else [(price, qty)], [(price, qty)] if tag & 1 else [])
        for n, (ts, _, tag, _, price, qty) in enumerate(rows.tolist())
    ]  # fmt: skip
    which = (rows[:, 2] >> 1).tolist()
    # One sequence over all symbols: each book is told what came before it.
    last = [0] * symbols
    for n, (symbol, event) in enumerate(zip(which, events, strict=True)):
        event.seq, event.prev_seq, last[symbol] = n + 1, last[symbol], n + 1

    def fresh() -> list[L2Book]:
        books = [L2Book() for _ in range(symbols)]
        for book in books:
            book.apply(BookEvent("bench", "bench", "S", 0, 0, 0, 0, SNAPSHOT, False, [], []))
        return books

    means = []
    for _ in range(3):
        work = [
            (books[symbol].apply, event) for books in [fresh()] for symbol, event in zip(which, events, strict=True)
        ]
        began = time.thread_time_ns()
        for apply, event in work:
            apply(event)
        means.append((time.thread_time_ns() - began) / len(events))
    histogram, books = HdrHistogram(3), fresh()
    tops = bare.FNV_BASIS
    touches = np.zeros((len(events), 4), np.int64)
    for n, (symbol, event) in enumerate(zip(which, events, strict=True)):
        book = books[symbol]
        began = time.perf_counter_ns()
        book.apply(event)
        histogram.record(time.perf_counter_ns() - began)
        touches[n] = (*(book.best_bid or (-1, 0)), *(book.best_ask or (NO_ASK, 0)))
    tops = _fold(tops, touches.ravel())
    levels = [x for book in books for side in (1, 2) for level in book.levels(side) for x in level]
    return {
        "events": len(events),
        "tophash": f"{int(tops):016x}",
        "levelhash": f"{int(_fold(bare.FNV_BASIS, np.array(levels, np.int64))):016x}",
        "mean_ns": min(means),
        "median_mean_ns": sorted(means)[1],
        "max_ns": histogram.max_ns,
        "curve": [float(v) for v in histogram.percentiles([max(p, 1e-9) for p in CURVE_LEVELS])],
    }
