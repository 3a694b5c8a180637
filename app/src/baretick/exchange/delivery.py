"""Events from the outgoing ring to the sessions they belong to, and the past for sessions that come back.

All in compiled code up to a session's buffer: an event costs a copy for each session that it concerns and one for the
history, whatever the interpreter is doing. A trade goes to both sides, each without the other's id and account.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np

from baretick.exchange import ring
from baretick.exchange.machine import pause, release64
from baretick.matching.records import MAX_ACCOUNTS, RECORD_BYTES, RECORD_WORDS, EventKind, Words
from baretick.memory import address, compiled, inline, load64, shift_right, store64
from baretick.telemetry.clock import CLOCK_MONOTONIC, clock_ns

TRADE: Final = int(EventKind.TRADE)
SLOTS: Final = 1024
"""Sessions at once."""
S_ADDRESS, S_USED, S_SIZE, S_ACCOUNT, S_LOST = range(0, 40, 8)
SLOT_BYTES: Final = 64
EVERYTHING: Final = -1
"""As an account: all of them."""

# Header of the history: how many records fit, and how many were ever put in.
Y_CAPACITY, Y_COUNT = 0, 8
Y_RECORDS: Final = 64
MASK16: Final = 0xFFFF


@inline
def _concerns(e, account):
    """Whether the event at address e is any of an account's business."""
    codes = load64(e, 56)
    if account == EVERYTHING or (codes >> 32) & MASK16 == account:
        return True
    return codes & 0xFF == TRADE and shift_right(codes, 48) == account


@inline
def _copy_for(to, e, account):
    """An event as an account may see it."""
    ring.copy(to, e)
    codes = load64(e, 56)
    if account == EVERYTHING or codes & 0xFF != TRADE:
        return
    taker, maker = (codes >> 32) & MASK16, shift_right(codes, 48)
    if taker != account:
        store64(to, 24, 0)
        store64(to, 56, codes & ~(MASK16 << 32))
    elif maker != account:
        store64(to, 32, 0)
        store64(to, 56, codes & ~(MASK16 << 48))


@inline
def _remember(y, e):
    count, capacity = load64(y, Y_COUNT), load64(y, Y_CAPACITY)
    ring.copy(y + Y_RECORDS + count % capacity * RECORD_BYTES, e)
    store64(y, Y_COUNT, count + 1)


@inline
def _give(table, slot, e, touched, n):
    """Put an event into a session's buffer; the number of sessions that have something to send."""
    row = table + slot * SLOT_BYTES
    used = load64(row, S_USED)
    if used + RECORD_BYTES > load64(row, S_SIZE) or load64(row, S_LOST) != 0:
        if load64(row, S_LOST) == 0:
            store64(row, S_LOST, 1)
            store64(touched, 8 * n, slot)
            n += 1
        return n
    if used == 0:
        store64(touched, 8 * n, slot)
        n += 1
    _copy_for(load64(row, S_ADDRESS) + used, e, load64(row, S_ACCOUNT))
    store64(row, S_USED, used + RECORD_BYTES)
    return n


@compiled
def deliver(outgoing, table, by_account, watchers, history, touched, limit):
    """Up to `limit` events out of the ring; how many, and how many sessions `touched` then names."""
    r, t, y, names = address(outgoing), address(table), address(history), address(touched)
    tail = load64(r, ring.R_TAIL)
    count = min(ring.ready(r, tail), limit)
    n = 0
    for i in range(count):
        e = ring.slot(r, tail + i)
        _remember(y, e)
        codes = load64(e, 56)
        account = (codes >> 32) & MASK16
        if by_account[account] >= 0:
            n = _give(t, by_account[account], e, names, n)
        if codes & 0xFF == TRADE:
            maker = shift_right(codes, 48)
            if maker != account and by_account[maker] >= 0:
                n = _give(t, by_account[maker], e, names, n)
        for w in range(watchers[0]):
            n = _give(t, watchers[1 + w], e, names, n)
    release64(r, ring.R_TAIL, tail + count)
    return count, n


@compiled
def rest(outgoing):
    """Ask to be woken for the next event; True if there is one already, and no one will."""
    r = address(outgoing)
    ring.lie_down(r)
    if ring.ready(r, load64(r, ring.R_TAIL)) > 0:
        ring.get_up(r)
        return True
    return False


@compiled
def linger(outgoing, ns):
    """Spin up to `ns` nanoseconds for an event; whether there is one."""
    r = address(outgoing)
    tail = load64(r, ring.R_TAIL)
    until = clock_ns(CLOCK_MONOTONIC) + ns
    while ring.ready(r, tail) <= 0:
        if clock_ns(CLOCK_MONOTONIC) >= until:
            return False
        pause()
    return True


@compiled
def _remember_all(history, rows):
    y, e = address(history), address(rows)
    for i in range(rows.shape[0]):
        _remember(y, e + i * RECORD_BYTES)


@compiled
def _select(history, account, after, out):
    """Events of an account numbered above `after` into `out`; how many there are, which may be more than fit."""
    y, to = address(history), address(out)
    count, capacity = load64(y, Y_COUNT), load64(y, Y_CAPACITY)
    n = 0
    for i in range(max(0, count - capacity), count):
        e = y + Y_RECORDS + i % capacity * RECORD_BYTES
        if load64(e, 0) > after and _concerns(e, account):
            if n < out.shape[0]:
                _copy_for(to + n * RECORD_BYTES, e, account)
            n += 1
    return n


class Delivery:
    """Who gets which events. One thread uses it: the gateway's."""

    def __init__(self, outgoing: Words, history: int, last_seq: int = 0) -> None:
        """`history` is how many events are kept for sessions that come back; `last_seq` was the engine's last one."""
        self.outgoing, self._last_seq = outgoing, last_seq
        self.table: Words = np.zeros((SLOTS, SLOT_BYTES // 8), np.int64)
        self.by_account: Words = np.full(MAX_ACCOUNTS, -1, np.int64)
        self.watchers: Words = np.zeros(1 + SLOTS, np.int64)
        self.touched: Words = np.zeros(2 * SLOTS, np.int64)  # one that is lost may be named twice
        self.history: Words = np.zeros((Y_RECORDS + history * RECORD_BYTES) // 8, np.int64)
        self.history[Y_CAPACITY // 8] = history
        self._free = list(range(SLOTS - 1, -1, -1))
        self._buffers: dict[int, memoryview] = {}
        self._view = memoryview(self.table)

    def recall(self, events: memoryview) -> None:
        """Put events of the past into the history (an EventSink of journal.recovery)."""
        _remember_all(self.history, np.frombuffer(events, np.int64).reshape(-1, RECORD_WORDS))

    @property
    def last_seq(self) -> int:
        """The last event that has been delivered; 0 if there was none ever."""
        count, capacity = int(self.history[Y_COUNT // 8]), int(self.history[Y_CAPACITY // 8])
        return int(self.history[Y_RECORDS // 8 + (count - 1) % capacity * RECORD_WORDS]) if count else self._last_seq

    @property
    def first_seq(self) -> int:
        """The oldest event that is still known; one above the last if there is none."""
        count, capacity = int(self.history[Y_COUNT // 8]), int(self.history[Y_CAPACITY // 8])
        if not count:
            return self.last_seq + 1
        return int(self.history[Y_RECORDS // 8 + max(0, count - capacity) % capacity * RECORD_WORDS])

    def open(self, account: int, size: int) -> int:
        """A slot for a session of an account, or of EVERYTHING, with a buffer of `size` bytes.

        RuntimeError if none is free. An account has one session at a time: close the one before it first.
        """
        if not self._free:
            raise RuntimeError(f"{SLOTS} sessions are open: no more can be")
        slot = self._free.pop()
        buffer = np.zeros(size // 8, np.int64)
        self._buffers[slot] = memoryview(buffer).cast("B")
        self.table[slot] = 0
        self.table[slot, : S_LOST // 8] = buffer.ctypes.data, 0, size, account
        if account == EVERYTHING:
            self.watchers[1 + int(self.watchers[0])] = slot
            self.watchers[0] += 1
        else:
            self.by_account[account] = slot
        return slot

    def close(self, slot: int) -> None:
        """Give a slot back."""
        account = int(self.table[slot, S_ACCOUNT // 8])
        if account == EVERYTHING:
            left = [w for w in self.watchers[1 : 1 + int(self.watchers[0])].tolist() if w != slot]
            self.watchers[0] = len(left)
            self.watchers[1 : 1 + len(left)] = left
        elif int(self.by_account[account]) == slot:
            self.by_account[account] = -1
        del self._buffers[slot]
        self._free.append(slot)

    def pump(self, limit: int = 4096) -> tuple[int, list[int]]:
        """Deliver up to `limit` events; how many there were, and the slots whose buffers were empty before."""
        count, n = deliver(self.outgoing, self.table, self.by_account, self.watchers, self.history, self.touched, limit)
        return count, self.touched[:n].tolist() if n else []

    @property
    def behind(self) -> int:
        """Events in the ring that have not been delivered."""
        r = self.outgoing
        return int(ring.position(r, ring.R_HEAD)) - int(ring.position(r, ring.R_TAIL))

    def take(self, slot: int) -> bytes:
        """What waits for a session, taken out of its buffer."""
        at = slot * (SLOT_BYTES // 8) + S_USED // 8
        row, word = divmod(at, SLOT_BYTES // 8)
        used = self._view[row, word]
        self._view[row, word] = 0
        return self._buffers[slot][:used].tobytes()

    def lost(self, slot: int) -> bool:
        """Whether an event did not fit into a session's buffer: it was too slow, and has to come back for it."""
        return bool(self._view[slot, S_LOST // 8])

    def since(self, account: int, after: int) -> Words:
        """The events of an account, or of EVERYTHING, above a sequence number, as far as they are known."""
        out = ring.records(0)
        while (n := int(_select(self.history, account, after, out))) > len(out):
            out = ring.records(n)
        return out


__all__: list[Any] = ["EVERYTHING", "Delivery", "linger", "rest"]
