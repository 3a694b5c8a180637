"""The stand-in's HTTP server: the venues' own paths, /control/session, /health and /metrics.

GET  /control/session                    what plays: session, source, state, sent, total, by venue
POST /control/session {"speed": 10}      new sessions from the beginning; "venue": "okx" for one venue only
"""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from baretick.config import AppConfig, StandinConfig
from baretick.venues.standin import capture, synthetic
from baretick.venues.standin.binance import BinanceVenue
from baretick.venues.standin.okx import OkxVenue
from baretick.venues.standin.recording import VENUES, Recording, Venue
from baretick.venues.standin.stage import Stage

log = logging.getLogger(__name__)

CAPTURES_VARIABLE = "BARETICK_CAPTURES"


class NewSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /control/session."""

    speed: float | None = None
    venue: Venue | None = None


def captures_folder(cfg: StandinConfig) -> Path | None:
    """Where recordings lie: configured, or named by the environment, or nowhere."""
    if cfg.captures is not None:
        return cfg.captures
    named = os.environ.get(CAPTURES_VARIABLE, "")
    return Path(named) if named else None


def recordings(cfg: StandinConfig) -> tuple[dict[Venue, Recording], list[str]]:
    """A recording for every venue, made up where none was recorded, and what was wrong with the captures."""
    folder = captures_folder(cfg)
    found: dict[Venue, Recording] = {}
    problems: list[str] = []
    if folder is not None:
        found, problems = capture.load(folder)
    for venue in VENUES:
        if venue not in found:
            log.info("%s: no capture, playing a synthetic session of seed %d", venue, cfg.synthetic_seed)
            found[venue] = synthetic.recording(venue, cfg.synthetic_seed, cfg.synthetic_seconds)
    return {venue: found[venue] for venue in VENUES}, problems


class Standin:
    """All venues on one port. `port` is the one in use once started, also when configured as 0."""

    def __init__(self, cfg: StandinConfig) -> None:
        self.cfg = cfg
        self.port = cfg.port
        self.stages: dict[Venue, Stage] = {}
        self.problems: list[str] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Read the recordings, listen, and wait for subscribers. Raises OSError: no captures folder, port taken."""
        found, self.problems = recordings(self.cfg)
        for venue, recording in found.items():
            self.stages[venue] = Stage(recording, self.cfg.speed, self.cfg.settle_s)
        app = self.make_app()
        # Cancelling a handler whose client has gone keeps it from taking a snapshot meant for a living one.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.cfg.host, self.cfg.port).start()
        self.port = self._runner.addresses[0][1]
        for stage in self.stages.values():
            stage.start()
            log.info("%s: %d frames of %s", stage.venue, len(stage.recording.frames), stage.recording.source)

    async def stop(self) -> None:
        """Close every connection and the port."""
        for stage in self.stages.values():
            await stage.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    def make_app(self) -> web.Application:
        """The routes of all stages."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/control/session", self.get_session),
                web.post("/control/session", self.post_session),
                web.get("/health", self.health),
                web.get("/metrics", self.metrics),
            ]
        )
        for stage in self.stages.values():
            app.add_routes((OkxVenue(stage) if stage.venue == "okx" else BinanceVenue(stage)).routes())
        return app

    def describe(self) -> dict[str, object]:
        """What GET /control/session answers."""
        return {"venues": {venue: stage.describe() for venue, stage in self.stages.items()}}

    async def get_session(self, request: web.Request) -> web.Response:
        return web.json_response(self.describe())

    async def post_session(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            wanted = msgspec.json.decode(body or b"{}", type=NewSession)
        except msgspec.MsgspecError as e:
            return web.json_response({"error": f'{e}; send {{"speed": 10}}, 0 is as fast as clients read'}, status=400)
        if wanted.speed is not None and not 0 <= wanted.speed < 1e6:
            return web.json_response({"error": f"speed {wanted.speed}: must be 0 or more"}, status=400)
        chosen = [s for s in self.stages.values() if wanted.venue in (None, s.venue)]
        await asyncio.gather(*(s.restart(s.session.speed if wanted.speed is None else wanted.speed) for s in chosen))
        return web.json_response(self.describe())

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "problems": self.problems, **self.describe()})

    async def metrics(self, request: web.Request) -> web.Response:
        registry = CollectorRegistry()
        registry.register(_Metrics(self))
        return web.Response(body=generate_latest(registry), content_type="text/plain", charset="utf-8")


class _Metrics(Collector):
    def __init__(self, standin: Standin) -> None:
        self._standin = standin

    def collect(self) -> Iterator[Metric]:
        label = ["venue"]
        sent = CounterMetricFamily("baretick_standin_frames_played", "Frames of the session played", labels=label)
        total = GaugeMetricFamily("baretick_standin_frames", "Frames of the session", labels=label)
        clients = GaugeMetricFamily("baretick_standin_clients", "Connected clients", labels=label)
        info = InfoMetricFamily("baretick_standin_session", "What plays", labels=label)
        for venue, stage in self._standin.stages.items():
            s = stage.session
            sent.add_metric([venue], s.position)
            total.add_metric([venue], len(stage.recording.frames))
            clients.add_metric([venue], len(stage.clients))
            info.add_metric([venue], {"session": s.id, "source": stage.recording.source, "state": s.state})
        yield from (sent, total, clients, info)


async def _serve(cfg: StandinConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    standin = Standin(cfg)
    await standin.start()
    log.info("listening on http://%s:%d", cfg.host, standin.port)
    await stop.wait()
    await standin.stop()


def main(cfg: AppConfig) -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        uvloop.run(_serve(cfg.standin))
    except OSError as e:
        log.error("stand-in: %s; check standin.captures, standin.host and standin.port", e)
        return 2
    return 0
