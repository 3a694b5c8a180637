"""The signal: a microprice that stays inside the spread, and an average whose memory is time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baretick.signals import DecayedMean, MicropriceSignal, microprice

SECOND = 10**9
prices = st.integers(1, 10**15)
qtys = st.integers(0, 10**15)


@given(bid=prices, spread=st.integers(0, 10**12), bid_qty=qtys, ask_qty=qtys)
def test_the_microprice_lies_between_bid_and_ask(bid, spread, bid_qty, ask_qty):
    assert bid <= microprice(bid, bid_qty, bid + spread, ask_qty) <= bid + spread


def test_the_microprice_leans_away_from_the_heavier_side():
    assert microprice(100, 3, 102, 1) == 101.5
    assert microprice(100, 1, 102, 3) == 100.5
    assert microprice(100, 0, 102, 0) == 101


def test_after_a_half_life_half_of_the_mean_is_new():
    mean = DecayedMean(2.0)
    mean.update(100.0, 0)
    assert mean.update(200.0, 2 * SECOND) == pytest.approx(150.0)


@given(splits=st.lists(st.integers(1, SECOND), min_size=1, max_size=30))
def test_the_mean_does_not_depend_on_how_often_a_constant_price_is_reported(splits):
    often, once = DecayedMean(1.0), DecayedMean(1.0)
    often.update(100.0, 0)
    once.update(100.0, 0)
    now = 0
    for step in splits:
        now += step
        often.update(110.0, now)
    assert often.value == pytest.approx(once.update(110.0, now))


@given(values=st.lists(st.floats(1, 1e6), min_size=1, max_size=40), steps=st.lists(st.integers(-SECOND, SECOND)))
def test_the_mean_stays_among_the_values_seen_even_if_the_clock_steps_back(values, steps):
    mean, now = DecayedMean(0.5), SECOND
    for value, step in zip(values, steps + [0] * len(values), strict=False):
        now += step
        mean.update(value, now)
    assert min(values) * (1 - 1e-9) <= mean.value <= max(values) * (1 + 1e-9)


def test_no_direction_is_given_before_the_average_has_listened_for_a_half_life():
    signal = MicropriceSignal(1.0, 1.0)
    assert signal.update(10_000, 1, 10_002, 1, 0) == 0
    assert signal.update(20_000, 1, 20_002, 1, SECOND // 2) == 0
    assert signal.update(40_000, 1, 40_002, 1, SECOND) == 1


def test_it_buys_above_and_sells_below_the_average_by_more_than_the_threshold():
    for move, direction in ((+30, 1), (-30, -1), (+5, 0), (-5, 0)):
        signal = MicropriceSignal(1.0, 10.0)
        signal.update(99_999, 1, 100_001, 1, 0)
        signal.update(99_999, 1, 100_001, 1, 2 * SECOND)
        price = 100_000 + move * 10
        assert signal.update(price - 1, 1, price + 1, 1, 2 * SECOND + 1) == direction


def test_after_a_reset_it_listens_anew():
    signal = MicropriceSignal(1.0, 1.0)
    signal.update(10_000, 1, 10_002, 1, 0)
    signal.update(10_000, 1, 10_002, 1, 2 * SECOND)
    signal.reset()
    assert signal.update(20_000, 1, 20_002, 1, 3 * SECOND) == 0
    assert signal.value_bps == 0.0


def test_a_half_life_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        DecayedMean(0)
