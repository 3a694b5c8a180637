"""The exchange's HTTP page: /health and /metrics."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from baretick.config import HttpConfig
from baretick.exchange import loop
from baretick.matching.layout import H_LIVE, H_ORDERS, H_REJECTS
from baretick.telemetry.export import prometheus

if TYPE_CHECKING:
    from baretick.exchange.service import Exchange


def health(exchange: "Exchange") -> dict[str, Any]:
    """Why it should not be relied on, if it should not."""
    reasons = [] if exchange.phase == "running" else [f"exchange is {exchange.phase}"]
    core = exchange.core
    if core is not None and core.failure is not None:
        reasons.append(f"core: {core.failure}")
    if exchange.reload_error is not None:
        reasons.append(f"limits: the last reload was refused: {exchange.reload_error}")
    if exchange.snapshot_error is not None:
        reasons.append(f"snapshot: {exchange.snapshot_error}")
    return {
        "status": "unhealthy" if reasons else "ok",
        "reasons": reasons,
        "phase": exchange.phase,
        "uptime_s": round(time.time() - exchange.started, 1),
        "durable": core.durable if core is not None else 0,
        "last_event": exchange.gateway.delivery.last_seq if exchange.gateway is not None else 0,
    }


class ExchangeCollector(Collector):
    """Reads the counters when asked, so that counting costs nothing extra."""

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        yield from self._core()
        yield from self._gateway()
        exchange = self._exchange
        reloads = CounterMetricFamily("baretick_exchange_reloads", "Reloads of the limits.", labels=["outcome"])
        for outcome, n in exchange.reloads.items():
            reloads.add_metric([outcome], n)
        yield reloads
        yield GaugeMetricFamily(
            "baretick_exchange_snapshot_command", "The last command in a snapshot.", exchange.snapshot_seq
        )

    def _core(self) -> Iterable[Metric]:
        core = self._exchange.core
        if core is None:
            return
        name = "baretick_exchange"
        yield CounterMetricFamily(f"{name}_commands", "Commands executed.", core.counter(loop.C_COMMANDS))
        yield CounterMetricFamily(f"{name}_journal_frames", "Batches journalled.", core.counter(loop.C_FRAMES))
        yield CounterMetricFamily(f"{name}_journal_syncs", "Calls of fdatasync.", core.counter(loop.C_SYNCS))
        yield CounterMetricFamily(
            f"{name}_held_up", "Milliseconds the core waited for events to be read.", core.counter(loop.C_HELD_UP)
        )
        yield GaugeMetricFamily(f"{name}_durable_command", "The last command that is durable.", core.durable)
        arena = core.arena
        yield CounterMetricFamily(f"{name}_rejects", "Commands that the engine refused.", int(arena[H_REJECTS // 8]))
        yield GaugeMetricFamily(f"{name}_open_orders", "Orders that rest or wait.", int(arena[H_LIVE // 8]))
        yield GaugeMetricFamily(f"{name}_open_orders_max", "Orders that fit.", int(arena[H_ORDERS // 8]))
        yield GaugeMetricFamily(f"{name}_core_up", "1 while the core runs.", float(core.alive))
        yield prometheus(f"{name}_core_seconds", "From the ring to durable and published.", core.spans)
        yield prometheus(f"{name}_sync_seconds", "One fdatasync of the journal.", core.syncs)

    def _gateway(self) -> Iterable[Metric]:
        gateway = self._exchange.gateway
        if gateway is None:
            return
        name, counts = "baretick_exchange", gateway.counts
        yield GaugeMetricFamily(f"{name}_sessions_open", "Sessions of order entry.", len(gateway.sessions))
        yield GaugeMetricFamily(f"{name}_backlog", "Commands that wait for the core.", gateway.backlog)
        for key, text in (
            ("sessions", "Sessions opened."),
            ("logins_refused", "Connections without a valid token."),
            ("superseded", "Sessions ended by a newer one of their login."),
            ("evicted", "Sessions closed because they read too slowly."),
            ("frames", "Frames taken."),
            ("events_sent", "Records sent to sessions."),
            ("busy_waits", "Waits for room in the ring."),
        ):
            yield CounterMetricFamily(f"{name}_{key}", text, counts[key])
        refused = CounterMetricFamily(f"{name}_refused", "Commands that the gateway refused.", labels=["reason"])
        for reason, n in list(gateway.refused.items()):
            refused.add_metric([reason.name.lower()], n)
        yield refused
        yield prometheus(
            f"{name}_round_trip_seconds", "From a frame's arrival to its events being sent.", gateway.round_trips
        )


async def serve(exchange: "Exchange", cfg: HttpConfig) -> web.AppRunner:
    """Start serving; the caller cleans the runner up. Raises OSError where the address cannot be bound."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ExchangeCollector(exchange))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(_: web.Request) -> web.Response:
        body = health(exchange)
        return web.json_response(body, status=503 if body["reasons"] else 200)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", healthy)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, cfg.host, cfg.port).start()
    return runner
