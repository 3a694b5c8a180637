"""Limits and counters of accounts inside the matching engine's arena: their layout, and the checks in compiled code.

One cache line holds all that an order of an account is checked against; 32 bytes more hold its position in a symbol.
A check returns 0 or the Reason of the refusal, and changes nothing: `take_token` is called when all else has passed.

Positions count open orders as filled: long limit against position + open buys, short against position - open sells.
So whatever trades next, no position ever passes its limit.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np

from baretick.matching.records import MAX_QTY, Reason
from baretick.memory import add64, inline, load32, load64, store64

Rows = np.ndarray[Any, np.dtype[np.int64]]

# Account, bytes. A_OPEN and A_MAX_OPEN are 32 bits.
ACCOUNT_BYTES: Final = 64
A_STATE, A_MAX_QTY, A_MAX_NOTIONAL, A_MAX_POSITION, A_OPEN, A_INTERVAL, A_TOLERANCE, A_FULL_AT = range(0, 64, 8)
A_STP: Final = 4  # the high half of A_STATE
A_MAX_OPEN: Final = A_OPEN + 4
STATE_MASK: Final = 0xFFFFFFFF

# Position of an account in a symbol, bytes.
POSITION_BYTES: Final = 32
P_POSITION, P_BUYS, P_SELLS, P_LIMIT = 0, 8, 16, 24

UNLIMITED: Final = (1 << 63) - 1
"""As a limit: none. A position without any limit may pass 64 bits, and wraps."""
_FLOAT_SAFE: Final = 9.0e18

MAX_ORDER_QTY = int(Reason.MAX_ORDER_QTY)
MAX_NOTIONAL = int(Reason.MAX_NOTIONAL)
POSITION_LIMIT = int(Reason.POSITION_LIMIT)
OPEN_ORDERS = int(Reason.OPEN_ORDERS)
ORDER_RATE = int(Reason.ORDER_RATE)


def open_accounts(rows: Rows) -> None:
    """Open accounts with wide limits; self-trades cancel the resting order, but those of account 0, which is no one's.

    `rows` has shape (accounts, 8).
    """
    rows[:, A_STATE // 8] = 1 << 32  # Stp.EXPIRE_MAKER
    rows[0, A_STATE // 8] = 0
    rows[:, A_MAX_QTY // 8] = MAX_QTY
    rows[:, A_MAX_NOTIONAL // 8] = UNLIMITED
    rows[:, A_MAX_POSITION // 8] = MAX_QTY
    rows[:, A_OPEN // 8] = ((1 << 31) - 1) << 32


def open_positions(rows: Rows) -> None:
    """`rows` has shape (accounts * symbols, 4)."""
    rows[:, P_LIMIT // 8] = MAX_QTY


@inline
def size_refusal(row, qty, price, max_qty, max_notional):
    """Size and notional of one order against the account's limits and the symbol's, which the caller has loaded."""
    if qty > min(max_qty, load64(row, A_MAX_QTY)):
        return MAX_ORDER_QTY
    cap = min(max_notional, load64(row, A_MAX_NOTIONAL))
    money = abs(price)
    # The product may not fit 64 bits; a float is exact enough to know when it does.
    if float(money) * float(qty) >= _FLOAT_SAFE:
        if cap != UNLIMITED:
            return MAX_NOTIONAL
    elif money * qty > cap:
        return MAX_NOTIONAL
    return 0


@inline
def position_refusal(row, pair, side, more, max_position):
    """Whether `more` open quantity on a side could take the position past the tightest of three limits."""
    if more <= 0:
        return 0
    cap = min(min(max_position, load64(row, A_MAX_POSITION)), load64(pair, P_LIMIT))
    if cap == UNLIMITED:
        return 0
    position = load64(pair, P_POSITION)
    worst = position + load64(pair, P_BUYS) if side == 0 else load64(pair, P_SELLS) - position
    return POSITION_LIMIT if worst + more > cap else 0


@inline
def open_orders_refusal(row):
    return OPEN_ORDERS if load32(row, A_OPEN) >= load32(row, A_MAX_OPEN) else 0


@inline
def rate_refusal(row, now):
    """Token bucket kept as the one instant at which it would be full again: no float drifts, no timer runs."""
    interval = load64(row, A_INTERVAL)
    if interval == 0:
        return 0
    return ORDER_RATE if max(load64(row, A_FULL_AT), now) + interval - now > load64(row, A_TOLERANCE) else 0


@inline
def take_token(row, now):
    interval = load64(row, A_INTERVAL)
    if interval != 0:
        store64(row, A_FULL_AT, max(load64(row, A_FULL_AT), now) + interval)


@inline
def book_open(pair, side, qty):
    """Open quantity of a side grows by `qty`, which may be negative."""
    add64(pair, P_BUYS + 8 * side, qty)


@inline
def book_fill(pair, side, qty):
    """A fill of `qty` on a side moves the position."""
    add64(pair, P_POSITION, qty if side == 0 else -qty)
