"""New orders and replaced ones: every check, then the book. Nothing is written before all that could refuse has passed.

Where the event buffer might not hold what the order would write, the command is put off (PAUSED) until the host has
drained it; only an order that no empty buffer could hold is refused for that.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching import table
from baretick.matching.layout import (
    BEYOND,
    CLOSED,
    H_ACCOUNTS,
    H_EVENT_COUNT,
    H_EVENTS,
    H_KILL,
    H_LIVE,
    H_ORDERS,
    H_SYMBOL,
    H_SYMBOLS,
    H_TS,
    L_HEAD,
    N_DISPLAY,
    N_ID,
    N_NEXT,
    N_PRICE,
    N_QTY,
    N_RESERVE,
    N_RULES,
    N_TAG,
    RULES_STOP,
    RULES_TRIGGER,
    RULES_WAITS,
    S_ASK,
    S_BAND_HIGH,
    S_BAND_LOW,
    S_COLLAR,
    S_LAST,
    S_LIVE,
    S_LOT,
    S_MAX_NOTIONAL,
    S_MAX_POSITION,
    S_MAX_QTY,
    S_SLICES,
    S_STATE,
    S_STOPS,
    S_TICK,
    S_TRADED,
)
from baretick.matching.levels import beyond, join_book, join_stops, leave, level_at, level_index, node_of, symbol_row
from baretick.matching.match import crosses, fillable, match
from baretick.matching.orders import CANCELLED, account_row, count_open, emit, pair_row, show, slices
from baretick.matching.records import MAX_PRICE, MAX_QTY, MAX_SLICES, EventKind, Kill, Kind, Reason, Trigger
from baretick.matching.tree import give_node, take_node
from baretick.memory import add64, compiled, inline, load32, load64, shift_right, store32, store64
from baretick.risk.limits import (
    A_STATE,
    A_STP,
    STATE_MASK,
    book_open,
    open_orders_refusal,
    position_refusal,
    rate_refusal,
    size_refusal,
    take_token,
)

PAUSED = -1000
"""A result: the command has to wait for the event buffer to be drained, and is then given again."""

ACCEPTED, REPLACED = int(EventKind.ACCEPTED), int(EventKind.REPLACED)
GTC, IOC, FOK, POST_ONLY, MARKET = int(Kind.GTC), int(Kind.IOC), int(Kind.FOK), int(Kind.POST_ONLY), int(Kind.MARKET)
TRIGGERS = max(Trigger)
CANCEL_ONLY, HALT = int(Kill.CANCEL_ONLY), int(Kill.HALT)
R_COMMAND, R_SYMBOL, R_ACCOUNT = int(Reason.BAD_COMMAND), int(Reason.UNKNOWN_SYMBOL), int(Reason.UNKNOWN_ACCOUNT)
R_QTY, R_LOT, R_PRICE, R_TICK = int(Reason.BAD_QTY), int(Reason.OFF_LOT), int(Reason.BAD_PRICE), int(Reason.OFF_TICK)
R_BAND, R_STOP, R_DISPLAY = int(Reason.OUTSIDE_BAND), int(Reason.BAD_STOP), int(Reason.BAD_DISPLAY)
R_DUPLICATE, R_UNKNOWN = int(Reason.DUPLICATE_ID), int(Reason.UNKNOWN_ORDER)
R_TAKE, R_FILL = int(Reason.WOULD_TAKE), int(Reason.WOULD_NOT_FILL)
R_BOOK, R_EVENTS = int(Reason.BOOK_FULL), int(Reason.EVENTS_FULL)
R_HALTED, R_NO_NEW, R_CANCEL_ONLY = int(Reason.HALTED), int(Reason.NO_NEW_ENTRIES), int(Reason.CANCEL_ONLY)
R_COLLAR = int(Reason.COLLAR)
UNFILLED, AMENDED = int(Reason.UNFILLED), int(Reason.AMENDED)

SPARE = 8
"""Event records free before any command is begun: more than one that does not trade writes."""


@compiled
def gate_refusal(a, state):
    """Why NEW is refused, given the symbol's and the account's states; 0 if it is not."""
    worst = max(load64(a, H_KILL), max(state & 0xFF, (state >> 16) & 0xFF))
    if worst == HALT:
        return R_HALTED
    if worst == CANCEL_ONLY:
        return R_CANCEL_ONLY
    return R_NO_NEW if worst != 0 else 0


@inline
def kill_state(a, row, owner):
    """The strictest of the engine's, the symbol's and the account's kill switches."""
    return max(load64(a, H_KILL), max(load64(row, S_STATE) & 0xFF, load64(owner, A_STATE) & 0xFF))


@compiled
def _walk_events(a, row, tag, account, limit, qty):
    """A bound on the events of an order that trades: by how far it reaches into the other side."""
    n = SPARE
    own = account if load32(account_row(a, account), A_STP) != 0 else -1
    best = load64(row, S_ASK - 8 * (tag & 1))
    index = level_index(tag ^ 1, best)
    while qty > 0 and (best <= limit if tag & 1 == 0 else best >= limit):
        x = load32(level_at(a, index), L_HEAD)
        while x != 0:  # whole levels: icebergs go round, own orders do not count against the quantity
            node = node_of(a, x)
            reserve = load64(node, N_RESERVE)
            n += 2
            if (load32(node, N_TAG) >> 16) & 0xFFFF != own:
                qty -= load64(node, N_QTY)
            if reserve != 0:
                n += 2 * slices(reserve, load64(node, N_DISPLAY))
            x = load32(node, N_NEXT)
            if n > load64(a, H_EVENTS):
                return n
        best, index = beyond(a, row, tag ^ 1, best)
    return n


@inline
def room(a, row, tag, account, limit, qty):
    """0 if the event buffer holds all that a crossing order can write, PAUSED or a refusal if not."""
    space = load64(a, H_EVENTS) - load64(a, H_EVENT_COUNT)
    if space >= SPARE + 2 * (load64(row, S_LIVE) + load64(row, S_SLICES)):
        return 0
    return _room_by_walk(a, row, tag, account, limit, qty, space)


@compiled
def _room_by_walk(a, row, tag, account, limit, qty, space):
    need = _walk_events(a, row, tag, account, limit, qty)
    if need <= space:
        return 0
    return PAUSED if load64(a, H_EVENT_COUNT) != 0 else -R_EVENTS


@inline
def collar_bound(row, side, tick):
    """The worst price in ticks that the collar lets an order reach; BEYOND, or its negative, without one."""
    collar = load64(row, S_COLLAR)
    if collar == 0 or load64(row, S_TRADED) == 0:
        return BEYOND if side == 0 else -BEYOND
    reach = collar // tick
    return load64(row, S_LAST) + reach if side == 0 else load64(row, S_LAST) - reach


@inline
def to_ticks(price, tick):
    return price if tick == 1 else price // tick


@inline
def _price_refusal(row, price, tick):
    if price > MAX_PRICE or price < -MAX_PRICE:
        return R_PRICE
    if tick != 1 and price % tick != 0:
        return R_TICK
    return R_BAND if price < load64(row, S_BAND_LOW) or price > load64(row, S_BAND_HIGH) else 0


@inline
def _qty_refusal(row, qty):
    if qty <= 0 or qty > MAX_QTY:
        return R_QTY
    lot = load64(row, S_LOT)
    return R_LOT if lot != 1 and qty % lot != 0 else 0


@compiled
def _special_refusal(row, kind, trigger, qty, display, stop, tick):
    """What only icebergs and stops can have wrong."""
    if display != 0:
        if display < 0 or display > qty or qty // MAX_SLICES > display:
            return R_DISPLAY
        if kind != GTC and kind != POST_ONLY:
            return R_DISPLAY
        lot = load64(row, S_LOT)
        if display % lot != 0:
            return R_DISPLAY
    if trigger == 0:
        return R_STOP if stop != 0 else 0
    if stop > MAX_PRICE or stop < -MAX_PRICE or stop % tick != 0:
        return R_STOP
    return 0


@inline
def _risk_refusal(a, row, owner, pair, side, qty, more, price, rests):
    """Size, position and number of open orders; 0 or a Reason. `more` is what the open quantity grows by."""
    refusal = size_refusal(owner, qty, price, load64(row, S_MAX_QTY), load64(row, S_MAX_NOTIONAL))
    if refusal != 0:
        return refusal
    refusal = position_refusal(owner, pair, side, more, load64(row, S_MAX_POSITION))
    if refusal != 0:
        return refusal
    if rests:
        if load64(a, H_LIVE) >= load64(a, H_ORDERS):
            return R_BOOK
        return open_orders_refusal(owner)
    return 0


@inline
def enter(a, row, tag, account, order_id, kind, price, limit, qty, x, entry):
    """Match, then rest or drop what is left; returns it. All checks have passed.

    `x` is the order's node if it has one (a replaced or triggered order, still in the table), else 0; `entry` is then
    where the table would take the id.
    """
    left = qty
    crossing = crosses(row, tag & 1, limit)
    if crossing:
        left = match(a, row, tag, account, order_id, price, limit, qty)
    if left == 0 or kind in (IOC, FOK, MARKET):
        if left != 0:
            emit(a, CANCELLED | (UNFILLED << 8), tag, account, 0, order_id, 0, price, left)
        if x != 0:
            table.forget(a, order_id)
            give_node(a, x)
            count_open(a, row, account, -1)
        return left
    if x == 0:
        x = take_node(a)
        # Orders that left the table may have moved the empty entry.
        i = table.find(a, order_id) if crossing else entry
        table.put(a, -1 - i, order_id, x)
        count_open(a, row, account, 1)
        node = node_of(a, x)
        store64(node, N_ID, order_id)
        store32(node, N_TAG, tag | (account << 16))
        store64(node, N_DISPLAY, 0)
        store64(node, N_RESERVE, 0)
        store64(node, N_QTY, left)
        store64(node, N_RULES, kind)
    else:
        node = node_of(a, x)
        display = load64(node, N_DISPLAY)
        if display != 0:
            add64(row, S_SLICES, show(node, left, display))
        else:
            store64(node, N_QTY, left)
    store64(node, N_PRICE, limit)
    book_open(pair_row(a, account, tag >> 1), tag & 1, left)
    join_book(a, row, tag, x, limit)
    return left


@compiled
def _new_special(a, row, tag, account, order_id, kind, trigger, price, limit, qty, display, stop, entry):
    """An accepted iceberg or stop: it gets its node first, and enters the book, or waits, as one that has it."""
    x = take_node(a)
    table.put(a, -1 - entry, order_id, x)
    count_open(a, row, account, 1)
    node = node_of(a, x)
    store64(node, N_ID, order_id)
    store32(node, N_TAG, tag | (account << 16))
    store64(node, N_DISPLAY, display)
    store64(node, N_RESERVE, 0)
    store64(node, N_QTY, qty)
    store64(node, N_PRICE, limit)
    if trigger == 0:
        store64(node, N_RULES, kind)
        return enter(a, row, tag, account, order_id, kind, price, limit, qty, x, entry)
    store64(node, N_RULES, kind | (trigger << RULES_TRIGGER) | RULES_WAITS | (stop << RULES_STOP))
    book_open(pair_row(a, account, tag >> 1), tag & 1, qty)
    add64(row, S_STOPS, 1)
    join_stops(a, row, x)
    return qty


@inline
def new_order(a, c):
    """A NEW command at address c: the open quantity after it, a Reason below zero, or PAUSED."""
    codes = load64(c, 56)
    side, kind, trigger = (codes >> 8) & 0xFF, (codes >> 16) & 0xFF, (codes >> 24) & 0xFF
    sym, account = (codes >> 32) & 0xFFFF, shift_right(codes, 48)
    order_id, price, qty = load64(c, 16), load64(c, 24), load64(c, 32)
    stop, display = load64(c, 40), load64(c, 48)
    if side > 1 or kind > MARKET or trigger > TRIGGERS:
        return -R_COMMAND
    if sym >= load64(a, H_SYMBOLS):
        return -R_SYMBOL
    if account >= load64(a, H_ACCOUNTS):
        return -R_ACCOUNT
    store64(a, H_SYMBOL, sym)
    row, owner = symbol_row(a, sym), account_row(a, account)
    state = load64(row, S_STATE) | ((load64(owner, A_STATE) & STATE_MASK) << 16)
    if (state | load64(a, H_KILL)) != 0:
        if state & CLOSED != 0:
            return -R_SYMBOL
        if state & (CLOSED << 16) != 0:
            return -R_ACCOUNT
        return -gate_refusal(a, state)
    refusal = _qty_refusal(row, qty)
    if refusal != 0:
        return -refusal
    tick = load64(row, S_TICK)
    special = (trigger | display | stop) != 0
    if kind == MARKET:
        if price != 0:
            return -R_PRICE
        limit = collar_bound(row, side, tick)
        # The notional of a market order is counted at the last price: there is no other.
        money = load64(row, S_LAST) * tick
    else:
        refusal = _price_refusal(row, price, tick)
        if refusal != 0:
            return -refusal
        limit = to_ticks(price, tick)
        money = price
    if special:
        refusal = _special_refusal(row, kind, trigger, qty, display, stop, tick)
        if refusal != 0:
            return -refusal
        if trigger != 0 and kind == MARKET:
            limit = 0
            money = stop
    entry = table.find(a, order_id)
    if entry >= 0:
        return -R_DUPLICATE
    pair = pair_row(a, account, sym)
    rests = kind in (GTC, POST_ONLY) or trigger != 0
    refusal = _risk_refusal(a, row, owner, pair, side, qty, qty, money, rests)
    if refusal != 0:
        return -refusal
    tag = sym * 2 + side
    now = load64(a, H_TS)
    if trigger == 0:
        bound = collar_bound(row, side, tick)
        if limit > bound if side == 0 else limit < bound:
            return -R_COLLAR
        if crosses(row, side, limit):
            if kind == POST_ONLY:
                return -R_TAKE
            if kind == FOK and not fillable(a, row, tag, account, limit, qty):
                return -R_FILL
            result = room(a, row, tag, account, limit, qty)
            if result != 0:
                return result
        elif kind == FOK:
            return -R_FILL
    refusal = rate_refusal(owner, now)
    if refusal != 0:
        return -refusal
    take_token(owner, now)
    shows = 0 if not rests or trigger != 0 else (qty if display == 0 else display)
    emit(a, ACCEPTED, tag, account, 0, order_id, shows, price, qty)
    if special:
        return _new_special(
            a, row, tag, account, order_id, kind, trigger, price, limit, qty, display, to_ticks(stop, tick), entry
        )
    return enter(a, row, tag, account, order_id, kind, price, limit, qty, 0, entry)


@compiled
def replace_order(a, c):
    """A REPLACE command at address c: as `new_order`."""
    codes = load64(c, 56)
    account = shift_right(codes, 48)
    order_id, price, qty, stop = load64(c, 16), load64(c, 24), load64(c, 32), load64(c, 40)
    x = table.find_node(a, order_id)
    if x == 0:
        return -R_UNKNOWN
    node = node_of(a, x)
    label = load32(node, N_TAG)
    tag = label & 0xFFFF
    if (label >> 16) & 0xFFFF != account:
        return -R_UNKNOWN
    sym, side = tag >> 1, tag & 1
    store64(a, H_SYMBOL, sym)
    row, owner = symbol_row(a, sym), account_row(a, account)
    worst = kill_state(a, row, owner)
    if worst >= CANCEL_ONLY:
        return -(R_HALTED if worst == HALT else R_CANCEL_ONLY)
    rules = load64(node, N_RULES)
    waits = rules & RULES_WAITS
    kind = rules & 7
    refusal = _qty_refusal(row, qty)
    if refusal != 0:
        return -refusal
    tick = load64(row, S_TICK)
    money = price
    if kind == MARKET:  # waits for its stop
        if price != 0:
            return -R_PRICE
        limit = 0
        money = stop if stop != 0 else (rules >> RULES_STOP) * tick
    else:
        refusal = _price_refusal(row, price, tick)
        if refusal != 0:
            return -refusal
        limit = to_ticks(price, tick)
    if stop != 0 and (waits == 0 or stop > MAX_PRICE or stop < -MAX_PRICE or stop % tick != 0):
        return -R_STOP
    display = load64(node, N_DISPLAY)
    if display != 0 and qty // MAX_SLICES > display:
        return -R_DISPLAY
    pair = pair_row(a, account, sym)
    shown, reserve = load64(node, N_QTY), load64(node, N_RESERVE)
    was = shown + reserve
    refusal = _risk_refusal(a, row, owner, pair, side, qty, qty - was, money, False)
    if refusal != 0:
        return -refusal
    now = load64(a, H_TS)
    if waits == 0:
        bound = collar_bound(row, side, tick)
        if limit > bound if side == 0 else limit < bound:
            return -R_COLLAR
        if crosses(row, side, limit):
            if kind == POST_ONLY:
                return -R_TAKE
            result = room(a, row, tag, account, limit, qty)
            if result != 0:
                return result
    refusal = rate_refusal(owner, now)
    if refusal != 0:
        return -refusal
    take_token(owner, now)
    old = load64(node, N_PRICE) * tick
    emit(a, CANCELLED | (AMENDED << 8), tag, account, 0, order_id, 0 if waits != 0 else shown, old, was)
    leave(a, row, x)
    book_open(pair, side, -was)
    if reserve != 0:
        add64(row, S_SLICES, -slices(reserve, display))
    store64(node, N_RESERVE, 0)
    shows = 0 if waits != 0 else (qty if display == 0 else min(display, qty))
    emit(a, REPLACED, tag, account, 0, order_id, shows, price, qty)
    if waits == 0:
        return enter(a, row, tag, account, order_id, kind, price, limit, qty, x, 0)
    if stop != 0:
        store64(node, N_RULES, (rules & ((1 << RULES_STOP) - 1)) | (to_ticks(stop, tick) << RULES_STOP))
    store64(node, N_PRICE, limit)
    store64(node, N_QTY, qty)
    book_open(pair, side, qty)
    join_stops(a, row, x)
    return qty
