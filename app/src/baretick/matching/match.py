"""The matching loop: an incoming order against the queues of the other side, best price first, oldest first."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching import table
from baretick.matching.bits import clear_bit
from baretick.matching.layout import (
    L_HEAD,
    L_QTY,
    L_TAIL,
    N_DISPLAY,
    N_ID,
    N_LEVEL,
    N_NEXT,
    N_PREV,
    N_QTY,
    N_RESERVE,
    N_TAG,
    S_ASK,
    S_BID,
    S_LAST,
    S_SLICES,
    S_TICK,
    S_TRADED,
    WINDOW_MASK,
)
from baretick.matching.levels import beyond, bits_of, level_at, level_index, next_best, node_of, window_level
from baretick.matching.orders import (
    CANCELLED,
    REDUCED,
    RESTATED,
    SELF_TRADE,
    account_row,
    count_open,
    emit,
    pair_row,
    shrink_order,
)
from baretick.matching.records import EventKind, Stp
from baretick.matching.tree import give_node
from baretick.memory import add64, compiled, inline, load32, load64, store32, store64
from baretick.risk.limits import A_STP, book_fill, book_open

TRADE = int(EventKind.TRADE)
EXPIRE_TAKER, EXPIRE_BOTH, DECREMENT = int(Stp.EXPIRE_TAKER), int(Stp.EXPIRE_BOTH), int(Stp.DECREMENT)
EXPIRED = CANCELLED | (SELF_TRADE << 8)
DECREMENTED = REDUCED | (SELF_TRADE << 8)


@inline
def crosses(row, side, limit):
    """Whether an order at `limit` ticks would meet the other side's best."""
    return load64(row, S_ASK) <= limit if side == 0 else load64(row, S_BID) >= limit


@inline
def _requeue(a, row, tag, level, x, price):
    """An iceberg's shown part is used up: show the next one, at the tail of the level. Returns the new head."""
    node = node_of(a, x)
    reserve, display = load64(node, N_RESERVE), load64(node, N_DISPLAY)
    shown = min(reserve, display)
    store64(node, N_QTY, shown)
    store64(node, N_RESERVE, reserve - shown)
    add64(row, S_SLICES, -1)
    emit(a, RESTATED, tag, (load32(node, N_TAG) >> 16) & 0xFFFF, 0, load64(node, N_ID), 0, price, shown)
    add64(level, L_QTY, shown)
    nxt = load32(node, N_NEXT)
    if nxt == 0:
        return x
    tail = load32(level, L_TAIL)
    store32(node_of(a, tail), N_NEXT, x)
    store32(node, N_PREV, tail)
    store32(node, N_NEXT, 0)
    store32(level, L_TAIL, x)
    store32(node_of(a, nxt), N_PREV, 0)
    return nxt


@compiled
def _meet_own(a, row, tag, account, order_id, sent, x, price, qty):
    """The order meets one of its own account at the head of a level. Returns the quantity that may go on.

    The maker is taken out of its queue or made smaller; what the taker loses is reported here, at the price it `sent`.
    -1: the taker goes on no further, and has been reported.
    """
    mode = load32(account_row(a, account), A_STP)
    node = node_of(a, x)
    total = load64(node, N_QTY) + load64(node, N_RESERVE)
    lost = min(total, qty) if mode == DECREMENT else total
    if mode != EXPIRE_TAKER:
        if lost == total:
            _expire_head(a, row, tag ^ 1, account, x, price)
        else:
            shrink_order(a, x, lost, DECREMENTED, price)
    if mode == DECREMENT:
        qty -= lost
        emit(a, EXPIRED if qty == 0 else DECREMENTED, tag, account, 0, order_id, 0, sent, lost)
        return qty
    if mode in (EXPIRE_TAKER, EXPIRE_BOTH):
        emit(a, EXPIRED, tag, account, 0, order_id, 0, sent, qty)
        return -1
    return qty


@inline
def _expire_head(a, row, tag, account, x, price):
    """Remove the head of a level; the level itself is the matching loop's to close."""
    node = node_of(a, x)
    shown, reserve, order_id = load64(node, N_QTY), load64(node, N_RESERVE), load64(node, N_ID)
    emit(a, EXPIRED, tag, account, 0, order_id, shown, price, shown + reserve)
    if reserve != 0:
        display = load64(node, N_DISPLAY)
        add64(row, S_SLICES, -((reserve + display - 1) // display))
    level = level_at(a, load32(node, N_LEVEL))
    add64(level, L_QTY, -shown)
    nxt = load32(node, N_NEXT)
    store32(level, L_HEAD, nxt)
    if nxt == 0:
        store32(level, L_TAIL, 0)
    else:
        store32(node_of(a, nxt), N_PREV, 0)
    book_open(pair_row(a, account, tag >> 1), tag & 1, -shown - reserve)
    table.forget(a, order_id)
    give_node(a, x)
    count_open(a, row, account, -1)


@inline
def match(a, row, tag, account, order_id, sent, limit, qty):
    """Trade as far as `limit` (in ticks) allows; returns the quantity left.

    `row` is the symbol's, `sent` the price that the command gave. Only called when the order crosses. An order that
    self-trade prevention ended has been reported, and 0 of it is left here.
    """
    side, sym = tag & 1, tag >> 1
    touch = row + S_ASK - 8 * side
    best = load64(touch, 0)
    unit = load64(row, S_TICK)
    own = account if load32(account_row(a, account), A_STP) != 0 else -1
    filled = 0
    other = tag ^ 1
    last = best
    while True:
        level = window_level(a, other, best)
        price = best * unit
        x = load32(level, L_HEAD)
        while True:
            node = node_of(a, x)
            maker = (load32(node, N_TAG) >> 16) & 0xFFFF
            if maker == own:
                result = _meet_own(a, row, tag, account, order_id, sent, x, price, qty)
                qty = max(result, 0)
                x = load32(level, L_HEAD)
            else:
                shown = load64(node, N_QTY)
                take = min(shown, qty)
                maker_id = load64(node, N_ID)
                emit(a, TRADE, tag, account, maker, order_id, maker_id, price, take)
                qty -= take
                filled += take
                last = best
                pair = pair_row(a, maker, sym)
                book_fill(pair, 1 - side, take)
                book_open(pair, 1 - side, -take)
                add64(level, L_QTY, -take)
                if take < shown:
                    store64(node, N_QTY, shown - take)
                elif load64(node, N_RESERVE) != 0:
                    x = _requeue(a, row, other, level, x, price)
                    store32(level, L_HEAD, x)
                else:
                    nxt = load32(node, N_NEXT)
                    table.remove(a, table.find(a, maker_id))
                    give_node(a, x)
                    count_open(a, row, maker, -1)
                    store32(level, L_HEAD, nxt)
                    if nxt != 0:
                        store32(node_of(a, nxt), N_PREV, 0)
                    x = nxt
            if qty == 0 or x == 0:
                break
        if x == 0:
            store32(level, L_TAIL, 0)
            clear_bit(bits_of(a, other), best & WINDOW_MASK)
            best = next_best(a, row, other, best)
        if qty == 0 or (best > limit if side == 0 else best < limit):
            break
    store64(touch, 0, best)
    if filled != 0:
        book_fill(pair_row(a, account, sym), side, filled)
        store64(row, S_LAST, last)
        store64(row, S_TRADED, 1)
    return qty


@compiled
def fillable(a, row, tag, account, limit, qty):
    """Whether an order would be filled whole: walks the other side, changes nothing.

    An order of the own account ends the walk where it would end the order; where the maker gives way it is passed by.
    Reserves count only in queues without an own order that ends it: they come behind it.
    """
    mode = load32(account_row(a, account), A_STP)
    other = tag ^ 1
    best = load64(row, S_ASK - 8 * (tag & 1))
    ends = mode > 1
    index = level_index(other, best)
    while best <= limit if tag & 1 == 0 else best >= limit:
        x = load32(level_at(a, index), L_HEAD)
        reserves = 0
        while x != 0 and qty > 0:
            node = node_of(a, x)
            if mode != 0 and (load32(node, N_TAG) >> 16) & 0xFFFF == account:
                if ends:
                    return False
            else:
                qty -= load64(node, N_QTY)
                reserves += load64(node, N_RESERVE)
            x = load32(node, N_NEXT)
        qty -= reserves
        if qty <= 0:
            return True
        best, index = beyond(a, row, other, best)
    return False
