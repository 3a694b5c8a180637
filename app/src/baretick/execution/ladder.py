"""The market's side of the paper venue: L2 levels become resting orders of one account, in compiled code.

An L2 feed tells the quantity at a price, not the orders behind it. What is added to a level queues at its tail.
What is taken off leaves from the tail too: the cautious guess, since our orders then move up the queue only when
nothing behind them is left to leave. Decreases of a message are applied before its increases, so that a message
that moves the market never trades with what the same message removes.

`ladder` holds, for each symbol, a header and the quantity that the feed last said for each side and tick.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np

from baretick.matching.kernel import submit
from baretick.matching.layout import (
    H_EVENT_COUNT,
    H_O_EVENTS,
    L_HEAD,
    L_QTY,
    L_TAIL,
    N_NEXT,
    N_PREV,
    N_QTY,
    N_TAG,
    NO_ASK,
    NO_BID,
    S_BID,
)
from baretick.matching.levels import beyond, level_at, level_index, node_of, symbol_row
from baretick.matching.orders import CANCELLED, drop_order, pair_row, shrink_order
from baretick.matching.query import find_level
from baretick.matching.records import MAX_QTY, Op
from baretick.memory import add64, address, compiled, inline, load32, load64, store64
from baretick.risk.limits import book_open

TICKS: Final = 1 << 17
"""Ticks of the window around the market in which the feed's quantities are kept."""

NEW = int(Op.NEW)
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


@inline
def _account(a, x):
    return (load32(node_of(a, x), N_TAG) >> 16) & 0xFFFF


@compiled
def _take_off(a, tag, tick, qty):
    """Reduce the market's orders at a level by `qty` from the tail; ours stay. Less may be there: we bought it."""
    level = find_level(a, tag, tick)
    x = load32(level, L_TAIL) if level != 0 else 0
    while x != 0 and qty > 0:
        node = node_of(a, x)
        prev = load32(node, N_PREV)
        if _account(a, x) == MARKET_ACCOUNT:
            open_qty = load64(node, N_QTY)
            if open_qty > qty:
                shrink_order(a, x, qty, 0, 0)
                return
            qty -= open_qty
            drop_order(a, x, 0, 0)
        x = prev


@compiled
def _add(arena, ladder, row, sym, side, tick, qty):
    """Queue `qty` more of the market at the tail; it may trade with ours. False if the book has no room."""
    a = address(arena)
    tag = sym * 2 + side
    level = find_level(a, tag, tick)
    x = load32(level, L_TAIL) if level != 0 else 0
    if x != 0 and _account(a, x) == MARKET_ACCOUNT:
        # The tail is the market's already: one larger order is the same queue, and takes no node.
        add64(node_of(a, x), N_QTY, qty)
        add64(level, L_QTY, qty)
        book_open(pair_row(a, MARKET_ACCOUNT, sym), side, qty)
        return True
    before = load64(a, H_EVENT_COUNT)
    order_id = ladder[ladder.shape[0] - 1]
    ladder[ladder.shape[0] - 1] += 1
    codes = NEW | (side << 8) | (sym << 32) | (MARKET_ACCOUNT << 48)
    refused = submit(arena, codes, order_id, tick, qty, 0, 0, 0, 0) < 0
    count = load64(a, H_EVENT_COUNT)
    if count == before + 1:
        # It was taken and rests, or was refused: of the market's own orders no one reads that. Only here, right
        # after the command, may its record be taken back.
        store64(a, H_EVENT_COUNT, before)
    for i in range(before, count):
        event = a + load64(a, H_O_EVENTS) + 64 * i
        if load64(event, 56) & 0xFF == CANCELLED:
            # The feed crossed itself: its older side gave way. Note that those levels are gone.
            ladder[row + L_CROSSED] += 1
            cell = row + HEADER + (1 - side) * TICKS + load64(event, 40)
            ladder[cell] = max(0, ladder[cell] - load64(event, 48))
    return not refused


@compiled
def apply_levels(arena, ladder, sym, levels, bids, asks):
    """Bring the market's orders to what the feed says: rows (price, quantity), `bids` of them, then `asks`.

    Returns 0, or OFF_TICK if a price does not lie on the tick grid (nothing is changed then).
    """
    a = address(arena)
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
                _take_off(a, sym * 2 + side, t, -change)
            elif change > 0 and not decrease:
                if _add(arena, ladder, row, sym, side, t, change):
                    ladder[cell] = qty
                else:
                    ladder[row + L_FULL] += 1
    return 0


@compiled
def clear_market(arena, ladder, sym):
    """Remove the market's orders of a symbol and forget its levels; ours stay where they are in the queue."""
    a = address(arena)
    row = sym * ROW
    for side in range(2):
        tag = sym * 2 + side
        book_row = symbol_row(a, sym)
        tick = load64(book_row, S_BID + 8 * side)
        index = level_index(tag, tick)
        while tick != NO_BID and tick != NO_ASK:
            x = load32(level_at(a, index), L_HEAD)
            while x != 0:
                nxt = load32(node_of(a, x), N_NEXT)
                if _account(a, x) == MARKET_ACCOUNT:
                    drop_order(a, x, 0, 0)
                x = nxt
            # Asked after the drops: they may have moved the window.
            tick, index = beyond(a, book_row, tag, tick)
    for i in range(row + HEADER, row + ROW):
        ladder[i] = 0
