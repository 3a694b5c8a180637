"""Queues of orders at a price: joining the tail, leaving from anywhere, and the window that follows the touch.

Each side of a symbol has its own circular window of ticks. The best level is always inside it; all levels outside
are worse than all inside, and live in a tree. A side whose best would leave its window has the window moved, with the
levels that fall out or come in; what is moved is whole queues, so no order loses its place.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching import tree
from baretick.matching.bits import clear_bit, down, set_bit, up
from baretick.matching.layout import (
    BITS_BYTES,
    FAR_ROOTS,
    H_O_BITS,
    H_O_LEVELS,
    H_O_SYMBOLS,
    INSET,
    L_HEAD,
    L_QTY,
    L_TAIL,
    LEVEL_SHIFT,
    LOG_WINDOW,
    N_LEVEL,
    N_NEXT,
    N_PREV,
    N_PRICE,
    N_QTY,
    N_RULES,
    N_TAG,
    NO_ASK,
    NO_BID,
    NODE_SHIFT,
    NODES,
    RULES_STOP,
    RULES_TRIGGER,
    RULES_WAITS,
    S_BID_BASE,
    S_NEAREST,
    S_ROOTS,
    SYMBOL_SHIFT,
    T_KEY,
    T_LEVEL,
    WINDOW,
    WINDOW_MASK,
)
from baretick.memory import add64, compiled, inline, load32, load64, store32, store64


@inline
def node_of(a, x):
    return a + NODES + (x << NODE_SHIFT)


@inline
def symbol_row(a, sym):
    return a + load64(a, H_O_SYMBOLS) + (sym << SYMBOL_SHIFT)


@inline
def bits_of(a, tag):
    return a + load64(a, H_O_BITS) + tag * BITS_BYTES


@inline
def level_index(tag, tick):
    """Index of a window's level; `tag` is symbol * 2 + side."""
    return (tag << LOG_WINDOW) + (tick & WINDOW_MASK)


@inline
def window_level(a, tag, tick):
    """Address of a window's level."""
    return a + load64(a, H_O_LEVELS) + (level_index(tag, tick) << LEVEL_SHIFT)


@inline
def level_at(a, index):
    """Address of a level: of a window if index is not below 0, else inside tree node -index."""
    if index >= 0:
        return a + load64(a, H_O_LEVELS) + (index << LEVEL_SHIFT)
    return node_of(a, -index) + T_LEVEL


@inline
def far_root(row, side):
    return row + S_ROOTS + 8 * (FAR_ROOTS + side)


@inline
def stop_root(row, trigger, side):
    return row + S_ROOTS + 8 * (2 * (trigger - 1) + side)


@inline
def append(a, x, index):
    """Join the tail of a level's queue; True if the queue was empty. The node's shown quantity must be set."""
    level = level_at(a, index)
    node = node_of(a, x)
    tail = load32(level, L_TAIL)
    store32(node, N_NEXT, 0)
    store32(node, N_PREV, tail)
    store32(node, N_LEVEL, index)
    store32(level, L_TAIL, x)
    add64(level, L_QTY, load64(node, N_QTY))
    if tail == 0:
        store32(level, L_HEAD, x)
        return True
    store32(node_of(a, tail), N_NEXT, x)
    return False


@compiled
def _to_tree(a, row, tag, tick):
    """Move a window's level into the side's tree, queue and all."""
    index = level_index(tag, tick)
    old = level_at(a, index)
    y = tree.seek_or_add(a, far_root(row, tag & 1), tick)
    new = level_at(a, -y)
    store64(new, L_HEAD, load64(old, L_HEAD))
    store64(new, L_QTY, load64(old, L_QTY))
    store64(old, L_HEAD, 0)
    store64(old, L_QTY, 0)
    clear_bit(bits_of(a, tag), tick & WINDOW_MASK)
    x = load32(new, L_HEAD)
    while x != 0:
        store32(node_of(a, x), N_LEVEL, -y)
        x = load32(node_of(a, x), N_NEXT)


@compiled
def _from_tree(a, tag, y):
    """Move a tree's level into the side's window, which must hold it."""
    old = level_at(a, -y)
    tick = load64(node_of(a, y), T_KEY)
    index = level_index(tag, tick)
    new = level_at(a, index)
    store64(new, L_HEAD, load64(old, L_HEAD))
    store64(new, L_QTY, load64(old, L_QTY))
    set_bit(bits_of(a, tag), tick & WINDOW_MASK)
    x = load32(new, L_HEAD)
    while x != 0:
        store32(node_of(a, x), N_LEVEL, index)
        x = load32(node_of(a, x), N_NEXT)
    tree.drop(a, y)


@compiled
def _place_window(a, row, tag, best):
    """Put the window where `best` lies well inside it, and move the levels that fall out or come in."""
    side = tag & 1
    at = S_BID_BASE + 8 * side
    bits = bits_of(a, tag)
    old, base = load64(row, at), best - WINDOW + INSET if side == 0 else best - INSET
    # Those that fall out: searched from the worst end of the old window, while outside the new one.
    while True:
        if side == 0:
            i = up(bits, old & WINDOW_MASK)
            tick = old + ((i - old) & WINDOW_MASK)
            if i < 0 or tick >= base:
                break
        else:
            top = old + WINDOW_MASK
            i = down(bits, top & WINDOW_MASK)
            tick = top - ((top - i) & WINDOW_MASK)
            if i < 0 or tick < base + WINDOW:
                break
        _to_tree(a, row, tag, tick)
    store64(row, at, base)
    root = far_root(row, side)
    while True:
        y = tree.first(a, root, side == 0)
        if y == 0 or not 0 <= load64(node_of(a, y), T_KEY) - base < WINDOW:
            break
        _from_tree(a, tag, y)


@compiled
def _far_index(a, row, tag, tick):
    """Level of a price outside the window: the window is moved to it if it is the new best, else a tree holds it."""
    side = tag & 1
    best = load64(row, 8 * side)
    if (tick > best) if side == 0 else (tick < best):
        _place_window(a, row, tag, tick)
        return level_index(tag, tick)
    return -tree.seek_or_add(a, far_root(row, side), tick)


@inline
def join_book(a, row, tag, x, tick):
    """Rest order x at the tail of its price."""
    side = tag & 1
    offset = tick - load64(row, S_BID_BASE + 8 * side)
    index = level_index(tag, tick) if 0 <= offset < WINDOW else _far_index(a, row, tag, tick)
    if append(a, x, index) and index >= 0:
        set_bit(bits_of(a, tag), tick & WINDOW_MASK)
        best = load64(row, 8 * side)
        if (tick > best) if side == 0 else (tick < best):
            store64(row, 8 * side, tick)


@compiled
def _refill(a, row, tag):
    """The window is empty: move it to the best level outside. Returns the new best, or that there is none."""
    side = tag & 1
    y = tree.first(a, far_root(row, side), side == 0)
    if y == 0:
        return NO_BID if side == 0 else NO_ASK
    tick = load64(node_of(a, y), T_KEY)
    _place_window(a, row, tag, tick)
    return tick


@inline
def next_best(a, row, tag, tick):
    """The best level of a side once `tick`, its best so far, has gone (its bit is cleared)."""
    bits = bits_of(a, tag)
    if tag & 1 == 0:
        i = down(bits, (tick - 1) & WINDOW_MASK)
        if i >= 0:
            return tick - 1 - ((tick - 1 - i) & WINDOW_MASK)
    else:
        i = up(bits, (tick + 1) & WINDOW_MASK)
        if i >= 0:
            return tick + 1 + ((i - tick - 1) & WINDOW_MASK)
    return _refill(a, row, tag)


@compiled
def level_gone(a, row, tag, index, tick):
    """An emptied level: out of the bitmap or the tree, and out of the touch."""
    if index < 0:
        tree.drop(a, -index)
        return
    clear_bit(bits_of(a, tag), tick & WINDOW_MASK)
    best = 8 * (tag & 1)
    if load64(row, best) == tick:
        store64(row, best, next_best(a, row, tag, tick))


@inline
def cut(a, x):
    """Take order x out of its level's queue; True if the queue is empty now."""
    node = node_of(a, x)
    nxt, prev = load32(node, N_NEXT), load32(node, N_PREV)
    level = level_at(a, load32(node, N_LEVEL))
    add64(level, L_QTY, -load64(node, N_QTY))
    if prev != 0:
        store32(node_of(a, prev), N_NEXT, nxt)
    else:
        store32(level, L_HEAD, nxt)
    if nxt != 0:
        store32(node_of(a, nxt), N_PREV, prev)
    else:
        store32(level, L_TAIL, prev)
    return nxt == 0 and prev == 0


@compiled
def renew_nearest(a, row, trigger, side):
    """Note the stop price that goes off first: the lowest of buys, the highest of sells."""
    y = tree.first(a, stop_root(row, trigger, side), side == 1)
    none = NO_ASK if side == 0 else NO_BID
    store64(row, S_NEAREST + 8 * (2 * (trigger - 1) + side), load64(node_of(a, y), T_KEY) if y != 0 else none)


@compiled
def join_stops(a, row, x):
    """Let stop order x wait at the tail of its stop price."""
    node = node_of(a, x)
    rules = load64(node, N_RULES)
    trigger, side = (rules >> RULES_TRIGGER) & 3, load32(node, N_TAG) & 1
    append(a, x, -tree.seek_or_add(a, stop_root(row, trigger, side), rules >> RULES_STOP))
    renew_nearest(a, row, trigger, side)


@inline
def leave(a, row, x):
    """Take order x out of wherever it queues."""
    node = node_of(a, x)
    index, tag = load32(node, N_LEVEL), load32(node, N_TAG) & 0xFFFF
    rules = load64(node, N_RULES)
    if cut(a, x):
        level_gone(a, row, tag, index, load64(node, N_PRICE))
        if rules & RULES_WAITS != 0:
            renew_nearest(a, row, (rules >> RULES_TRIGGER) & 3, tag & 1)


@compiled
def beyond(a, row, tag, tick):
    """(tick, index) of the next worse level of a side after `tick`, inside the window or not; tick NO_BID or NO_ASK."""
    side = tag & 1
    bits = bits_of(a, tag)
    base = load64(row, S_BID_BASE + 8 * side)
    if side == 0:
        if tick > base:
            start = min(tick - 1, base + WINDOW_MASK)
            i = down(bits, start & WINDOW_MASK)
            found = start - ((start - i) & WINDOW_MASK)
            # A search that went round the end found a level better than `tick`: nothing is left in the window.
            if i >= 0 and found >= base:
                return found, level_index(tag, found)
    elif tick < base + WINDOW_MASK:
        start = max(tick + 1, base)
        i = up(bits, start & WINDOW_MASK)
        found = start + ((i - start) & WINDOW_MASK)
        if i >= 0 and found <= base + WINDOW_MASK:
            return found, level_index(tag, found)
    y = tree.after(a, far_root(row, side), tick, side == 0)
    if y == 0:
        return (NO_BID if side == 0 else NO_ASK), 0
    return load64(node_of(a, y), T_KEY), -y
