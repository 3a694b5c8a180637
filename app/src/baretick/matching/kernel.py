"""The matching core: price-time priority in compiled code, over one arena, without the interpreter or the heap.

A command either takes effect wholly or not at all: everything that could refuse it (a bad price, a duplicate
id, a full book, too few event records left) is checked before the first write.
"""

from typing import Final

import numpy as np
from numba import njit

from baretick.matching.arena import (
    H_EVENT_COUNT,
    H_FREE_HEAD,
    H_INVALID,
    H_LIVE,
    H_REJECTS,
    MAX_ACCOUNT,
    MAX_QTY,
    NO_ASK,
    NO_BID,
    SELF_TRADE_CANCEL,
    TICKS,
    TRADE,
    views,
)
from baretick.matching.bits import at_or_above, at_or_below, clear_bit, cycles, set_bit
from baretick.matching.table import SLOT_MASK, find, put, remove

# Commands, as in the stream format: the three that open an order lie around the three that amend one.
LIMIT, IOC, CANCEL, REDUCE, REPLACE, MARKET = 0, 1, 2, 3, 4, 5

# Refusals. Zero and above is the quantity still open after the command.
UNKNOWN_ID: Final = -1
DUPLICATE_ID: Final = -2
BAD_PRICE: Final = -3
BAD_QTY: Final = -4
BAD_SYMBOL: Final = -5
BAD_ACCOUNT: Final = -6
BAD_COMMAND: Final = -7
BOOK_FULL: Final = -8
EVENTS_FULL: Final = -9


@njit(nogil=True, cache=True, forceinline=True)
def free(v, x):  # type: ignore[no-untyped-def]
    """Give the slot back; the order must be out of its queue and out of the table."""
    v.orders32[x, 0] = v.head[H_FREE_HEAD]
    v.head[H_FREE_HEAD] = x
    v.head[H_LIVE] -= 1


@njit(nogil=True, cache=True, forceinline=True)
def unlink(v, x):  # type: ignore[no-untyped-def]
    """Take order x out of its level's queue; find the next best if the level is empty now."""
    nxt, prev = np.int64(v.orders32[x, 0]), np.int64(v.orders32[x, 1])
    level = np.int64(v.orders32[x, 2])
    v.levels[level, 1] -= v.orders[x, 3]
    if prev != 0:
        v.orders32[prev, 0] = nxt
    else:
        v.levels32[level, 0] = nxt
    if nxt != 0:
        v.orders32[nxt, 1] = prev
    else:
        v.levels32[level, 1] = prev
    if nxt == 0 and prev == 0:
        sym = level // TICKS
        p = level - sym * TICKS
        clear_bit(v, sym, p)
        if p == v.best[sym, 0]:
            v.best[sym, 0] = at_or_below(v, sym, p - 1)
        elif p == v.best[sym, 1]:
            v.best[sym, 1] = at_or_above(v, sym, p + 1)


@njit(nogil=True, cache=True, forceinline=True)
def _match(v, sym, side, account, order_id, price, qty):  # type: ignore[no-untyped-def]
    """Trade against the other side as far as `price` allows; returns the quantity left."""
    other = 1 - side
    best = v.best[sym, other]
    if side == 0:
        if best > price or best == NO_ASK:
            return qty
    elif best < price or best == NO_BID:
        return qty
    n = v.head[H_EVENT_COUNT]
    tag = sym * 2 + side
    while qty > 0:
        if side == 0:
            if best > price or best == NO_ASK:
                break
        elif best < price or best == NO_BID:
            break
        level = sym * TICKS + best
        x = np.int64(v.levels32[level, 0])
        left = v.levels[level, 1]
        while qty > 0 and x != 0:
            maker_qty = v.orders[x, 3]
            maker_id = v.orders[x, 2]
            own = account != 0 and np.int64(v.orders32[x, 3]) >> 16 == account
            take = maker_qty if own else min(maker_qty, qty)
            v.events[n, 0] = order_id
            v.events[n, 1] = maker_id
            v.events[n, 2] = best
            v.events[n, 3] = take
            v.events[n, 4] = tag
            v.events[n, 5] = SELF_TRADE_CANCEL if own else TRADE
            n += 1
            left -= take
            if not own:
                qty -= take
            if take == maker_qty:
                nxt = np.int64(v.orders32[x, 0])
                remove(v, find(v, maker_id))
                free(v, x)
                x = nxt
            else:
                v.orders[x, 3] = maker_qty - take
        v.levels[level, 1] = left
        v.levels32[level, 0] = x
        if x == 0:
            v.levels32[level, 1] = 0
            clear_bit(v, sym, best)
            best = at_or_above(v, sym, best + 1) if side == 0 else at_or_below(v, sym, best - 1)
        else:
            v.orders32[x, 1] = 0
    v.best[sym, other] = best
    v.head[H_EVENT_COUNT] = n
    return qty


@njit(nogil=True, cache=True, forceinline=True)
def _rest(v, entry, sym, side, account, order_id, price, qty):  # type: ignore[no-untyped-def]
    """Queue the order at the tail of its level."""
    x = v.head[H_FREE_HEAD]
    v.head[H_FREE_HEAD] = np.int64(v.orders32[x, 0])
    v.head[H_LIVE] += 1
    put(v, entry, order_id, x)
    level = sym * TICKS + price
    tail = np.int64(v.levels32[level, 1])
    v.orders32[x, 0] = 0
    v.orders32[x, 1] = tail
    v.orders32[x, 2] = level
    v.orders32[x, 3] = (sym * 2 + side) | (account << 16)
    v.orders[x, 2] = order_id
    v.orders[x, 3] = qty
    if tail == 0:
        v.levels32[level, 0] = x
        set_bit(v, sym, price)
        if side == 0:
            if price > v.best[sym, 0]:
                v.best[sym, 0] = price
        elif price < v.best[sym, 1]:
            v.best[sym, 1] = price
    else:
        v.orders32[tail, 0] = x
    v.levels32[level, 1] = x
    v.levels[level, 1] += qty


@njit(nogil=True, cache=True)
def _events_needed(v, sym, side, account, price, qty):  # type: ignore[no-untyped-def]
    """How many event records the order would write; walks, so it is asked only when the buffer is nearly full."""
    n = 0
    best = v.best[sym, 1 - side]
    while qty > 0:
        if side == 0:
            if best > price or best == NO_ASK:
                break
        elif best < price or best == NO_BID:
            break
        x = np.int64(v.levels32[sym * TICKS + best, 0])
        while qty > 0 and x != 0:
            n += 1
            if account == 0 or np.int64(v.orders32[x, 3]) >> 16 != account:
                qty -= v.orders[x, 3]
            x = np.int64(v.orders32[x, 0])
        best = at_or_above(v, sym, best + 1) if side == 0 else at_or_below(v, sym, best - 1)
    return n


@njit(nogil=True, cache=True, forceinline=True)
def _room(v, sym, side, account, price, qty):  # type: ignore[no-untyped-def]
    space = v.events.shape[0] - v.head[H_EVENT_COUNT]
    return v.head[H_LIVE] <= space or _events_needed(v, sym, side, account, price, qty) <= space


@njit(nogil=True, cache=True, forceinline=True)
def _execute(v, command, tag, account, order_id, price, qty):  # type: ignore[no-untyped-def]
    entry = find(v, order_id)
    if CANCEL <= command <= REPLACE:
        if entry < 0:
            return UNKNOWN_ID
        x = v.table[entry] & SLOT_MASK
        if command != CANCEL and (qty <= 0 or qty > MAX_QTY):
            return BAD_QTY
        if command == REDUCE and v.orders[x, 3] > qty:
            v.orders[x, 3] -= qty
            v.levels[np.int64(v.orders32[x, 2]), 1] -= qty
            return v.orders[x, 3]
        sidetag = np.int64(v.orders32[x, 3])
        sym, side, account = (sidetag & 0xFFFF) >> 1, sidetag & 1, sidetag >> 16
        if command == REPLACE:
            if price < 0 or price >= TICKS:
                return BAD_PRICE
            if not _room(v, sym, side, account, price, qty):
                return EVENTS_FULL
        unlink(v, x)
        remove(v, entry)
        free(v, x)
        if command != REPLACE:
            return 0
    elif LIMIT <= command <= MARKET:
        sym, side = tag >> 1, tag & 1
        if tag < 0 or sym >= v.best.shape[0]:
            return BAD_SYMBOL
        if qty <= 0 or qty > MAX_QTY:
            return BAD_QTY
        if account < 0 or account > MAX_ACCOUNT:
            return BAD_ACCOUNT
        if command == MARKET:
            price = TICKS - 1 if side == 0 else 0
        elif price < 0 or price >= TICKS:
            return BAD_PRICE
        if entry >= 0:
            return DUPLICATE_ID
        if command == LIMIT and v.head[H_FREE_HEAD] == 0:
            return BOOK_FULL
        if not _room(v, sym, side, account, price, qty):
            return EVENTS_FULL
    else:
        return BAD_COMMAND
    before = v.head[H_EVENT_COUNT]
    # Two calls with a constant side: the compiler makes one straight loop of each.
    if side == 0:
        qty = _match(v, sym, 0, account, order_id, price, qty)
    else:
        qty = _match(v, sym, 1, account, order_id, price, qty)
    if qty > 0 and command in (LIMIT, REPLACE):
        if command == REPLACE or v.head[H_EVENT_COUNT] != before:
            entry = find(v, order_id)  # orders left the table: the empty entry may have moved
        _rest(v, -1 - entry, sym, side, account, order_id, price, qty)
    return qty


@njit(nogil=True, cache=True, forceinline=True)
def execute(v, command, tag, account, order_id, price, qty):  # type: ignore[no-untyped-def]
    """One command. `tag` is symbol*2 + side. Returns the open quantity, or a refusal below zero."""
    result = _execute(v, command, tag, account, order_id, price, qty)
    if result < 0 and result != EVENTS_FULL:
        v.head[H_REJECTS if result == UNKNOWN_ID else H_INVALID] += 1
    return result


@njit(nogil=True, cache=True)
def submit(arena, command, tag, account, order_id, price, qty):  # type: ignore[no-untyped-def]
    """One command, one call: what live trading uses."""
    return execute(views(arena), command, tag, account, order_id, price, qty)


@njit(nogil=True, cache=True)
def run(arena, stream, start):  # type: ignore[no-untyped-def]
    """A stream of records (ts, command, tag, id, price, qty) from row `start`.

    Returns how far it got: all rows, or the row that found the event buffer full, which has had no effect.
    """
    v = views(arena)
    for i in range(start, stream.shape[0]):
        result = execute(v, stream[i, 1], stream[i, 2], 0, stream[i, 3], stream[i, 4], stream[i, 5])
        if result == EVENTS_FULL:
            return i
    return stream.shape[0]


@njit(nogil=True, cache=True)
def run_timed(arena, stream, start, out):  # type: ignore[no-untyped-def]
    """As `run`, and the CPU cycles of each command into `out`: for latency percentiles."""
    v = views(arena)
    t0 = cycles()
    for i in range(start, stream.shape[0]):
        result = execute(v, stream[i, 1], stream[i, 2], 0, stream[i, 3], stream[i, 4], stream[i, 5])
        if result == EVENTS_FULL:
            return i
        t1 = cycles()
        out[i] = t1 - t0
        t0 = t1
    return stream.shape[0]
