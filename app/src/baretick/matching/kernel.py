"""Executing commands: one record after another, in compiled code, without the interpreter or the heap.

A command either takes effect wholly or not at all: everything that could refuse it is checked before the first write,
and whatever it is made of, garbage included, it ends in an event. The clock is the command's own.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from functools import cache
from typing import Any

from baretick.matching import admin, table
from baretick.matching.entry import (
    CANCEL_ONLY,
    HALT,
    PAUSED,
    R_COMMAND,
    R_HALTED,
    R_QTY,
    R_UNKNOWN,
    SPARE,
    kill_state,
    new_order,
    replace_order,
)
from baretick.matching.layout import (
    H_COMMAND,
    H_EVENT_BASE,
    H_EVENT_COUNT,
    H_EVENTS,
    H_EXECUTE,
    H_INBOX,
    H_LAST_APPLIED,
    H_REJECTS,
    H_RESULT,
    H_RESUME,
    H_SYMBOL,
    H_SYMBOLS,
    H_TS,
    H_UNKNOWN,
    N_LEVEL,
    N_NEXT,
    N_PREV,
    N_QTY,
    N_RESERVE,
    N_TAG,
    S_STOPS,
    Arena,
)
from baretick.matching.levels import level_at, node_of, symbol_row, window_level
from baretick.matching.orders import CANCELLED, REDUCED, account_row, drop_order, emit, price_of, shrink_order
from baretick.matching.records import EventKind, Op, Reason
from baretick.matching.stops import set_off
from baretick.memory import (
    add64,
    address,
    call,
    compiled,
    cycles,
    inline,
    load32,
    load64,
    machine_code,
    prefetch,
    shift_right,
    store64,
)

NEW, CANCEL, REDUCE, REPLACE = int(Op.NEW), int(Op.CANCEL), int(Op.REDUCE), int(Op.REPLACE)
MASS_CANCEL, KILL, SET = int(Op.MASS_CANCEL), int(Op.KILL), int(Op.SET)
REJECTED = int(EventKind.REJECTED)
AHEAD, MIDWAY, NEAR = 12, 8, 4
"""How many commands ahead the three steps of `look_ahead` are."""
BY_OWNER = CANCELLED | (int(Reason.REQUESTED) << 8)


@inline
def _amend(a, c, op):
    """CANCEL or REDUCE: the open quantity after it, or a Reason below zero."""
    order_id, account = load64(c, 16), shift_right(load64(c, 56), 48)
    entry = table.find(a, order_id)
    if entry < 0:
        return -R_UNKNOWN
    x = table.node_at(a, entry)
    node = node_of(a, x)
    label = load32(node, N_TAG)
    if (label >> 16) & 0xFFFF != account:
        return -R_UNKNOWN
    sym = (label & 0xFFFF) >> 1
    if kill_state(a, symbol_row(a, sym), account_row(a, account)) == HALT:
        return -R_HALTED
    store64(a, H_SYMBOL, sym)
    price = price_of(a, x)
    if op == REDUCE:
        qty = load64(c, 32)
        if qty <= 0:
            return -R_QTY
        if qty < load64(node, N_QTY) + load64(node, N_RESERVE):
            return shrink_order(a, x, qty, REDUCED, price)
    drop_order(a, x, BY_OWNER, price)
    return 0


@compiled
def _reject(a, c, reason):
    codes = load64(c, 56)
    sym, side = (codes >> 32) & 0xFFFF, (codes >> 8) & 1
    tag = (sym * 2 + side) & 0xFFFF
    add64(a, H_REJECTS, 1)
    if reason == R_UNKNOWN:
        add64(a, H_UNKNOWN, 1)
    what = REJECTED | (reason << 8)
    emit(a, what, tag, shift_right(codes, 48), 0, load64(c, 16), codes & 0xFF, load64(c, 24), load64(c, 32))


@compiled
def _stops_after(a, sym, result):
    """Set off the stops of a symbol; the command counts as unfinished while the event buffer has no room for them."""
    if set_off(a, symbol_row(a, sym)):
        store64(a, H_RESUME, 0)
        return result
    store64(a, H_RESUME, sym + 1)
    store64(a, H_RESULT, result)
    return PAUSED


@compiled
def execute(a, c):
    """The command at address c on the arena at address a.

    Returns the open quantity that it leaves (of an order that never rests: what was dropped; of a MASS_CANCEL: how
    many orders went), a Reason below zero if it was refused, or PAUSED: drain the events and give it again.
    """
    if load64(a, H_EVENTS) - load64(a, H_EVENT_COUNT) < SPARE:
        return PAUSED
    codes = load64(c, 56)
    op = codes & 0xFF
    store64(a, H_TS, load64(c, 8))
    store64(a, H_COMMAND, load64(c, 0))
    resumed = load64(a, H_RESUME)
    if resumed != 0:
        return _stops_after(a, resumed - 1, load64(a, H_RESULT))
    if op == NEW:
        result = new_order(a, c)
    elif op in (CANCEL, REDUCE):
        result = _amend(a, c, op)
    elif op == REPLACE:
        result = replace_order(a, c)
    else:
        if op == MASS_CANCEL:
            result = admin.mass_cancel(a, c)
        elif op == KILL:
            result = admin.kill(a, c)
        elif op == SET:
            result = admin.set_param(a, c)
        else:
            result = -R_COMMAND
        if result >= 0:
            return result
    if result < 0:
        if result != PAUSED:
            _reject(a, c, -result)
        return result
    # The order's own symbol, whatever the command said.
    if load64(symbol_row(a, load64(a, H_SYMBOL)), S_STOPS) != 0:
        return _stops_after(a, load64(a, H_SYMBOL), result)
    return result


def _entry(a, c):
    return execute(a, c)


@cache
def _code() -> Any:
    """`execute` as plain machine code at one address: callers share it, none compiles the engine anew."""
    return machine_code(_entry)


def attach(arena: Arena) -> None:
    """Make an arena usable in this process; whoever makes or restores one calls this. The first call may compile."""
    arena[H_EXECUTE // 8] = _code().address


@inline
def look_ahead(a, c, left):
    """Bring what the next commands will touch into cache while this one is worked on.

    In three steps, each on what the one before has brought: the id's entry, its order, the order's neighbours. Only
    loads that cannot fault: an entry names a node that exists, and a prefetch of anything is harmless.
    """
    if left > AHEAD:
        prefetch(table.home(a, load64(c, 64 * AHEAD + 16)))
        x = load64(table.home(a, load64(c, 64 * MIDWAY + 16)), 0) & table.NODE_BITS
        if x != 0:
            prefetch(node_of(a, x))
        near = c + 64 * NEAR
        codes = load64(near, 56)
        if codes & 0xFF == NEW:
            sym = (codes >> 32) & 0xFFFF
            if sym < load64(a, H_SYMBOLS):
                # For a tick of 1, the commonest; any other asks for a line in vain.
                prefetch(window_level(a, sym * 2 + ((codes >> 8) & 1), load64(near, 24)))
        else:
            x = load64(table.home(a, load64(near, 16)), 0) & table.NODE_BITS
            node = node_of(a, x)
            prefetch(node_of(a, load32(node, N_NEXT)))
            prefetch(node_of(a, load32(node, N_PREV)))
            prefetch(level_at(a, load32(node, N_LEVEL)))


@compiled
def process(arena, stream, start):
    """Commands from row `start` of `stream`, rows of 8 int64 (records.words).

    Returns the row that it got to: `stream.shape[0]`, or that of a command which waits for the events to be drained
    and is to be given again. Nothing is allocated.
    """
    a = address(arena)
    run = load64(a, H_EXECUTE)
    c = address(stream) + start * 64
    for i in range(start, stream.shape[0]):
        look_ahead(a, c, stream.shape[0] - i)
        if call(run, a, c) == PAUSED:
            return i
        store64(a, H_LAST_APPLIED, load64(c, 0))
        c += 64
    return stream.shape[0]


@compiled
def process_timed(arena, stream, start, out):
    """As `process`, and the CPU cycles of each command into `out`: for latency percentiles."""
    a = address(arena)
    run = load64(a, H_EXECUTE)
    c = address(stream) + start * 64
    t0 = cycles()
    for i in range(start, stream.shape[0]):
        look_ahead(a, c, stream.shape[0] - i)
        if call(run, a, c) == PAUSED:
            return i
        store64(a, H_LAST_APPLIED, load64(c, 0))
        c += 64
        t1 = cycles()
        out[i] = t1 - t0
        t0 = t1
    return stream.shape[0]


@compiled
def drained(arena):
    """Forget the events that have been taken away; returns how many they were."""
    a = address(arena)
    n = load64(a, H_EVENT_COUNT)
    add64(a, H_EVENT_BASE, n)
    store64(a, H_EVENT_COUNT, 0)
    return n


@compiled
def submit(arena, codes, order_id, price, qty, stop_price, display, ts, seq):
    """One command from its fields, `codes` being the last 8 bytes of the record. Returns what `execute` returns."""
    a = address(arena)
    c = a + H_INBOX
    store64(c, 0, seq)
    store64(c, 8, ts)
    store64(c, 16, order_id)
    store64(c, 24, price)
    store64(c, 32, qty)
    store64(c, 40, stop_price)
    store64(c, 48, display)
    store64(c, 56, codes)
    result = call(load64(a, H_EXECUTE), a, c)
    if result != PAUSED:
        store64(a, H_LAST_APPLIED, seq)
    return result


__all__ = ["CANCEL_ONLY", "PAUSED", "attach", "drained", "process", "process_timed", "submit"]
