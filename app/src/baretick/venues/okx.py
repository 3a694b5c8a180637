"""OkxClient: OKX's v5 public websocket, channels `books`, `trades` and `tickers`.

A book is checked by `seqId`/`prevSeqId`, and by the CRC32 checksum where the venue sends one: it did until 2026
and sends 0 since. Recordings from before the sequence numbers get a counter of ours, and the checksum decides.
"""

import asyncio
import logging
import time
from typing import Literal

import msgspec
from websockets.asyncio.client import ClientConnection

from baretick.config import VenueConfig
from baretick.events import BUY, SELL, SNAPSHOT, UPDATE, BookEvent, ScaleError, Sink, Ticker, Trade
from baretick.venues.connection import Backoff, VenueClient
from baretick.venues.wire import PRICES, QTYS, Int64, WireLevel, levels, millis_to_ns

log = logging.getLogger(__name__)

CHANNELS = ("books", "trades", "tickers")
ARGS_PER_REQUEST = 100
SNAPSHOT_WITHIN_S = 15.0


class Arg(msgspec.Struct, gc=False):
    channel: str
    instId: str = ""


class BookData(msgspec.Struct):
    asks: list[WireLevel]
    bids: list[WireLevel]
    ts: str
    checksum: Int64 = 0
    seqId: Int64 | None = None
    prevSeqId: Int64 | None = None


class BooksFrame(msgspec.Struct):
    arg: Arg
    action: Literal["snapshot", "update"]
    data: list[BookData]


class TradeData(msgspec.Struct, gc=False):
    tradeId: str
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: str


class TradesFrame(msgspec.Struct):
    arg: Arg
    data: list[TradeData]


class TickerData(msgspec.Struct, gc=False):
    askPx: str
    askSz: str
    bidPx: str
    bidSz: str
    ts: str


class TickersFrame(msgspec.Struct):
    arg: Arg
    data: list[TickerData]


class AnyFrame(msgspec.Struct):
    """Enough of a frame to know what it is, whatever the order of its keys."""

    event: str = ""
    code: str = ""
    msg: str = ""
    arg: Arg | None = None


class OkxClient(VenueClient):
    """Public market data of OKX."""

    def __init__(self, cfg: VenueConfig, sink: Sink) -> None:
        super().__init__(cfg, sink, bridged=False)
        self._books = msgspec.json.Decoder(BooksFrame)
        self._trades = msgspec.json.Decoder(TradesFrame)
        self._tickers = msgspec.json.Decoder(TickersFrame)
        self._any = msgspec.json.Decoder(AnyFrame)
        self._counters = dict.fromkeys(self.symbols, 0)
        self._resyncs = {symbol: Backoff(first_s=0.2) for symbol in self.symbols}
        self._resync_at: dict[str, float] = {}
        self._due: dict[str, float] = {}
        """Symbols that wait for a snapshot, and until when."""

    def url(self) -> str:
        return self.cfg.ws_url

    async def greet(self, ws: ClientConnection) -> None:
        self._due.clear()
        args = [{"channel": channel, "instId": symbol} for channel in CHANNELS for symbol in self.symbols]
        for i in range(0, len(args), ARGS_PER_REQUEST):
            await ws.send(_request("subscribe", args[i : i + ARGS_PER_REQUEST]))

    async def ping(self, ws: ClientConnection) -> bool:
        """OKX's own ping is a text; its pong is a frame like any other."""
        await ws.send("ping")
        return False

    def overdue(self) -> str:
        now = time.monotonic()
        late = [symbol for symbol, until in self._due.items() if now > until and not self.held]
        return f"no snapshot after resubscribing: {', '.join(late)}" if late else ""

    def decode(self, raw: bytes, recv_ts: int) -> None:
        # The venue writes `arg` first, so the head of the frame tells the channel. `_other` copes with any order.
        if raw.startswith(b'{"arg":{"channel":"books"'):
            self._on_books(raw, recv_ts)
        elif raw.startswith(b'{"arg":{"channel":"trades"'):
            self._on_trades(raw, recv_ts)
        elif raw.startswith(b'{"arg":{"channel":"tickers"'):
            self._on_tickers(raw, recv_ts)
        elif raw != b"pong":
            self._other(raw, recv_ts)

    def resync(self, symbol: str) -> None:
        """Unsubscribe and subscribe again: OKX answers with a snapshot. Repeated faults wait longer and longer."""
        backoff, now = self._resyncs[symbol], time.monotonic()
        if now - self._resync_at.get(symbol, 0.0) > 60.0:
            backoff.reset()
        delay = backoff.delay() if backoff.failures else 0.0
        backoff.failures = max(1, backoff.failures)
        self._resync_at[symbol] = now
        self._due[symbol] = now + delay + SNAPSHOT_WITHIN_S
        self.spawn(self._resubscribe(symbol, delay), f"resync-{symbol}")

    async def _resubscribe(self, symbol: str, delay: float) -> None:
        await asyncio.sleep(delay)
        if self._ws is not None:
            args = [{"channel": "books", "instId": symbol}]
            await self._ws.send(_request("unsubscribe", args))
            await self._ws.send(_request("subscribe", args))

    def _on_books(self, raw: bytes, recv_ts: int) -> None:
        frame = self._books.decode(raw)
        symbol = frame.arg.instId
        if symbol not in self.books:
            self.unusable("unexpected symbol", symbol, raw)
            return
        kind = SNAPSHOT if frame.action == "snapshot" else UPDATE
        scaled = [(millis_to_ns(d.ts), levels(d.bids), levels(d.asks)) for d in frame.data]
        for data, (exch_ts, bids, asks) in zip(frame.data, scaled, strict=True):
            if data.seqId is None:
                seq = self._counters[symbol] = self._counters[symbol] + 1
                prev = -1 if kind == SNAPSHOT else seq - 1
            else:
                seq, prev = data.seqId, -1 if data.prevSeqId is None else data.prevSeqId
            resync = False
            if kind == SNAPSHOT:
                self._due.pop(symbol, None)
                resync = symbol in self._awaiting_resync
            event = BookEvent(
                self.session, self.venue, symbol, exch_ts, recv_ts, seq, prev, kind, resync, bids, asks
            )  # fmt: skip
            texts = ([f"{x.px}:{x.sz}" for x in data.bids], [f"{x.px}:{x.sz}" for x in data.asks])
            self.publish_book(event, texts, data.checksum or None)

    def _on_trades(self, raw: bytes, recv_ts: int) -> None:
        frame = self._trades.decode(raw)
        symbol = frame.arg.instId
        if symbol not in self.books:
            self.unusable("unexpected symbol", symbol, raw)
            return
        events = [
            Trade(
                self.session, self.venue, symbol, millis_to_ns(d.ts), recv_ts, _trade_id(d.tradeId),
                PRICES[d.px], QTYS[d.sz], BUY if d.side == "buy" else SELL,
            )
            for d in frame.data
        ]  # fmt: skip
        for event in events:
            self.publish(event)

    def _on_tickers(self, raw: bytes, recv_ts: int) -> None:
        frame = self._tickers.decode(raw)
        symbol = frame.arg.instId
        if symbol not in self.books:
            self.unusable("unexpected symbol", symbol, raw)
            return
        # An empty text is a side without orders.
        events = [
            Ticker(
                self.session, self.venue, symbol, millis_to_ns(d.ts), recv_ts, 0,
                PRICES[d.bidPx or "0"], QTYS[d.bidSz or "0"], PRICES[d.askPx or "0"], QTYS[d.askSz or "0"],
            )
            for d in frame.data
        ]  # fmt: skip
        for event in events:
            self.publish(event)

    def _other(self, raw: bytes, recv_ts: int) -> None:
        frame = self._any.decode(raw)
        channel = frame.arg.channel if frame.arg is not None else ""
        if frame.event in ("subscribe", "unsubscribe"):
            log.debug("%s: %s %s", self.venue, frame.event, frame.arg)
        elif frame.event == "error":
            self.unusable(f"error {frame.code}", frame.msg, raw)
        elif frame.event == "notice":
            log.warning("%s: the venue says: %s (%s)", self.venue, frame.msg, frame.code)
        elif frame.event:
            self.unusable("unknown event", frame.event, raw)
        elif channel == "books":
            self._on_books(raw, recv_ts)
        elif channel == "trades":
            self._on_trades(raw, recv_ts)
        elif channel == "tickers":
            self._on_tickers(raw, recv_ts)
        else:
            self.unusable("unknown channel", channel, raw)


def _request(op: str, args: list[dict[str, str]]) -> str:
    return msgspec.json.encode({"op": op, "args": args}).decode()


def _trade_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ScaleError(f"{text[:40]!r} is not a trade id")
    return int(text)
