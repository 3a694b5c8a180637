"""The pre-trade limit: no order passes that could break a limit, and one can always get out of a position."""

from hypothesis import given
from hypothesis import strategies as st

from baretick import risk
from baretick.config import RiskConfig
from baretick.events import BUY, SELL
from baretick.risk import RiskGate, TokenBucket

PRICE = 50_000 * 10**10
COIN = 10**8
SECOND = 10**9


def gate(order: float = 5_000, position: float = 20_000, rate: float = 50) -> RiskGate:
    return RiskGate(RiskConfig(max_order_notional=order, max_position_notional=position, max_orders_per_s=rate))


def test_an_order_at_its_limit_passes_and_one_unit_more_is_refused():
    assert gate().check(BUY, PRICE, COIN // 10, 0, 0, 0) is None
    assert gate().check(BUY, PRICE, COIN // 10 + 1, 0, 0, 0) == risk.ORDER_NOTIONAL


def test_an_order_that_would_lead_beyond_the_position_limit_is_refused():
    held = COIN * 4 // 10
    assert gate().check(BUY, PRICE, 1, held, 0, 0) == risk.POSITION_NOTIONAL
    assert gate().check(SELL, PRICE, 1, -held, 0, 0) == risk.POSITION_NOTIONAL
    assert gate().check(BUY, PRICE, 1, held - 1, 0, 0) is None


def test_what_already_works_in_the_market_counts_as_held():
    assert gate().check(BUY, PRICE, COIN // 10, 0, COIN * 3 // 10, 0) is None
    assert gate().check(BUY, PRICE, COIN // 10, 0, COIN * 3 // 10 + 1, 0) == risk.POSITION_NOTIONAL


def test_one_can_get_out_even_when_the_price_has_carried_the_position_over_its_limit():
    assert gate().check(SELL, PRICE, COIN // 10, COIN, 0, 0) is None
    assert gate().check(BUY, PRICE, COIN // 10, COIN, 0, 0) == risk.POSITION_NOTIONAL


def test_the_kill_switch_refuses_everything_and_keeps_its_first_cause():
    g = gate()
    g.kill("operator")
    g.kill("later")
    assert g.check(SELL, PRICE, 1, COIN, 0, 0) == risk.KILLED
    assert g.killed_by == "operator"
    g.release()
    assert g.check(SELL, PRICE, 1, COIN, 0, 0) is None


def test_an_order_without_price_or_quantity_is_refused():
    assert gate().check(BUY, 0, 1, 0, 0, 0) == risk.BAD_ORDER
    assert gate().check(BUY, PRICE, 0, 0, 0, 0) == risk.BAD_ORDER


def test_orders_beyond_the_rate_are_refused_until_time_has_passed():
    g = gate(rate=10)
    passed = [g.check(BUY, PRICE, 1, 0, 0, SECOND) for _ in range(12)]
    assert passed == [None] * 10 + [risk.ORDER_RATE] * 2
    assert g.check(BUY, PRICE, 1, 0, 0, SECOND + SECOND // 10) is None
    assert g.check(BUY, PRICE, 1, 0, 0, SECOND + SECOND // 10) == risk.ORDER_RATE


def test_a_refused_order_takes_no_token():
    g = gate(rate=1)
    assert g.check(BUY, PRICE, COIN, 0, 0, 0) == risk.ORDER_NOTIONAL
    assert g.check(BUY, PRICE, 1, 0, 0, 0) is None


@given(
    rate=st.integers(1, 1000),
    steps=st.lists(st.integers(-SECOND // 10, SECOND), min_size=1, max_size=300),
)
def test_in_any_second_no_more_than_two_bursts_pass_whatever_the_clock_does(rate, steps):
    """One burst may be saved up, one more is earned during the second; a clock that steps back earns nothing."""
    bucket, now, furthest, passed = TokenBucket(rate), 0, 0, []
    for step in steps:
        now = max(0, now + step)
        furthest = max(furthest, now)
        if bucket.take(now):
            passed.append(furthest)
    for i, start in enumerate(passed):
        assert sum(start <= t < start + SECOND for t in passed[i:]) <= 2 * rate + 1


@given(
    side=st.sampled_from([BUY, SELL]),
    price=st.integers(1, 10**16),
    qty=st.integers(1, 10**12),
    position=st.integers(-(10**12), 10**12),
    working=st.integers(0, 10**12),
)
def test_no_accepted_order_can_break_a_limit_that_held_before(side, price, qty, position, working):
    g = gate()
    if g.check(side, price, qty, position, working, 0) is None:
        after = position + (working + qty if side == BUY else -working - qty)
        assert price * qty <= 5_000 * risk.NOTIONAL_SCALE
        assert abs(after) * price <= 20_000 * risk.NOTIONAL_SCALE or abs(after) <= abs(position)
