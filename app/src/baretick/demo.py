"""`baretick demo`: the whole pipeline in one process, without root, hosts, brokers or servers.

A session of the venue stand-in (recorded or made up), or the venues themselves with --live; the venues' own clients;
the trading core; records as Kafka would hold them; the ingestor's writer; the embedded ClickHouse engine. Only the
transports are missing. It ends with a table of what happened and a plot, both read back from the warehouse.
"""

import asyncio
import logging
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from baretick.config import AppConfig, StandinConfig, VenueConfig
from baretick.demo_count import Counts, count_recording
from baretick.demo_report import Report, read_back, show
from baretick.engine import TradingCore
from baretick.events import Event
from baretick.execution import compile_paper
from baretick.publish import MemoryPublisher
from baretick.venues import VenueClient, make_client
from baretick.venues.standin import Standin
from baretick.venues.standin.recording import Venue
from baretick.warehouse import migrate, seed
from baretick.warehouse.local import LocalDatabase
from baretick.warehouse.rows import make_batch
from baretick.warehouse.server.engine import DataPathLocked, Engine
from baretick.warehouse.writer import Writer

log = logging.getLogger(__name__)

LIVE: tuple[VenueConfig, ...] = (
    VenueConfig(name="okx", kind="okx", symbols=["BTC-USDT", "ETH-USDT"]),
    VenueConfig(name="binance", kind="binance", symbols=["BTCUSDT", "ETHUSDT"]),
)
PLAYED: tuple[Venue, ...] = ("okx", "binance")
_WS = {"okx": "/okx/ws/v5/public", "binance": "/binance/stream", "binance_usdm": "/binance_usdm/stream"}

_INGEST_SECONDS = 0.3
_BATCH_RECORDS = 50_000
_SILENCE_SECONDS = 15.0
_OVERTIME_SECONDS = 30.0
_SETTLED_SECONDS = 0.5


class NothingHeard(Exception):
    """No venue said anything."""


class Tape(MemoryPublisher):
    """Records in memory, until closed: what the clients say of their own disconnection is not of the session."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def publish(self, event: Event) -> None:
        if not self.closed:
            super().publish(event)


@dataclass
class MemoryIngest:
    """The ingestor's writer, fed from memory instead of Kafka: the same batches, claims and tokens."""

    publisher: MemoryPublisher
    writer: Writer
    offsets: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    stopping: bool = False

    def step(self) -> int:
        """Land what has come since the last step; the number of records."""
        moved = 0
        for topic in list(self.publisher.topics):
            first = self.offsets.get(topic, 0)
            records = self.publisher.read(topic, first, _BATCH_RECORDS)
            if records:
                batch = make_batch(topic, 0, [r.offset for r in records], [r.value for r in records])
                self.writer.write(batch)
                self.offsets[topic] = batch.last + 1
                self.rows += batch.rows
                moved += batch.messages
        return moved

    async def run(self) -> None:
        """Land what comes, and after `stopping` was set what is left."""
        while True:
            last = self.stopping
            while await asyncio.to_thread(self.step):
                pass
            if last:
                return
            await asyncio.sleep(_INGEST_SECONDS)


def main(cfg: AppConfig, *, out: Path, seconds: float, live: bool) -> int:
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    sys.setswitchinterval(0.0005)  # the landing thread must not hold up the trading one for its usual 5 ms
    try:
        warehouse = _fresh(out / "warehouse")
    except DataPathLocked as e:
        console.print(f"demo: {e}", style="red")
        return 3
    try:
        report = uvloop.run(Demo(cfg, warehouse, console, seconds).run(live))
    except (NothingHeard, OSError) as e:
        console.print(f"demo: {e}", style="red")
        return 1
    finally:
        warehouse.close()
    picture = out / "baretick-demo.png"
    from baretick.demo_plot import draw  # matplotlib is slow to load, and only wanted now

    draw(report, picture)
    show(report, console, picture)
    return 0 if report.reconciled else 1


def _fresh(path: Path) -> Engine:
    """An empty warehouse; a former demo's makes way, unless a process has it open."""
    if (path / "baretick.lock").exists():
        Engine(path).close()
        shutil.rmtree(path)
    return Engine(path)


class Demo:
    """One run: from the session to the report."""

    def __init__(self, cfg: AppConfig, warehouse: Engine, console: Console, seconds: float) -> None:
        self._cfg = cfg
        self._db = LocalDatabase(warehouse)
        self._console = console
        self._seconds = seconds
        self._stop = asyncio.Event()

    async def run(self, live: bool) -> Report:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        migrate.migrate(self._db, migrate.shipped())
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            step = progress.add_task("compiling the matching book (cached after the first time)", total=None)
            await asyncio.to_thread(compile_paper)
            progress.remove_task(step)
            return await (self._live(progress) if live else self._played(progress))

    async def _live(self, progress: Progress) -> Report:
        venues = tuple(self._cfg.venues) or LIVE
        sources = {v.name: f"live:{v.ws_url}" for v in venues}
        core, _ = await self._trade(venues, progress, None)
        return await asyncio.to_thread(read_back, self._db, core, sources, None)

    async def _played(self, progress: Progress) -> Report:
        wanted = tuple(v.kind for v in self._cfg.venues) or PLAYED
        standin = Standin(StandinConfig(**{**self._cfg.standin.model_dump(), "port": 0, "speed": 1.0, "settle_s": 0.3}))
        await standin.start()
        try:
            base = f"http://{standin.cfg.host}:{standin.port}"
            venues = tuple(self._venue(standin, kind, base) for kind in wanted)
            for kind in wanted:
                stage = standin.stages[kind]
                # Played so fast that it fits the time asked for, never slower than it was recorded.
                frames = stage.recording.frames
                stage.session.speed = max(1.0, (frames[-1].ts - frames[0].ts) / 1e9 / self._seconds)
            core, finished = await self._trade(venues, progress, standin)
            sources: dict[str, str] = {kind: standin.stages[kind].recording.source for kind in wanted}
            counts: dict[str, Counts] | None = None
            if finished:
                recordings = [standin.stages[kind].recording for kind in wanted]
                counts = {r.venue: await asyncio.to_thread(count_recording, r) for r in recordings}
        finally:
            await standin.stop()
        return await asyncio.to_thread(read_back, self._db, core, sources, counts)

    @staticmethod
    def _venue(standin: Standin, kind: Venue, base: str) -> VenueConfig:
        return VenueConfig(
            name=kind,
            kind=kind,
            ws_url=base.replace("http", "ws", 1) + _WS[kind],
            rest_url=f"{base}/{kind}",
            symbols=standin.stages[kind].recording.symbols,
        )

    async def _trade(
        self, venues: tuple[VenueConfig, ...], progress: Progress, standin: Standin | None
    ) -> tuple[TradingCore, bool]:
        """Trade until session or time is over, and land everything; whether the session was heard to its end."""
        await self._seed(venues)
        tape = Tape()
        core = TradingCore(self._cfg.model_copy(update={"venues": list(venues)}), tape)
        clients = {v.name: make_client(v, core) for v in venues}
        for name, client in clients.items():
            core.attach(name, client.books)
        ingest = MemoryIngest(tape, Writer(self._db, "demo"))
        landing = asyncio.create_task(ingest.run())
        feeds = [asyncio.create_task(client.run()) for client in clients.values()]
        try:
            finished = await self._watch(core, clients, ingest, progress, standin)
        finally:
            core.cancel_all("the demo ends")
            tape.closed = True
            logging.getLogger("baretick.venues").setLevel(logging.ERROR)
            for feed in feeds:
                feed.cancel()
            await asyncio.gather(*feeds, return_exceptions=True)
            ingest.stopping = True
            await landing
        return core, finished

    async def _seed(self, venues: tuple[VenueConfig, ...]) -> None:
        for venue in venues:
            try:
                symbols = await asyncio.to_thread(seed.symbols_of, venue)
            except seed.VenueError as e:
                log.warning("no instrument list: %s", e)
                continue
            seed.write(self._db, [s for s in symbols if s.symbol in venue.symbols])

    async def _watch(
        self,
        core: TradingCore,
        clients: Mapping[str, VenueClient],
        ingest: MemoryIngest,
        progress: Progress,
        standin: Standin | None,
    ) -> bool:
        """Show progress until it is over."""
        began = time.monotonic()
        limit = self._seconds + (_OVERTIME_SECONDS if standin else 0.0)
        bar = progress.add_task("waiting for the first message", total=1.0)
        quiet_since, heard_before = began, 0
        while not self._stop.is_set():
            await asyncio.sleep(0.2)
            now = time.monotonic()
            heard = sum(client.stats.messages for client in clients.values())
            if heard != heard_before:
                quiet_since, heard_before = now, heard
            if not heard and now - began > _SILENCE_SECONDS:
                where = ", ".join(client.cfg.ws_url for client in clients.values())
                raise NothingHeard(f"no market data within {_SILENCE_SECONDS:.0f} s from {where}")
            done = (now - began) / limit
            if standin is not None:
                stages = [standin.stages[client.cfg.kind] for client in clients.values()]
                done = sum(s.session.position for s in stages) / sum(len(s.recording.frames) for s in stages)
                if all(s.session.state == "done" for s in stages) and now - quiet_since > _SETTLED_SECONDS:
                    return True
            progress.update(
                bar,
                completed=done,
                description=f"trading: {heard:,} messages, {sum(core.orders.values()):,} order events, "
                f"{core.fills:,} fills, {ingest.rows:,} rows landed",
            )
            if now - began > limit:
                break
        return False
