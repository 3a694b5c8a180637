"""Commands in, events out: the fixed binary records that the matching engine speaks, and nothing else.

Both are 64 bytes, little-endian, one cache line: what a ring carries, what the journal keeps, what replay reads.
`docs/matching.md` says what each field means for each command and each event. Quantities are lots of the smallest
unit, prices whole price units (a symbol's tick is a multiple of one), times nanoseconds since 1970.
"""

from enum import IntEnum
from typing import Any, Final

import numpy as np

Words = np.ndarray[Any, np.dtype[np.int64]]
Commands = np.ndarray[Any, np.dtype[np.void]]
Events = np.ndarray[Any, np.dtype[np.void]]

RECORD_VERSION: Final = 1
"""Changes whenever a field of either record changes: journals and snapshots carry it."""

RECORD_BYTES: Final = 64
RECORD_WORDS: Final = 8

MAX_PRICE: Final = 1 << 48
"""Prices lie in -MAX_PRICE .. MAX_PRICE."""
MAX_QTY: Final = 1 << 61
MAX_SYMBOLS: Final = 4096
MAX_ACCOUNTS: Final = 65536
MAX_SLICES: Final = 4096
"""An iceberg shows at least this part of its quantity at once: bounds the work of one command."""

COMMAND: Final[np.dtype[np.void]] = np.dtype(
    [
        ("seq", "<u8"),  # given by who writes the journal; events name it
        ("ts", "<i8"),  # the engine's only clock
        ("order_id", "<i8"),  # any 64 bits; unique among the orders that are open
        ("price", "<i8"),
        ("qty", "<i8"),
        ("stop_price", "<i8"),
        ("display", "<i8"),  # iceberg: what shows at once; 0 shows all
        ("op", "u1"),  # Op
        ("side", "u1"),  # Side
        ("kind", "u1"),  # Kind of a NEW, Kill of a KILL, Param of a SET
        ("option", "u1"),  # Trigger of a NEW, Scope of MASS_CANCEL, KILL and SET
        ("symbol", "<u2"),
        ("account", "<u2"),
    ]
)

EVENT: Final[np.dtype[np.void]] = np.dtype(
    [
        ("seq", "<u8"),  # 1, 2, 3, ... without a gap
        ("ts", "<i8"),  # of the command
        ("command", "<u8"),  # its sequence number
        ("order_id", "<i8"),  # of a trade: the taker's
        ("aux", "<i8"),  # of a trade: the maker's id; else what shows, see docs/matching.md
        ("price", "<i8"),
        ("qty", "<i8"),
        ("kind", "u1"),  # EventKind
        ("reason", "u1"),  # Reason
        ("tag", "<u2"),  # symbol * 2 + side of the order; of a trade: of the taker, the aggressor
        ("account", "<u2"),
        ("counterparty", "<u2"),  # of a trade: the maker's account
    ]
)


class Op(IntEnum):
    """What a command asks for. 0 is no command: zeroed memory is refused."""

    NEW = 1
    CANCEL = 2
    REDUCE = 3
    REPLACE = 4
    MASS_CANCEL = 5
    KILL = 6
    SET = 7


class Side(IntEnum):
    BUY = 0
    SELL = 1


class Kind(IntEnum):
    """Kind of a new order. With a Trigger it waits for its stop price first."""

    GTC = 0
    IOC = 1
    FOK = 2
    POST_ONLY = 3
    MARKET = 4


class Trigger(IntEnum):
    """The price that a waiting stop watches: a buy goes off at or above its stop price, a sell at or below."""

    NONE = 0
    LAST = 1
    BID = 2
    ASK = 3


class Stp(IntEnum):
    """What happens when two orders of an account would trade; `NONE` lets them."""

    NONE = 0
    EXPIRE_MAKER = 1
    EXPIRE_TAKER = 2
    EXPIRE_BOTH = 3
    DECREMENT = 4


class Kill(IntEnum):
    """States of a kill switch; of the engine's, the account's and the symbol's the strictest holds."""

    OFF = 0
    NO_NEW_ENTRIES = 1  # no NEW; amendments pass
    CANCEL_ONLY = 2  # only CANCEL, REDUCE and MASS_CANCEL pass
    HALT = 3  # only MASS_CANCEL, KILL and SET pass


class Scope(IntEnum):
    """What a MASS_CANCEL, KILL or SET applies to: the bits say which of `account` and `symbol` count."""

    ALL = 0
    ACCOUNT = 1
    SYMBOL = 2
    ACCOUNT_SYMBOL = 3


class Param(IntEnum):
    """What a SET changes, to the value in `qty`; the scope that each takes stands beside it."""

    OPEN = 1  # ACCOUNT or SYMBOL: 1 opens, 0 closes for new orders
    STP = 2  # ACCOUNT: an Stp
    MAX_ORDER_QTY = 3  # ACCOUNT or SYMBOL
    MAX_NOTIONAL = 4  # ACCOUNT or SYMBOL: price * quantity of one order
    MAX_POSITION = 5  # ACCOUNT, SYMBOL or ACCOUNT_SYMBOL: units long or short, open orders counted as filled
    MAX_OPEN_ORDERS = 6  # ACCOUNT
    RATE_INTERVAL = 7  # ACCOUNT: nanoseconds an order earns its token in; 0 is no limit
    RATE_BURST = 8  # ACCOUNT: tokens a full bucket holds
    TICK = 9  # SYMBOL, while it has no open order
    LOT = 10  # SYMBOL
    BAND_LOW = 11  # SYMBOL: lowest limit price taken
    BAND_HIGH = 12  # SYMBOL: highest
    COLLAR = 13  # SYMBOL: how far through the last trade's price an order may reach; 0 is no limit


class EventKind(IntEnum):
    ACCEPTED = 1
    REJECTED = 2
    TRADE = 3
    REDUCED = 4
    REPLACED = 5
    CANCELLED = 6
    TRIGGERED = 7
    RESTATED = 8  # an iceberg shows its next slice, at the tail of its level
    DONE = 9  # a MASS_CANCEL, KILL or SET was carried out
    WELCOME = 64  # of a session, not of the engine: it is open
    READY = 65  # of a session: everything that was asked for again has been sent


class Reason(IntEnum):
    """Why a command was refused (1 to 31) or an order left (32 and above)."""

    NONE = 0
    BAD_COMMAND = 1  # no such op, kind, side, trigger, scope or parameter, or one that does not go with the others
    UNKNOWN_SYMBOL = 2  # outside the table, or not open
    UNKNOWN_ACCOUNT = 3  # outside the table, or not open
    BAD_QTY = 4  # zero, negative, or above MAX_QTY
    OFF_LOT = 5
    BAD_PRICE = 6  # beyond MAX_PRICE
    OFF_TICK = 7
    OUTSIDE_BAND = 8
    BAD_STOP = 9  # a stop price off its tick or beyond MAX_PRICE
    BAD_DISPLAY = 10  # negative, more than the quantity, a part below 1 / MAX_SLICES, or of an order that never rests
    DUPLICATE_ID = 11
    UNKNOWN_ORDER = 12  # not open, or not this account's
    WOULD_TAKE = 13  # post-only, and would trade
    WOULD_NOT_FILL = 14  # fill-or-kill, and cannot be filled whole
    BOOK_FULL = 15  # no room for another open order
    EVENTS_FULL = 16  # the command could write more events than the whole buffer holds
    HALTED = 17
    NO_NEW_ENTRIES = 18
    CANCEL_ONLY = 19
    MAX_ORDER_QTY = 20
    MAX_NOTIONAL = 21
    POSITION_LIMIT = 22
    OPEN_ORDERS = 23
    ORDER_RATE = 24
    COLLAR = 25
    SYMBOL_BUSY = 26  # a tick cannot change under open orders
    BAD_VALUE = 27  # a SET to a value outside its range
    MALFORMED = 28  # this and the next three are the gateway's (docs/exchange.md): no whole records, or too many
    BUSY = 29  # the engine is behind by a whole ring: nothing of the frame was taken, send it again
    FORBIDDEN = 30  # another's account, or an op that the login has no right to
    BAD_SEQUENCE = 31  # not the number that was due in this session: nothing of the frame was taken
    REQUESTED = 32  # cancelled, or reduced to nothing, by its owner
    UNFILLED = 33  # what an IOC or market order could not trade
    SELF_TRADE = 34
    MASS_CANCEL = 35
    AMENDED = 36  # the old order of a REPLACE; the REPLACED that follows is the new one


def commands(n: int) -> Commands:
    """`n` zeroed command records: fill the fields by name, hand `words(...)` of them to the engine."""
    return np.zeros(n, COMMAND)


def words(records: Commands | Events) -> Words:
    """The same memory as rows of 8 int64, which is how compiled code sees records. The array must be contiguous."""
    return records.view(np.int64).reshape(-1, RECORD_WORDS)


def from_words(rows: Words, dtype: np.dtype[np.void]) -> np.ndarray[Any, np.dtype[np.void]]:
    """Rows of 8 int64 as records of `dtype` (COMMAND or EVENT), the same memory."""
    return np.ascontiguousarray(rows).view(dtype).reshape(-1)


assert COMMAND.itemsize == EVENT.itemsize == RECORD_BYTES
