"""OKX's v5 public websocket and instrument list, served from a session."""

import secrets
import time

import msgspec
from aiohttp import WSMsgType, web

from baretick.venues.standin.books import OkxBooks
from baretick.venues.standin.recording import Recording
from baretick.venues.standin.stage import Client, Stage

IDLE_CLOSE_S = 30.0
CHANNELS = ("books", "trades", "tickers")
CLASSES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")


class Arg(msgspec.Struct):
    channel: str = ""
    instId: str = ""


class Request(msgspec.Struct):
    op: str
    args: list[Arg]


_request = msgspec.json.Decoder(Request)


class OkxVenue:
    """Handlers of one OKX stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.books = OkxBooks(stage.recording)
        self.known = set(stage.recording.symbols)
        notice = "The connection will soon be closed for a service upgrade. Please reconnect."
        stage.farewell = msgspec.json.encode({"event": "notice", "code": "64008", "msg": notice, "connId": ""}).decode()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/okx/ws/v5/public", self.websocket),
            web.get("/okx/api/v5/public/instruments", self.instruments),
        ]

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws, client = await self.stage.accept(request)
        conn_id = secrets.token_hex(4)
        try:
            while True:
                try:
                    message = await ws.receive(timeout=IDLE_CLOSE_S)
                except TimeoutError:
                    # As the venue does: closed when nothing went either way for 30 s.
                    if not client.sending and time.monotonic() - client.last_sent > IDLE_CLOSE_S:
                        await ws.close(code=4004, message=b"No data received in 30s.")
                        break
                    continue
                if message.type == WSMsgType.TEXT:
                    await self._on_text(client, message.data, conn_id)
                elif message.type != WSMsgType.BINARY:
                    break
        except ConnectionError:
            pass  # the client left in the middle of an answer
        finally:
            self.stage.forget(client)
        return ws

    async def _on_text(self, client: Client, text: str, conn_id: str) -> None:
        if text == "ping":
            await client.send("pong")
            return
        try:
            request = _request.decode(text)
        except msgspec.MsgspecError:
            await client.send(_error("60012", f"Invalid request: {text[:200]}", conn_id))
            return
        if request.op not in ("subscribe", "unsubscribe"):
            await client.send(_error("60012", f"Invalid request: {text[:200]}", conn_id))
            return
        for arg in request.args:
            await self._on_arg(client, request.op, arg, conn_id)

    async def _on_arg(self, client: Client, op: str, arg: Arg, conn_id: str) -> None:
        if arg.channel not in CHANNELS or arg.instId not in self.known:
            what = f"channel:{arg.channel},instId:{arg.instId}"
            why = f"Wrong URL or {what} doesn't exist. Please use the correct URL, channel and parameters"
            await client.send(_error("60018", f"{why} referring to API document.", conn_id))
            return
        topic = f"{arg.channel}:{arg.instId}"
        ack = msgspec.json.encode({"event": op, "arg": arg, "connId": conn_id}).decode()
        session = self.stage.session
        # Under the lock, so that the frames which follow the snapshot come after it, and none is missing between.
        async with client.lock:
            if op == "unsubscribe":
                session.unsubscribe(client, topic)
                await client.write(ack)
                return
            fresh = session.subscribe(client, topic)
            current = self.books.at(topic, session.position) if fresh and arg.channel == "books" else None
            await client.write(ack)
            if current is not None:
                await client.write(current)

    async def instruments(self, request: web.Request) -> web.Response:
        kind = request.query.get("instType", "")
        if kind not in CLASSES:
            return _document("51000", "Parameter instType error", "[]")
        family = request.query.get("uly") or request.query.get("instFamily")
        body = self.stage.recording.documents.get(f"{kind}:{family}" if family else kind)
        if body is None:
            body = _made_up(self.stage.recording, kind)
        wanted = request.query.get("instId")
        if wanted:
            rows = [r for r in msgspec.json.decode(body)["data"] if r["instId"] == wanted]
            body = msgspec.json.encode({"code": "0", "data": rows, "msg": ""}).decode()
        return web.Response(text=body, content_type="application/json", headers=self.stage.headers())


def _made_up(recording: Recording, kind: str) -> str:
    """An instrument list from the prices and sizes seen, where none was recorded."""
    rows = []
    for i in recording.instruments:
        if _class_of(i.symbol) == kind:
            base, quote = i.symbol.split("-")[:2]
            rows.append(
                {
                    "instId": i.symbol, "instType": kind, "baseCcy": base, "quoteCcy": quote,
                    "tickSz": i.tick, "lotSz": i.lot, "minSz": i.lot, "state": "live",
                }
            )  # fmt: skip
    return msgspec.json.encode({"code": "0", "data": rows, "msg": ""}).decode()


def _class_of(symbol: str) -> str:
    parts = symbol.split("-")
    if len(parts) == 2:
        return "SPOT"
    if parts[-1] == "SWAP":
        return "SWAP"
    return "FUTURES" if len(parts) == 3 else "OPTION"


def _error(code: str, why: str, conn_id: str) -> str:
    return msgspec.json.encode({"event": "error", "code": code, "msg": why, "connId": conn_id}).decode()


def _document(code: str, why: str, data: str) -> web.Response:
    return web.json_response({"code": code, "msg": why, "data": msgspec.json.decode(data)})
