"""ClickHouse's Native format from numpy: columns go out as they lie in memory, text columns as dictionaries.

https://clickhouse.com/docs/interfaces/formats/Native; little-endian, as every machine this runs on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.integer]

# LowCardinality: version 1 (shared dictionaries with additional keys), then per block the flags
# HasAdditionalKeys (1 << 9) and NeedUpdateDictionary (1 << 10), and the width of an index (2 is UInt32).
_LC_VERSION = (1).to_bytes(8, "little")
_LC_FLAGS = ((1 << 9) | (1 << 10) | 2).to_bytes(8, "little")


@dataclass(frozen=True)
class Column:
    """One column of a block: name, ClickHouse type and its serialised values."""

    name: str
    type: str
    rows: int
    data: tuple[bytes, ...]


def numbers(name: str, kind: str, values: npt.NDArray[np.generic]) -> Column:
    """A fixed-width column; the array's width must be the type's (Decimal(18, s) and DateTime64 are 8 bytes)."""
    return Column(name, kind, len(values), (np.ascontiguousarray(values).tobytes(),))


def low_cardinality(name: str, words: Sequence[str], codes: Int) -> Column:
    """A LowCardinality(String) column: `codes[i]` is the index of row i's word."""
    if len(codes) == 0:
        return Column(name, "LowCardinality(String)", 0, ())
    keys = [_string(word.encode()) for word in words]
    return Column(
        name,
        "LowCardinality(String)",
        len(codes),
        (
            _LC_VERSION,
            _LC_FLAGS,
            len(keys).to_bytes(8, "little"),
            *keys,
            len(codes).to_bytes(8, "little"),
            codes.astype(np.uint32).tobytes(),
        ),
    )


def constant(name: str, word: str, rows: int) -> Column:
    return low_cardinality(name, [word], np.zeros(rows, np.uint32))


def words(name: str, values: Sequence[str]) -> Column:
    """A LowCardinality(String) column from plain text values."""
    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(v, len(known)) for v in values), np.uint32, len(values))
    return low_cardinality(name, list(known), codes)


def strings(name: str, values: Sequence[bytes]) -> Column:
    return Column(name, "String", len(values), tuple(_string(v) for v in values))


def block(columns: Sequence[Column]) -> bytes:
    """One Native block."""
    rows = columns[0].rows
    out = [_varint(len(columns)), _varint(rows)]
    for column in columns:
        if column.rows != rows:
            raise ValueError(f"column {column.name} has {column.rows} rows, {columns[0].name} has {rows}")
        out += (_string(column.name.encode()), _string(column.type.encode()), *column.data)
    return b"".join(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _string(value: bytes) -> bytes:
    return _varint(len(value)) + value
