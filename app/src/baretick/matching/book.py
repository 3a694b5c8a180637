"""MatchingBook: the engine behind a Python interface, for live trading one command a call, or whole batches."""

import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from baretick.matching import digest, kernel, query
from baretick.matching.layout import (
    H_EVENT_COUNT,
    H_LIVE,
    H_O_ACCOUNTS,
    H_O_EVENTS,
    H_O_POSITIONS,
    H_O_SYMBOLS,
    H_REJECTS,
    H_UNKNOWN,
    NO_ASK,
    NO_BID,
    S_ASK,
    S_BID,
    S_LAST,
    S_TICK,
    S_TRADED,
    SYMBOL_SHIFT,
    allocate,
)
from baretick.matching.records import EVENT, EventKind, Events, Kind, Op, Reason, Scope, Trigger, Words
from baretick.risk.limits import ACCOUNT_BYTES, P_POSITION, POSITION_BYTES

_NEW, _CANCEL, _REDUCE, _REPLACE = int(Op.NEW), int(Op.CANCEL), int(Op.REDUCE), int(Op.REPLACE)
_EVENT: Final = struct.Struct("<QqQqqqqBBHHH")


class EventsFullError(RuntimeError):
    """A command waits for its events to be taken away, and no one does."""


class MatchEvent(NamedTuple):
    """One event record, as docs/matching.md describes it, with its tag taken apart."""

    seq: int
    ts: int
    command: int
    order_id: int
    aux: int
    price: int
    qty: int
    kind: EventKind
    reason: Reason
    symbol: int
    side: int
    account: int
    counterparty: int


class RestingOrder(NamedTuple):
    """One order of a level's queue: what shows of it, and what an iceberg has in reserve."""

    order_id: int
    qty: int
    account: int
    reserve: int


class Fingerprint(NamedTuple):
    """What two matching engines must agree on after the same stream."""

    trades: int
    volume: int
    tradehash: str
    resting: int
    restqty: int
    bookhash: str
    rejects: int


class MatchingBook:
    """A price-time matching engine over `symbols` symbols and `accounts` accounts, all open with wide limits.

    `orders` is how many may be open at once, `events` how many event records fit between two `drain` calls; an order
    that trades needs up to two for each order of its symbol to be sure of its room, else it is walked first. All
    memory is taken here, none later. Not safe for two threads at once.
    """

    __slots__ = ("_event_bytes", "_header", "_symbols", "accounts", "arena", "symbols")

    def __init__(self, symbols: int, orders: int = 1 << 17, events: int = 1 << 16, accounts: int = 4) -> None:
        self._attach(allocate(symbols, accounts, orders, events))

    @classmethod
    def over(cls, arena: Words) -> "MatchingBook":
        """The engine that lives in an arena made by `layout.allocate` or restored from a snapshot."""
        book = cls.__new__(cls)
        book._attach(arena)
        return book

    def _attach(self, arena: Words) -> None:
        kernel.attach(arena)
        self.arena = arena
        self._header = memoryview(arena[:64])
        self.symbols = int(arena[2])
        self.accounts = int(arena[3])
        at = int(arena[H_O_SYMBOLS // 8])
        self._symbols = arena[at // 8 : (at + (self.symbols << SYMBOL_SHIFT)) // 8].reshape(self.symbols, -1)
        self._event_bytes = memoryview(arena).cast("B")[int(arena[H_O_EVENTS // 8]) :]

    # One command a call. Each returns the open quantity after it (0: nothing rests), or -Reason, having changed
    # nothing but the account's count of refusals.

    def limit(self, symbol: int, side: int, order_id: int, price: int, qty: int, account: int = 0) -> int:
        """Good-till-cancelled: trade as far as `price` allows, rest with what is left."""
        codes = _NEW | side << 8 | symbol << 32 | account << 48
        return self._submit(codes, order_id, price, qty)

    def ioc(self, symbol: int, side: int, order_id: int, price: int, qty: int, account: int = 0) -> int:
        """Immediate-or-cancel: trade as far as `price` allows, drop what is left; returns what was dropped."""
        return self.new(symbol, side, order_id, price, qty, account, Kind.IOC)

    def market(self, symbol: int, side: int, order_id: int, qty: int, account: int = 0) -> int:
        """Trade at any price, drop what is left; returns what was dropped."""
        return self.new(symbol, side, order_id, 0, qty, account, Kind.MARKET)

    def new(
        self,
        symbol: int,
        side: int,
        order_id: int,
        price: int,
        qty: int,
        account: int = 0,
        kind: Kind = Kind.GTC,
        trigger: Trigger = Trigger.NONE,
        stop_price: int = 0,
        display: int = 0,
        ts: int = 0,
    ) -> int:
        """Any new order: stops with a `trigger` and `stop_price`, icebergs with `display`."""
        codes = _NEW | side << 8 | kind << 16 | trigger << 24 | symbol << 32 | account << 48
        return self._submit(codes, order_id, price, qty, stop_price, display, ts)

    def cancel(self, order_id: int, account: int = 0) -> int:
        return self._submit(_CANCEL | account << 48, order_id)

    def reduce(self, order_id: int, qty: int, account: int = 0) -> int:
        """Take `qty` off, keep the place in the queue; all of it or more cancels."""
        return self._submit(_REDUCE | account << 48, order_id, 0, qty)

    def replace(self, order_id: int, price: int, qty: int, account: int = 0, stop_price: int = 0, ts: int = 0) -> int:
        """New price and open quantity under the same id, at the tail of the queue; may trade at once."""
        return self._submit(_REPLACE | account << 48, order_id, price, qty, stop_price, 0, ts)

    def admin(self, op: Op, kind: int, scope: Scope, symbol: int = 0, account: int = 0, value: int = 0) -> int:
        """MASS_CANCEL (returns how many), KILL (`kind` a Kill) and SET (`kind` a Param, to `value`)."""
        return self._submit(op | kind << 16 | scope << 24 | symbol << 32 | account << 48, 0, 0, value)

    def _submit(
        self, codes: int, order_id: int, price: int = 0, qty: int = 0, stop: int = 0, display: int = 0, ts: int = 0
    ) -> int:
        if codes >= 1 << 63:
            codes -= 1 << 64
        result: int = kernel.submit(self.arena, codes, order_id, price, qty, stop, display, ts, 0)
        if result == kernel.PAUSED:
            raise EventsFullError("the event buffer has no room for this command: drain it, then give it again")
        return result

    # Batches.

    def process(self, commands: Words, start: int = 0) -> int:
        """Execute command records (`records.words`) from row `start`; returns the row it got to.

        That is less than `len(commands)` when the event buffer has to be drained before the next command.
        """
        if (
            commands.dtype != np.int64
            or commands.ndim != 2
            or commands.shape[1] != 8
            or not commands.flags.c_contiguous
        ):
            raise ValueError(
                f"commands are contiguous rows of 8 int64, these are {commands.dtype} of shape {commands.shape}: "
                "give records.words(...)"
            )
        at: int = kernel.process(self.arena, commands, start)
        return at

    def run(self, commands: Words, batch: int = 4096) -> Fingerprint:
        """Execute command records and fingerprint what came of them, folding events batch by batch."""
        h, trades, volume = digest.FNV_BASIS, 0, 0
        for first in range(0, len(commands), batch):
            part, at = commands[first : first + batch], 0
            while at < len(part):
                at = self.process(part, at)
                h, n, v = digest.fold_trades(self.arena, h)
                trades, volume = trades + n, volume + v
                kernel.drained(self.arena)
        bookhash, resting, restqty = digest.fold_book(self.arena)
        return Fingerprint(
            trades, volume, digest.hex_digest(h), resting, restqty, digest.hex_digest(bookhash), self.unknown
        )

    # What happened.

    @property
    def pending(self) -> int:
        """How many event records wait."""
        return self._header[H_EVENT_COUNT // 8]

    def drain_array(self) -> Words:
        """The waiting records as rows of 8 int64, a view that the next command may overwrite."""
        n: int = kernel.drained(self.arena)
        at = int(self.arena[H_O_EVENTS // 8]) // 8
        return self.arena[at : at + n * 8].reshape(n, 8)

    def drain_records(self) -> Events:
        """The waiting records by field (records.EVENT), a view that the next command may overwrite."""
        return self.drain_array().view(EVENT).reshape(-1)

    def drain(self) -> list[MatchEvent]:
        """The waiting records, taken out of the buffer."""
        n = self._header[H_EVENT_COUNT // 8]
        if not n:
            return []
        kernel.drained(self.arena)
        events = []
        for record in _EVENT.iter_unpack(self._event_bytes[: 64 * n]):
            seq, ts, command, order_id, aux, price, qty, kind, reason, tag, account, counterparty = record
            what, why = EventKind(kind), Reason(reason)
            event = (seq, ts, command, order_id, aux, price, qty, what, why, tag >> 1, tag & 1, account, counterparty)
            events.append(MatchEvent(*event))
        return events

    # What rests.

    def best_bid(self, symbol: int) -> int:
        """Best bid price, NO_BID if there is none."""
        return self._price(symbol, S_BID)

    def best_ask(self, symbol: int) -> int:
        """Best ask price, NO_ASK if there is none."""
        return self._price(symbol, S_ASK)

    def last(self, symbol: int) -> int | None:
        """Price of the last trade."""
        return self._price(symbol, S_LAST) if self._symbols[symbol, S_TRADED // 8] else None

    def _price(self, symbol: int, field: int) -> int:
        ticks = int(self._symbols[symbol, field // 8])
        return ticks if ticks in (NO_BID, NO_ASK) else ticks * int(self._symbols[symbol, S_TICK // 8])

    def level_qty(self, symbol: int, price: int) -> int:
        """Quantity that shows at a price, whichever side rests there."""
        tick = self._tick(symbol, price)
        bid: int = query.level_qty(self.arena, symbol * 2, tick)
        return bid or int(query.level_qty(self.arena, symbol * 2 + 1, tick))

    def queue(self, symbol: int, price: int) -> Iterator[RestingOrder]:
        """The orders at a price, first in first out."""
        tick = self._tick(symbol, price)
        for side in (0, 1):
            for row in query.queue(self.arena, symbol * 2 + side, tick).tolist():
                yield RestingOrder(*row)

    def levels(self, symbol: int, side: int) -> list[tuple[int, int]]:
        """(price, quantity that shows) from the best outwards."""
        self._tick(symbol, 0)
        unit = int(self._symbols[symbol, S_TICK // 8])
        return [(tick * unit, qty) for tick, qty in query.levels(self.arena, symbol * 2 + side).tolist()]

    def position(self, account: int, symbol: int) -> int:
        """Signed sum of the account's fills in a symbol."""
        at = int(self.arena[H_O_POSITIONS // 8]) + (account * self.symbols + symbol) * POSITION_BYTES + P_POSITION
        return int(self.arena[at // 8])

    def account_words(self, account: int) -> Words:
        """The account's row of limits and counters (baretick.risk.limits), the live memory."""
        at = (int(self.arena[H_O_ACCOUNTS // 8]) + account * ACCOUNT_BYTES) // 8
        return self.arena[at : at + ACCOUNT_BYTES // 8]

    @property
    def open_orders(self) -> int:
        """How many orders rest or wait for their stop."""
        return self._header[H_LIVE // 8]

    @property
    def rejects(self) -> int:
        """Commands refused, for whatever reason."""
        return self._header[H_REJECTS // 8]

    @property
    def unknown(self) -> int:
        """Those of them that named an order which was not open."""
        return self._header[H_UNKNOWN // 8]

    def _tick(self, symbol: int, price: int) -> int:
        if not 0 <= symbol < self.symbols:
            raise IndexError(f"symbol {symbol}: this engine has {self.symbols}")
        return price // int(self._symbols[symbol, S_TICK // 8])


def compile_live() -> float:
    """Compile (or load from numba's cache) what live trading calls; returns the seconds it took."""
    began = time.perf_counter()
    book = MatchingBook(1, orders=8, events=64)
    book.limit(0, 0, 1, 1, 1)
    book.cancel(1)
    book.drain_array()
    book.process(np.zeros((1, 8), np.int64))
    book.level_qty(0, 1)
    return time.perf_counter() - began
