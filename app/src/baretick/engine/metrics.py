"""The Prometheus page: read from the engine's plain counters when asked, so that counting costs nothing extra."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from baretick.engine.state import EVENT_NAMES
from baretick.engine.view import EngineView
from baretick.events import PRICE_DECIMALS, QTY_DECIMALS
from baretick.telemetry.export import prometheus


def registry(view: EngineView) -> CollectorRegistry:
    """A registry of the engine's own metrics alone."""
    own = CollectorRegistry(auto_describe=False)
    own.register(EngineCollector(view))
    return own


class EngineCollector(Collector):
    """Turns an EngineView into metric families."""

    def __init__(self, view: EngineView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        yield from self._symbols()
        yield from self._paper()
        yield from self._venues()
        yield from self._trading()
        yield from self._outputs()

    def _symbols(self) -> Iterable[Metric]:
        core, at = self._view.core, ["venue", "symbol"]
        events = CounterMetricFamily("baretick_events", "Events by type.", labels=[*at, "type"])
        valid = GaugeMetricFamily("baretick_book_valid", "1 while the L2 book can be relied on.", labels=at)
        position = GaugeMetricFamily("baretick_position", "Position in units of the base.", labels=at)
        pnl = GaugeMetricFamily("baretick_pnl_quote", "Profit at the middle price, before fees.", labels=at)
        turnover = CounterMetricFamily("baretick_turnover_quote", "Traded value in the quote currency.", labels=at)
        signal = GaugeMetricFamily("baretick_signal_bps", "Microprice against its moving average.", labels=at)
        bid = GaugeMetricFamily("baretick_best_bid", "Best bid.", labels=at)
        ask = GaugeMetricFamily("baretick_best_ask", "Best ask.", labels=at)
        for key, state in core.symbols.items():
            for kind, name in EVENT_NAMES.items():
                events.add_metric([*key, name], state.counts[kind])
            valid.add_metric(key, float(core.book_valid(key)))
            position.add_metric(key, state.position.qty / 10**QTY_DECIMALS)
            pnl.add_metric(key, state.position.pnl_quote(state.mark))
            turnover.add_metric(key, state.position.turnover / 10 ** (PRICE_DECIMALS + QTY_DECIMALS))
            signal.add_metric(key, state.signal.value_bps)
            bid.add_metric(key, state.bid / 10**PRICE_DECIMALS)
            ask.add_metric(key, state.ask / 10**PRICE_DECIMALS)
        yield from (events, valid, position, pnl, turnover, signal, bid, ask)

    def _paper(self) -> Iterable[Metric]:
        paper = self._view.core.paper
        levels = CounterMetricFamily(
            "baretick_paper_levels",
            "Market levels that the paper venue could not hold as said, and rebuilds of its book.",
            labels=["venue", "symbol", "what"],
        )
        for key in self._view.core.symbols:
            for what, n in paper.counters(key).items():
                levels.add_metric([*key, what], n)
        yield levels

    def _venues(self) -> Iterable[Metric]:
        at = ["venue"]
        connected = GaugeMetricFamily("baretick_venue_connected", "1 while connected.", labels=at)
        gaps = CounterMetricFamily("baretick_gaps", "Holes in book streams.", labels=at)
        reconnects = CounterMetricFamily("baretick_reconnects", "Connections made again.", labels=at)
        messages = CounterMetricFamily("baretick_venue_messages", "Frames received.", labels=at)
        size = CounterMetricFamily("baretick_venue_received_bytes", "Bytes received.", labels=at)
        garbage = CounterMetricFamily("baretick_venue_garbage", "Frames that could not be used.", labels=[*at, "kind"])
        last = GaugeMetricFamily("baretick_venue_last_message_seconds", "When the last frame came.", labels=at)
        for name, client in self._view.clients.items():
            stats = client.stats
            connected.add_metric([name], float(stats.connected))
            gaps.add_metric([name], stats.gaps)
            reconnects.add_metric([name], stats.reconnects)
            messages.add_metric([name], stats.messages)
            size.add_metric([name], stats.bytes)
            last.add_metric([name], stats.last_recv_ts / 1e9)
            for kind, n in list(stats.garbage.items()):
                garbage.add_metric([name, kind], n)
        yield from (connected, gaps, reconnects, messages, size, garbage, last)

    def _trading(self) -> Iterable[Metric]:
        core = self._view.core
        orders = CounterMetricFamily("baretick_orders", "Order events by status.", labels=["status"])
        for status, n in list(core.orders.items()):
            orders.add_metric([status], n)
        rejects = CounterMetricFamily("baretick_order_rejects", "Orders refused, by reason.", labels=["reason"])
        for reason, n in list(core.rejects.items()):
            rejects.add_metric([reason], n)
        yield from (orders, rejects)
        yield CounterMetricFamily("baretick_fills", "Executions of our orders.", core.fills)
        yield GaugeMetricFamily("baretick_open_orders", "Our orders that rest.", len(core.paper.open))
        yield CounterMetricFamily("baretick_internal_errors", "Exceptions in the core.", core.errors)
        yield CounterMetricFamily("baretick_unexpected_events", "Events of symbols not configured.", core.unexpected)
        yield GaugeMetricFamily("baretick_kill_switch", "1 while trading is stopped.", float(bool(core.risk.killed_by)))
        yield prometheus(
            "baretick_tick_to_order_seconds", "From a book frame's arrival to the order it led to.", core.tick_to_order
        )
        yield prometheus(
            "baretick_tick_to_publish_seconds", "From a frame's arrival to the publisher.", core.tick_to_publish
        )

    def _outputs(self) -> Iterable[Metric]:
        kafka, redis = self._view.kafka, self._view.redis
        if kafka is not None:
            yield CounterMetricFamily("baretick_kafka_produced", "Events handed to Kafka.", kafka.produced)
            yield CounterMetricFamily("baretick_kafka_delivered", "Events acknowledged.", kafka.delivered)
            yield CounterMetricFamily("baretick_kafka_failed", "Events refused for good.", kafka.failed)
            yield CounterMetricFamily("baretick_kafka_errors", "Errors of the client.", kafka.errors)
            yield GaugeMetricFamily("baretick_kafka_outstanding", "Events not yet acknowledged.", kafka.outstanding)
            yield GaugeMetricFamily("baretick_kafka_overflow", "Of these, not in the client yet.", kafka.queued_here)
            yield GaugeMetricFamily("baretick_kafka_held_back", "1 while feeds must wait.", float(not kafka.ready()))
        if redis is not None:
            yield CounterMetricFamily("baretick_redis_written", "Hashes written.", redis.written)
            yield CounterMetricFamily("baretick_redis_failures", "Batches that Redis did not take.", redis.failures)
