"""A stand-in on loopback, clients on it, and a count of a session by code that shares nothing with the clients."""

import asyncio
import contextlib
import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from pathlib import Path

from baretick.config import StandinConfig, VenueConfig
from baretick.events import SNAPSHOT, BookEvent, Event, Trade, from_scaled
from baretick.venues import VenueClient, make_client
from baretick.venues.standin import Standin, server
from baretick.venues.standin.recording import Recording, Venue

Count = dict[tuple[str, str], tuple[int, Decimal]]
"""(symbol, what) to how many and the sum of quantities; what: trade, book_snapshot, book_update."""


class Sink:
    """Keeps every event; clear `free` and it has fallen behind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.free = asyncio.Event()
        self.free.set()

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def ready(self) -> bool:
        return self.free.is_set()

    async def wait_ready(self) -> None:
        await self.free.wait()

    def of(self, kind: type) -> list:
        return [e for e in self.events if type(e) is kind]


def count_events(events: Iterable[Event]) -> Count:
    """What the pipeline says. Snapshots that we asked for are not part of the session."""
    n: dict = defaultdict(lambda: [0, Decimal(0)])

    def add(symbol: str, what: str, qty: int) -> None:
        n[symbol, what][0] += 1
        n[symbol, what][1] += from_scaled(qty, 8)

    for e in events:
        if isinstance(e, Trade):
            add(e.symbol, "trade", e.qty)
        elif isinstance(e, BookEvent) and not e.resync:
            for _, qty in [*e.bids, *e.asks]:
                add(e.symbol, "book_snapshot" if e.kind == SNAPSHOT else "book_update", qty)
    return {k: (c, q) for k, (c, q) in n.items()}


def count_okx(texts: Iterable[str]) -> Count:
    """What OKX data frames say, one JSON text each."""
    n: dict = defaultdict(lambda: [0, Decimal(0)])
    for text in texts:
        m = json.loads(text)
        if "data" not in m or "arg" not in m:
            continue
        for d in m["data"]:
            symbol = m["arg"]["instId"]
            if m["arg"]["channel"] == "trades":
                rows, what = [d["sz"]], "trade"
            elif m["arg"]["channel"] == "books":
                rows, what = [x[1] for x in d["bids"] + d["asks"]], f"book_{m['action']}"
            else:
                continue
            for q in rows:
                n[symbol, what][0] += 1
                n[symbol, what][1] += Decimal(q)
    return {k: (c, q) for k, (c, q) in n.items()}


def count_binance(lines: Iterable[tuple[str, str]]) -> Count:
    """What Binance frames say: pairs of the file's symbol and one JSON text."""
    n: dict = defaultdict(lambda: [0, Decimal(0)])
    for symbol, text in lines:
        m = json.loads(text)
        if "lastUpdateId" in m:
            rows, what = m["bids"] + m["asks"], "book_snapshot"
        elif "@depth" in m["stream"]:
            rows, what = m["data"]["b"] + m["data"]["a"], "book_update"
        elif m["stream"].endswith("@trade"):
            rows, what = [[None, m["data"]["q"]]], "trade"
        else:
            continue
        for x in rows:
            n[symbol, what][0] += 1
            n[symbol, what][1] += Decimal(x[1])
    return {k: (c, q) for k, (c, q) in n.items()}


def okx_lines(path: Path) -> list[str]:
    """Messages that the exchange sent, by hand."""
    out = []
    for line in path.read_text().splitlines():
        head, _, body = line.partition(": ")
        if body.startswith("{") and "<-" not in head and "config" not in head:
            out.append(body)
    return out


def binance_lines(path: Path, symbol: str) -> list[tuple[str, str]]:
    with gzip.open(path, "rt") as f:
        return [(symbol, line.split(" ", 1)[1]) for line in f]


def count_recording(recording: Recording) -> Count:
    """The count of a recording's own texts."""
    if recording.venue == "okx":
        return count_okx(f.text for f in recording.frames)
    return count_binance((f.topic.partition("@")[0].upper(), f.text) for f in recording.frames)


def venue_config(standin: Standin, venue: Venue, symbols: list[str] | None = None) -> VenueConfig:
    path = "/okx/ws/v5/public" if venue == "okx" else f"/{venue}/stream"
    at = f"127.0.0.1:{standin.port}"
    return VenueConfig(
        name=venue,
        kind=venue,
        ws_url=f"ws://{at}{path}",
        rest_url=f"http://{at}/{venue}",
        symbols=symbols or standin.stages[venue].recording.symbols,
    )


@contextlib.asynccontextmanager
async def serving(
    monkeypatch, recordings: dict[Venue, Recording] | None = None, speed: float = 0, captures: Path | None = None
) -> AsyncIterator[Standin]:
    """A stand-in with these recordings, or with this folder of captures."""
    if recordings is not None:
        monkeypatch.setattr(server, "recordings", lambda cfg: (recordings, []))
    standin = Standin(StandinConfig(port=0, speed=speed, captures=captures, settle_s=0.1, synthetic_seconds=5))
    await standin.start()
    try:
        yield standin
    finally:
        await standin.stop()


@contextlib.asynccontextmanager
async def listening(
    standin: Standin, venue: Venue, symbols: list[str] | None = None
) -> AsyncIterator[tuple[VenueClient, Sink]]:
    """A client that runs until the block ends."""
    sink = Sink()
    client = make_client(venue_config(standin, venue, symbols), sink)
    task = asyncio.create_task(client.run())
    try:
        yield client, sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition, what: str, seconds: float = 120) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions of foreign objects, which signal nothing
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:.0f} s: {what}") from None


async def played(standin: Standin, venue: Venue, sink: Sink) -> None:
    """Wait until the session is over and its last frame has become an event."""
    await until(lambda: standin.stages[venue].session.state == "done", "the session's end", 300)
    n = -1
    while n != len(sink.events):
        n = len(sink.events)
        await asyncio.sleep(0.3)
