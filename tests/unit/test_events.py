"""The event model: nothing of a price is lost on the way in, and every event survives the wire."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baretick.events import (
    BUY,
    PRICE_DECIMALS,
    QTY_DECIMALS,
    TOPIC_OF,
    UPDATE,
    BookEvent,
    Event,
    Fill,
    Gap,
    OrderEvent,
    ScaleError,
    Ticker,
    Trade,
    decode,
    encode,
    from_scaled,
    to_scaled,
)

int64 = st.integers(-(2**63), 2**63 - 1)
levels = st.lists(st.tuples(int64, int64), max_size=5)
text = st.text(max_size=12)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Trade, text, text, text, int64, int64, int64, int64, int64, st.sampled_from([1, 2])),
    st.builds(
        BookEvent, text, text, text, int64, int64, int64, int64, st.sampled_from([1, 2]), st.booleans(), levels, levels
    ),
    st.builds(Ticker, text, text, text, int64, int64, int64, int64, int64, int64, int64),
    st.builds(Gap, text, text, text, int64, int64, int64, text),
    st.builds(OrderEvent, text, text, text, int64, int64, st.just(BUY), int64, int64, int64, text, text, int64),
    st.builds(Fill, text, text, text, int64, int64, int64, st.just(BUY), int64, int64, st.booleans()),
)


@given(EVENTS)
def test_every_event_survives_the_wire(event: Event) -> None:
    assert decode(encode(event)) == event
    assert type(event) in TOPIC_OF


@given(st.binary(max_size=64))
def test_garbage_on_the_wire_is_refused_and_never_crashes(data: bytes) -> None:
    try:
        event = decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return
    assert type(event) in TOPIC_OF


@given(st.integers(0, 10**15), st.sampled_from([PRICE_DECIMALS, QTY_DECIMALS]))
def test_a_decimal_text_comes_back_exactly(value: int, decimals: int) -> None:
    written = format(from_scaled(value, decimals), "f")
    assert to_scaled(written, decimals) == value
    assert Decimal(written) == from_scaled(value, decimals)


def test_trailing_zeros_beyond_the_scale_are_no_loss() -> None:
    assert to_scaled("0.100000000000", QTY_DECIMALS) == 10**7


@pytest.mark.parametrize("bad", ["0.123456789", "1e5", "", "abc", "99999999999999"])
def test_what_the_scale_cannot_hold_is_refused_by_name(bad: str) -> None:
    with pytest.raises(ScaleError, match=repr(bad)):
        to_scaled(bad, QTY_DECIMALS)


def test_an_update_is_told_from_a_snapshot() -> None:
    event = BookEvent("s", "okx", "BTC-USDT", 1, 2, 3, 2, UPDATE, False, [(1, 0)], [])
    again = decode(encode(event))
    assert isinstance(again, BookEvent) and again.kind == UPDATE and again.bids == [(1, 0)]
