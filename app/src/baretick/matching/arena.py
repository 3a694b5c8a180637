"""The arena: one preallocated int64 array that holds a whole matching book, and how its parts are laid out.

One array means one argument: a call from Python unpacks it in a fraction of a microsecond, and nothing is
allocated after `allocate`. Layout, in 8-byte words: a header, then

    orders    4 words each   next, prev (int32) | level, sidetag (int32) | id | open quantity
    levels    2 words each   head, tail (int32) | open quantity          one for each tick of each symbol
    bitmaps   3 floors       a set bit is an occupied tick (floor 0) or a non-zero word of the floor below
    best      2 words each   best bid and best ask tick of each symbol
    events    6 words each   what happened: trades and self-trade cancels, see EVENT_COLUMNS
    table     1 word each    open addressing from order id to slot: 32 tag bits, 32 slot bits

Slot 0 is never an order: 0 in a link means "none".
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

LOG_TICKS: Final = 17
TICKS: Final = 1 << LOG_TICKS
"""Price ticks of one symbol's window: prices 0 .. TICKS - 1."""

NO_BID: Final = -1
NO_ASK: Final = TICKS

EVENT_COLUMNS: Final = ("taker_id", "maker_id", "price", "qty", "sidetag", "kind")
EVENT_WORDS: Final = len(EVENT_COLUMNS)
TRADE: Final = 0
SELF_TRADE_CANCEL: Final = 1

MAX_SYMBOLS: Final = 4096
MAX_ACCOUNT: Final = 0x7FFF
MAX_QTY: Final = 1 << 62

# Header words.
H_SYMBOLS, H_ORDERS, H_EVENTS, H_TABLE = 0, 1, 2, 3
H_FREE_HEAD, H_LIVE, H_EVENT_COUNT, H_REJECTS, H_INVALID = 8, 9, 10, 11, 12
H_O_ORDERS, H_O_LEVELS, H_O_B0, H_O_B1, H_O_B2, H_O_BEST, H_O_EVENTS, H_O_TABLE = 16, 17, 18, 19, 20, 21, 22, 23
HEADER_WORDS: Final = 64


class Views(NamedTuple):
    """The arena's parts as arrays, made inside compiled code from the arena alone."""

    head: Any
    orders: Any
    orders32: Any
    levels: Any
    levels32: Any
    b0: Any
    b1: Any
    b2: Any
    best: Any
    events: Any
    table: Any


def allocate(symbols: int, orders: int, events: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A fresh, empty arena; raises ValueError when a size makes no sense."""
    if not 1 <= symbols <= MAX_SYMBOLS:
        raise ValueError(f"symbols={symbols}: a book holds 1 to {MAX_SYMBOLS} symbols")
    if not 1 <= orders < 1 << 30:
        raise ValueError(f"orders={orders}: a book holds 1 to {(1 << 30) - 1} resting orders")
    if events < 1:
        raise ValueError(f"events={events}: the event buffer needs at least one record")
    table = 8
    while table < 2 * orders:
        table <<= 1
    sizes = {
        H_O_ORDERS: (orders + 1) * 4,
        H_O_LEVELS: symbols * TICKS * 2,
        H_O_B0: symbols * (TICKS >> 6),
        H_O_B1: symbols * (TICKS >> 12),
        H_O_B2: symbols,
        H_O_BEST: symbols * 2,
        H_O_EVENTS: events * EVENT_WORDS,
        H_O_TABLE: table,
    }
    offset, offsets = HEADER_WORDS, {}
    for key, words in sizes.items():
        offsets[key] = offset
        offset += -(-words // 8) * 8  # whole cache lines
    raw = np.zeros(offset + 8, np.int64)
    arena = raw[(-(raw.ctypes.data // 8)) % 8 :][:offset]  # aligned to a cache line
    for key, value in offsets.items():
        arena[key] = value
    arena[H_SYMBOLS], arena[H_ORDERS], arena[H_EVENTS], arena[H_TABLE] = symbols, orders, events, table
    best = arena[offsets[H_O_BEST] :][: symbols * 2].reshape(symbols, 2)
    best[:, 0], best[:, 1] = NO_BID, NO_ASK
    # The free list runs through the orders' own `next` links.
    links = arena[offsets[H_O_ORDERS] :][: (orders + 1) * 4].view(np.int32).reshape(orders + 1, 8)
    links[1:orders, 0] = np.arange(2, orders + 1)
    arena[H_FREE_HEAD] = 1
    return arena


@njit(nogil=True, cache=True, forceinline=True)
def views(arena):  # type: ignore[no-untyped-def]
    symbols, orders = arena[H_SYMBOLS], arena[H_ORDERS] + 1
    events, table = arena[H_EVENTS], arena[H_TABLE]
    o = arena[H_O_ORDERS]
    flat_orders = arena[o : o + orders * 4]
    o = arena[H_O_LEVELS]
    flat_levels = arena[o : o + symbols * TICKS * 2]
    o0, o1, o2 = arena[H_O_B0], arena[H_O_B1], arena[H_O_B2]
    ob, oe, ot = arena[H_O_BEST], arena[H_O_EVENTS], arena[H_O_TABLE]
    return Views(
        arena[0:HEADER_WORDS],
        flat_orders.reshape(orders, 4),
        flat_orders.view(np.int32).reshape(orders, 8),
        flat_levels.reshape(symbols * TICKS, 2),
        flat_levels.view(np.int32).reshape(symbols * TICKS, 4),
        arena[o0 : o0 + symbols * (TICKS >> 6)].view(np.uint64),
        arena[o1 : o1 + symbols * (TICKS >> 12)].view(np.uint64),
        arena[o2 : o2 + symbols].view(np.uint64),
        arena[ob : ob + symbols * 2].reshape(symbols, 2),
        arena[oe : oe + events * EVENT_WORDS].reshape(events, EVENT_WORDS),
        arena[ot : ot + table],
    )
