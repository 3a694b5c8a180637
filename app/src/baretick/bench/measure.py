"""Measuring passes over a stream: the mean from CPU time of whole passes, the percentiles from stamped commands.

Means are CPU time of the thread, best of several passes: what other tenants of the machine take is not counted.
Percentiles and the maximum are wall time from the time stamp counter, so preemption shows in the far tail.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from baretick.bench import bare, core
from baretick.matching.book import Fingerprint
from baretick.matching.records import Words
from baretick.telemetry import HdrHistogram, clock

MEASURED_GROWTH_FROM = 100_000
"""Open orders from which the growth of the process says what one takes; below, the fixed parts outweigh them."""


@dataclass
class Result:
    """One engine over one stream. Times in nanoseconds a command."""

    name: str
    events: int
    trades: int
    volume: int
    tradehash: str
    resting: int | None
    restqty: int | None
    bookhash: str | None
    rejects: int | None
    mean_ns: float
    median_mean_ns: float
    p50_ns: float
    p99_ns: float
    p999_ns: float
    max_ns: float
    curve: list[float]
    """Latencies at the shares 1 - 10**(-k/8), k = 0 .. 56."""
    orders_per_s: float = 0.0
    bytes_per_order: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.orders_per_s = round(1e9 / self.mean_ns, 1)

    def as_json(self) -> dict[str, Any]:
        """Everything but the curve, flat."""
        out = asdict(self)
        del out["curve"]
        return {k: v for k, v in (out | out.pop("extra")).items() if v is not None}


CURVE_LEVELS = [100 * (1 - 10 ** (-k / 8)) for k in range(57)]


def passes_for(events: int) -> int:
    return 7 if events <= 2_000_000 else 4 if events <= 8_000_000 else 2


def cpu_passes(events: int, before: Callable[[], None], work: Callable[[], Any]) -> tuple[float, float]:
    """(best, median) CPU nanoseconds a command over several passes; `before` is not counted."""
    times = []
    for _ in range(passes_for(events)):
        before()
        began = time.thread_time_ns()
        work()
        times.append((time.thread_time_ns() - began) / events)
    return min(times), float(np.median(times))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def engine(rows: Words, symbols: int, name: str = "baretick") -> tuple[Result, HdrHistogram, core.Core]:
    """Measure the engine; also its histogram, and the core for more."""
    commands = core.commands_of(rows)
    machine = core.Core(commands, symbols)
    machine.rebuild()
    base = resident_bytes()
    machine.run()
    grown = resident_bytes() - base
    digests: Fingerprint = machine.fingerprint()
    machine.fresh()
    faults = resource.getrusage(resource.RUSAGE_SELF)
    mean, median = cpu_passes(len(rows), machine.fresh, machine.run)
    after = resource.getrusage(resource.RUSAGE_SELF)
    calibration = clock.calibrate()
    histogram = HdrHistogram(3)
    machine.fresh()
    machine.profile(histogram, calibration)
    curve = histogram.percentiles([max(level, 1e-9) for level in CURVE_LEVELS])
    measured = machine.peak >= MEASURED_GROWTH_FROM
    p50, p99, p999 = (float(v) for v in histogram.percentiles([50, 99, 99.9]))
    result = Result(
        name=name,
        events=len(rows),
        trades=digests.trades,
        volume=digests.volume,
        tradehash=digests.tradehash,
        resting=digests.resting,
        restqty=digests.restqty,
        bookhash=digests.bookhash,
        rejects=digests.rejects,
        mean_ns=round(mean, 2),
        median_mean_ns=round(median, 2),
        p50_ns=p50,
        p99_ns=p99,
        p999_ns=p999,
        max_ns=float(histogram.max_ns),
        curve=[float(v) for v in curve],
        bytes_per_order=round(grown / machine.peak if measured else machine.layout_bytes, 1),
        extra={
            "bytes_per_order_from": "growth of the process" if measured else "layout of the arena",
            "growth_bytes": grown,
            "peak_open_orders": machine.peak,
            "minor_page_faults": after.ru_minflt - faults.ru_minflt,
            "major_page_faults": after.ru_majflt - faults.ru_majflt,
            "clock": calibration.source,
        },
    )
    return result, histogram, machine


def dense(rows: Words) -> Words:
    """The same stream with ids 1, 2, 3, ... in order of size, which is all that the bare book knows."""
    out = rows.copy()
    out[:, 3] = np.unique(rows[:, 3], return_inverse=True)[1] + 1
    return out


def bare_mean(rows: Words, symbols: int) -> float | None:
    """CPU nanoseconds a command of the bare book; None where prices lie outside its window."""
    if rows[:, 4].min() < 0 or rows[:, 4].max() >= bare.TICKS - 1:
        return None
    stream = dense(rows)
    book = bare.allocate(symbols, int(stream[:, 3].max()), 2 * len(rows))
    image = [part.copy() for part in book]

    def fresh() -> None:
        for part, blank in zip(book, image, strict=True):
            part[...] = blank

    bare.run(book, stream[:1])
    fresh()
    return cpu_passes(len(rows), fresh, lambda: bare.run(book, stream))[0]


def by_feature(machine: core.Core, rows: Words) -> dict[str, float]:
    """CPU nanoseconds a command as features are added one after the other, from the bare book to everything."""
    out: dict[str, float] = {}
    n = len(rows)
    least = bare_mean(rows, machine.symbols)
    if least is not None:
        out["bare book: dense ids, no events, no checks"] = least
    plain = core.Core(machine.commands, machine.symbols, machine.orders, limits=False)
    out["engine: 64-bit ids, event records, checks of every field"] = cpu_passes(
        n, plain.fresh, partial(plain.run, journal=False)
    )[0]
    out["+ risk limits, token buckets, self-trade prevention"] = cpu_passes(
        n, machine.fresh, partial(machine.run, journal=False)
    )[0]
    out["+ journal encoded, CRC-32C"] = cpu_passes(n, machine.fresh, machine.run)[0]
    histogram, calibration = HdrHistogram(3), clock.calibrate()
    out["+ two time stamps and a histogram record"] = cpu_passes(
        n, machine.fresh, lambda: machine.profile(histogram, calibration)
    )[0]
    return {name: round(value, 1) for name, value in out.items()}
