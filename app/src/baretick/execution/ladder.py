"""The market's side of the paper venue: L2 levels become resting orders of one account, in compiled code.

An L2 feed tells the quantity at a price, not the orders behind it. What is added to a level queues at its tail.
What is taken off leaves from the tail too: the cautious guess, since our orders then move up the queue only when
nothing behind them is left to leave. Decreases of a message are applied before its increases, so that a message
that moves the market never trades with what the same message removes.

`ladder` holds, for each symbol, a header and the quantity that the feed last said for each side and tick.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from baretick.matching.arena import (
    H_EVENT_COUNT,
    MAX_QTY,
    SELF_TRADE_CANCEL,
    TICKS,
    views,
)
from baretick.matching.bits import at_or_above, at_or_below
from baretick.matching.kernel import LIMIT, free, submit, unlink
from baretick.matching.table import find, remove

OUR_ACCOUNT: Final = 1
MARKET_ACCOUNT: Final = 2
FIRST_MARKET_ID: Final = 1 << 62
"""Order ids from here up are the market's; ours lie below."""

# Header of a symbol's ladder.
L_BASE, L_TICK, L_OUTSIDE, L_CROSSED, L_CLIPPED, L_FULL = 0, 1, 2, 3, 4, 5
HEADER: Final = 8
ROW: Final = HEADER + 2 * TICKS

OFF_TICK: Final = -1


def allocate(symbols: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """One row a symbol, and a last word for the next market order id."""
    ladder = np.zeros(symbols * ROW + 1, np.int64)
    ladder[-1] = FIRST_MARKET_ID
    return ladder


@njit(nogil=True, cache=True, forceinline=True)
def _account(v, x):  # type: ignore[no-untyped-def]
    return np.int64(v.orders32[x, 3]) >> 16


@njit(nogil=True, cache=True)
def _drop(v, x):  # type: ignore[no-untyped-def]
    unlink(v, x)
    remove(v, find(v, v.orders[x, 2]))
    free(v, x)


@njit(nogil=True, cache=True)
def _take_off(v, level, qty):  # type: ignore[no-untyped-def]
    """Reduce the market's orders at a level by `qty` from the tail; ours stay. Less may be there: we bought it."""
    x = np.int64(v.levels32[level, 1])
    while x != 0 and qty > 0:
        prev = np.int64(v.orders32[x, 1])
        if _account(v, x) == MARKET_ACCOUNT:
            open_qty = v.orders[x, 3]
            if open_qty > qty:
                v.orders[x, 3] = open_qty - qty
                v.levels[level, 1] -= qty
                return
            qty -= open_qty
            _drop(v, x)
        x = prev


@njit(nogil=True, cache=True)
def _add(arena, v, ladder, row, sym, side, tick, qty):  # type: ignore[no-untyped-def]
    """Queue `qty` more of the market at the tail; it may trade with ours. False if the book has no room."""
    level = sym * TICKS + tick
    x = np.int64(v.levels32[level, 1])
    if x != 0 and np.int64(v.orders32[x, 3]) == ((sym * 2 + side) | (MARKET_ACCOUNT << 16)):
        # The tail is the market's already: one larger order is the same queue, and takes no slot.
        v.orders[x, 3] += qty
        v.levels[level, 1] += qty
        return True
    before = v.head[H_EVENT_COUNT]
    order_id = ladder[ladder.shape[0] - 1]
    ladder[ladder.shape[0] - 1] += 1
    if submit(arena, LIMIT, sym * 2 + side, MARKET_ACCOUNT, order_id, tick, qty) < 0:
        return False
    for i in range(before, v.head[H_EVENT_COUNT]):
        if v.events[i, 5] == SELF_TRADE_CANCEL:
            # The feed crossed itself: its older side gave way. Note that those levels are gone.
            ladder[row + L_CROSSED] += 1
            cell = row + HEADER + (1 - side) * TICKS + v.events[i, 2]
            ladder[cell] = max(0, ladder[cell] - v.events[i, 3])
    return True


@njit(nogil=True, cache=True)
def apply_levels(arena, ladder, sym, levels, bids, asks):  # type: ignore[no-untyped-def]
    """Bring the market's orders to what the feed says: rows (price, quantity), `bids` of them, then `asks`.

    Returns 0, or OFF_TICK if a price does not lie on the tick grid (nothing is changed then).
    """
    v = views(arena)
    row = sym * ROW
    base, tick = ladder[row + L_BASE], ladder[row + L_TICK]
    n = bids + asks
    for i in range(n):
        if levels[i, 0] % tick != 0:
            return OFF_TICK
    for decrease in (True, False):
        for i in range(n):
            side = 0 if i < bids else 1
            t = levels[i, 0] // tick - base
            if t < 0 or t >= TICKS:
                if decrease:
                    ladder[row + L_OUTSIDE] += 1
                continue
            qty = levels[i, 1]
            if qty > MAX_QTY >> 1:
                qty = MAX_QTY >> 1
                if decrease:
                    ladder[row + L_CLIPPED] += 1
            cell = row + HEADER + side * TICKS + t
            change = qty - ladder[cell]
            if decrease and change < 0:
                ladder[cell] = qty
                _take_off(v, sym * TICKS + t, -change)
            elif change > 0 and not decrease:
                if _add(arena, v, ladder, row, sym, side, t, change):
                    ladder[cell] = qty
                else:
                    ladder[row + L_FULL] += 1
    return 0


@njit(nogil=True, cache=True)
def clear_market(arena, ladder, sym):  # type: ignore[no-untyped-def]
    """Remove the market's orders of a symbol and forget its levels; ours stay where they are in the queue."""
    v = views(arena)
    row = sym * ROW
    for side in range(2):
        p = v.best[sym, side]
        while 0 <= p < TICKS:
            nxt = at_or_below(v, sym, p - 1) if side == 0 else at_or_above(v, sym, p + 1)
            x = np.int64(v.levels32[sym * TICKS + p, 0])
            while x != 0:
                after = np.int64(v.orders32[x, 0])
                if _account(v, x) == MARKET_ACCOUNT:
                    _drop(v, x)
                x = after
            p = nxt
    for i in range(row + HEADER, row + ROW):
        ladder[i] = 0
