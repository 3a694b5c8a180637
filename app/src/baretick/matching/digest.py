"""Fingerprints of trades and of resting orders, equal to those other matching engines give for the same stream.

FNV-1a over 64-bit words. Trades fold (taker id, maker id, price, quantity); books fold each symbol's bids from
best to worst, then its asks, first in first out inside a level, as (id, price, open quantity).
"""

from typing import Final

import numpy as np
from numba import njit

from baretick.matching.arena import NO_BID, TICKS, TRADE, views
from baretick.matching.bits import at_or_above, at_or_below

FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)
FNV_PRIME: Final = np.uint64(0x100000001B3)


@njit(nogil=True, cache=True, forceinline=True)
def _fold(h, x):  # type: ignore[no-untyped-def]
    return (h ^ np.uint64(x)) * FNV_PRIME


@njit(nogil=True, cache=True)
def fold_trades(h, events):  # type: ignore[no-untyped-def]
    """Continue fingerprint h over event records; returns it with the number and the volume of their trades."""
    h = np.uint64(h)
    trades = volume = 0
    for i in range(events.shape[0]):
        if events[i, 5] == TRADE:
            for k in range(4):
                h = _fold(h, events[i, k])
            trades += 1
            volume += events[i, 3]
    return h, trades, volume


@njit(nogil=True, cache=True)
def fold_book(arena):  # type: ignore[no-untyped-def]
    """Fingerprint of all resting orders, with their number and open quantity."""
    v = views(arena)
    h = FNV_BASIS
    orders = qty = 0
    for sym in range(v.best.shape[0]):
        for side in range(2):
            h = _fold(h, -1 - sym * 2 - side)
            p = v.best[sym, side]
            while p != NO_BID and p < TICKS:
                x = np.int64(v.levels32[sym * TICKS + p, 0])
                while x != 0:
                    h = _fold(_fold(_fold(h, v.orders[x, 2]), p), v.orders[x, 3])
                    orders += 1
                    qty += v.orders[x, 3]
                    x = np.int64(v.orders32[x, 0])
                p = at_or_below(v, sym, p - 1) if side == 0 else at_or_above(v, sym, p + 1)
    return h, orders, qty
