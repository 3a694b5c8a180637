"""Commands about more than one order: mass cancel, the kill switches, and limits and the symbol table.

They take effect between two orders of the same stream, so a journal replays them at the same place.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching.entry import PAUSED, R_ACCOUNT, R_COMMAND, R_SYMBOL, SPARE
from baretick.matching.layout import (
    CLOSED,
    FREE_TAG,
    H_ACCOUNTS,
    H_EVENT_COUNT,
    H_EVENTS,
    H_FRESH,
    H_KILL,
    H_MASS,
    H_SYMBOLS,
    N_TAG,
    S_BAND_HIGH,
    S_BAND_LOW,
    S_COLLAR,
    S_LAST,
    S_LIVE,
    S_LOT,
    S_MAX_NOTIONAL,
    S_MAX_POSITION,
    S_MAX_QTY,
    S_STATE,
    S_STOPS,
    S_TICK,
)
from baretick.matching.levels import node_of, symbol_row
from baretick.matching.orders import CANCELLED, account_row, drop_order, emit, pair_row, price_of
from baretick.matching.records import MAX_PRICE, MAX_QTY, EventKind, Kill, Param, Reason, Scope, Stp
from baretick.matching.stops import set_off
from baretick.memory import add64, compiled, load32, load64, shift_right, store32, store64
from baretick.risk.limits import (
    A_INTERVAL,
    A_MAX_NOTIONAL,
    A_MAX_OPEN,
    A_MAX_POSITION,
    A_MAX_QTY,
    A_STATE,
    A_STP,
    A_TOLERANCE,
    P_LIMIT,
    UNLIMITED,
)

DONE = int(EventKind.DONE)
ALL, ACCOUNT, SYMBOL, BOTH = int(Scope.ALL), int(Scope.ACCOUNT), int(Scope.SYMBOL), int(Scope.ACCOUNT_SYMBOL)
STATES = max(Kill)
MODES = max(Stp)
R_BUSY, R_VALUE = int(Reason.SYMBOL_BUSY), int(Reason.BAD_VALUE)
SWEPT = CANCELLED | (int(Reason.MASS_CANCEL) << 8)
OPEN, STP, MAX_ORDER_QTY = int(Param.OPEN), int(Param.STP), int(Param.MAX_ORDER_QTY)
MAX_NOTIONAL, MAX_POSITION, MAX_OPEN = int(Param.MAX_NOTIONAL), int(Param.MAX_POSITION), int(Param.MAX_OPEN_ORDERS)
RATE_INTERVAL, RATE_BURST = int(Param.RATE_INTERVAL), int(Param.RATE_BURST)
TICK, LOT, COLLAR = int(Param.TICK), int(Param.LOT), int(Param.COLLAR)
BAND_LOW, BAND_HIGH = int(Param.BAND_LOW), int(Param.BAND_HIGH)
MAX_INTERVAL, MAX_BURST = 1 << 42, 1 << 20


@compiled
def _scope_refusal(a, scope, sym, account):
    if scope > BOTH:
        return R_COMMAND
    if scope & ACCOUNT and account >= load64(a, H_ACCOUNTS):
        return R_ACCOUNT
    if scope & SYMBOL and sym >= load64(a, H_SYMBOLS):
        return R_SYMBOL
    return 0


@compiled
def mass_cancel(a, c):
    """Cancel every open order of an account, of a symbol, of both, or of all; returns how many, or PAUSED.

    A pass over the nodes in order of memory: the same engine always cancels in the same order, and the pass is as
    fast as memory. Paused and called again it finds those that are left.
    """
    codes = load64(c, 56)
    scope, sym, account = (codes >> 24) & 0xFF, (codes >> 32) & 0xFFFF, shift_right(codes, 48)
    refusal = _scope_refusal(a, scope, sym, account)
    if refusal != 0:
        return -refusal
    mask = (0xFFFF0000 if scope & ACCOUNT else 0) | (0xFFFE if scope & SYMBOL else 0)
    wanted = ((account << 16) | (sym << 1)) & mask
    for x in range(1, load64(a, H_FRESH)):
        label = load32(node_of(a, x), N_TAG)
        if label != FREE_TAG and label & mask == wanted:
            if load64(a, H_EVENTS) - load64(a, H_EVENT_COUNT) < SPARE:
                return PAUSED
            drop_order(a, x, SWEPT, price_of(a, x))
            add64(a, H_MASS, 1)
    for s in range(load64(a, H_SYMBOLS)):
        if load64(symbol_row(a, s), S_STOPS) != 0 and not set_off(a, symbol_row(a, s)):
            return PAUSED
    if load64(a, H_EVENTS) - load64(a, H_EVENT_COUNT) < SPARE:
        return PAUSED
    n = load64(a, H_MASS)
    store64(a, H_MASS, 0)
    emit(a, DONE, sym * 2, account, 0, 0, 0, 0, n)
    return n


@compiled
def kill(a, c):
    """Set the kill switch of the engine, an account or a symbol."""
    codes = load64(c, 56)
    state, scope = (codes >> 16) & 0xFF, (codes >> 24) & 0xFF
    sym, account = (codes >> 32) & 0xFFFF, shift_right(codes, 48)
    if state > STATES or scope == BOTH:
        return -R_COMMAND
    refusal = _scope_refusal(a, scope, sym, account)
    if refusal != 0:
        return -refusal
    if scope == ALL:
        store64(a, H_KILL, state)
    elif scope == ACCOUNT:
        row = account_row(a, account)
        store32(row, A_STATE, (load32(row, A_STATE) & ~0xFF) | state)
    else:
        row = symbol_row(a, sym)
        store64(row, S_STATE, (load64(row, S_STATE) & ~0xFF) | state)
    emit(a, DONE, sym * 2, account, 0, 0, 0, 0, state)
    return state


@compiled
def _set_account(row, param, value):
    if param == OPEN and 0 <= value <= 1:
        store32(row, A_STATE, (load32(row, A_STATE) & 0xFF) | (0 if value else CLOSED))
    elif param == STP and 0 <= value <= MODES:
        store32(row, A_STP, value)
    elif param == MAX_ORDER_QTY and 0 <= value <= MAX_QTY:
        store64(row, A_MAX_QTY, value)
    elif param == MAX_NOTIONAL and 0 <= value <= UNLIMITED:
        store64(row, A_MAX_NOTIONAL, value)
    elif param == MAX_POSITION and (0 <= value <= MAX_QTY or value == UNLIMITED):
        store64(row, A_MAX_POSITION, value)
    elif param == MAX_OPEN and 0 <= value < 1 << 31:
        store32(row, A_MAX_OPEN, value)
    elif param == RATE_INTERVAL and 0 <= value <= MAX_INTERVAL:
        # The bucket's depth is kept as a time: it keeps its number of tokens.
        interval = load64(row, A_INTERVAL)
        burst = load64(row, A_TOLERANCE) // interval if interval != 0 else max(1, load64(row, A_TOLERANCE))
        store64(row, A_INTERVAL, value)
        store64(row, A_TOLERANCE, burst * value if value != 0 else burst)
    elif param == RATE_BURST and 1 <= value <= MAX_BURST:
        interval = load64(row, A_INTERVAL)
        store64(row, A_TOLERANCE, value * interval if interval != 0 else value)
    else:
        return R_VALUE
    return 0


@compiled
def _set_symbol(row, param, value):
    if param == OPEN and 0 <= value <= 1:
        store64(row, S_STATE, (load64(row, S_STATE) & 0xFF) | (0 if value else CLOSED))
    elif param == TICK and 1 <= value <= MAX_PRICE:
        old = load64(row, S_TICK)
        if value != old:
            if load64(row, S_LIVE) != 0:
                return R_BUSY
            # The last price goes over to the new grid, rounded down.
            store64(row, S_LAST, load64(row, S_LAST) * old // value)
            store64(row, S_TICK, value)
    elif param == LOT and 1 <= value <= MAX_QTY:
        store64(row, S_LOT, value)
    elif param == BAND_LOW and -MAX_PRICE <= value <= MAX_PRICE:
        store64(row, S_BAND_LOW, value)
    elif param == BAND_HIGH and -MAX_PRICE <= value <= MAX_PRICE:
        store64(row, S_BAND_HIGH, value)
    elif param == COLLAR and 0 <= value <= MAX_PRICE:
        store64(row, S_COLLAR, value)
    elif param == MAX_ORDER_QTY and 0 <= value <= MAX_QTY:
        store64(row, S_MAX_QTY, value)
    elif param == MAX_NOTIONAL and 0 <= value <= UNLIMITED:
        store64(row, S_MAX_NOTIONAL, value)
    elif param == MAX_POSITION and (0 <= value <= MAX_QTY or value == UNLIMITED):
        store64(row, S_MAX_POSITION, value)
    else:
        return R_VALUE
    return 0


@compiled
def set_param(a, c):
    """Change a limit or the symbol table, for the commands that follow; open orders stay."""
    codes = load64(c, 56)
    param, scope = (codes >> 16) & 0xFF, (codes >> 24) & 0xFF
    sym, account, value = (codes >> 32) & 0xFFFF, shift_right(codes, 48), load64(c, 32)
    refusal = _scope_refusal(a, scope, sym, account)
    if refusal != 0:
        return -refusal
    takes_account = param == STP or MAX_OPEN <= param <= RATE_BURST
    takes_symbol = TICK <= param <= COLLAR
    takes_either = param == OPEN or MAX_ORDER_QTY <= param <= MAX_POSITION
    if scope == ACCOUNT and (takes_account or takes_either):
        refusal = _set_account(account_row(a, account), param, value)
    elif scope == SYMBOL and (takes_symbol or takes_either):
        refusal = _set_symbol(symbol_row(a, sym), param, value)
    elif scope == BOTH and param == MAX_POSITION:
        if 0 <= value <= MAX_QTY or value == UNLIMITED:
            store64(pair_row(a, account, sym), P_LIMIT, value)
        else:
            refusal = R_VALUE
    else:
        return -R_COMMAND
    if refusal != 0:
        return -refusal
    emit(a, DONE, sym * 2, account, 0, 0, 0, param, value)
    return 0
