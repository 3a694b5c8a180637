"""TradingCore: market data in; signal, risk, paper venue; everything out through a publisher.

It is the sink of the venue clients and knows nothing of Kafka, HTTP or Redis, so that a service and a demo run
the same one. A book event is traded on first and published right after, in the order in which events came.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping

from baretick.book import L2Book
from baretick.config import AppConfig
from baretick.engine.state import SymbolState
from baretick.events import BUY, SELL, BookEvent, Event, Fill, Gap, OrderEvent, Ticker, Trade
from baretick.execution import BookView, Key, OurOrder, PaperVenue
from baretick.publish import Publisher
from baretick.risk import NOTIONAL_SCALE, RiskGate
from baretick.telemetry import HdrHistogram

log = logging.getLogger(__name__)


class TradingCore:
    """Feed it with `publish(event)`. Books are its own, unless `attach` names those that a client keeps anyway."""

    def __init__(self, cfg: AppConfig, publisher: Publisher) -> None:
        self.cfg = cfg
        self.publisher = publisher
        keys: list[Key] = [(v.name, s) for v in cfg.venues for s in v.symbols]
        self.paper = PaperVenue(keys)
        self.risk = RiskGate(cfg.risk)
        self.symbols = {key: SymbolState(key, cfg.strategy, self.paper.positions[key]) for key in keys}
        self.dirty: set[Key] = set()
        """Symbols whose last values changed since whoever shows them cleared the set."""
        self.orders: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.fills = 0
        self.unexpected = 0
        self.errors = 0
        self.tick_to_order = HdrHistogram()
        self.tick_to_publish = HdrHistogram()
        self._own = {(v.name, s): L2Book(bridged=v.kind != "okx") for v in cfg.venues for s in v.symbols}
        self._books: dict[Key, BookView] = dict(self._own)
        self._order_notional = round(cfg.strategy.order_notional * NOTIONAL_SCALE)
        self._cooldown_ns = round(cfg.strategy.cooldown_s * 1e9)
        self._ioc = cfg.strategy.time_in_force == "ioc"
        for wanted in cfg.strategy.symbols:
            if tuple(wanted.split(":", 1)) not in self.symbols:
                raise ValueError(
                    f"strategy.symbols: {wanted!r} is not among the configured venues' symbols "
                    f"({', '.join(f'{v}:{s}' for v, s in self.symbols) or 'none'})"
                )

    def attach(self, venue: str, books: Mapping[str, BookView]) -> None:
        """Name the books of a venue, which its client keeps current before it publishes each event."""
        for symbol, book in books.items():
            self._books[venue, symbol] = book
            self._own.pop((venue, symbol), None)

    def book_valid(self, key: Key) -> bool:
        book = self._books.get(key)
        return book is not None and book.valid

    def ready(self) -> bool:
        """False while the feed should stop reading; see Publisher."""
        return self.publisher.ready()

    async def wait_ready(self) -> None:
        await self.publisher.wait_ready()

    def publish(self, event: Event) -> None:
        """Take one event from a venue client: trade on it, then pass it on."""
        state = self.symbols.get((event.venue, event.symbol))
        if state is None:
            self.unexpected += 1
        else:
            try:
                self._take(state, event)
            except Exception:
                # What was heard must still be published; trading on a state that we do not understand must not.
                self.errors += 1
                self.risk.kill("internal_error")
                log.exception("%s: trading is stopped by an internal error", ":".join(state.key))
        self.publisher.publish(event)
        if isinstance(event, Trade | BookEvent | Ticker):
            self.tick_to_publish.record(time.time_ns() - event.recv_ts)

    def cancel_all(self, reason: str) -> None:
        """Take back every resting order of ours."""
        for order_id in list(self.paper.open):
            self._emit(self.paper.cancel(order_id, reason))

    def _take(self, state: SymbolState, event: Event) -> None:
        kind = type(event)
        state.counts[kind] += 1
        state.session = event.session
        if kind is BookEvent:
            assert isinstance(event, BookEvent)
            state.last_recv_ns = event.recv_ts
            self._on_book(state, event)
        elif isinstance(event, Trade):
            state.last_recv_ns = event.recv_ts
            state.trade_price, state.trade_qty, state.trade_ts = event.price, event.qty, event.exch_ts
        elif isinstance(event, Gap):
            own = self._own.get(state.key)
            if own is not None and own.valid:  # else it saw the hole itself, and keeps what came since
                own.invalidate()
            state.signal.reset()
            self.paper.suspend(state.key)
        elif isinstance(event, Ticker):
            state.last_recv_ns = event.recv_ts
        self.dirty.add(state.key)

    def _on_book(self, state: SymbolState, event: BookEvent) -> None:
        own = self._own.get(state.key)
        if own is not None:
            own.apply(event)
        view = self._books[state.key]
        happened = self.paper.on_book(event, view)
        if happened:
            self._emit(happened)
        if not view.valid:
            state.signal.reset()
            return
        bid, ask = view.best_bid, view.best_ask
        if bid is None or ask is None:
            return
        state.bid, state.bid_qty = bid
        state.ask, state.ask_qty = ask
        direction = state.signal.update(state.bid, state.bid_qty, state.ask, state.ask_qty, event.recv_ts)
        if direction and state.traded and event.recv_ts - state.last_order_ns >= self._cooldown_ns:
            self._trade(state, BUY if direction > 0 else SELL, event)

    def _trade(self, state: SymbolState, side: int, event: BookEvent) -> None:
        """Ask risk, then send: across the spread (ioc), or to the near touch in place of our last order (gtc)."""
        state.last_order_ns = event.recv_ts
        price = state.ask if (side == BUY) == self._ioc else state.bid
        qty = self._order_notional // price
        if state.working_id in self.paper.open:
            resting = self.paper.open[state.working_id]
            if resting.side == side and resting.price == price:
                return
            self._emit(self.paper.cancel(state.working_id, "replaced"))
        working = 0 if self._ioc else self.paper.working(state.key, side)
        now = time.time_ns()
        refusal = self.risk.check(side, price, qty, state.position.qty, working, now)
        if refusal is not None:
            order = OurOrder(self.paper.next_id(), event.session, state.key, side, price, qty, qty, event.recv_ts)
            self._emit([order.event("rejected", refusal)])
            return
        self.tick_to_order.record(time.time_ns() - event.recv_ts)
        events = self.paper.send(
            event.session, state.key, side, price, qty, self.cfg.strategy.time_in_force, event.recv_ts
        )
        first = events[0]
        if isinstance(first, OrderEvent):
            state.working_id = first.order_id
        self._emit(events)

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            self.symbols[event.venue, event.symbol].counts[type(event)] += 1
            if isinstance(event, Fill):
                self.fills += 1
            elif isinstance(event, OrderEvent):
                self.orders[event.status] += 1
                if event.status == "rejected":
                    self.rejects[event.reason] += 1
            self.dirty.add((event.venue, event.symbol))
            self.publisher.publish(event)
