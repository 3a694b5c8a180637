"""What the venues' frames have in common: levels, bounded integers, decimal strings to scaled integers."""

import re
from typing import Annotated

import msgspec

from baretick.events import PRICE_DECIMALS, QTY_DECIMALS, ScaleError, to_scaled

CACHE_LIMIT = 1 << 16

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000)]
"""Milliseconds since the epoch, up to the year 2255: as nanoseconds they fit 64 bits."""

_plain = re.compile(r"[0-9]+(?:\.[0-9]*)?").fullmatch


class WireLevel(msgspec.Struct, array_like=True, gc=False):
    """`["price", "size", ...]`; what a venue adds behind these two is skipped without being built."""

    px: str
    sz: str


class Scaled(dict[str, int]):
    """Decimal text to scaled integer. A venue repeats itself: most look-ups are hits, which cost no call."""

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self._decimals = decimals

    def __missing__(self, text: str) -> int:
        if not _plain(text):
            raise ScaleError(f"{text[:40]!r} is not a plain decimal number")
        if len(self) >= CACHE_LIMIT:
            self.clear()
        value = to_scaled(text, self._decimals)
        self[text] = value
        return value


PRICES = Scaled(PRICE_DECIMALS)
QTYS = Scaled(QTY_DECIMALS)


def levels(wire: list[WireLevel]) -> list[tuple[int, int]]:
    """Scaled (price, quantity) pairs; raises ScaleError."""
    prices, qtys = PRICES, QTYS
    return [(prices[x.px], qtys[x.sz]) for x in wire]


def millis_to_ns(text: str) -> int:
    """Nanoseconds of a millisecond timestamp sent as text; raises ScaleError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 13:
        raise ScaleError(f"{text[:40]!r} is not a time in milliseconds")
    return int(text) * 1_000_000
