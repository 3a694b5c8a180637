"""What orders and events have in common for every command: writing an event, opening, closing and shrinking an order.

Whoever changes an order's open quantity here also books it with its account, its symbol and the engine: the counters
that limits are checked against can never drift from the book.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching.layout import (
    H_COMMAND,
    H_EVENT_BASE,
    H_EVENT_COUNT,
    H_LIVE,
    H_O_ACCOUNTS,
    H_O_EVENTS,
    H_O_POSITIONS,
    H_SYMBOLS,
    H_TS,
    L_QTY,
    N_DISPLAY,
    N_ID,
    N_LEVEL,
    N_PRICE,
    N_QTY,
    N_RESERVE,
    N_RULES,
    N_TAG,
    RULES_WAITS,
    S_LIVE,
    S_SLICES,
    S_STOPS,
    S_TICK,
)
from baretick.matching.levels import leave, level_at, node_of, symbol_row
from baretick.matching.records import EventKind, Reason
from baretick.matching.table import forget
from baretick.matching.tree import give_node
from baretick.memory import add64, compiled, inline, load32, load64, store32, store64
from baretick.risk.limits import A_OPEN, ACCOUNT_BYTES, POSITION_BYTES, book_open

REDUCED = int(EventKind.REDUCED)
CANCELLED = int(EventKind.CANCELLED)
RESTATED = int(EventKind.RESTATED)
SELF_TRADE = int(Reason.SELF_TRADE)


@inline
def emit(a, what, tag, account, counterparty, order_id, aux, price, qty):
    """Write one event record; `what` is its kind, and its reason from bit 8."""
    n = load64(a, H_EVENT_COUNT)
    event = a + load64(a, H_O_EVENTS) + (n << 6)
    store64(a, H_EVENT_COUNT, n + 1)
    store64(event, 0, load64(a, H_EVENT_BASE) + n)
    store64(event, 8, load64(a, H_TS))
    store64(event, 16, load64(a, H_COMMAND))
    store64(event, 24, order_id)
    store64(event, 32, aux)
    store64(event, 40, price)
    store64(event, 48, qty)
    store64(event, 56, what | (tag << 16) | (account << 32) | (counterparty << 48))


@inline
def account_row(a, account):
    return a + load64(a, H_O_ACCOUNTS) + account * ACCOUNT_BYTES


@inline
def pair_row(a, account, sym):
    """The position of an account in a symbol."""
    return a + load64(a, H_O_POSITIONS) + (account * load64(a, H_SYMBOLS) + sym) * POSITION_BYTES


@inline
def count_open(a, row, account, change):
    """One order more (1) or less (-1) is open."""
    owner = account_row(a, account)
    store32(owner, A_OPEN, load32(owner, A_OPEN) + change)
    add64(row, S_LIVE, change)
    add64(a, H_LIVE, change)


@inline
def slices(reserve, display):
    """How often an iceberg will still show a new part."""
    return (reserve + display - 1) // display if reserve != 0 else 0


@inline
def show(node, qty, display):
    """Split an open quantity into what shows and what is in reserve; returns the slices in reserve."""
    if display == 0 or display >= qty:
        store64(node, N_QTY, qty)
        store64(node, N_RESERVE, 0)
        return 0
    store64(node, N_QTY, display)
    store64(node, N_RESERVE, qty - display)
    return slices(qty - display, display)


@compiled
def drop_order(a, x, what, price):
    """Remove order x with all its bookkeeping. Writes the event `what` at `price`, none if `what` is 0."""
    node = node_of(a, x)
    label = load32(node, N_TAG)
    tag, account = label & 0xFFFF, (label >> 16) & 0xFFFF
    sym, side = tag >> 1, tag & 1
    row = symbol_row(a, sym)
    shown, reserve, order_id = load64(node, N_QTY), load64(node, N_RESERVE), load64(node, N_ID)
    waits = load64(node, N_RULES) & RULES_WAITS
    if what != 0:
        emit(a, what, tag, account, 0, order_id, 0 if waits != 0 else shown, price, shown + reserve)
    leave(a, row, x)
    book_open(pair_row(a, account, sym), side, -shown - reserve)
    if reserve != 0:
        add64(row, S_SLICES, -slices(reserve, load64(node, N_DISPLAY)))
    if waits != 0:
        add64(row, S_STOPS, -1)
    forget(a, order_id)
    give_node(a, x)
    count_open(a, row, account, -1)


@compiled
def shrink_order(a, x, qty, what, price):
    """Take `qty`, less than is open, off order x where it stands: from its reserve first. Returns what is open."""
    node = node_of(a, x)
    label = load32(node, N_TAG)
    tag, account = label & 0xFFFF, (label >> 16) & 0xFFFF
    row = symbol_row(a, tag >> 1)
    shown, reserve = load64(node, N_QTY), load64(node, N_RESERVE)
    hidden = min(reserve, qty)
    visible = qty - hidden
    if hidden != 0:
        display = load64(node, N_DISPLAY)
        add64(row, S_SLICES, slices(reserve - hidden, display) - slices(reserve, display))
        store64(node, N_RESERVE, reserve - hidden)
    if visible != 0:
        store64(node, N_QTY, shown - visible)
        add64(level_at(a, load32(node, N_LEVEL)), L_QTY, -visible)
    book_open(pair_row(a, account, tag >> 1), tag & 1, -qty)
    if what != 0:
        waits = load64(node, N_RULES) & RULES_WAITS
        emit(a, what, tag, account, 0, load64(node, N_ID), 0 if waits != 0 else visible, price, qty)
    return shown + reserve - qty


@inline
def price_of(a, x):
    """The limit price of an order in price units; 0 of a market order that waits for its stop."""
    node = node_of(a, x)
    row = symbol_row(a, (load32(node, N_TAG) & 0xFFFF) >> 1)
    return load64(node, N_PRICE) * load64(row, S_TICK)
