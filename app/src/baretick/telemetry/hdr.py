"""Latency histograms in the HdrHistogram bucket layout, recorded on hot paths without allocation.

    h = HdrHistogram(digits=3)
    h.record(1_250)                  # from Python
    hdr.record(h.cells, ns)          # from compiled code, the same memory: a shift, a count, four words of header
    h.percentile(99.9)               # right to `digits` decimal digits

The layout is that of the HdrHistogram family (hdrhistogram.org): a value has the bucket of its power of two and in
it one of 2**k linear sub-buckets, so every count is right to `digits` digits from 1 ns to the highest value.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from baretick.telemetry.bitcount import bit_length

Cells = np.ndarray[Any, np.dtype[np.int64]]

HEADER_WORDS: Final = 16
UNIT, HALF, MASK, HIGHEST, COUNT, SUM, MIN, MAX, ABOVE = range(9)
NO_MIN: Final = (1 << 63) - 1
HOUR_NS: Final = 3_600_000_000_000


@njit(nogil=True, cache=True, forceinline=True)
def index_of(cells, value):  # type: ignore[no-untyped-def]
    """Which count a value belongs to; value must lie in 0 .. highest."""
    bucket = bit_length(value | cells[MASK]) - cells[UNIT] - cells[HALF] - 1
    return (bucket << cells[HALF]) + (value >> (bucket + cells[UNIT]))


@njit(nogil=True, cache=True, forceinline=True)
def record(cells, value):  # type: ignore[no-untyped-def]
    """Count a duration. Below 0 counts as 0; above the highest counts as the highest, and in ABOVE."""
    value = max(value, 0)
    cells[SUM] += value
    cells[COUNT] += 1
    cells[MIN] = min(cells[MIN], value)
    cells[MAX] = max(cells[MAX], value)
    if value > cells[HIGHEST]:
        cells[ABOVE] += 1
        value = cells[HIGHEST]
    cells[HEADER_WORDS + index_of(cells, value)] += 1


@njit(nogil=True, cache=True)
def record_corrected(cells, value, interval):  # type: ignore[no-untyped-def]
    """Count a duration of a closed loop that meant to start one operation each `interval`.

    While one operation took long, those that it held up were not even started, so nobody measured them (coordinated
    omission). Count them too: each would have waited one interval less than the one before.
    """
    record(cells, value)
    if interval > 0:
        missing = value - interval
        while missing >= interval:
            record(cells, missing)
            missing -= interval


@njit(nogil=True, cache=True)
def record_all(cells, values, ns_per_unit):  # type: ignore[no-untyped-def]
    """Count an array of durations in any unit, for what was kept as raw ticks."""
    for i in range(values.shape[0]):
        record(cells, np.int64(values[i] * ns_per_unit))


class HdrHistogram:
    """Counts of durations in nanoseconds, 0 to `highest`, right to `digits` (1 to 5) decimal digits."""

    __slots__ = ("_view", "cells", "counts", "digits")

    def __init__(self, digits: int = 2, highest: int = HOUR_NS, lowest: int = 1) -> None:
        if not 1 <= digits <= 5:
            raise ValueError(f"digits={digits}: a histogram keeps 1 to 5 decimal digits")
        if lowest < 1 or highest < 2 * lowest or highest >= 1 << 62:
            raise ValueError(f"lowest={lowest}, highest={highest}: need 1 <= lowest, 2 * lowest <= highest < 2**62")
        unit = lowest.bit_length() - 1
        half = max((2 * 10**digits - 1).bit_length(), 1) - 1
        smallest_untrackable, buckets = 2 << half << unit, 1
        while smallest_untrackable <= highest:
            smallest_untrackable <<= 1
            buckets += 1
        self.digits = digits
        self.cells: Cells = np.zeros(HEADER_WORDS + ((buckets + 1) << half), np.int64)
        self.counts = self.cells[HEADER_WORDS:]
        # A memoryview adds to a cell four times faster than numpy's own indexing from Python.
        self._view = memoryview(self.cells)
        self.cells[[UNIT, HALF, MASK, HIGHEST, MIN]] = unit, half, ((2 << half) - 1) << unit, highest, NO_MIN

    def record(self, ns: int) -> None:
        """Count a duration from Python; `hdr.record(h.cells, ns)` does the same in compiled code."""
        view, value = self._view, max(ns, 0)
        view[SUM] += value
        view[COUNT] += 1
        if value < view[MIN]:
            view[MIN] = value
        if value > view[MAX]:
            view[MAX] = value
        if value > view[HIGHEST]:
            view[ABOVE] += 1
            value = view[HIGHEST]
        bucket = (value | view[MASK]).bit_length() - view[UNIT] - view[HALF] - 1
        view[HEADER_WORDS + (bucket << view[HALF]) + (value >> (bucket + view[UNIT]))] += 1

    def record_corrected(self, ns: int, interval: int) -> None:
        """As the function of that name: also count what a slow operation kept from starting."""
        record_corrected(self.cells, ns, interval)

    def add(self, other: "HdrHistogram") -> None:
        """Add all of another histogram of the same layout; ValueError if the layouts differ."""
        if not np.array_equal(self.cells[:COUNT], other.cells[:COUNT]):
            raise ValueError("histograms of different range or digits cannot be added")
        self.counts += other.counts
        for word in (COUNT, SUM, ABOVE):
            self._view[word] += other._view[word]
        self._view[MIN] = min(self._view[MIN], other._view[MIN])
        self._view[MAX] = max(self._view[MAX], other._view[MAX])

    def reset(self) -> None:
        """Forget everything recorded."""
        self.counts[:] = 0
        self.cells[[COUNT, SUM, MIN, MAX, ABOVE]] = 0, 0, NO_MIN, 0, 0

    @property
    def count(self) -> int:
        return self._view[COUNT]

    @property
    def sum_ns(self) -> int:
        return self._view[SUM]

    @property
    def min_ns(self) -> int:
        """The shortest duration, exact; 0 when nothing was recorded."""
        return self._view[MIN] if self.count else 0

    @property
    def max_ns(self) -> int:
        """The longest duration, exact."""
        return self._view[MAX]

    @property
    def above(self) -> int:
        """How many durations lay above the highest and were counted there."""
        return self._view[ABOVE]

    @property
    def mean_ns(self) -> float:
        return self.sum_ns / self.count if self.count else 0.0

    @property
    def stdev_ns(self) -> float:
        """Standard deviation, from the middle of each bucket."""
        if not self.count:
            return 0.0
        used = np.flatnonzero(self.counts)
        middle = np.array([(lo + hi + 1) / 2 for lo, hi in map(self.bounds, used.tolist())])
        return math.sqrt(float(np.average((middle - self.mean_ns) ** 2, weights=self.counts[used])))

    def bounds(self, index: int) -> tuple[int, int]:
        """The smallest and the largest value that a count stands for."""
        half = self._view[HALF]
        bucket, sub = (index >> half) - 1, (index & ((1 << half) - 1)) + (1 << half)
        if bucket < 0:
            bucket, sub = 0, sub - (1 << half)
        shift = bucket + self._view[UNIT]
        return sub << shift, ((sub + 1) << shift) - 1

    def percentile(self, p: float) -> int:
        """A duration that p percent of the records do not exceed, right to `digits`; 0 when nothing was recorded."""
        if not 0 < p <= 100:
            raise ValueError(f"percentile {p}: must be above 0 and at most 100")
        return int(self.percentiles([p])[0])

    def percentiles(self, levels: list[float]) -> Cells:
        """`percentile` of many levels in one pass."""
        if not self.count:
            return np.zeros(len(levels), np.int64)
        # The fudge keeps 99.9 % of 1000 at 999 when the product comes out a hair above.
        ranks = np.ceil(np.asarray(levels) / 100 * self.count * (1 - 1e-15)).clip(1, self.count)
        at = np.searchsorted(np.cumsum(self.counts), ranks)
        return np.array([min(self.bounds(int(i))[1], self.max_ns) for i in at], np.int64)

    def count_up_to(self, ns: int) -> int:
        """How many records lie at or below a duration, up to its bucket's width."""
        if ns < 0:
            return 0
        return int(self.counts[: int(index_of(self.cells, min(ns, self._view[HIGHEST]))) + 1].sum())

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound in seconds, how many at or below) at each power of two from 1 us to 17 s, for Prometheus."""
        sums = np.cumsum(self.counts)
        bounds = [(1 << k) - 1 for k in range(10, 35)]
        return [(b / 1e9, int(sums[index_of(self.cells, min(b, self._view[HIGHEST]))])) for b in bounds]
