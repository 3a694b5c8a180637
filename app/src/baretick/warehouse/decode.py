"""Market-data records to columns, straight from MessagePack bytes: one compiled pass over a whole batch.

The pass understands just what `baretick.events` writes for trades, book events and tickers. Whatever it does not
understand it leaves alone (status SLOW) for the caller to decode by the event model itself, so the two can't differ.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

OK = 0
SLOW = 1

TRADE, BOOK_SNAPSHOT, BOOK_UPDATE, TICKER = 1, 2, 3, 4
SIDE_BUY, SIDE_SELL = 1, 2

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows in columns. `msg` is the index of the record in the batch, `head` that of its distinct header."""

    msg: npt.NDArray[np.int32]
    idx: npt.NDArray[np.uint32]
    head: npt.NDArray[np.int32]
    event: npt.NDArray[np.int8]
    exch_ts: I64
    recv_ts: I64
    seq: I64
    prev_seq: I64
    trade_id: I64
    resync: npt.NDArray[np.uint8]
    side: npt.NDArray[np.int8]
    price: I64
    qty: I64

    @classmethod
    def empty(cls, size: int) -> "Rows":
        # np.empty does not touch memory: a generous upper bound costs address space alone.
        def wide() -> I64:
            return np.empty(size, np.int64)

        return cls(
            msg=np.empty(size, np.int32), idx=np.empty(size, np.uint32), head=np.empty(size, np.int32),
            event=np.empty(size, np.int8), exch_ts=wide(), recv_ts=wide(), seq=wide(), prev_seq=wide(),
            trade_id=wide(), resync=np.empty(size, np.uint8), side=np.empty(size, np.int8), price=wide(), qty=wide(),
        )  # fmt: skip

    def cut(self, size: int) -> "Rows":
        return Rows(**{name: column[:size] for name, column in vars(self).items()})

    def __len__(self) -> int:
        return len(self.msg)


@numba.njit(cache=True, nogil=True, inline="always")
def _be(buf, at, size):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | np.uint64(buf[at + i])
    return value


@numba.njit(cache=True, nogil=True)
def _int(buf, at, end):  # type: ignore[no-untyped-def]
    """(value, next position); next position -1 if this is no integer of 64 bits within the record."""
    if at >= end:
        return np.int64(0), -1
    b = buf[at]
    if b < 0x80:
        return np.int64(b), at + 1
    if b >= 0xE0:
        return np.int64(b) - 256, at + 1
    if 0xCC <= b <= 0xCF:
        size = 1 << (b - 0xCC)
        if at + 1 + size > end:
            return np.int64(0), -1
        value = _be(buf, at + 1, size)
        if value > np.uint64(0x7FFFFFFFFFFFFFFF):
            return np.int64(0), -1
        return np.int64(value), at + 1 + size
    if 0xD0 <= b <= 0xD3:
        size = 1 << (b - 0xD0)
        if at + 1 + size > end:
            return np.int64(0), -1
        value = _be(buf, at + 1, size)
        shift = np.int64(64 - 8 * size)
        return (np.int64(value) << shift) >> shift, at + 1 + size
    return np.int64(0), -1


@numba.njit(cache=True, nogil=True)
def _skip_str(buf, at, end):  # type: ignore[no-untyped-def]
    """The position after a short string, -1 if there is none."""
    if at >= end:
        return -1
    b = buf[at]
    if 0xA0 <= b <= 0xBF:
        to = at + 1 + (b & 0x1F)
    elif b == 0xD9 and at + 1 < end:
        to = at + 2 + np.int64(buf[at + 1])
    else:
        return -1
    return to if to <= end else -1


@numba.njit(cache=True, nogil=True)
def _array(buf, at, end):  # type: ignore[no-untyped-def]
    """(length, next position) of an array; next position -1 if there is none."""
    if at >= end:
        return 0, -1
    b = buf[at]
    if 0x90 <= b <= 0x9F:
        return np.int64(b & 0x0F), at + 1
    if b == 0xDC and at + 3 <= end:
        return np.int64(_be(buf, at + 1, 2)), at + 3
    if b == 0xDD and at + 5 <= end:
        return np.int64(_be(buf, at + 1, 4)), at + 5
    return 0, -1


@numba.njit(cache=True, nogil=True)
def _same(buf, a, b, size):  # type: ignore[no-untyped-def]
    for i in range(size):  # noqa: SIM110  compiled: a loop, not a generator
        if buf[a + i] != buf[b + i]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _head(buf, at, to, heads, known):  # type: ignore[no-untyped-def]
    """The index of the header buf[at:to] among those known, -1 if it is new and there is no room."""
    for h in range(known):
        if heads[h, 1] - heads[h, 0] == to - at and _same(buf, heads[h, 0], at, to - at):
            return h
    if known == heads.shape[0]:
        return -1
    heads[known, 0] = at
    heads[known, 1] = to
    return known


@numba.njit(cache=True, nogil=True)
def _levels(buf, at, end, price, qty, row):  # type: ignore[no-untyped-def]
    """Read an array of [price, qty] into the columns from `row`: (next row, next position or -1)."""
    n, at = _array(buf, at, end)
    if at < 0:
        return row, -1
    for _ in range(n):
        if at >= end or buf[at] != 0x92:
            return row, -1
        p, at = _int(buf, at + 1, end)
        if at < 0:
            return row, -1
        q, at = _int(buf, at, end)
        if at < 0:
            return row, -1
        price[row] = p
        qty[row] = q
        row += 1
    return row, at


@numba.njit(cache=True, nogil=True)
def _fields(buf, at, end, out, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        out[i], at = _int(buf, at, end)
        if at < 0:
            return -1
    return at


@numba.njit(cache=True, nogil=True)
def _decode(  # type: ignore[no-untyped-def]
    buf, starts, status, heads,
    msg, idx, head, event, exch_ts, recv_ts, seq, prev_seq, trade_id, resync, side, price, qty,
):  # fmt: skip
    row = 0
    known = 0
    last = 0
    f = np.empty(8, np.int64)
    for m in range(len(starts) - 1):
        at = starts[m]
        end = starts[m + 1]
        status[m] = SLOW
        n, at = _array(buf, at, end)
        if at < 0 or at + 2 > end or buf[at] != 0xA1:
            continue
        tag = buf[at + 1]
        head_at = at + 2
        at = head_at
        for _ in range(3):
            if at >= 0:
                at = _skip_str(buf, at, end)
        if at < 0:
            continue
        size = at - head_at
        if known and heads[last, 1] - heads[last, 0] == size and _same(buf, heads[last, 0], head_at, size):
            h = last
        else:
            h = _head(buf, head_at, at, heads, known)
            if h < 0:
                continue
        first = row
        kind = 0
        again = 0
        if tag == 0x74 and n == 10:  # t
            at = _fields(buf, at, end, f, 6)
            if at != end or f[5] < 1 or f[5] > 2:
                continue
            event[row] = TRADE
            trade_id[row] = f[2]
            price[row] = f[3]
            qty[row] = f[4]
            side[row] = f[5]
            f[2] = 0
            f[3] = 0
            row += 1
            kind = TRADE
        elif tag == 0x71 and n == 11:  # q
            at = _fields(buf, at, end, f, 7)
            if at != end:
                continue
            for s in range(2):
                event[row + s] = TICKER
                trade_id[row + s] = 0
                price[row + s] = f[3 + 2 * s]
                qty[row + s] = f[4 + 2 * s]
                side[row + s] = SIDE_BUY + s
            f[3] = 0
            row += 2
            kind = TICKER
        elif tag == 0x62 and n == 12:  # b
            at = _fields(buf, at, end, f, 5)
            if at < 0 or at >= end or f[4] < 1 or f[4] > 2 or (buf[at] != 0xC2 and buf[at] != 0xC3):
                continue
            kind = BOOK_SNAPSHOT if f[4] == 1 else BOOK_UPDATE
            again = 1 if buf[at] == 0xC3 else 0
            bids, at = _levels(buf, at + 1, end, price, qty, row)
            if at < 0:
                continue
            to, at = _levels(buf, at, end, price, qty, bids)
            if at != end:
                continue
            for r in range(row, to):
                event[r] = kind
                trade_id[r] = 0
                side[r] = SIDE_BUY if r < bids else SIDE_SELL
            row = to
        if kind == 0:
            continue
        for r in range(first, row):
            msg[r] = m
            idx[r] = r - first
            head[r] = h
            exch_ts[r] = f[0]
            recv_ts[r] = f[1]
            seq[r] = f[2]
            prev_seq[r] = f[3]
            resync[r] = again
        if h == known:
            known += 1
        last = h
        status[m] = OK
    return row, known


def decode(payloads: list[bytes]) -> tuple[Rows, list[bytes], npt.NDArray[np.uint8]]:
    """(rows, distinct headers as MessagePack strings session, venue, symbol; status of each record)."""
    joined = b"".join(payloads)
    buf = np.frombuffer(joined, np.uint8) if joined else np.zeros(1, np.uint8)
    starts = np.zeros(len(payloads) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, payloads), np.int64, len(payloads)), out=starts[1:])
    status = np.empty(len(payloads), np.uint8)
    heads = np.zeros((4096, 2), np.int64)
    rows = Rows.empty(len(joined) // 3 + 2)  # a level takes three bytes at least
    size, known = _decode(
        buf, starts, status, heads, rows.msg, rows.idx, rows.head, rows.event, rows.exch_ts, rows.recv_ts, rows.seq,
        rows.prev_seq, rows.trade_id, rows.resync, rows.side, rows.price, rows.qty,
    )  # fmt: skip
    return rows.cut(size), [joined[a:b] for a, b in heads[:known]], status
