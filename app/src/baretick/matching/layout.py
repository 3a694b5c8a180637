"""The arena: one preallocated buffer that holds a whole matching engine, and how its parts are laid out.

One buffer means one argument: a call from Python unpacks it in a fraction of a microsecond, and nothing is allocated
after `allocate`. Every unit of work sits in as few cache lines as it can, since a line that is not in cache costs
more than all the arithmetic of an order. Offsets below are in bytes.

    header      4096                geometry, counters, the command being worked on
    nodes       64 each             open orders, and the levels outside the windows (tree nodes)
    symbols     256 each            touch, window, limits, nearest triggers of a symbol
    accounts    64 each             limits and counters of an account (baretick.risk.limits)
    positions   32 each             account x symbol (baretick.risk.limits)
    bitmaps     3 floors a side     a set bit is an occupied level, or a non-zero word of the floor below
    levels      16 each             head, tail, shown quantity: a circular window of ticks for each side of a symbol
    table       8 each              order id to node, open addressing
    events      64 each             what happened since the last drain

Node 0 is never an order: 0 in a link means "none". Untouched memory is never read, so that the pages of unused
capacity are never made.
"""

from typing import Any, Final

import numpy as np

from baretick.matching.records import MAX_ACCOUNTS, MAX_QTY, MAX_SYMBOLS
from baretick.risk import limits

Arena = np.ndarray[Any, np.dtype[np.int64]]

MAGIC: Final = 0x4B43495445524142  # "BARETICK"
LAYOUT_VERSION: Final = 1
LINE: Final = 64
PAGE: Final = 4096

LOG_WINDOW: Final = 16
WINDOW: Final = 1 << LOG_WINDOW
"""Ticks of a side's window; levels further from the touch live in a tree."""
WINDOW_MASK: Final = WINDOW - 1
INSET: Final = WINDOW // 4
"""How far inside its window a side's best lies when the window is placed."""

NO_BID: Final = -(1 << 62)
NO_ASK: Final = 1 << 62
BEYOND: Final = 1 << 52
"""A limit price beyond every price: that of a market order."""

# Header.
HEADER_BYTES: Final = 4096
H_MAGIC, H_VERSION, H_SYMBOLS, H_ACCOUNTS, H_ORDERS, H_EVENTS, H_TABLE, H_TABLE_SHIFT = range(0, 64, 8)
H_O_SYMBOLS, H_O_ACCOUNTS, H_O_POSITIONS, H_O_BITS, H_O_LEVELS, H_O_TABLE, H_O_EVENTS, H_BYTES = range(64, 128, 8)
H_FREE, H_FRESH, H_LIVE, H_EVENT_COUNT, H_EVENT_BASE, H_TS, H_COMMAND, H_KILL = range(128, 192, 8)
H_REJECTS, H_UNKNOWN, H_RESUME, H_RESULT, H_MASS, H_LAST_APPLIED, H_TREE, H_SYMBOL = range(192, 256, 8)
H_EXECUTE: Final = 320
"""Where this process has its compiled `execute`, written by kernel.attach; 0 in a snapshot."""
H_INBOX: Final = 256
"""One command record, for a call that brings one command in its arguments."""

# Node of an order.
NODES: Final = HEADER_BYTES
NODE_SHIFT: Final = 6
N_NEXT, N_PREV, N_LEVEL, N_TAG = 0, 4, 8, 12  # 32 bits each; level: index, or -(tree node); tag | account << 16
N_ID, N_QTY, N_RESERVE, N_DISPLAY, N_PRICE, N_RULES = 16, 24, 32, 40, 48, 56  # price in ticks, see RULES
FREE_TAG: Final = -1

# N_RULES: kind in bits 0-2, trigger in bits 3-4, "waits for its stop" in bit 5, stop price in ticks from bit 8.
RULES_TRIGGER: Final = 3
RULES_WAITS: Final = 1 << 5
RULES_STOP: Final = 8

# Node of a tree level: left, right (32 bits each), N_TAG free, then a level as below, its key and its tree.
T_LEFT, T_RIGHT, T_LEVEL, T_KEY, T_ROOT = 0, 4, 16, 32, 40

# Level.
LEVEL_SHIFT: Final = 4
L_HEAD, L_TAIL, L_QTY = 0, 4, 8

# Symbol.
SYMBOL_SHIFT: Final = 8
S_BID, S_ASK, S_BID_BASE, S_ASK_BASE, S_LAST, S_TICK, S_LOT, S_STATE = range(0, 64, 8)
S_MAX_QTY, S_MAX_NOTIONAL, S_MAX_POSITION, S_BAND_LOW, S_BAND_HIGH, S_COLLAR, S_LIVE, S_SLICES = range(64, 128, 8)
S_NEAREST: Final = 128  # 6 words: nearest stop price by trigger * 2 + side
S_STOPS, S_TRADED = 176, 184
S_ROOTS: Final = 192  # 8 words: stop trees as above, then the far levels of bid and ask
FAR_ROOTS: Final = 6
CLOSED: Final = 1 << 8
"""In S_STATE and in an account's state: not open; the low bits are the kill switch."""

# Bitmaps of one side.
BITS0: Final = 0
BITS1: Final = WINDOW >> 3
BITS2: Final = BITS1 + (WINDOW >> 9)
BITS_BYTES: Final = -(-(BITS2 + 8) // LINE) * LINE


def allocate(symbols: int, accounts: int, orders: int, events: int) -> Arena:
    """A fresh engine, every symbol and account open with wide limits, tick and lot 1, as a buffer of int64.

    `orders` may be open at once; `events` fit between two drains. Raises ValueError when a size makes no sense.
    """
    offsets, total = geometry(symbols, accounts, orders, events)
    raw = np.zeros(total // 8 + PAGE // 8, np.int64)
    arena = raw[(-(raw.ctypes.data // 8)) % (PAGE // 8) :][: total // 8]  # on a page
    initialise(arena, symbols, accounts, orders, events, offsets)
    return arena


def geometry(symbols: int, accounts: int, orders: int, events: int) -> tuple[dict[int, int], int]:
    """Where the parts of an engine of this size lie (header field to offset), and how many bytes it takes."""
    if not 1 <= symbols <= MAX_SYMBOLS:
        raise ValueError(f"symbols={symbols}: an engine holds 1 to {MAX_SYMBOLS} symbols")
    if not 1 <= accounts <= MAX_ACCOUNTS:
        raise ValueError(f"accounts={accounts}: an engine holds 1 to {MAX_ACCOUNTS} accounts")
    if not 1 <= orders < 1 << 29:
        raise ValueError(f"orders={orders}: an engine holds 1 to {(1 << 29) - 1} open orders")
    if events < 16:
        raise ValueError(f"events={events}: the event buffer needs at least 16 records")
    sizes = {
        # Each level of a tree takes a node and has at least one order: twice the orders is always enough.
        H_O_SYMBOLS: NODES + (2 * orders + 2 << NODE_SHIFT),
        H_O_ACCOUNTS: symbols << SYMBOL_SHIFT,
        H_O_POSITIONS: accounts * limits.ACCOUNT_BYTES,
        H_O_BITS: accounts * symbols * limits.POSITION_BYTES,
        H_O_LEVELS: symbols * 2 * BITS_BYTES,
        H_O_TABLE: symbols * 2 * WINDOW << LEVEL_SHIFT,
        H_O_EVENTS: table_entries(orders) * 8,
    }
    offset, offsets = 0, {}
    for field, size_before in sizes.items():
        offset += -(-size_before // PAGE) * PAGE
        offsets[field] = offset
    return offsets, offset + -(-events * 64 // PAGE) * PAGE


def table_entries(orders: int) -> int:
    """At least twice the orders, so that a probe always ends soon at an empty entry."""
    return 1 << max(4, (2 * orders - 1).bit_length())


def initialise(arena: Arena, symbols: int, accounts: int, orders: int, events: int, offsets: dict[int, int]) -> None:
    """Write a fresh engine into zeroed memory."""
    entries = table_entries(orders)
    header = {
        H_MAGIC: MAGIC,
        H_VERSION: LAYOUT_VERSION,
        H_SYMBOLS: symbols,
        H_ACCOUNTS: accounts,
        H_ORDERS: orders,
        H_EVENTS: events,
        H_TABLE: entries,
        H_TABLE_SHIFT: 32 - (entries.bit_length() - 1),
        H_BYTES: arena.nbytes,
        H_FRESH: 1,
        H_EVENT_BASE: 1,
        **offsets,
    }
    for field, value in header.items():
        arena[field // 8] = value
    at = offsets[H_O_SYMBOLS] // 8
    table = arena[at : at + (symbols << SYMBOL_SHIFT) // 8].reshape(symbols, -1)
    for field, value in {
        S_BID: NO_BID,
        S_ASK: NO_ASK,
        S_TICK: 1,
        S_LOT: 1,
        S_MAX_QTY: MAX_QTY,
        S_MAX_NOTIONAL: limits.UNLIMITED,
        S_MAX_POSITION: MAX_QTY,
        S_BAND_HIGH: 1 << 48,
    }.items():
        table[:, field // 8] = value
    table[:, S_NEAREST // 8 : S_STOPS // 8] = [NO_ASK, NO_BID] * 3
    at = offsets[H_O_ACCOUNTS] // 8
    limits.open_accounts(arena[at : at + accounts * limits.ACCOUNT_BYTES // 8].reshape(accounts, -1))
    at = offsets[H_O_POSITIONS] // 8
    limits.open_positions(arena[at : at + accounts * symbols * limits.POSITION_BYTES // 8].reshape(-1, 4))
