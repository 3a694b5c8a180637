"""Seeded streams of order commands that look like a market: clustered prices, cancels, sweeps, replaces.

Rows are 6 int64 (docs/benchmark.md): ts, command, symbol * 2 + side, id, price, quantity. The same seed gives the same
bytes everywhere. `market` is the mix of the published digests; the others lean on one part of the engine.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from baretick.bench.bare import CANCEL, IOC, LIMIT, MARKET, REDUCE, REPLACE, TICKS, allocate, apply

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Mix(NamedTuple):
    """Of a thousand commands: resting limits, cancels, takers; the rest reduces and replaces."""

    passive: int
    cancels: int
    takers: int


MIXES: Final = {
    "market": Mix(550, 350, 50),
    "passive": Mix(650, 300, 10),
    "takers": Mix(500, 150, 300),
    "amends": Mix(450, 250, 50),
}
EPOCH_NS: Final = 1_700_000_000_000_000_000


@njit(cache=True)
def _draw(state, n):
    """SplitMix64, reduced to 0 .. n - 1."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(33)) % np.uint64(n))


@njit(cache=True)
def _passive_price(bid, ask, state, side, fair, offset):
    if side == 0:
        top = fair - 1
        if ask < TICKS:
            top = min(top, ask - 1)
        if bid >= 0 and _draw(state, 10) < 6:
            top = min(top, bid + (1 if _draw(state, 8) == 0 else 0))
        return min(max(top - offset, 1), TICKS - 2)
    top = fair + 1
    if bid >= 0:
        top = max(top, bid + 1)
    if ask < TICKS and _draw(state, 10) < 6:
        top = max(top, ask - (1 if _draw(state, 8) == 0 else 0))
    return min(max(top + offset, 1), TICKS - 2)


@njit(cache=True)
def _taker(s, out, state, sym, fair, sizes):
    bid, ask = s.best[sym, 0], s.best[sym, 1]
    middle2 = bid + ask
    lean = 5
    if 2 * fair > middle2 + 2:
        lean = 8
    if 2 * fair < middle2 - 2:
        lean = 2
    side = 0 if _draw(state, 10) < lean else 1
    kind = _draw(state, 10)
    command = LIMIT if kind < 6 else (IOC if kind < 9 else MARKET)
    slip = _draw(state, 4)
    price = ask + slip if side == 0 else bid - slip
    qty = sizes[_draw(state, 4096)]
    far = middle2 - 2 * fair
    if _draw(state, 12 if (far > 20 or far < -20) else 50) == 0:
        level = sym * TICKS + (ask if side == 0 else bid)
        qty = max(qty, min(s.totals[level, 1] * (1 + _draw(state, 2)) + _draw(state, 50), 2_000_000))
    price = 0 if command == MARKET else min(max(price, 1), TICKS - 2)
    out[1], out[2], out[4], out[5] = command, side, price, qty


@njit(cache=True)
def _amend(s, out, state, sym, order_id, sizes):
    bid, ask = s.best[sym, 0], s.best[sym, 1]
    side = (np.int64(s.orders[order_id, 3]) - 1) & 1
    price = np.int64(s.orders[order_id, 2]) - sym * TICKS
    out[1], out[2] = REDUCE, side
    if _draw(state, 2) == 0:
        qty = max(1, s.qtys[order_id, 3] * (1 + _draw(state, 3)) // 4)
    else:
        out[1] = REPLACE
        if _draw(state, 10) == 0:
            price = ask if side == 0 else bid
        else:
            price += _draw(state, 7) - 3
        if side == 0 and price >= ask and _draw(state, 10) != 0:
            price = ask - 1
        if side == 1 and price <= bid and _draw(state, 10) != 0:
            price = bid + 1
        price = min(max(price, 1), TICKS - 2)
        qty = sizes[_draw(state, 4096)]
    out[4], out[5] = price, qty


@njit(cache=True)
def _victim(s, state, sym, last_id, live, n_live):
    """Whom to cancel: now and then any id, usually gone; else often a recent order; else one of the symbol's own."""
    if _draw(state, 50) == 0:
        return 1 + _draw(state, last_id)
    if _draw(state, 10) < 6:
        for _ in range(4):
            recent = last_id - _draw(state, min(last_id, 2000))
            if s.orders[recent, 3] != 0:
                return recent
    return live[sym, _draw(state, n_live[sym])]


@njit(cache=True)
def _settle(s, touched, home, live, where, n_live):
    """Keep the list of a symbol's live orders right for one order."""
    alive = s.orders[touched, 3] != 0
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


@njit(cache=True)
def _fill(s, out, state, mix, offsets, sizes, symbol_draw, fair, live, where, n_live):
    last_id, ts = 0, EPOCH_NS
    symbol_of = np.zeros(out.shape[0] + 1, np.int64)
    for i in range(out.shape[0]):
        row = out[i]
        ts += 50 + _draw(state, 900)
        u = _draw(state, 1000)
        sym = symbol_draw[_draw(state, 64)]
        if _draw(state, 40) == 0:
            step = _draw(state, 2) * 2 - 1
            if _draw(state, 10) == 0:
                step *= 5
            fair[sym] = min(max(fair[sym] + step, TICKS // 4), 3 * TICKS // 4)
        bid, ask = s.best[sym, 0], s.best[sym, 1]
        enough = bid >= 0 and ask < TICKS and n_live[sym] > 50
        if u < mix[0] or not enough:
            side = _draw(state, 2)
            offset = offsets[_draw(state, 4096)]
            row[1], row[2] = LIMIT, side
            row[4] = _passive_price(bid, ask, state, side, fair[sym], offset)
            row[5] = sizes[_draw(state, 4096)]
            last_id += 1
            order_id = last_id
            symbol_of[order_id] = sym
        elif u < mix[0] + mix[1]:
            order_id = _victim(s, state, sym, last_id, live, n_live)
            sym = symbol_of[order_id]
            tag = s.orders[order_id, 3]
            row[1], row[2] = CANCEL, (np.int64(tag) - 1) & 1 if tag != 0 else 0
        elif u < mix[0] + mix[1] + mix[2]:
            _taker(s, row, state, sym, fair[sym], sizes)
            last_id += 1
            order_id = last_id
            symbol_of[order_id] = sym
        else:
            order_id = live[sym, _draw(state, n_live[sym])]
            _amend(s, row, state, sym, order_id, sizes)
        row[0], row[2], row[3] = ts, sym * 2 + row[2], order_id
        s.counters[0] = 0
        apply(s, row[1], row[2], order_id, row[4], row[5])
        for k in range(s.counters[0]):
            maker = s.trades[k, 1]
            _settle(s, maker, symbol_of[maker], live, where, n_live)
        _settle(s, order_id, symbol_of[order_id], live, where, n_live)


def make(seed: int, events: int, symbols: int, mix: str = "market") -> Rows:
    """The stream of a seed, shape (events, 6). ValueError names a size or a mix that makes no sense."""
    if mix not in MIXES:
        raise ValueError(f"mix={mix}: choose one of {', '.join(MIXES)}, deep")
    if events < 1 or not 1 <= symbols <= 256:
        raise ValueError(f"orders={events}, symbols={symbols}: need at least 1 order and 1 to 256 symbols")
    u = (np.arange(4096) + 0.5) / 4096
    offsets = np.minimum(np.floor(8 * (u ** (-1 / 1.3) - 1)), 8000).astype(np.int64)
    z = np.array([NormalDist().inv_cdf(x) for x in u])
    sizes = np.maximum(1, np.round(np.exp(3.0 + 1.2 * z))).astype(np.int64)
    weight = 1.0 / np.arange(1, symbols + 1)
    weight = weight / weight.sum()
    symbol_draw = np.searchsorted(np.cumsum(weight), (np.arange(64) + 0.5) / 64).clip(0, symbols - 1)
    out = np.zeros((events, 6), np.int64)
    _fill(
        allocate(symbols, events, events + 1),
        out,
        np.array([seed], np.uint64),
        np.array(MIXES[mix], np.int64),
        offsets,
        sizes,
        symbol_draw.astype(np.int64),
        np.full(symbols, TICKS // 2, np.int64),
        np.zeros((symbols, events), np.int64),
        np.full(events + 1, -1, np.int64),
        np.zeros(symbols, np.int64),
    )
    return out


def make_deep(seed: int, orders: int, *, cancels: bool) -> Rows:
    """`orders` resting limits that never cross, one symbol; with `cancels`, then a cancel of each in random order."""
    r = np.random.Generator(np.random.PCG64(seed))
    side = r.integers(0, 2, orders)
    offset = np.minimum(r.geometric(1 / 2000, orders), 30_000)
    out = np.zeros((2 * orders, 6), np.int64)
    out[:, 0] = EPOCH_NS + np.arange(2 * orders) * 500
    adds, drops = out[:orders], out[orders:]
    adds[:, 2], adds[:, 3] = side, np.arange(1, orders + 1)
    adds[:, 4] = np.where(side == 0, TICKS // 2 - 1 - offset, TICKS // 2 + offset)
    adds[:, 5] = r.integers(1, 1000, orders)
    order = r.permutation(orders)
    drops[:, 1], drops[:, 2:5] = CANCEL, adds[order, 2:5]
    return out if cancels else adds
