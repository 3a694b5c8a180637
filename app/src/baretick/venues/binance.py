"""BinanceClient: Binance's combined streams, spot and USD-M futures, and the REST snapshot that a book starts from.

The documented way to a local book: open the stream, keep its updates, fetch a snapshot, drop what it contains, go
on from there (L2Book does the joining). Every update is published when it comes, used or not.
"""

import asyncio
import logging
import time

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection

from baretick.config import VenueConfig
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent, Sink, Ticker, Trade
from baretick.venues.connection import NOT_A_FRAME, Backoff, VenueClient
from baretick.venues.wire import PRICES, QTYS, Int64, Millis, WireLevel, levels

log = logging.getLogger(__name__)

RECORDED_HEADER = "X-Baretick-Snapshot"
"""Set by the stand-in: `recorded` for a snapshot that is part of the session, `current` for one made on demand."""

SNAPSHOT_LIMIT = 1000
STREAMS = {"binance": ("depth@100ms", "trade", "bookTicker"), "binance_usdm": ("depth@0ms", "trade", "bookTicker")}
DEPTH_PATH = {"binance": "/api/v3/depth", "binance_usdm": "/fapi/v1/depth"}


class Depth(msgspec.Struct):
    E: Millis
    s: str
    U: Int64
    u: Int64
    b: list[WireLevel]
    a: list[WireLevel]
    pu: Int64 | None = None
    T: Millis = 0


class DepthFrame(msgspec.Struct):
    stream: str
    data: Depth


class BinanceTrade(msgspec.Struct, gc=False):
    T: Millis
    s: str
    t: Int64
    p: str
    q: str
    m: bool


class TradeFrame(msgspec.Struct):
    stream: str
    data: BinanceTrade


class BookTicker(msgspec.Struct, gc=False):
    u: Int64
    s: str
    b: str
    B: str
    a: str
    A: str
    T: Millis = 0


class BookTickerFrame(msgspec.Struct):
    stream: str
    data: BookTicker


class AnyFrame(msgspec.Struct):
    stream: str = ""


class DepthSnapshot(msgspec.Struct):
    lastUpdateId: Int64
    bids: list[WireLevel]
    asks: list[WireLevel]
    T: Millis = 0


class BinanceClient(VenueClient):
    """Public market data of Binance."""

    def __init__(self, cfg: VenueConfig, sink: Sink) -> None:
        super().__init__(cfg, sink, bridged=True)
        self._depth = msgspec.json.Decoder(DepthFrame)
        self._trade = msgspec.json.Decoder(TradeFrame)
        self._ticker = msgspec.json.Decoder(BookTickerFrame)
        self._any = msgspec.json.Decoder(AnyFrame)
        self._snapshot = msgspec.json.Decoder(DepthSnapshot)
        self._fetching: set[str] = set()

    def url(self) -> str:
        streams = [f"{symbol.lower()}@{stream}" for symbol in self.symbols for stream in STREAMS[self.cfg.kind]]
        return f"{self.cfg.ws_url}?streams={'/'.join(streams)}"

    async def greet(self, ws: ClientConnection) -> None:
        """Nothing to say: the address names the streams. What an earlier connection fetched has ended with it."""
        self._fetching.clear()

    async def ping(self, ws: ClientConnection) -> bool:
        await (await ws.ping())
        return True

    def decode(self, raw: bytes, recv_ts: int) -> None:
        # `{"stream":"btcusdt@depth@100ms",...`: what follows the first @ tells the kind. `_other` copes with the rest.
        if raw.startswith(b'{"stream":"'):
            at = raw.find(b"@", 11, 64)
            kind = raw[at + 1 : at + 6]
            if kind == b"bookT":
                return self._on_ticker(raw, recv_ts)
            if kind == b"trade":
                return self._on_trade(raw, recv_ts)
            if kind == b"depth":
                return self._on_depth(raw, recv_ts)
        return self._other(raw, recv_ts)

    def resync(self, symbol: str) -> None:
        """Fetch a snapshot, unless one is on its way."""
        if symbol not in self._fetching and self._ws is not None:
            self._fetching.add(symbol)
            self.spawn(self._fetch(symbol), f"snapshot-{symbol}")

    async def _fetch(self, symbol: str) -> None:
        backoff = Backoff(first_s=0.5)
        try:
            while True:
                if await self._fetch_once(symbol):
                    return
                await asyncio.sleep(backoff.delay())
        finally:
            self._fetching.discard(symbol)

    async def _fetch_once(self, symbol: str) -> bool:
        """True when the book has become valid. Refusals and snapshots too old for the stream are asked again."""
        assert self.http is not None
        address = self.cfg.rest_url + DEPTH_PATH[self.cfg.kind]
        try:
            query = {"symbol": symbol, "limit": str(SNAPSHOT_LIMIT)}
            async with self.http.get(address, params=query) as response:
                body = await response.read()
                if response.status in (418, 429):
                    wait = float(response.headers.get("Retry-After", "10"))
                    log.warning("%s: %s: asked too often, waiting %.0f s", self.venue, address, wait)
                    await asyncio.sleep(wait)
                    return False
                if response.status != 200:
                    log.warning("%s: %s answers %d: %r", self.venue, address, response.status, body[:200])
                    return False
                recorded = response.headers.get(RECORDED_HEADER)
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as e:
            log.warning("%s: %s: %s: %s", self.venue, address, type(e).__name__, e)
            return False
        try:
            snapshot = self._snapshot.decode(body)
            bids, asks = levels(snapshot.bids), levels(snapshot.asks)
        except NOT_A_FRAME as e:
            self.unusable(f"snapshot {type(e).__name__}", f"{e}", body)
            return False
        resync = recorded == "current" if recorded is not None else symbol in self._awaiting_resync
        event = BookEvent(
            self.session, self.venue, symbol, snapshot.T * 1_000_000, time.time_ns(), snapshot.lastUpdateId, -1,
            SNAPSHOT, resync, bids, asks,
        )  # fmt: skip
        self.publish_book(event)
        return self.books[symbol].valid

    def _on_depth(self, raw: bytes, recv_ts: int) -> None:
        data = self._depth.decode(raw).data
        book = self.books.get(data.s)
        if book is None:
            return self.unusable("unexpected symbol", data.s, raw)
        event = BookEvent(
            self.session, self.venue, data.s, (data.T or data.E) * 1_000_000, recv_ts, data.u,
            data.U - 1 if data.pu is None else data.pu, UPDATE, False, levels(data.b), levels(data.a),
        )  # fmt: skip
        self.publish_book(event)
        if not book.valid:
            self.resync(data.s)
        return None

    def _on_trade(self, raw: bytes, recv_ts: int) -> None:
        data = self._trade.decode(raw).data
        if data.s not in self.books:
            return self.unusable("unexpected symbol", data.s, raw)
        # `m`: the buyer was the maker, so the aggressor sold.
        self.publish(
            Trade(
                self.session, self.venue, data.s, data.T * 1_000_000, recv_ts, data.t,
                PRICES[data.p], QTYS[data.q], SELL if data.m else BUY,
            )
        )  # fmt: skip
        return None

    def _on_ticker(self, raw: bytes, recv_ts: int) -> None:
        data = self._ticker.decode(raw).data
        if data.s not in self.books:
            return self.unusable("unexpected symbol", data.s, raw)
        self.publish(
            Ticker(
                self.session, self.venue, data.s, data.T * 1_000_000, recv_ts, data.u,
                PRICES[data.b], QTYS[data.B], PRICES[data.a], QTYS[data.A],
            )
        )  # fmt: skip
        return None

    def _other(self, raw: bytes, recv_ts: int) -> None:
        kind = self._any.decode(raw).stream.partition("@")[2]
        if kind.startswith("depth"):
            self._on_depth(raw, recv_ts)
        elif kind == "trade":
            self._on_trade(raw, recv_ts)
        elif kind == "bookTicker":
            self._on_ticker(raw, recv_ts)
        else:
            self.unusable("unknown stream", kind, raw)
