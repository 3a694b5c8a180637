"""A seeded stream of order commands that looks like a market: clustered prices, cancels, sweeps, replaces.

Stream rows are (ts, command, symbol*2 + side, id, price, qty). The same seed gives the same bytes: the sha256 of a
stream pins it, and the fingerprints in STREAMS are what CppTrader, exchange-core and liquibook also give for it.
`commands` turns a stream into the engine's records, of accounts that never meet themselves.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from baretick.matching import kernel
from baretick.matching.layout import (
    H_EVENT_COUNT,
    H_EXECUTE,
    H_INBOX,
    H_O_EVENTS,
    L_QTY,
    N_PRICE,
    N_QTY,
    N_TAG,
    NO_ASK,
    NO_BID,
    S_ASK,
    S_BID,
    allocate,
)
from baretick.matching.levels import level_at, level_index, node_of, symbol_row
from baretick.matching.match import TRADE
from baretick.matching.records import COMMAND, Kind, Op, words
from baretick.matching.table import find_node
from baretick.memory import address, call, compiled, load32, load64, store64

LIMIT, IOC, CANCEL, REDUCE, REPLACE, MARKET = 0, 1, 2, 3, 4, 5
TICKS = 1 << 17
OPS = np.array([Op.NEW, Op.NEW, Op.CANCEL, Op.REDUCE, Op.REPLACE, Op.NEW], np.uint8)
KINDS = np.array([Kind.GTC, Kind.IOC, 0, 0, 0, Kind.MARKET], np.uint8)


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
LONG_STREAMS = {
    "s1_5m": Stream(
        42, 5_000_000, 1, "2cea805345e6583ccbe14949d3d91235eacf77bc2e998aaeffb61c76cf8c920c",
        1258698, 42303977, "7c233149406fae42", 12969, 523035, "5fb76d5705da7ee8", 34279,
    ),
    "s8_5m": Stream(
        43, 5_000_000, 8, "452b34a938a6d3ef4cdbc75fc0925435a12666e6446551ddf25bedf01fee941f",
        1178867, 38800662, "ee5d673caa025421", 94134, 3696255, "db9d040dde0fc8da", 32397,
    ),
}  # fmt: skip
DEEP = {
    "deep_add": Stream(
        44, 1_000_000, 1, "ae940bfc2d03d780e3094467cc1ed672a0b6b2c8993ea48a34b79cb7d2170d72",
        0, 0, "cbf29ce484222325", 1000000, 500503757, "0913ed6c6fc1d2ef", 0,
    ),
    "deep_all": Stream(
        44, 2_000_000, 1, "e69f100a0a543ead02e8106eb27dc6312e484e1c1bac9fe8e007f4cd08d2bfd0",
        0, 0, "cbf29ce484222325", 0, 0, "0835ec07b4ee4fb0", 0,
    ),
}  # fmt: skip


@compiled
def _below(state, n):
    """SplitMix64, reduced to 0 .. n - 1."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(33)) % np.uint64(n))


@compiled
def _passive_price(state, bid, ask, side, fair, offset):
    if side == 0:
        top = fair - 1
        if ask != NO_ASK:
            top = min(top, ask - 1)
        if bid != NO_BID and _below(state, 10) < 6:
            top = min(top, bid + (1 if _below(state, 8) == 0 else 0))
        return min(max(top - offset, 1), TICKS - 2)
    top = fair + 1
    if bid != NO_BID:
        top = max(top, bid + 1)
    if ask != NO_ASK and _below(state, 10) < 6:
        top = max(top, ask - (1 if _below(state, 8) == 0 else 0))
    return min(max(top + offset, 1), TICKS - 2)


@compiled
def _fill(arena, out, ops, kinds, state, offsets, sizes, symbol_draw, fair, live, where, n_live):
    a = address(arena)
    c = a + H_INBOX
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
        row = symbol_row(a, sym)
        bid, ask = load64(row, S_BID), load64(row, S_ASK)
        command, side, order_id, price, qty = LIMIT, 0, 0, 0, 0
        enough = bid != NO_BID and ask != NO_ASK and n_live[sym] > 50
        if u < 550 or not enough:
            side = _below(state, 2)
            offset = offsets[_below(state, 4096)]
            price = _passive_price(state, bid, ask, side, fair[sym], offset)
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
                        if find_node(a, recent) != 0:
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
                level = level_at(a, level_index(sym * 2 + 1 - side, ask if side == 0 else bid))
                qty = max(qty, min(load64(level, L_QTY) * (1 + _below(state, 2)) + _below(state, 50), 2_000_000))
            price = 0 if command == MARKET else min(max(price, 1), TICKS - 2)
            last_id += 1
            order_id = last_id
            symbol_of[order_id] = sym
        else:
            order_id = live[sym, _below(state, n_live[sym])]
            node = node_of(a, find_node(a, order_id))
            side = load32(node, N_TAG) & 1
            price = load64(node, N_PRICE)
            if _below(state, 2) == 0:
                command = REDUCE
                qty = max(1, load64(node, N_QTY) * (1 + _below(state, 3)) // 4)
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
            x = find_node(a, order_id)
            side = load32(node_of(a, x), N_TAG) & 1 if x != 0 else 0
        out[i, 0], out[i, 1], out[i, 2] = ts, command, sym * 2 + side
        out[i, 3], out[i, 4], out[i, 5] = order_id, price, qty
        store64(a, H_EVENT_COUNT, 0)
        store64(c, 16, order_id)
        store64(c, 24, price)
        store64(c, 32, qty)
        store64(c, 56, ops[command] | (side << 8) | (kinds[command] << 16) | (sym << 32))
        call(load64(a, H_EXECUTE), a, c)
        n = load64(a, H_EVENT_COUNT)
        for k in range(n + 1):  # the makers it met, then the order itself
            event = a + load64(a, H_O_EVENTS) + 64 * k
            if k < n and load64(event, 56) & 0xFF != TRADE:
                continue
            touched = load64(event, 32) if k < n else order_id
            alive = find_node(a, touched) != 0
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
    arena = allocate(symbols, 1, events + 1, 1 << 18)
    kernel.attach(arena)
    _fill(
        arena,
        out,
        OPS.astype(np.int64),
        KINDS.astype(np.int64),
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


def make_deep(seed: int, orders: int) -> np.ndarray:
    """`orders` limits that never cross, over thousands of prices, then the cancel of each in random order."""
    rng = np.random.Generator(np.random.PCG64(seed))
    side = rng.integers(0, 2, orders)
    offset = np.minimum(rng.geometric(1 / 2000, orders), 30_000)
    out = np.zeros((2 * orders, 6), np.int64)
    out[:, 0] = 1_700_000_000_000_000_000 + np.arange(2 * orders) * 500
    out[:orders, 2] = side
    out[:orders, 3] = np.arange(1, orders + 1)
    out[:orders, 4] = np.where(side == 0, 65_535 - offset, 65_536 + offset)
    out[:orders, 5] = rng.integers(1, 1000, orders)
    gone = rng.permutation(orders)
    out[orders:, 1], out[orders:, 2], out[orders:, 3] = CANCEL, side[gone], gone + 1
    out[orders:, 4] = out[gone, 4]
    return out


def commands(stream: np.ndarray, accounts: int = 64) -> np.ndarray:
    """A stream as command records (rows of 8 int64).

    Buys come from even accounts and sells from odd ones, so self-trade prevention looks at every trade and ends none.
    """
    out = np.zeros(len(stream), COMMAND)
    out["seq"] = np.arange(1, len(stream) + 1)
    out["ts"], out["order_id"], out["price"], out["qty"] = stream[:, 0], stream[:, 3], stream[:, 4], stream[:, 5]
    out["op"], out["kind"] = OPS[stream[:, 1]], KINDS[stream[:, 1]]
    out["side"], out["symbol"] = stream[:, 2] & 1, stream[:, 2] >> 1
    out["account"] = 2 + 2 * (stream[:, 3] % (accounts // 2 - 1)) + out["side"]
    return words(out)
