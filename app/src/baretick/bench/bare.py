"""A bare price-time book: what matching alone costs, and the book that the order generator watches.

It knows dense order ids (1, 2, 3, ...), one window of ticks and the six commands of a stream file: no risk, no
accounts, no events but trades, no journal. The distance between it and the engine is the price of all that. It shares
no code with the engine, so that streams and their digests do not depend on what they test.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LOG_TICKS: Final = 17
TICKS: Final = 1 << LOG_TICKS
LIMIT, IOC, CANCEL, REDUCE, REPLACE, MARKET = range(6)
FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)
FNV_PRIME: Final = np.uint64(0x100000001B3)
ONE, FULL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


class Bare(NamedTuple):
    """orders: next, prev, level (symbol * TICKS + price), tag + 1 (0: not resting); qtys: the last 8 bytes of each."""

    orders: Any
    qtys: Any
    levels: Any
    totals: Any
    b0: Any
    b1: Any
    b2: Any
    best: Any
    trades: Any
    counters: Any  # trades, rejects


def allocate(symbols: int, last_id: int, trades: int) -> Bare:
    """An empty book for ids 1 .. last_id and that many trade records."""
    orders = np.zeros((last_id + 2, 8), np.int32)
    levels = np.zeros((symbols * TICKS, 4), np.int32)
    best = np.zeros((symbols, 2), np.int64)
    best[:, 0], best[:, 1] = -1, TICKS
    return Bare(
        orders,
        orders.view(np.int64),
        levels,
        levels.view(np.int64),
        np.zeros(symbols * (TICKS >> 6), np.uint64),
        np.zeros(symbols * (TICKS >> 12), np.uint64),
        np.zeros(symbols, np.uint64),
        best,
        np.zeros((trades, 4), np.int64),
        np.zeros(2, np.int64),
    )


def _ctz(typing_context, x):
    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


def _top(typing_context, x):
    def codegen(context, builder, signature, args):
        return builder.sub(ir.Constant(ir.IntType(64), 63), builder.ctlz(args[0], cgutils.true_bit))

    return types.int64(types.uint64), codegen


lowest_bit: Any = intrinsic(_ctz)
highest_bit: Any = intrinsic(_top)
fast: Any = njit(nogil=True, cache=True, forceinline=True)


@fast
def _set(s, sym, p):
    i = sym * (TICKS >> 6) + (p >> 6)
    word = s.b0[i]
    s.b0[i] = word | (ONE << np.uint64(p & 63))
    if word == 0:
        i = sym * (TICKS >> 12) + (p >> 12)
        word = s.b1[i]
        s.b1[i] = word | (ONE << np.uint64((p >> 6) & 63))
        if word == 0:
            s.b2[sym] |= ONE << np.uint64(p >> 12)


@fast
def _clear(s, sym, p):
    i = sym * (TICKS >> 6) + (p >> 6)
    word = s.b0[i] & ~(ONE << np.uint64(p & 63))
    s.b0[i] = word
    if word == 0:
        i = sym * (TICKS >> 12) + (p >> 12)
        word = s.b1[i] & ~(ONE << np.uint64((p >> 6) & 63))
        s.b1[i] = word
        if word == 0:
            s.b2[sym] &= ~(ONE << np.uint64(p >> 12))


@fast
def above(s, sym, p):
    """The lowest occupied tick >= p, TICKS if there is none."""
    if p >= TICKS:
        return TICKS
    a = p >> 6
    word = s.b0[sym * (TICKS >> 6) + a] & (FULL << np.uint64(p & 63))
    if word != 0:
        return (a << 6) + lowest_bit(word)
    a += 1
    if a >= TICKS >> 6:
        return TICKS
    c = a >> 6
    word = s.b1[sym * (TICKS >> 12) + c] & (FULL << np.uint64(a & 63))
    if word == 0:
        c += 1
        word = s.b2[sym] & (FULL << np.uint64(c))
        if word == 0 or c >= 64:
            return TICKS
        c = lowest_bit(word)
        word = s.b1[sym * (TICKS >> 12) + c]
    a = (c << 6) + lowest_bit(word)
    return (a << 6) + lowest_bit(s.b0[sym * (TICKS >> 6) + a])


@fast
def below(s, sym, p):
    """The highest occupied tick <= p, -1 if there is none."""
    if p < 0:
        return -1
    a = p >> 6
    word = s.b0[sym * (TICKS >> 6) + a] & (FULL >> np.uint64(63 - (p & 63)))
    if word != 0:
        return (a << 6) + highest_bit(word)
    a -= 1
    if a < 0:
        return -1
    c = a >> 6
    word = s.b1[sym * (TICKS >> 12) + c] & (FULL >> np.uint64(63 - (a & 63)))
    if word == 0:
        c -= 1
        if c < 0:
            return -1
        word = s.b2[sym] & (FULL >> np.uint64(63 - c))
        if word == 0:
            return -1
        c = highest_bit(word)
        word = s.b1[sym * (TICKS >> 12) + c]
    a = (c << 6) + highest_bit(word)
    return (a << 6) + highest_bit(s.b0[sym * (TICKS >> 6) + a])


@fast
def _unlink(s, x):
    level, nxt, prev = np.int64(s.orders[x, 2]), s.orders[x, 0], s.orders[x, 1]
    s.totals[level, 1] -= s.qtys[x, 3]
    if prev != 0:
        s.orders[prev, 0] = nxt
    else:
        s.levels[level, 0] = nxt
    if nxt != 0:
        s.orders[nxt, 1] = prev
    else:
        s.levels[level, 1] = prev
    tag = np.int64(s.orders[x, 3]) - 1
    s.orders[x, 3] = 0
    if nxt == 0 and prev == 0:
        sym = tag >> 1
        p = level - sym * TICKS
        _clear(s, sym, p)
        if p == s.best[sym, tag & 1]:
            s.best[sym, tag & 1] = below(s, sym, p - 1) if (tag & 1) == 0 else above(s, sym, p + 1)


@fast
def _enter(s, tag, order_id, price, qty, rests):
    sym, side = tag >> 1, tag & 1
    n = s.counters[0]
    b = s.best[sym, 1 - side]
    while qty > 0 and ((b <= price and b < TICKS) if side == 0 else (b >= price and b >= 0)):
        level = sym * TICKS + b
        x = np.int64(s.levels[level, 0])
        left = s.totals[level, 1]
        while qty > 0 and x != 0:
            maker = s.qtys[x, 3]
            take = min(maker, qty)
            s.trades[n, 0], s.trades[n, 1], s.trades[n, 2], s.trades[n, 3] = order_id, x, b, take
            n += 1
            qty -= take
            left -= take
            if take == maker:
                s.orders[x, 3] = 0
                x = np.int64(s.orders[x, 0])
            else:
                s.qtys[x, 3] = maker - take
        s.totals[level, 1] = left
        s.levels[level, 0] = x
        if x == 0:
            s.levels[level, 1] = 0
            _clear(s, sym, b)
            b = above(s, sym, b + 1) if side == 0 else below(s, sym, b - 1)
        else:
            s.orders[x, 1] = 0
    s.best[sym, 1 - side] = b
    s.counters[0] = n
    if qty > 0 and rests:
        level = sym * TICKS + price
        tail = s.levels[level, 1]
        s.orders[order_id, 0], s.orders[order_id, 1] = 0, tail
        s.orders[order_id, 2], s.orders[order_id, 3] = level, tag + 1
        s.qtys[order_id, 3] = qty
        if tail == 0:
            s.levels[level, 0] = order_id
            _set(s, sym, price)
            if (side == 0 and price > s.best[sym, 0]) or (side == 1 and price < s.best[sym, 1]):
                s.best[sym, side] = price
        else:
            s.orders[tail, 0] = order_id
        s.levels[level, 1] = order_id
        s.totals[level, 1] += qty


@fast
def apply(s, op, tag, order_id, price, qty):
    """One command of a stream."""
    if op == LIMIT:
        _enter(s, tag, order_id, price, qty, True)
    elif op == IOC:
        _enter(s, tag, order_id, price, qty, False)
    elif op == MARKET:
        _enter(s, tag, order_id, TICKS - 1 if (tag & 1) == 0 else 0, qty, False)
    elif s.orders[order_id, 3] == 0:
        s.counters[1] += 1
    elif op == REDUCE and s.qtys[order_id, 3] > qty:
        s.qtys[order_id, 3] -= qty
        s.totals[np.int64(s.orders[order_id, 2]), 1] -= qty
    else:
        tag = np.int64(s.orders[order_id, 3]) - 1
        _unlink(s, order_id)
        if op == REPLACE:
            _enter(s, tag, order_id, price, qty, True)


@njit(nogil=True, cache=True)
def run(s, rows):
    """All rows of a stream."""
    for i in range(rows.shape[0]):
        apply(s, rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4], rows[i, 5])


@fast
def fold(h, x):
    """FNV-1a over 64-bit words."""
    return (h ^ np.uint64(x)) * FNV_PRIME


@njit(nogil=True, cache=True)
def digest(s):
    """(trades, volume, tradehash, resting, restqty, bookhash, rejects)."""
    h, volume = FNV_BASIS, 0
    for i in range(s.counters[0]):
        for k in range(4):
            h = fold(h, s.trades[i, k])
        volume += s.trades[i, 3]
    g, resting, quantity = FNV_BASIS, 0, 0
    for sym in range(s.best.shape[0]):
        for side in range(2):
            g = fold(g, -1 - 2 * sym - side)
            p = s.best[sym, side]
            while 0 <= p < TICKS:
                x = np.int64(s.levels[sym * TICKS + p, 0])
                while x != 0:
                    g = fold(fold(fold(g, x), p), s.qtys[x, 3])
                    resting += 1
                    quantity += s.qtys[x, 3]
                    x = np.int64(s.orders[x, 0])
                p = below(s, sym, p - 1) if side == 0 else above(s, sym, p + 1)
    return s.counters[0], volume, h, resting, quantity, g, s.counters[1]
