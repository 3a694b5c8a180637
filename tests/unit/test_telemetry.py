"""The latency histogram: every duration is counted once, and percentiles are right to a sixteenth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baretick.telemetry import LatencyHistogram
from baretick.telemetry.histogram import BUCKETS, bucket_of, upper_bound

durations = st.integers(0, 1 << 39)


def test_buckets_follow_one_another_without_hole_or_overlap():
    for bucket in range(BUCKETS - 1):
        assert bucket_of(upper_bound(bucket)) == bucket
        assert bucket_of(upper_bound(bucket) + 1) == bucket + 1


@given(durations)
def test_a_bucket_is_at_most_a_sixteenth_wider_than_what_it_counts(ns):
    assert ns <= upper_bound(bucket_of(ns)) <= ns + ns // 16


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0.1, 100))
def test_percentiles_agree_with_a_sorted_list_to_a_sixteenth(records, p):
    histogram = LatencyHistogram()
    for ns in records:
        histogram.record(ns)
    exact = sorted(records)[-int(-len(records) * p // 100) - 1]
    assert exact <= histogram.percentile(p) <= exact + exact // 16
    assert histogram.count == len(records)
    assert histogram.sum_ns == sum(records)
    assert histogram.max_ns == max(records)


def test_what_lies_outside_the_range_is_counted_at_its_ends():
    histogram = LatencyHistogram()
    histogram.record(-5)
    histogram.record(1 << 60)
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1


def test_prometheus_buckets_grow_and_end_with_all_records():
    histogram = LatencyHistogram()
    for ns in (500, 1_023, 1_024, 50_000, 2_000_000):
        histogram.record(ns)
    cells = histogram.cumulative()
    assert cells[0] == (1_023 / 1e9, 2)
    assert [n for _, n in cells] == sorted(n for _, n in cells)
    assert cells[-1][1] == 5


def test_an_empty_histogram_has_no_latency_and_a_senseless_percentile_is_refused():
    assert LatencyHistogram().percentile(99) == 0
    with pytest.raises(ValueError, match="percentile 0"):
        LatencyHistogram().percentile(0)
