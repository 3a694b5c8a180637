"""The engine as a service: start in order, run, and stop so that nothing taken in is lost."""

import asyncio
import logging
import os
import signal
import time
from typing import Any

import uvloop
from aiohttp import web

from baretick import host
from baretick.config import AppConfig
from baretick.engine.core import TradingCore
from baretick.engine.last_values import LastValues
from baretick.engine.view import EngineView
from baretick.engine.web import serve
from baretick.execution import compile_paper
from baretick.publish import KafkaPublisher
from baretick.venues import VenueClient, make_client

log = logging.getLogger(__name__)

FLUSH_S = 20.0
"""Time to deliver what is left at shutdown; systemd's TimeoutStopSec must be longer."""


class Engine:
    """One engine process. `run` returns the exit code."""

    def __init__(self, cfg: AppConfig) -> None:
        self.cfg = cfg
        self._stop = asyncio.Event()
        self._signals = 0

    async def run(self) -> int:
        cfg = self.cfg
        self._listen_to_signals()
        host.pin(cfg.cpu_affinity)
        kafka = KafkaPublisher(cfg.kafka)
        core = TradingCore(cfg, kafka)
        clients: dict[str, VenueClient] = {v.name: make_client(v, core) for v in cfg.venues}
        for name, client in clients.items():
            core.attach(name, client.books)
        redis = LastValues(cfg.redis, core) if cfg.redis is not None else None
        view = EngineView(core, clients, kafka, redis)
        try:
            page = await serve(view, cfg.http)
        except OSError as e:
            log.error("http: cannot listen on %s:%d: %s", cfg.http.host, cfg.http.port, e.strerror)
            await kafka.close(0)
            return 1
        try:
            if not await self._prepare(kafka, view):
                await kafka.close(0)
                return 0
            return await self._trade(core, clients, kafka, redis, view)
        finally:
            await self._close(page, redis)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    async def _prepare(self, kafka: KafkaPublisher, view: EngineView) -> bool:
        """What must be there before the first market data: compiled code and topics. False if stopped meanwhile."""
        view.phase = "compiling"
        took = await asyncio.to_thread(compile_paper)
        log.info("compiled code ready in %.1f s (cache: %s)", took, os.environ.get("NUMBA_CACHE_DIR") or "beside it")
        view.phase = "waiting for kafka"
        waiting = asyncio.create_task(kafka.wait_for_topics())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stopping.cancel()
        await asyncio.gather(waiting, stopping, return_exceptions=True)
        return not self._stop.is_set()

    async def _trade(
        self,
        core: TradingCore,
        clients: dict[str, VenueClient],
        kafka: KafkaPublisher,
        redis: LastValues | None,
        view: EngineView,
    ) -> int:
        host.quiet_collector()
        feeds = {asyncio.create_task(c.run(), name=f"venue-{name}") for name, c in clients.items()}
        stop: asyncio.Task[Any] = asyncio.create_task(self._stop.wait(), name="stop")
        others = {stop}
        others.add(asyncio.create_task(self._watch(kafka, core), name="kafka-watch"))
        if redis is not None:
            others.add(asyncio.create_task(redis.run(), name="redis"))
        view.phase = "running"
        log.info("running: %s", ", ".join(f"{v}:{s}" for v, s in core.symbols))
        done, _ = await asyncio.wait(feeds | others, return_when=asyncio.FIRST_COMPLETED)
        code = 0
        for task in done:
            if task is not stop:
                code = 1
                log.critical("%s ended: %r; stopping", task.get_name(), task.exception())
        view.phase = "stopping"
        began = time.monotonic()
        core.cancel_all("shutdown")
        for task in feeds | others:
            task.cancel()
        await asyncio.gather(*feeds, *others, return_exceptions=True)
        left = await kafka.close(FLUSH_S)
        log.info(
            "stopped in %.1f s, %d of %d events delivered", time.monotonic() - began, kafka.delivered, kafka.produced
        )
        return 1 if left else code

    async def _watch(self, kafka: KafkaPublisher, core: TradingCore) -> None:
        """End the process when Kafka has failed for good: a restart makes a new producer, going on would lose."""
        while kafka.fatal is None:  # noqa: ASYNC110 - set by librdkafka's thread, which knows no event loop
            await asyncio.sleep(0.2)
        core.risk.kill("kafka_failed")
        raise RuntimeError(f"kafka: {kafka.fatal}")

    async def _close(self, page: web.AppRunner, redis: LastValues | None) -> None:
        if redis is not None:
            await redis.close()
        await page.cleanup()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        name = signal.Signals(number).name
        if self._signals > 1:
            log.error("%s again: leaving at once, what is not delivered is lost", name)
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: stopping", name)
        self.stop()


def main(cfg: AppConfig) -> int:
    """Run the engine until SIGTERM; the exit code is 0 when everything taken in was delivered."""
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not cfg.venues:
        log.error("configuration: venues is empty: the engine needs at least one market-data connection")
        return 2
    try:
        return uvloop.run(_run(cfg))
    except ValueError as e:
        log.error("configuration: %s", e)
        return 2


async def _run(cfg: AppConfig) -> int:
    return await Engine(cfg).run()
