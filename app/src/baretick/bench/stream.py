"""Reading and checking a stream file (docs/benchmark.md): rows of 6 little-endian int64, 48 bytes."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from baretick.matching.records import MAX_PRICE, MAX_QTY, MAX_SYMBOLS

Rows = np.ndarray[Any, np.dtype[np.int64]]
ROW_BYTES: Final = 48
COLUMNS: Final = ("ts", "op", "symbol*2+side", "order_id", "price", "qty")
REDUCES: Final = 3


class StreamError(ValueError):
    """A file that is no stream; the message names it, the byte, what is wrong and how to mend it."""


def read(path: Path) -> Rows:
    """The rows of a file, shape (n, 6). StreamError at the first byte that cannot be right."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise StreamError(f"{path}: {e.strerror or e}. Give --stream a file of 48-byte rows.") from None
    whole = len(data) // ROW_BYTES * ROW_BYTES
    rows = np.frombuffer(data, "<i8", whole // 8).reshape(-1, 6).astype(np.int64, copy=False)
    check(rows, str(path))
    if len(data) != whole:
        raise StreamError(
            f"{path}: byte {whole}: the file ends inside a row, {len(data) - whole} bytes of {ROW_BYTES}. "
            "It was cut off, or its rows are not 6 int64: write it again, or cut it to a multiple of 48 bytes."
        )
    if not len(rows):
        raise StreamError(f"{path}: byte 0: the file is empty. A stream has at least one row of 48 bytes.")
    return rows


def check(rows: Rows, name: str) -> None:
    """StreamError if a value lies outside what a stream may say."""
    op, tag, price, qty = rows[:, 1], rows[:, 2], rows[:, 4], rows[:, 5]
    rules = (
        (1, (op < 0) | (op > 5), "must be 0 (limit) to 5 (market)"),
        (2, (tag < 0) | (tag >= 2 * MAX_SYMBOLS), f"must be 0 to {2 * MAX_SYMBOLS - 1}"),
        (4, (price < -MAX_PRICE) | (price > MAX_PRICE), f"must lie within {MAX_PRICE} of 0"),
        (5, (op != 2) & ((qty <= 0) | (qty > MAX_QTY)), f"must be 1 to {MAX_QTY}"),
    )
    wrong = [(int(np.argmax(bad)), column, rule) for column, bad, rule in rules if bad.any()]
    if wrong:
        row, column, rule = min(wrong)
        raise StreamError(
            f"{name}: byte {row * ROW_BYTES + column * 8}: {COLUMNS[column]} is {rows[row, column]} in row {row}, "
            f"and {rule}. Is the file little-endian, in rows of 6 int64 ({', '.join(COLUMNS)})?"
        )


def symbols_of(rows: Rows) -> int:
    """How many symbols a stream speaks of."""
    return int(rows[:, 2].max() >> 1) + 1
