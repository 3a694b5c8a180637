"""The engine as the benchmark drives it: one small adapter between a stream's rows and the matching core.

Everything that costs is on: 64-bit ids through the table, an account for each order with self-trade prevention and
every risk limit set (wide enough to refuse nothing), event records, and the journal encoded and checksummed. Only
writing is off: neither journal nor events go to a disk.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Final

import numpy as np

from baretick.journal import frames
from baretick.matching import kernel
from baretick.matching.book import Fingerprint, MatchingBook
from baretick.matching.layout import H_EXECUTE, H_LIVE, H_REJECTS, H_TABLE, H_UNKNOWN, NODE_SHIFT
from baretick.matching.records import COMMAND, Kind, Op, Param, Scope, Stp, Words, words
from baretick.memory import address, call, compiled, load64, store64
from baretick.telemetry import HdrHistogram, hdr
from baretick.telemetry.clock import Calibration, ticks

FRAME_RECORDS: Final = 64
"""Commands a journal frame in the batch loop: what one read of a busy gateway brings."""
ACCOUNTS: Final = 64
_OPS: Final = np.array([Op.NEW, Op.NEW, Op.CANCEL, Op.REDUCE, Op.REPLACE, Op.NEW], np.uint8)
_KINDS: Final = np.array([Kind.GTC, Kind.IOC, 0, 0, 0, Kind.MARKET], np.uint8)
_WIDE: Final = 1 << 50


def commands_of(rows: Words) -> Words:
    """A stream's rows as command records. Buyers and sellers get different accounts, so that nothing is prevented."""
    out = np.zeros(len(rows), COMMAND)
    op, tag, ids = rows[:, 1], rows[:, 2], rows[:, 3]
    out["seq"] = np.arange(1, len(rows) + 1)
    out["ts"], out["order_id"], out["price"], out["qty"] = rows[:, 0], ids, rows[:, 4], rows[:, 5]
    out["op"], out["kind"], out["side"], out["symbol"] = _OPS[op], _KINDS[op], tag & 1, tag >> 1
    # Who amends an order is who entered it, whatever side the amendment's row says.
    unique, where = np.unique(ids, return_inverse=True)
    side_of = np.zeros(len(unique), np.int64)
    entering = _OPS[op] == Op.NEW
    side_of[where[entering]] = tag[entering] & 1
    out["account"] = (ids * 2 & (ACCOUNTS - 2)) + side_of[where]
    return words(out)


def limit_commands(symbols: int) -> Words:
    """SET commands that switch every check on."""
    accounts = np.arange(ACCOUNTS)
    sets: list[tuple[Param, Scope, int]] = [
        (Param.STP, Scope.ACCOUNT, Stp.EXPIRE_MAKER),
        (Param.MAX_ORDER_QTY, Scope.ACCOUNT, 1 << 40),
        (Param.MAX_NOTIONAL, Scope.ACCOUNT, _WIDE),
        (Param.MAX_POSITION, Scope.ACCOUNT, _WIDE),
        (Param.MAX_OPEN_ORDERS, Scope.ACCOUNT, 1 << 28),
        (Param.RATE_BURST, Scope.ACCOUNT, 1 << 20),
        (Param.RATE_INTERVAL, Scope.ACCOUNT, 1),
        (Param.MAX_ORDER_QTY, Scope.SYMBOL, 1 << 40),
        (Param.MAX_NOTIONAL, Scope.SYMBOL, _WIDE),
        (Param.MAX_POSITION, Scope.SYMBOL, _WIDE),
        (Param.COLLAR, Scope.SYMBOL, 1 << 40),
    ]
    parts = []
    for param, scope, value in sets:
        who = accounts if scope == Scope.ACCOUNT else np.arange(symbols)
        part = np.zeros(len(who), COMMAND)
        part["op"], part["kind"], part["option"], part["qty"] = Op.SET, param, scope, value
        part["account" if scope == Scope.ACCOUNT else "symbol"] = who
        parts.append(part)
    return words(np.concatenate(parts))


@compiled
def drive(arena, commands, pen, journal, interval, ns_per_tick, service, response):
    """Every command, one after the other; returns how many orders were open at most.

    `journal`: encode each command into the pen first, a frame each FRAME_RECORDS. `interval` 0 times nothing; below
    0 times each command into `service`, one following the other; above 0 they are due one each `interval` ticks,
    whether or not the one before is done: `service` gets the time from start to end of each, `response` the time
    since it was due, which is what a client would see. A closed loop measures the first and hides the queue
    (coordinated omission). The stamps are part of what they time. One loop for all, since compiling it takes seconds.
    """
    a, p, c = address(arena), address(pen), address(commands)
    execute = load64(a, H_EXECUTE)
    peak = 0
    due = before = ticks()
    for i in range(commands.shape[0]):
        if interval > 0:
            before = ticks()
            while before < due:
                before = ticks()
        if journal:
            while not frames.write(p, c):
                frames.seal(p)
                store64(p, frames.P_USED, 0)
            if i % FRAME_RECORDS == FRAME_RECORDS - 1:
                frames.seal(p)
        while call(execute, a, c) == kernel.PAUSED:
            kernel.drained(arena)  # whoever reads the events has read them
        c += 64
        peak = max(peak, load64(a, H_LIVE))
        if interval != 0:
            after = ticks()
            hdr.record(service, np.int64((after - before) * ns_per_tick))
            if interval > 0:
                hdr.record(response, np.int64((after - due) * ns_per_tick))
                due += interval
            before = after
    return peak


class Core:
    """An engine sized for a stream, that can begin anew without fresh memory."""

    def __init__(self, commands: Words, symbols: int, orders: int = 1 << 17, *, limits: bool = True) -> None:
        self.commands = commands
        self.symbols = symbols
        self._limits = limits
        self.pen = frames.make_pen(1 << 20, 1, 0)
        self._blank = self.pen.copy()
        self._nowhere = HdrHistogram(1).cells
        while True:
            self.orders = orders
            self.rebuild()
            self.peak = self.run(journal=False)
            if self.peak < orders:  # else orders may have been refused for want of room
                break
            orders *= 4
        self.rebuild()
        self._image = self.book.arena.copy()

    def rebuild(self) -> None:
        """A fresh engine in fresh memory, which no pass has touched yet."""
        self.book = MatchingBook(self.symbols, self.orders, 1 << 14, ACCOUNTS)
        if not self._limits:
            return
        limits = limit_commands(self.symbols)
        if self.book.process(limits) != len(limits) or self.book.arena[H_REJECTS // 8]:
            raise RuntimeError("the benchmark's own risk limits were refused: its table of SET commands is wrong")
        kernel.drained(self.book.arena)

    def fresh(self) -> None:
        """Forget the last pass: an empty book in memory that has been touched before."""
        self.book.arena[:] = self._image
        self.pen[:] = self._blank  # the last pass may have left a frame open

    def run(self, *, journal: bool = True) -> int:
        """One pass, untimed inside; the number of orders open at most."""
        return self._drive(journal, 0, 1.0, self._nowhere, self._nowhere)

    def profile(self, histogram: HdrHistogram, calibration: Calibration) -> None:
        """One pass with every command timed."""
        self._drive(True, -1, calibration.ns_per_tick, histogram.cells, self._nowhere)

    def open_loop(self, rate: float, calibration: Calibration) -> tuple[HdrHistogram, HdrHistogram]:
        """One pass at `rate` commands a second: (time of service, time of response)."""
        service, response = HdrHistogram(3), HdrHistogram(3)
        interval = max(calibration.ticks_of(1e9 / rate), 1)
        self._drive(True, interval, calibration.ns_per_tick, service.cells, response.cells)
        return service, response

    def _drive(self, journal: bool, interval: int, ns_per_tick: float, service: Words, response: Words) -> int:
        peak: int = drive(self.book.arena, self.commands, self.pen, journal, interval, ns_per_tick, service, response)
        return peak

    def fingerprint(self) -> Fingerprint:
        """A pass whose trades and book are folded."""
        self.fresh()
        return self.book.run(self.commands)

    @property
    def other_rejects(self) -> int:
        """Commands refused for any reason but an id that was not open."""
        return int(self.book.arena[H_REJECTS // 8] - self.book.arena[H_UNKNOWN // 8])

    @property
    def layout_bytes(self) -> float:
        """Bytes of order record and id table for each order of the capacity."""
        return (1 << NODE_SHIFT) + int(self.book.arena[H_TABLE // 8]) * 8 / self.orders
