"""Fingerprints of trades, of resting orders and of the whole state.

FNV-1a over 64-bit words. The first two are those that other matching engines reproduce for the same stream: trades
fold (taker id, maker id, price, quantity); books fold each symbol's bids from best to worst, then its asks, first in
first out inside a level, as (id, price, open quantity). `state` folds all that decides what any later command does,
so two engines with equal ones behave alike, however they came there.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Final

from baretick.matching.layout import (
    H_ACCOUNTS,
    H_EVENT_BASE,
    H_EVENT_COUNT,
    H_KILL,
    H_LAST_APPLIED,
    H_O_EVENTS,
    H_SYMBOLS,
    L_HEAD,
    N_ID,
    N_NEXT,
    N_QTY,
    N_RESERVE,
    N_RULES,
    N_TAG,
    NO_ASK,
    NO_BID,
    S_BID,
    S_TICK,
    S_TRADED,
    T_KEY,
)
from baretick.matching.levels import beyond, level_at, level_index, node_of, stop_root, symbol_row
from baretick.matching.match import TRADE
from baretick.matching.orders import account_row, pair_row
from baretick.matching.tree import after, first
from baretick.memory import address, compiled, inline, load32, load64
from baretick.risk.limits import ACCOUNT_BYTES, POSITION_BYTES

FNV_BASIS: Final = 0xCBF29CE484222325 - (1 << 64)
FNV_PRIME: Final = 0x100000001B3


@inline
def _fold(h, x):
    return (h ^ x) * FNV_PRIME


@compiled
def fold_trades(arena, h):
    """Continue fingerprint h over the waiting events; returns it with the number and the volume of their trades."""
    a = address(arena)
    event = a + load64(a, H_O_EVENTS)
    trades = volume = 0
    for _ in range(load64(a, H_EVENT_COUNT)):
        if load64(event, 56) & 0xFF == TRADE:
            for field in range(24, 56, 8):
                h = _fold(h, load64(event, field))
            trades += 1
            volume += load64(event, 48)
        event += 64
    return h, trades, volume


@compiled
def fold_book(arena):
    """Fingerprint of all resting orders, with their number and open quantity. Waiting stops do not rest."""
    a = address(arena)
    h = FNV_BASIS
    orders = qty = 0
    for sym in range(load64(a, H_SYMBOLS)):
        row = symbol_row(a, sym)
        unit = load64(row, S_TICK)
        for side in range(2):
            tag = sym * 2 + side
            h = _fold(h, -1 - tag)
            tick = load64(row, S_BID + 8 * side)
            index = level_index(tag, tick)
            while tick != NO_BID and tick != NO_ASK:
                x = load32(level_at(a, index), L_HEAD)
                while x != 0:
                    node = node_of(a, x)
                    open_qty = load64(node, N_QTY) + load64(node, N_RESERVE)
                    h = _fold(_fold(_fold(h, load64(node, N_ID)), tick * unit), open_qty)
                    orders += 1
                    qty += open_qty
                    x = load32(node, N_NEXT)
                tick, index = beyond(a, row, tag, tick)
    return h, orders, qty


@inline
def _fold_queue(a, h, x):
    while x != 0:
        node = node_of(a, x)
        for field in range(N_ID, N_RULES + 1, 8):
            h = _fold(h, load64(node, field))
        h = _fold(h, load32(node, N_TAG))
        x = load32(node, N_NEXT)
    return h


@compiled
def fold_state(arena):
    """Fingerprint of everything that decides what later commands do."""
    a = address(arena)
    h = _fold(_fold(FNV_BASIS, load64(a, H_KILL)), load64(a, H_LAST_APPLIED))
    h = _fold(h, load64(a, H_EVENT_BASE) + load64(a, H_EVENT_COUNT))
    for sym in range(load64(a, H_SYMBOLS)):
        row = symbol_row(a, sym)
        for field in range(S_BID, S_TRADED + 1, 8):
            if field < 16 or field >= 32:  # where a window lies decides nothing
                h = _fold(h, load64(row, field))
        for side in range(2):
            tag = sym * 2 + side
            h = _fold(h, -1 - tag)
            tick = load64(row, S_BID + 8 * side)
            index = level_index(tag, tick)
            while tick != NO_BID and tick != NO_ASK:
                h = _fold_queue(a, h, load32(level_at(a, index), L_HEAD))
                tick, index = beyond(a, row, tag, tick)
        for which in range(6):
            h = _fold(h, which)
            root = stop_root(row, (which >> 1) + 1, which & 1)
            y = first(a, root, False)
            while y != 0:
                h = _fold_queue(a, h, load32(level_at(a, -y), L_HEAD))
                y = after(a, root, load64(node_of(a, y), T_KEY), False)
    for account in range(load64(a, H_ACCOUNTS)):
        for field in range(0, ACCOUNT_BYTES, 8):
            h = _fold(h, load64(account_row(a, account), field))
        for sym in range(load64(a, H_SYMBOLS)):
            for field in range(0, POSITION_BYTES, 8):
                h = _fold(h, load64(pair_row(a, account, sym), field))
    return h


def hex_digest(h: int) -> str:
    """A fingerprint as 16 hex digits."""
    return f"{int(h) & 0xFFFFFFFFFFFFFFFF:016x}"
