"""Telemetry: histograms count what HdrHistogram counts, percentiles are right, clocks agree with the system's."""

import time

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram as Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys

from baretick.telemetry import HdrHistogram, clock, export, hdr

durations = st.integers(0, hdr.HOUR_NS)
digits = st.integers(1, 5)


def test_buckets_follow_one_another_without_hole_or_overlap():
    for keep in (1, 2, 3):
        histogram = HdrHistogram(keep)
        above = -1
        for index in range(len(histogram.counts)):
            low, high = histogram.bounds(index)
            assert low == above + 1
            above = high
            if high <= hdr.HOUR_NS:
                assert hdr.index_of(histogram.cells, low) == hdr.index_of(histogram.cells, high) == index


@given(digits, st.integers(1, 1000), st.lists(durations, min_size=1, max_size=50))
def test_every_value_is_counted_where_hdrhistogram_counts_it(keep, lowest, values):
    ours, theirs = HdrHistogram(keep, lowest=lowest), Reference(lowest, hdr.HOUR_NS, keep)
    assert len(ours.counts) == theirs.counts_len
    for value in values:
        ours.record(value)
        assert theirs.record_value(value)
    used = np.flatnonzero(ours.counts).tolist()
    assert {i: int(ours.counts[i]) for i in used} == {i: theirs.counts[i] for i in used}
    assert ours.count == theirs.get_total_count()
    for index in used:
        low, high = ours.bounds(index)
        assert low == theirs.get_lowest_equivalent_value(low)
        assert high == theirs.get_highest_equivalent_value(low)


@given(st.lists(durations, min_size=1, max_size=200), st.integers(1, 10**9))
def test_compiled_recording_and_recording_from_python_give_the_same_cells(values, interval):
    compiled, python = HdrHistogram(), HdrHistogram()
    for value in values:
        hdr.record(compiled.cells, value)
        python.record(value)
    assert np.array_equal(compiled.cells, python.cells)


@given(st.lists(st.integers(0, 1 << 39), min_size=1, max_size=200), st.floats(0.1, 100), digits)
def test_percentiles_agree_with_a_sorted_list_to_the_digits_kept(values, p, keep):
    histogram = HdrHistogram(keep)
    for value in values:
        histogram.record(value)
    exact = sorted(values)[-int(-len(values) * p // 100) - 1]
    assert exact <= histogram.percentile(p) <= exact + exact / 10**keep + 1
    assert (histogram.count, histogram.sum_ns) == (len(values), sum(values))
    assert (histogram.min_ns, histogram.max_ns) == (min(values), max(values))


@given(st.integers(0, 100_000), st.integers(500, 100_000))
def test_expected_interval_correction_counts_one_operation_for_each_interval_missed(value, interval):
    histogram, expected = HdrHistogram(5), HdrHistogram(5)
    histogram.record_corrected(value, interval)
    for waited in [value, *(value - k * interval for k in range(1, value // interval))]:
        expected.record(waited)
    assert np.array_equal(histogram.cells, expected.cells)


def test_one_stall_in_a_closed_loop_shows_only_when_the_omitted_operations_are_counted():
    plain, corrected = HdrHistogram(3), HdrHistogram(3)
    for ns in [1_000] * 9_999 + [100_000_000]:  # one operation each 10 us is due; one of them takes 100 ms
        plain.record(ns)
        corrected.record_corrected(ns, 10_000)
    assert plain.percentile(99.9) < 2_000
    assert corrected.percentile(99.9) > 90_000_000


def test_recording_in_compiled_code_allocates_nothing():
    @njit
    def storm(cells, n):
        for i in range(n):
            hdr.record(cells, i * 7919 % 1_000_003)

    _nrt_python.memsys_enable_stats()
    histogram = HdrHistogram(3)
    allocations = []
    for n in (1, 1, 1_000_000):  # the first call compiles; handing the array over costs each the same
        before = rtsys.get_allocation_stats().alloc
        storm(histogram.cells, n)
        allocations.append(rtsys.get_allocation_stats().alloc - before)
    assert allocations[1] == allocations[2]
    assert histogram.count == 1_000_002


def test_what_lies_outside_the_range_is_counted_at_its_ends():
    histogram = HdrHistogram(2)
    histogram.record(-5)
    histogram.record(1 << 60)
    assert (histogram.min_ns, histogram.max_ns, histogram.above) == (0, 1 << 60, 1)
    assert histogram.counts[0] == 1
    assert histogram.count == int(histogram.counts.sum()) == 2


def test_histograms_add_up_and_a_different_layout_is_refused():
    a, b, both = HdrHistogram(), HdrHistogram(), HdrHistogram()
    for i in range(1000):
        (a if i % 3 else b).record(i * i)
        both.record(i * i)
    a.add(b)
    assert np.array_equal(a.cells, both.cells)
    a.reset()
    assert np.array_equal(a.cells, HdrHistogram().cells)
    with pytest.raises(ValueError, match="different range"):
        a.add(HdrHistogram(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"digits": 0}, "1 to 5"), ({"lowest": 0}, "lowest=0"), ({"highest": 1}, "highest=1")],
)
def test_a_senseless_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HdrHistogram(**arguments)


def test_an_empty_histogram_has_no_latency_and_a_senseless_percentile_is_refused():
    assert HdrHistogram().percentile(99) == 0
    assert HdrHistogram().min_ns == 0
    with pytest.raises(ValueError, match="percentile 0"):
        HdrHistogram().percentile(0)


def test_prometheus_buckets_grow_and_end_with_all_records():
    histogram = HdrHistogram()
    for ns in (500, 1_023, 1_024, 50_000, 2_000_000):
        histogram.record(ns)
    (sample,) = {s.value for s in export.prometheus("x", "y", histogram).samples if s.labels.get("le") == "+Inf"}
    cells = histogram.cumulative()
    assert cells[0] == (1_023 / 1e9, 2)
    assert [n for _, n in cells] == sorted(n for _, n in cells)
    assert cells[-1][1] == sample == 5


@settings(max_examples=30)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300))
def test_the_hgrm_table_halves_what_is_left_every_five_rows_and_ends_with_all(values):
    histogram = HdrHistogram(3)
    for value in values:
        histogram.record(value)
    text = export.hgrm(histogram)
    rows = [[float(c) for c in line.split()] for line in text.splitlines() if line and line.split()[0][0].isdigit()]
    shares = [row[1] for row in rows]
    assert shares[:-1] == sorted(shares[:-1])
    assert rows[-1][0] == max(values)
    assert rows[-1][1:] == [1.0, len(values)]
    for value, share, seen in (row[:3] for row in rows[:-1]):
        assert share * len(values) - 1e-6 <= seen == histogram.count_up_to(int(value))
    if len(values) > 20:
        assert shares[:7] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55])
    assert f"TotalCount     = {len(values):12d}]" in text


def test_ticks_calibrate_to_the_systems_clock():
    calibration = clock.calibrate()
    clock.read_ticks()
    began, t0 = time.monotonic_ns(), clock.read_ticks()
    time.sleep(0.05)
    elapsed, ticks = time.monotonic_ns() - began, clock.read_ticks() - t0
    assert calibration.ns(ticks) == pytest.approx(elapsed, rel=0.01)
    assert calibration.ticks_of(calibration.ns(12_345)) == 12_345
    assert abs(calibration.epoch_ns(clock.read_ticks()) - time.time_ns()) < 5_000_000
    assert calibration.uncertainty_ppm < 1000
    with pytest.raises(ValueError, match="seconds=0"):
        clock.calibrate(0)


def test_ticks_never_go_back():
    @njit
    def backwards(n):
        last, wrong = clock.ticks_ordered(), 0
        for _ in range(n):
            now = clock.ticks_ordered()
            wrong += now < last
            last = now
        return wrong

    assert backwards(100_000) == 0


def test_a_counter_that_may_stop_is_not_trusted(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu tsc constant_tsc\n")
    assert not clock.invariant_tsc(cpuinfo)
    assert not clock.invariant_tsc(tmp_path / "missing")
