"""One session of order entry: frames in, events out, and an answer to everything that is wrong."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from aiohttp import WSMsgType, web

from baretick.config import LoginConfig
from baretick.exchange import entry, json_form
from baretick.exchange.delivery import EVERYTHING
from baretick.matching.records import COMMAND, EVENT, RECORD_BYTES, EventKind, Op, Reason, Scope, commands

if TYPE_CHECKING:
    from baretick.exchange.gateway import Gateway

log = logging.getLogger(__name__)

BINARY: Final = "baretick.binary.v1"
JSON: Final = "baretick.json.v1"
SUPERSEDED, TOO_SLOW = 4001, 4008
"""Close codes: the account has logged in elsewhere; events came faster than they were read."""
CLOSE_S: Final = 1.0
RETRY_S: Final = 0.0005


class Session:
    """A websocket, its login, and its slot in the delivery."""

    def __init__(self, gateway: "Gateway", ws: web.WebSocketResponse, request: web.Request, login: LoginConfig) -> None:
        self.login, self.done = login, asyncio.Event()
        self.account = EVERYTHING if login.account is None else login.account
        self._gateway, self._ws, self._transport = gateway, ws, request.transport
        self._json = ws.ws_protocol == JSON
        self._role = int(entry.Role[login.role.upper()])
        self._slot = -1
        self._due = 1
        self._sending = False
        self._closing = False

    async def run(self, after: int | None) -> None:
        """Serve until the client, the network or the gateway ends it."""
        gateway, delivery = self._gateway, self._gateway.delivery
        try:
            await gateway.everything_taken()
            # From here to the slot no event is delivered: the past and the future meet without a gap.
            past = delivery.since(self.account, after) if after is not None else None
            self._slot = delivery.open(self.account, gateway.cfg.session_buffer_bytes)
            gateway.sessions[self._slot] = self
            self._sending = True
            replayed = b"" if past is None else past.tobytes()
            await self._say(self._note(EventKind.WELCOME, aux=delivery.first_seq, qty=len(replayed) // RECORD_BYTES))
            await self._send(replayed)
            await self._say(self._note(EventKind.READY))
            self._sending = False
            self.flush()
            await self._read()
        except (ConnectionError, RuntimeError) as e:
            log.info("session of %s: %s", self.login.name, e)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._closing = True  # a send that is under way must not touch the slot again
        if self._slot >= 0:
            del self._gateway.sessions[self._slot]
            self._gateway.delivery.close(self._slot)
        try:
            if self.login.cancel_on_disconnect and self._slot >= 0:
                await self._cancel_all()
        finally:
            self.done.set()

    def flush(self) -> None:
        """Send what waits in the slot, unless that is being done."""
        if self._gateway.delivery.lost(self._slot):
            self._evict()
        elif not self._sending:
            self._sending = True
            asyncio.Task(self._send_waiting(), loop=self._gateway.loop, eager_start=True)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._sending

    async def close(self, code: int, why: str) -> None:
        """Say why, and leave; a peer that does not answer is cut off."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._ws.close(code=code, message=why.encode())
        except (TimeoutError, ConnectionError, RuntimeError):
            pass
        finally:
            if self._transport is not None:
                self._transport.abort()

    def _evict(self) -> None:
        if not self._closing:
            self._closing = True
            self._gateway.counts["evicted"] += 1
            log.warning("session of %s: it reads too slowly: closed", self.login.name)
            self._gateway.spawn(self.close(TOO_SLOW, "events came faster than they were read: come back with after="))

    async def _send_waiting(self) -> None:
        delivery = self._gateway.delivery
        try:
            while not self._closing and (data := delivery.take(self._slot)):
                await self._send(data)
        except (ConnectionError, RuntimeError) as e:
            log.debug("session of %s: %s", self.login.name, e)
        finally:
            self._sending = False

    async def _send(self, events: bytes) -> None:
        size = self._gateway.cfg.max_frame_bytes // RECORD_BYTES * RECORD_BYTES
        for at in range(0, len(events), size):
            await self._say(events[at : at + size])

    async def _say(self, events: bytes, detail: str | None = None) -> None:
        if self._json:
            await self._ws.send_str(json_form.encode(events, self._gateway.names, detail))
        else:
            await self._ws.send_bytes(events)
        self._gateway.counts["events_sent"] += len(events) // RECORD_BYTES

    def _note(self, kind: EventKind, aux: int = 0, qty: int = 0) -> bytes:
        """A record of the session's own."""
        note = np.zeros(1, EVENT)
        note["kind"], note["ts"], note["aux"], note["qty"] = kind, time.time_ns(), aux, qty
        note["seq"], note["command"] = self._gateway.delivery.last_seq, self._gateway.core.durable
        note["account"] = 0 if self.account == EVERYTHING else self.account
        return note.tobytes()

    async def _read(self) -> None:
        limit = self._gateway.cfg.max_frame_bytes
        while not self._closing:
            message = await self._ws.receive()
            began = time.monotonic_ns()
            if message.type is WSMsgType.BINARY:
                data = message.data
                if not data or len(data) % RECORD_BYTES or len(data) > limit:
                    await self._malformed(len(data), "a frame is one or more records of 64 bytes", limit)
                    continue
            elif message.type is WSMsgType.TEXT:
                data = await self._from_json(message.data, limit)
                if data is None:
                    continue
            else:
                return  # closed, by whomever, or a frame that broke the protocol: aiohttp has answered it
            if self._gateway.closing:
                await self._refuse(data, Reason.BUSY)
            else:
                await self._enter(data, began)

    async def _from_json(self, text: str, limit: int) -> bytes | None:
        try:
            if len(text) > limit:
                raise ValueError("the frame is too long")
            rows = json_form.decode(text, self._gateway.ids, self.login.account)
            if rows.nbytes > limit:
                raise ValueError(f"{len(rows)} commands are too many for one frame: {limit // RECORD_BYTES} may come")
        except ValueError as e:
            await self._malformed(len(text), str(e), limit)
            return None
        return rows.tobytes()

    async def _enter(self, data: bytes, began: int) -> None:
        """Pass a frame on, waiting for room; or refuse it."""
        gateway, n = self._gateway, len(data) // RECORD_BYTES
        until = began + int(gateway.cfg.busy_wait_s * 1e9)
        while True:
            result = gateway.enter(data, n, self.login.account or 0, self._role, self._due)
            if result != -entry.BUSY or time.monotonic_ns() >= until or self._closing:
                break
            gateway.counts["busy_waits"] += 1
            await asyncio.sleep(RETRY_S)  # nothing is read from this session meanwhile: TCP holds the client back
        if result < 0:
            await self._refuse(data, Reason(-result))
            return
        self._due += n
        gateway.entered(result, n, began)

    async def _refuse(self, data: bytes, reason: Reason) -> None:
        """One REJECTED for each command of a frame, numbered as the client numbered it."""
        asked = np.frombuffer(data, COMMAND)
        answer = np.zeros(len(asked), EVENT)
        answer["kind"], answer["reason"], answer["ts"] = EventKind.REJECTED, reason, time.time_ns()
        answer["command"], answer["aux"] = asked["seq"], asked["op"]
        for name in ("order_id", "price", "qty", "account"):
            answer[name] = asked[name]
        answer["tag"] = (asked["symbol"].astype(np.uint32) * 2 + (asked["side"] & 1)) & 0xFFFF
        self._gateway.refused[reason] += len(asked)
        detail = f"number {self._due} was due" if reason is Reason.BAD_SEQUENCE else None
        await self._say(answer.tobytes(), detail)

    async def _malformed(self, size: int, why: str, limit: int) -> None:
        answer = np.zeros(1, EVENT)
        answer["kind"], answer["reason"], answer["ts"] = EventKind.REJECTED, Reason.MALFORMED, time.time_ns()
        answer["qty"], answer["account"] = size, self.login.account or 0
        self._gateway.refused[Reason.MALFORMED] += 1
        await self._say(answer.tobytes(), f"{why}; {size} bytes came, at most {limit} may")

    async def _cancel_all(self) -> None:
        row = commands(1)
        row["op"], row["option"], row["account"] = Op.MASS_CANCEL, Scope.ACCOUNT, self.account
        gateway, account = self._gateway, self.login.account or 0
        while gateway.core.alive:
            head = gateway.enter(row.tobytes(), 1, account, int(entry.Role.TRADER), 1)
            if head >= 0:
                gateway.entered(head, 1, time.monotonic_ns())
                return
            await asyncio.sleep(RETRY_S)


Sessions = dict[int, Session]
__all__: list[Any] = ["BINARY", "JSON", "SUPERSEDED", "TOO_SLOW", "Session", "Sessions"]
