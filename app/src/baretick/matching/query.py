"""Looking into the book from Python: a level's quantity, its queue, all levels of a side. None is on the hot path."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import numpy as np

from baretick.matching.layout import (
    L_HEAD,
    L_QTY,
    N_ID,
    N_NEXT,
    N_QTY,
    N_RESERVE,
    N_TAG,
    NO_ASK,
    NO_BID,
    S_BID,
    S_BID_BASE,
    WINDOW,
)
from baretick.matching.levels import beyond, far_root, level_at, level_index, node_of, symbol_row
from baretick.matching.tree import seek
from baretick.memory import address, compiled, load32, load64


@compiled
def find_level(a, tag, tick):
    """Address of a level, 0 if it does not exist."""
    row = symbol_row(a, tag >> 1)
    if 0 <= tick - load64(row, S_BID_BASE + 8 * (tag & 1)) < WINDOW:
        return level_at(a, level_index(tag, tick))
    y = seek(a, far_root(row, tag & 1), tick)
    return level_at(a, -y) if y != 0 else 0


@compiled
def level_qty(arena, tag, tick):
    """Quantity that shows at a level of a side (`tag` is symbol * 2 + side)."""
    level = find_level(address(arena), tag, tick)
    return load64(level, L_QTY) if level != 0 else 0


@compiled
def queue(arena, tag, tick):
    """Rows (id, shown, account, reserve) of a level's orders, first in first out."""
    a = address(arena)
    level = find_level(a, tag, tick)
    head = load32(level, L_HEAD) if level != 0 else 0
    n = 0
    x = head
    while x != 0:
        n += 1
        x = load32(node_of(a, x), N_NEXT)
    out = np.zeros((n, 4), np.int64)
    x = head
    for i in range(n):
        node = node_of(a, x)
        out[i, 0], out[i, 1] = load64(node, N_ID), load64(node, N_QTY)
        out[i, 2], out[i, 3] = (load32(node, N_TAG) >> 16) & 0xFFFF, load64(node, N_RESERVE)
        x = load32(node, N_NEXT)
    return out


@compiled
def levels(arena, tag):
    """Rows (tick, shown quantity) of a side from the best outwards."""
    a = address(arena)
    row = symbol_row(a, tag >> 1)
    best = load64(row, S_BID + 8 * (tag & 1))
    n = 0
    tick = best
    while tick != NO_BID and tick != NO_ASK:
        n += 1
        tick, _ = beyond(a, row, tag, tick)
    out = np.zeros((n, 2), np.int64)
    tick, index = best, level_index(tag, best)
    for i in range(n):
        out[i, 0], out[i, 1] = tick, load64(level_at(a, index), L_QTY)
        tick, index = beyond(a, row, tag, tick)
    return out
