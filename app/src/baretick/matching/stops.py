"""Stop orders going off: after every command that could have moved the last trade, the bid or the ask.

One at a time, in a fixed order: buys on the last price, sells on it, then on the bid, then on the ask; within each
the stop price that is reached first, and the oldest at that price. Each enters the book wholly before the next is
looked at, so a stop that moves the price sets off others, and the same commands always give the same events.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching import table
from baretick.matching.entry import (
    FOK,
    MARKET,
    PAUSED,
    POST_ONLY,
    R_COLLAR,
    R_EVENTS,
    R_FILL,
    R_TAKE,
    SPARE,
    collar_bound,
    enter,
    room,
)
from baretick.matching.layout import (
    H_EVENT_COUNT,
    H_EVENTS,
    L_HEAD,
    N_DISPLAY,
    N_ID,
    N_PRICE,
    N_QTY,
    N_RULES,
    N_TAG,
    NO_ASK,
    NO_BID,
    S_ASK,
    S_BID,
    S_LAST,
    S_NEAREST,
    S_STOPS,
    S_TICK,
    S_TRADED,
)
from baretick.matching.levels import leave, level_at, node_of, stop_root
from baretick.matching.match import crosses, fillable
from baretick.matching.orders import CANCELLED, count_open, emit, pair_row
from baretick.matching.records import EventKind
from baretick.matching.tree import first, give_node
from baretick.memory import add64, compiled, load32, load64, store64
from baretick.risk.limits import book_open

TRIGGERED = int(EventKind.TRIGGERED)


@compiled
def _next_stop(a, row):
    """The stop order that goes off next, 0 if none does."""
    for which in range(6):
        trigger, side = (which >> 1) + 1, which & 1
        nearest = load64(row, S_NEAREST + 8 * which)
        if trigger == 1:
            price, known = load64(row, S_LAST), load64(row, S_TRADED) != 0
        elif trigger == 2:
            price = load64(row, S_BID)
            known = price != NO_BID
        else:
            price = load64(row, S_ASK)
            known = price != NO_ASK
        if known and (price >= nearest if side == 0 else price <= nearest):
            y = first(a, stop_root(row, trigger, side), side == 1)
            return load32(level_at(a, -y), L_HEAD)
    return 0


@compiled
def _go_off(a, row, x):
    """One stop order enters the book. False if the event buffer has to be drained first; nothing is done then."""
    node = node_of(a, x)
    rules = load64(node, N_RULES)
    kind = rules & 7
    label = load32(node, N_TAG)
    tag, account = label & 0xFFFF, (label >> 16) & 0xFFFF
    side = tag & 1
    order_id, qty, display = load64(node, N_ID), load64(node, N_QTY), load64(node, N_DISPLAY)
    tick = load64(row, S_TICK)
    bound = collar_bound(row, side, tick)
    limit = bound if kind == MARKET else load64(node, N_PRICE)
    price = 0 if kind == MARKET else limit * tick
    crossing = crosses(row, side, limit)
    refusal = 0
    if limit > bound if side == 0 else limit < bound:
        refusal = R_COLLAR
    elif crossing:
        if kind == POST_ONLY:
            refusal = R_TAKE
        elif kind == FOK and not fillable(a, row, tag, account, limit, qty):
            refusal = R_FILL
        else:
            result = room(a, row, tag, account, limit, qty)
            if result == PAUSED:
                return False
            refusal = R_EVENTS if result != 0 else 0
    elif kind == FOK:
        refusal = R_FILL
    leave(a, row, x)
    add64(row, S_STOPS, -1)
    book_open(pair_row(a, account, tag >> 1), side, -qty)
    shows = 0 if kind != 0 and kind != POST_ONLY else (qty if display == 0 else min(display, qty))
    emit(a, TRIGGERED, tag, account, 0, order_id, shows, price, qty)
    if refusal != 0:
        emit(a, CANCELLED | (refusal << 8), tag, account, 0, order_id, 0, price, qty)
        table.forget(a, order_id)
        give_node(a, x)
        count_open(a, row, account, -1)
        return True
    store64(node, N_RULES, kind)
    enter(a, row, tag, account, order_id, kind, price, limit, qty, x, 0)
    return True


@compiled
def set_off(a, row):
    """Let every stop go off whose price is reached. False if it has to be called again after a drain."""
    while load64(row, S_STOPS) != 0:
        if load64(a, H_EVENTS) - load64(a, H_EVENT_COUNT) < SPARE:
            return False
        x = _next_stop(a, row)
        if x == 0:
            break
        if not _go_off(a, row, x):
            return False
    return True
