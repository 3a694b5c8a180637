"""A session that nobody recorded: orders drawn from a seed, matched by our own book, told in the venues' words.

Each symbol has a price that wanders, traders who quote around it, cancel, and cross. What rests and what trades
comes from `baretick.matching.book`; every 100 ms the levels that changed become one update, as at the venues. The same
seed gives the same frames, byte for byte, and the source says "synthetic:<seed>" wherever it shows.
"""

import random
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from baretick.matching.book import MatchingBook
from baretick.matching.layout import NO_ASK, NO_BID
from baretick.matching.records import EventKind, Side
from baretick.venues.standin.books import okx_checksum
from baretick.venues.standin.recording import Frame, Instrument, Recording, Venue

START_NS = 1_704_067_200_000_000_000  # 2024-01-01T00:00:00Z: made up, so the same in every run
STEP_NS = 100_000_000
LATENCY_NS = 4_000_000
TICKS = 1 << 17
"""Ticks that the market may wander over."""
MIDDLE = TICKS // 2
BUY, SELL = Side.BUY, Side.SELL
OPENING_ORDERS = 1200
ORDERS_PER_STEP = 24
MAX_LIVE = 4000


class Market(msgspec.Struct, frozen=True):
    """How a symbol is quoted, and where it starts."""

    symbol: str
    mid: Decimal
    tick: Decimal
    lot: Decimal
    price_digits: int | None
    """Fixed decimals in prices (Binance), or None for no trailing zeros (OKX)."""
    qty_digits: int | None


MARKETS: dict[Venue, list[Market]] = {
    "okx": [
        Market("BTC-USDT", Decimal("42000"), Decimal("0.1"), Decimal("0.0001"), None, None),
        Market("ETH-USDT", Decimal("2300"), Decimal("0.01"), Decimal("0.001"), None, None),
    ],
    "binance": [
        Market("BTCUSDT", Decimal("42000"), Decimal("0.01"), Decimal("0.00001"), 8, 8),
        Market("ETHUSDT", Decimal("2300"), Decimal("0.01"), Decimal("0.0001"), 8, 8),
    ],
    "binance_usdm": [Market("BTCUSDT", Decimal("42010"), Decimal("0.1"), Decimal("0.001"), 2, 3)],
}


class Step(msgspec.Struct):
    """What happened to a symbol in one step: levels that changed (tick, lots), and trades (tick, lots, side)."""

    ts: int
    bids: dict[int, int]
    asks: dict[int, int]
    trades: list[tuple[int, int, int]]
    best: tuple[int, int, int, int] | None


def recording(venue: Venue, seed: int, seconds: float) -> Recording:
    """The session of a seed."""
    steps = max(1, int(seconds * 1e9) // STEP_NS)
    frames: list[Frame] = []
    for n, market in enumerate(MARKETS[venue]):
        rng = random.Random(f"{seed}/{venue}/{market.symbol}")  # noqa: S311 - must repeat, need not be secret
        words = _Okx(market) if venue == "okx" else _Binance(market, futures=venue == "binance_usdm")
        for i, step in enumerate(_walk(rng, steps)):
            step.ts += n * 7_000_000
            frames += words.opening(step) if i == 0 else words.frames(step)
    frames.sort(key=lambda f: f.ts)
    instruments = [Instrument(m.symbol, f"{m.tick:f}", f"{m.lot:f}") for m in MARKETS[venue]]
    return Recording(venue=venue, source=f"synthetic:{seed}", frames=frames, instruments=instruments)


def _walk(rng: random.Random, steps: int) -> Iterator[Step]:
    """The market itself, in ticks and lots: the first step is the opening book, the others what changes."""
    book = MatchingBook(1, orders=MAX_LIVE * 2, events=MAX_LIVE * 4)
    crowd = _Crowd(rng, book)
    crowd.open()
    yield crowd.step(START_NS, first=True)
    for i in range(1, steps + 1):
        crowd.trade()
        yield crowd.step(START_NS + i * STEP_NS, first=False)


class _Crowd:
    """Everybody who trades in one symbol."""

    def __init__(self, rng: random.Random, book: MatchingBook) -> None:
        self._rng = rng
        self._book = book
        self._fair = float(MIDDLE)
        self._drift = 0.0
        self._next_id = 1
        self._live: list[int] = []
        self._sides: dict[int, tuple[int, int]] = {}
        self._touched: set[tuple[int, int]] = set()

    def open(self) -> None:
        for _ in range(OPENING_ORDERS):
            self._quote(depth=400.0)

    def trade(self) -> None:
        rng = self._rng
        self._drift = 0.97 * self._drift + rng.gauss(0.0, 0.35)
        self._fair += self._drift + rng.gauss(0.0, 1.5)
        self._fair = min(max(self._fair, TICKS * 0.1), TICKS * 0.9)
        for _ in range(ORDERS_PER_STEP):
            kind = rng.random()
            if kind < 0.50 and len(self._live) < MAX_LIVE:
                self._quote(depth=25.0 if rng.random() < 0.7 else 300.0)
            elif kind < 0.93:
                self._cancel()
            else:
                self._cross()

    def step(self, ts: int, *, first: bool) -> Step:
        """What changed since the last call."""
        trades = []
        for event in self._book.drain():
            if event.kind == EventKind.TRADE:
                trades.append((event.price, event.qty, event.side))
                self._touched.add((1 - event.side, event.price))
        changed: tuple[dict[int, int], dict[int, int]] = ({}, {})
        bid, ask = self._book.best_bid(0), self._book.best_ask(0)
        for side, price in sorted(self._touched):
            # A tick holds orders of one side only: whichever side it is on, the other has nothing there.
            rests_here = price <= bid if side == BUY else price >= ask
            changed[side][price] = self._book.level_qty(0, price) if rests_here else 0
        self._touched.clear()
        best = None
        if bid != NO_BID and ask != NO_ASK:
            best = (bid, self._book.level_qty(0, bid), ask, self._book.level_qty(0, ask))
        if first:
            changed = ({p: q for p, q in changed[0].items() if q}, {p: q for p, q in changed[1].items() if q})
            trades = []
        return Step(ts, changed[0], changed[1], trades, best)

    def _quote(self, depth: float) -> None:
        rng = self._rng
        side = BUY if rng.random() < 0.5 else SELL
        away = 1 + int(rng.expovariate(1.0 / depth))
        price = int(self._fair) - away if side == BUY else int(self._fair) + 1 + away
        self._limit(side, price, 1 + int(rng.expovariate(1 / 400)))

    def _cross(self) -> None:
        rng = self._rng
        leaning = 0.5 + max(-0.3, min(0.3, self._drift / 4))
        side = BUY if rng.random() < leaning else SELL
        self._book.market(0, side, self._new_id(), 1 + int(rng.expovariate(1 / 300)))

    def _limit(self, side: int, price: int, qty: int) -> None:
        order = self._new_id()
        if self._book.limit(0, side, order, price, qty) > 0:
            self._live.append(order)
            self._sides[order] = (side, price)
            self._touched.add((side, price))

    def _cancel(self) -> None:
        if len(self._live) < OPENING_ORDERS // 2:
            return
        i = self._rng.randrange(len(self._live))
        self._live[i], self._live[-1] = self._live[-1], self._live[i]
        order = self._live.pop()
        where = self._sides.pop(order)
        if self._book.cancel(order) >= 0:  # it may have traded meanwhile
            self._touched.add(where)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id


class _Words:
    """Ticks and lots in a market's decimals."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._base = market.mid - market.tick * MIDDLE

    def price(self, tick: int) -> str:
        return _decimal(self._base + self.market.tick * tick, self.market.price_digits)

    def qty(self, lots: int) -> str:
        return _decimal(self.market.lot * lots, self.market.qty_digits)


class _Okx(_Words):
    """OKX's channels: a checksum on every book message, and sequence numbers as since 2023."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._bids: dict[int, list[str]] = {}
        self._asks: dict[int, list[str]] = {}
        self._seq = 1_000_000
        self._trade_id = 500_000

    def opening(self, step: Step) -> list[Frame]:
        return [self._book(step, "snapshot", -1), self._ticker(step)]

    def frames(self, step: Step) -> list[Frame]:
        out = [self._trade(step, *t) for t in step.trades]
        if step.bids or step.asks:
            previous, self._seq = self._seq, self._seq + 3
            out.append(self._book(step, "update", previous))
        out.append(self._ticker(step))
        return out

    def _book(self, step: Step, action: str, previous: int) -> Frame:
        rows: list[list[list[str]]] = []
        for levels, changed, reverse in ((self._asks, step.asks, False), (self._bids, step.bids, True)):
            side = []
            for tick in sorted(changed, reverse=reverse):
                row = [self.price(tick), self.qty(changed[tick]), "0", "1" if changed[tick] else "0"]
                side.append(row)
                if changed[tick]:
                    levels[tick] = row
                else:
                    levels.pop(tick, None)
            rows.append(side)
        bids = [self._bids[t] for t in sorted(self._bids, reverse=True)[:25]]
        asks = [self._asks[t] for t in sorted(self._asks)[:25]]
        data = {
            "asks": rows[0], "bids": rows[1], "ts": _millis(step.ts),
            "checksum": okx_checksum(bids, asks), "prevSeqId": previous, "seqId": self._seq,
        }  # fmt: skip
        return self._frame(step, "books", {"action": action, "data": [data]})

    def _trade(self, step: Step, tick: int, lots: int, side: int) -> Frame:
        self._trade_id += 1
        data = {
            "instId": self.market.symbol, "tradeId": str(self._trade_id), "px": self.price(tick),
            "sz": self.qty(lots), "side": "buy" if side == BUY else "sell", "ts": _millis(step.ts),
        }  # fmt: skip
        return self._frame(step, "trades", {"data": [data]})

    def _ticker(self, step: Step) -> Frame:
        bid, bid_lots, ask, ask_lots = step.best or (0, 0, 0, 0)
        sides = (
            {
                "askPx": self.price(ask),
                "askSz": self.qty(ask_lots),
                "bidPx": self.price(bid),
                "bidSz": self.qty(bid_lots),
            }
            if step.best
            else {"askPx": "", "askSz": "", "bidPx": "", "bidSz": ""}
        )
        data = {"instType": "SPOT", "instId": self.market.symbol, **sides, "ts": _millis(step.ts)}
        return self._frame(step, "tickers", {"data": [data]})

    def _frame(self, step: Step, channel: str, rest: dict[str, object]) -> Frame:
        arg = {"channel": channel, "instId": self.market.symbol}
        return Frame(step.ts + LATENCY_NS, f"{channel}:{self.market.symbol}", _json({"arg": arg, **rest}))


class _Binance(_Words):
    """Binance's streams; the REST snapshot stands in line after the first update, as recorders have it."""

    def __init__(self, market: Market, *, futures: bool) -> None:
        super().__init__(market)
        self._futures = futures
        self._name = market.symbol.lower()
        self._id = 5_000_000
        self._trade_id = 900_000

    def opening(self, step: Step) -> list[Frame]:
        ms = step.ts // 1_000_000
        times = {"E": ms, "T": ms} if self._futures else {}
        bids, asks = self._levels(step)
        snapshot = {"lastUpdateId": self._id, **times, "bids": bids, "asks": asks}
        # A level of the snapshot, said again: the update that makes a client ask for the snapshot.
        first = self._depth(Step(step.ts, dict([max(step.bids.items())]), {}, [], step.best), self._id - 4, self._id)
        return [first, Frame(step.ts + 2 * LATENCY_NS, f"{self._name}@snapshot", _json(snapshot))]

    def frames(self, step: Step) -> list[Frame]:
        out = [self._trade(step, *t) for t in step.trades]
        out.append(self._ticker(step))
        if step.bids or step.asks:
            first = self._id + (3 if self._futures else 1)  # futures number all symbols together: ids are skipped
            out.append(self._depth(step, first, first + len(step.bids) + len(step.asks)))
        return out

    def _levels(self, step: Step) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return (
            [(self.price(t), self.qty(step.bids[t])) for t in sorted(step.bids, reverse=True)],
            [(self.price(t), self.qty(step.asks[t])) for t in sorted(step.asks)],
        )

    def _depth(self, step: Step, first: int, last: int) -> Frame:
        ms = step.ts // 1_000_000
        bids, asks = self._levels(step)
        head: dict[str, object] = {"e": "depthUpdate", "E": ms}
        if self._futures:
            head["T"] = ms
        head |= {"s": self.market.symbol, "U": first, "u": last}
        if self._futures:
            head["pu"] = self._id if last > self._id else first - 3
        self._id = last
        return self._frame(step, "depth@0ms" if self._futures else "depth@100ms", {**head, "b": bids, "a": asks})

    def _trade(self, step: Step, tick: int, lots: int, side: int) -> Frame:
        self._trade_id += 1
        ms = step.ts // 1_000_000
        data = {
            "e": "trade", "E": ms, "T": ms, "s": self.market.symbol, "t": self._trade_id, "p": self.price(tick),
            "q": self.qty(lots), "m": side == SELL, **({"X": "MARKET"} if self._futures else {"M": True}),
        }  # fmt: skip
        return self._frame(step, "trade", data)

    def _ticker(self, step: Step) -> Frame:
        bid, bid_lots, ask, ask_lots = step.best or (MIDDLE, 0, MIDDLE, 0)
        ms = step.ts // 1_000_000
        data = {
            "u": self._id, "s": self.market.symbol, "b": self.price(bid), "B": self.qty(bid_lots),
            "a": self.price(ask), "A": self.qty(ask_lots),
        }  # fmt: skip
        if self._futures:
            data = {"e": "bookTicker", **data, "T": ms, "E": ms}
        return self._frame(step, "bookTicker", data)

    def _frame(self, step: Step, stream: str, data: dict[str, object]) -> Frame:
        topic = f"{self._name}@{stream}"
        return Frame(step.ts + LATENCY_NS, topic, _json({"stream": topic, "data": data}))


def _decimal(value: Decimal, digits: int | None) -> str:
    return f"{value.normalize():f}" if digits is None else f"{value:.{digits}f}"


def _millis(ns: int) -> str:
    return str(ns // 1_000_000)


def _json(document: dict[str, object]) -> str:
    return msgspec.json.encode(document).decode()
