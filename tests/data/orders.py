"""A seeded stream of order commands that looks like a market: clustered prices, cancels, sweeps, replaces.

Rows are (ts, command, symbol*2 + side, id, price, qty). The same seed gives the same bytes: the sha256 of a stream
pins it, and the fingerprints in STREAMS are what CppTrader, exchange-core and liquibook also give for it.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numba import njit

from baretick.matching.arena import H_EVENT_COUNT, NO_ASK, TICKS, allocate, views
from baretick.matching.kernel import CANCEL, IOC, LIMIT, MARKET, REDUCE, REPLACE, execute
from baretick.matching.table import SLOT_MASK, find


class Stream(NamedTuple):
    seed: int
    events: int
    symbols: int
    sha256: str
    trades: int
    volume: int
    tradehash: str
    resting: int
    restqty: int
    bookhash: str
    rejects: int


STREAMS = {
    "s1_1m": Stream(
        42, 1_000_000, 1, "4ff0de45ceca45f4285c652b4076351f597719fe5f8c995cde3082407017fe8a",
        244730, 8235279, "f8f7411b6ff78ec0", 10766, 431765, "b21d2b2d21712268", 6501,
    ),
    "s8_1m": Stream(
        43, 1_000_000, 8, "85edf7cb3ff71bde3ffb57f384485bcd4bcc240035707cfb7d063df9050ac52a",
        192793, 5912547, "e49c7d21fa97c7e9", 61395, 2437384, "6294eafd1b57ec40", 5971,
    ),
}  # fmt: skip


@njit(cache=True)
def _below(state, n):
    """SplitMix64, reduced to 0 .. n - 1."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(33)) % np.uint64(n))


@njit(cache=True)
def _passive_price(v, state, sym, side, fair, offset):
    bid, ask = v.best[sym, 0], v.best[sym, 1]
    if side == 0:
        top = fair - 1
        if ask < TICKS:
            top = min(top, ask - 1)
        if bid >= 0 and _below(state, 10) < 6:
            top = min(top, bid + (1 if _below(state, 8) == 0 else 0))
        return min(max(top - offset, 1), TICKS - 2)
    top = fair + 1
    if bid >= 0:
        top = max(top, bid + 1)
    if ask < TICKS and _below(state, 10) < 6:
        top = max(top, ask - (1 if _below(state, 8) == 0 else 0))
    return min(max(top + offset, 1), TICKS - 2)


@njit(cache=True)
def _slot(v, order_id):
    """Slot of a resting order, 0 if it does not rest."""
    entry = find(v, order_id)
    return v.table[entry] & SLOT_MASK if entry >= 0 else 0


@njit(cache=True)
def _fill(arena, out, state, offsets, sizes, symbol_draw, fair, live, where, n_live):
    v = views(arena)
    last_id, ts = 0, 1_700_000_000_000_000_000
    symbol_of = np.zeros(out.shape[0] + 1, np.int64)
    for i in range(out.shape[0]):
        ts += 50 + _below(state, 900)
        u = _below(state, 1000)
        sym = symbol_draw[_below(state, 64)]
        if _below(state, 40) == 0:
            step = _below(state, 2) * 2 - 1
            if _below(state, 10) == 0:
                step *= 5
            fair[sym] = min(max(fair[sym] + step, TICKS // 4), 3 * TICKS // 4)
        bid, ask = v.best[sym, 0], v.best[sym, 1]
        command, side, order_id, price, qty = LIMIT, 0, 0, 0, 0
        enough = bid >= 0 and ask < NO_ASK and n_live[sym] > 50
        if u < 550 or not enough:
            side = _below(state, 2)
            offset = offsets[_below(state, 4096)]
            price = _passive_price(v, state, sym, side, fair[sym], offset)
            qty = sizes[_below(state, 4096)]
            last_id += 1
            order_id = last_id
            symbol_of[order_id] = sym
        elif u < 900:
            command = CANCEL
            if _below(state, 50) == 0:
                order_id = 1 + _below(state, last_id)  # any id: usually gone
            else:
                if _below(state, 10) < 6:
                    for _ in range(4):
                        recent = last_id - _below(state, min(last_id, 2000))
                        if _slot(v, recent) != 0:
                            order_id = recent
                            break
                if order_id == 0:
                    order_id = live[sym, _below(state, n_live[sym])]
            sym = symbol_of[order_id]
        elif u < 950:
            middle2 = bid + ask
            lean = 5
            if 2 * fair[sym] > middle2 + 2:
                lean = 8
            if 2 * fair[sym] < middle2 - 2:
                lean = 2
            side = 0 if _below(state, 10) < lean else 1
            kind = _below(state, 10)
            command = LIMIT if kind < 6 else (IOC if kind < 9 else MARKET)
            slip = _below(state, 4)
            price = ask + slip if side == 0 else bid - slip
            qty = sizes[_below(state, 4096)]
            far = middle2 - 2 * fair[sym]
            if _below(state, 12 if (far > 20 or far < -20) else 50) == 0:
                level = sym * TICKS + (ask if side == 0 else bid)
                qty = max(qty, min(v.levels[level, 1] * (1 + _below(state, 2)) + _below(state, 50), 2_000_000))
            price = 0 if command == MARKET else min(max(price, 1), TICKS - 2)
            last_id += 1
            order_id = last_id
            symbol_of[order_id] = sym
        else:
            order_id = live[sym, _below(state, n_live[sym])]
            x = _slot(v, order_id)
            side = v.orders32[x, 3] & 1
            price = np.int64(v.orders32[x, 2]) - sym * TICKS
            if _below(state, 2) == 0:
                command = REDUCE
                qty = max(1, v.orders[x, 3] * (1 + _below(state, 3)) // 4)
            else:
                command = REPLACE
                if _below(state, 10) == 0:
                    price = ask if side == 0 else bid
                else:
                    price += _below(state, 7) - 3
                if side == 0 and price >= ask and _below(state, 10) != 0:
                    price = ask - 1
                if side == 1 and price <= bid and _below(state, 10) != 0:
                    price = bid + 1
                price = min(max(price, 1), TICKS - 2)
                qty = sizes[_below(state, 4096)]
        if command == CANCEL:
            x = _slot(v, order_id)
            side = v.orders32[x, 3] & 1 if x != 0 else 0
        out[i, 0], out[i, 1], out[i, 2] = ts, command, sym * 2 + side
        out[i, 3], out[i, 4], out[i, 5] = order_id, price, qty
        v.head[H_EVENT_COUNT] = 0
        execute(v, command, sym * 2 + side, 0, order_id, price, qty)
        n = v.head[H_EVENT_COUNT]
        for k in range(n + 1):  # the makers it met, then the order itself
            touched = v.events[k, 1] if k < n else order_id
            alive = _slot(v, touched) != 0
            home = symbol_of[touched]
            if alive and where[touched] < 0:
                live[home, n_live[home]] = touched
                where[touched] = n_live[home]
                n_live[home] += 1
            elif not alive and where[touched] >= 0:
                n_live[home] -= 1
                moved = live[home, n_live[home]]
                live[home, where[touched]] = moved
                where[moved] = where[touched]
                where[touched] = -1


def make(seed: int, events: int, symbols: int) -> np.ndarray:
    """The stream of a seed, as an array of shape (events, 6)."""
    u = (np.arange(4096) + 0.5) / 4096
    offsets = np.minimum(np.floor(8 * (u ** (-1 / 1.3) - 1)), 8000).astype(np.int64)
    z = np.array([NormalDist().inv_cdf(x) for x in u])
    sizes = np.maximum(1, np.round(np.exp(3.0 + 1.2 * z))).astype(np.int64)
    weight = 1.0 / np.arange(1, symbols + 1)
    weight = weight / weight.sum()
    symbol_draw = np.searchsorted(np.cumsum(weight), (np.arange(64) + 0.5) / 64).astype(np.int64)
    out = np.zeros((events, 6), np.int64)
    _fill(
        allocate(symbols, events + 1, events + 1),
        out,
        np.array([seed], np.uint64),
        offsets,
        sizes,
        symbol_draw,
        np.full(symbols, TICKS // 2, np.int64),
        np.zeros((symbols, events), np.int64),
        np.full(events + 1, -1, np.int64),
        np.zeros(symbols, np.int64),
    )
    return out
