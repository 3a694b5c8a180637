"""Binance's combined streams and REST depth, spot and USD-M futures, served from a session."""

from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from baretick.venues.standin.books import BinanceBooks
from baretick.venues.standin.stage import Client, Stage

PATHS = {"binance": "/api/v3", "binance_usdm": "/fapi/v1"}
SNAPSHOT_HEADER = "X-Baretick-Snapshot"
MAX_LIMIT = {"binance": 5000, "binance_usdm": 1000}
QUOTES = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "EUR", "TRY")


class Request(msgspec.Struct):
    method: str
    params: list[str] = []
    id: int | str | None = None


_request = msgspec.json.Decoder(Request)


class BinanceVenue:
    """Handlers of one Binance stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.books = BinanceBooks(stage.recording)
        self.known = set(stage.recording.symbols)

    def routes(self) -> list[web.RouteDef]:
        venue = self.stage.venue
        return [
            web.get(f"/{venue}/stream", self.websocket),
            web.get(f"/{venue}{PATHS[venue]}/depth", self.depth),
            web.get(f"/{venue}{PATHS[venue]}/exchangeInfo", self.exchange_info),
        ]

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws, client = await self.stage.accept(request)
        for stream in filter(None, request.query.get("streams", "").split("/")):
            self.stage.session.subscribe(client, stream)
        try:
            async for message in ws:
                if message.type == WSMsgType.TEXT:
                    await self._on_text(client, message.data)
        except ConnectionError:
            pass  # the client left in the middle of an answer
        finally:
            self.stage.forget(client)
        return ws

    async def _on_text(self, client: Client, text: str) -> None:
        session = self.stage.session
        try:
            request = _request.decode(text)
        except msgspec.ValidationError as e:
            await client.send(_text({"error": {"code": 2, "msg": f"Invalid request: {e}"}}))
            return
        except msgspec.MsgspecError as e:
            await client.send(_text({"error": {"code": 3, "msg": f"Invalid JSON: {e}"}}))
            return
        result: Any = None
        if request.method == "SUBSCRIBE":
            for stream in request.params:
                session.subscribe(client, stream)
        elif request.method == "UNSUBSCRIBE":
            for stream in request.params:
                session.unsubscribe(client, stream)
        elif request.method == "LIST_SUBSCRIPTIONS":
            result = session.topics_of(client)
        else:
            why = f"Invalid request: unknown method {request.method[:40]}"
            await client.send(_text({"error": {"code": 2, "msg": why}, "id": request.id}))
            return
        await client.send(_text({"result": result, "id": request.id}))

    async def depth(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol", "")
        if not symbol:
            return _refusal(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in self.known:
            return _refusal(-1121, "Invalid symbol.")
        limit = request.query.get("limit", "100" if self.stage.venue == "binance" else "500")
        if not (limit.isascii() and limit.isdigit()) or not 0 < int(limit) <= 5000:
            return _refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        most = min(int(limit), MAX_LIMIT[self.stage.venue])
        text, recorded = await self.stage.session.snapshot(self.books, symbol.lower(), most)
        headers = {**self.stage.headers(), SNAPSHOT_HEADER: "recorded" if recorded else "current"}
        return web.Response(text=text, content_type="application/json", headers=headers)

    async def exchange_info(self, request: web.Request) -> web.Response:
        """Symbols with the filters that matter here; steps are those of the prices and quantities seen."""
        wanted = request.query.get("symbol")
        if wanted and wanted not in self.known:
            return _refusal(-1121, "Invalid symbol.")
        rows = []
        for i in self.stage.recording.instruments:
            if wanted and i.symbol != wanted:
                continue
            quote = next((q for q in QUOTES if i.symbol.endswith(q) and i.symbol != q), "")
            filters = [
                {"filterType": "PRICE_FILTER", "tickSize": i.tick},
                {"filterType": "LOT_SIZE", "stepSize": i.lot, "minQty": i.lot},
            ]
            row = {"symbol": i.symbol, "status": "TRADING", "filters": filters}
            rows.append({**row, "baseAsset": i.symbol.removesuffix(quote) if quote else i.symbol, "quoteAsset": quote})
        body = {"timezone": "UTC", "rateLimits": [], "symbols": rows}
        return web.json_response(body, headers=self.stage.headers())


def _text(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()


def _refusal(code: int, why: str) -> web.Response:
    return web.json_response({"code": code, "msg": why}, status=400)
