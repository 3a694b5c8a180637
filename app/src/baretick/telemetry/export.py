"""Histograms in the forms that other tools read: Prometheus, and HdrHistogram's `.hgrm` percentile table."""

import math
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import HistogramMetricFamily

from baretick.telemetry.hdr import HALF, HdrHistogram


def prometheus(name: str, text: str, histogram: HdrHistogram) -> HistogramMetricFamily:
    """A Prometheus histogram in seconds, with a bucket at each power of two from 1 us to 17 s."""
    cells = histogram.cumulative()
    buckets = [(f"{bound:.9g}", float(n)) for bound, n in cells] + [("+Inf", float(histogram.count))]
    metric = HistogramMetricFamily(name, text)
    metric.add_metric([], buckets=buckets, sum_value=histogram.sum_ns / 1e9)
    return metric


def levels(histogram: HdrHistogram, ticks_per_half: int = 5) -> Iterator[tuple[int, float, int]]:
    """(duration in ns, share, records at or below) towards 1.0, `ticks_per_half` rows for each halving of what is left.

    The rows of HdrHistogram's percentile iterator: they end with the share 1.0 as soon as one row has all records.
    """
    level, total = 0.0, histogram.count
    while total:
        value = histogram.percentile(level) if level else histogram.percentile(1e-9)
        seen = histogram.count_up_to(value)
        yield value, level / 100, seen
        if seen == total:
            break
        step = ticks_per_half * 2.0 ** (math.floor(math.log2(100 / (100 - level))) + 1)
        level += 100 / step
    if total:
        yield histogram.max_ns, 1.0, total


def hgrm(histogram: HdrHistogram, ticks_per_half: int = 5, unit_ns: float = 1.0) -> str:
    """The `.hgrm` text that HdrHistogram's plotters read; values in units of `unit_ns` (1000: microseconds)."""
    rows = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for value, share, seen in levels(histogram, ticks_per_half):
        row = f"{value / unit_ns:12.{histogram.digits}f} {share:2.12f} {seen:10d}"
        rows.append(f"{row} {1 / (1 - share):14.2f}" if share < 1 else row)
    mean, stdev, top = (x / unit_ns for x in (histogram.mean_ns, histogram.stdev_ns, histogram.max_ns))
    half = 1 << int(histogram.cells[HALF])
    rows += [
        f"#[Mean    = {mean:12.{histogram.digits}f}, StdDeviation   = {stdev:12.{histogram.digits}f}]",
        f"#[Max     = {top:12.{histogram.digits}f}, TotalCount     = {histogram.count:12d}]",
        f"#[Buckets = {len(histogram.counts) // half - 1:12d}, SubBuckets     = {2 * half:12d}]",
    ]
    return "\n".join(rows) + "\n"


def write_hgrm(histogram: HdrHistogram, path: Path) -> None:
    """Write the `.hgrm` file, nanoseconds."""
    path.write_text(hgrm(histogram))
