"""L2Book: one symbol's price levels, kept from snapshots and updates, valid only while the sequence holds.

The state is a function of the events applied, in order: whoever applies the same events to a new L2Book (the
engine, a replay from Kafka) has the same book. Prices and quantities are the scaled integers of `events`.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import NamedTuple
from zlib import crc32

from baretick.events import BUY, SNAPSHOT, BookEvent, Level

CHECKSUM_DEPTH = 25
PENDING_LIMIT = 20_000
"""Diffs kept while a snapshot is on its way: over half an hour of the busiest stream; then the oldest go."""

Texts = list[str]


class Fault(NamedTuple):
    """Why a book became invalid: the sequence number (or checksum) that was due, the one that came, and a word."""

    expected: int
    got: int
    reason: str


class L2Book:
    """Levels of one symbol.

    `bridged` chooses how a snapshot and the updates after it join:

    - False (OKX): an update continues exactly what came before, `prev_seq == seq` of the last message.
      Updates without a valid book are of no use and are not kept.
    - True (Binance): the snapshot comes from elsewhere and falls somewhere into the stream of updates. Updates
      received before it are kept; those it already contains (`seq <= lastUpdateId`) are dropped; the first one
      used must begin at or before it. Spot documents this as `U <= lastUpdateId + 1 <= u`, and `prev_seq` is
      `U - 1`. USD-M documents `U <= lastUpdateId <= u`, and `prev_seq` is `pu`, which also admits a snapshot
      between `pu` and `U`, where nothing of this symbol changed. From then on `prev_seq == seq`, as above.
    """

    __slots__ = (
        "_ask_prices",
        "_ask_texts",
        "_asks",
        "_bid_prices",
        "_bid_texts",
        "_bids",
        "_bridged",
        "_joining",
        "_pending",
        "checksum_ok",
        "seq",
        "stale",
        "valid",
    )

    def __init__(self, *, bridged: bool = False) -> None:
        self.valid = False
        self.seq = -1
        self.stale = 0
        """Updates dropped because the snapshot already contained them."""
        self.checksum_ok: bool | None = None
        """What the last checksum said; None before the first."""
        self._bridged = bridged
        self._joining = False
        self._pending: deque[BookEvent] = deque(maxlen=PENDING_LIMIT)
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        # Both ascending: the best bid is the last, the best ask the first.
        self._bid_prices: list[int] = []
        self._ask_prices: list[int] = []
        self._bid_texts: dict[int, str] = {}
        self._ask_texts: dict[int, str] = {}

    # What it says.

    @property
    def best_bid(self) -> Level | None:
        """(price, quantity) of the highest bid; None when there is none."""
        if not self._bid_prices:
            return None
        price = self._bid_prices[-1]
        return price, self._bids[price]

    @property
    def best_ask(self) -> Level | None:
        """(price, quantity) of the lowest ask; None when there is none."""
        if not self._ask_prices:
            return None
        price = self._ask_prices[0]
        return price, self._asks[price]

    def top(self, n: int) -> tuple[list[Level], list[Level]]:
        """The best n bids and asks, best first."""
        bids, asks = self._bids, self._asks
        return (
            [(p, bids[p]) for p in self._bid_prices[: -n - 1 : -1]],
            [(p, asks[p]) for p in self._ask_prices[:n]],
        )

    def qty_at(self, side: int, price: int) -> int:
        """Quantity at a price of one side (BUY or SELL), 0 if there is no level."""
        return (self._bids if side == BUY else self._asks).get(price, 0)

    def levels(self, side: int) -> list[Level]:
        """All levels of one side (BUY or SELL), best first."""
        if side == BUY:
            return [(p, self._bids[p]) for p in reversed(self._bid_prices)]
        return [(p, self._asks[p]) for p in self._ask_prices]

    def depth(self) -> tuple[int, int]:
        """How many bid and ask levels there are."""
        return len(self._bid_prices), len(self._ask_prices)

    # What changes it.

    def apply(self, event: BookEvent, texts: tuple[Texts, Texts] | None = None) -> Fault | None:
        """Take one snapshot or update; a Fault says that the book is invalid from here until the next snapshot.

        `texts` are the venue's own "price:size" words of the event's bids and asks, in order: `checksum` needs
        them.
        """
        if event.kind == SNAPSHOT:
            return self._restart(event, texts)
        if not self.valid:
            if self._bridged:
                self._pending.append(event)
            return None
        if event.prev_seq != self.seq:
            if not self._joining or event.prev_seq > self.seq:
                return self._fail(event)
            if event.seq <= self.seq:
                self.stale += 1
                return None
        self._joining = False
        self.seq = event.seq
        if event.bids:
            _merge(self._bids, self._bid_prices, event.bids)
        if event.asks:
            _merge(self._asks, self._ask_prices, event.asks)
        if texts is not None:
            _merge_texts(self._bid_texts, event.bids, texts[0])
            _merge_texts(self._ask_texts, event.asks, texts[1])
        return None

    def invalidate(self) -> None:
        """The connection is gone: nothing here may be traded on, and no kept update can be joined any more."""
        self.valid = False
        self._pending.clear()

    def _restart(self, event: BookEvent, texts: tuple[Texts, Texts] | None) -> Fault | None:
        self._bids = {p: q for p, q in event.bids if q}
        self._asks = {p: q for p, q in event.asks if q}
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self._bid_texts, self._ask_texts = {}, {}
        if texts is not None:
            _merge_texts(self._bid_texts, event.bids, texts[0])
            _merge_texts(self._ask_texts, event.asks, texts[1])
        self.seq = event.seq
        self.valid = True
        self._joining = self._bridged
        if not self._pending:
            return None
        pending = list(self._pending)
        self._pending.clear()
        first: Fault | None = None
        for update in pending:  # after a fault the book is invalid, so apply keeps the rest for the next snapshot
            fault = self.apply(update)
            first = first or fault
        return first

    def _fail(self, event: BookEvent) -> Fault:
        self.valid = False
        if self._bridged:
            self._pending.append(event)
        reason = "snapshot is older than the updates" if self._joining else "sequence"
        return Fault(expected=self.seq, got=event.prev_seq, reason=reason)

    # OKX's checksum.

    def checksum(self) -> int:
        """Signed CRC32 over the best 25 levels, bid and ask in turn, in the venue's own words."""
        bid_texts, ask_texts = self._bid_texts, self._ask_texts
        bids = [bid_texts[p] for p in self._bid_prices[: -CHECKSUM_DEPTH - 1 : -1]]
        asks = [ask_texts[p] for p in self._ask_prices[:CHECKSUM_DEPTH]]
        n = min(len(bids), len(asks))
        words = [""] * (2 * n)
        words[0::2] = bids[:n]
        words[1::2] = asks[:n]
        words += bids[n:] or asks[n:]
        value = crc32(":".join(words).encode())
        return value - (1 << 32) if value >= 1 << 31 else value

    def verify(self, expected: int) -> Fault | None:
        """Compare with the checksum that the venue sent; a difference makes the book invalid."""
        if not self.valid:
            return None
        got = self.checksum()
        self.checksum_ok = got == expected
        if self.checksum_ok:
            return None
        self.valid = False
        return Fault(expected=expected, got=got, reason="checksum")


def _merge(levels: dict[int, int], prices: list[int], changes: list[Level]) -> None:
    for price, qty in changes:
        if qty:
            if price not in levels:
                insort(prices, price)
            levels[price] = qty
        elif price in levels:
            del levels[price]
            del prices[bisect_left(prices, price)]


def _merge_texts(texts: dict[int, str], changes: list[Level], words: Texts) -> None:
    for (price, qty), word in zip(changes, words, strict=True):
        if qty:
            texts[price] = word
        else:
            texts.pop(price, None)
