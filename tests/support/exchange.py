"""An exchange for tests: in this process, or forked off a process that has compiled everything; and its clients."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import numpy as np
import yaml

from baretick import host
from baretick.config import AppConfig, load
from baretick.exchange import limits as limits_file
from baretick.exchange.gateway import tokens
from baretick.exchange.service import Exchange
from baretick.exchange.sessions import BINARY
from baretick.matching.records import EVENT, EventKind, Kind, Op, Side, commands

SYMBOLS, ACCOUNTS, ORDERS, EVENTS = 3, 8, 4096, 1024
TOKENS = {"one": "token-of-one-0123456789", "two": "token-of-two-0123456789", "desk": "token-of-desk-0123456789"}
LIMITS = {
    "symbols": [
        {"id": 0, "name": "BTC-USDT", "max_order_qty": 1000},
        {"id": 1, "name": "ETH-USDT", "tick": 5, "lot": 2},
    ],
    "accounts": [{"id": 1}, {"id": 2}, {"id": 3}],
}


def write(folder, limits=None, **exchange):
    """The configuration files of an exchange in a folder; the path of the first."""
    write_limits(folder, limits or LIMITS)
    logins = []
    for name, login in (("one", {"account": 1}), ("two", {"account": 2}), ("desk", {"role": "risk"})):
        (folder / f"{name}.token").write_text(TOKENS[name] + "\n")
        logins.append({"name": name, "token_file": str(folder / f"{name}.token"), **login})
    settings = {
        "port": 0, "folder": str(folder / "data"), "limits": str(folder / "limits.yaml"), "logins": logins,
        "symbols": SYMBOLS, "accounts": ACCOUNTS, "orders": ORDERS, "events": EVENTS, "reload_poll_s": 0,
        "history_events": 1 << 14, **exchange,
    }  # fmt: skip
    path = folder / "exchange.yaml"
    path.write_text(yaml.safe_dump({"http": {"port": exchange.pop("http", 0)}, "exchange": settings}))
    return path


def write_limits(folder, limits):
    beside = folder / "limits.new"
    beside.write_text(yaml.safe_dump(limits))
    beside.rename(folder / "limits.yaml")


@contextlib.asynccontextmanager
async def running(path, monkeypatch):
    """An exchange in this process; yields it once orders can be entered."""
    monkeypatch.setattr(host, "quiet_collector", lambda: None)
    cfg: AppConfig = load(path)
    exchange = Exchange(cfg, limits_file.read(cfg.exchange.limits), tokens(cfg.exchange.logins))
    task = asyncio.create_task(exchange.run())
    while exchange.phase != "running" and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not task.done(), task.result()
    exchange.task = task
    try:
        yield exchange
    finally:
        exchange._stop.set()
        await task


class Client:
    """One session; remembers every event that it was ever sent."""

    def __init__(self, http, port, name, protocol=BINARY):
        self.http, self.port, self.name, self.protocol = http, port, name, protocol
        self.ws, self.notes, self.refusals = None, [], []
        self.seen = []

    async def open(self, after=None, ready=True):
        query = "" if after is None else f"?after={after}"
        self.ws = await self.http.ws_connect(
            f"ws://127.0.0.1:{self.port}/orders{query}", protocols=(self.protocol,), max_msg_size=0,
            headers={"Authorization": f"Bearer {TOKENS[self.name]}"},
        )  # fmt: skip
        self.notes.clear()
        if ready:
            await self.until(lambda: any(e["kind"] == EventKind.READY for e in self.notes))
        return self

    @property
    def last(self):
        return int(self.seen[-1]["seq"]) if self.seen else 0

    async def send(self, *rows):
        await self.ws.send_bytes(b"".join(r.tobytes() for r in rows))

    async def receive(self, seconds=20):
        """The next frame's records, filed; ConnectionError when the session has ended."""
        message = await self.ws.receive(seconds)
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ConnectionError(f"{message.type.name} {self.ws.close_code} {message.extra}")
        for e in np.frombuffer(message.data, EVENT):
            if e["kind"] >= EventKind.WELCOME:
                self.notes.append(e)
            elif e["seq"] == 0:
                self.refusals.append(e)
            else:
                assert e["seq"] > self.last, "events come in order, each once"
                self.seen.append(e)

    async def until(self, condition):
        while not condition():
            await self.receive()

    async def ask(self, *rows):
        """Send a frame and take the answers: the events and refusals of the orders that it names."""
        before, refused, ids = len(self.seen), len(self.refusals), {int(r["order_id"][0]) for r in rows}

        def answers():
            new_ones = [*self.seen[before:], *self.refusals[refused:]]
            return [e for e in new_ones if int(e["order_id"]) in ids]

        await self.send(*rows)
        await self.until(lambda: len(answers()) >= len(rows))
        return answers()

    async def close(self):
        await self.ws.close()


def new(order_id, price=100, qty=1, side=Side.BUY, account=1, symbol=0, kind=Kind.GTC, seq=0):
    row = commands(1)
    row["op"], row["order_id"], row["price"], row["qty"] = Op.NEW, order_id, price, qty
    row["side"], row["account"], row["symbol"], row["kind"], row["seq"] = side, account, symbol, kind, seq
    return row


def cancel(order_id, account=1):
    row = commands(1)
    row["op"], row["order_id"], row["account"] = Op.CANCEL, order_id, account
    return row


def admin(op, kind=0, scope=0, account=0, symbol=0, qty=0):
    row = commands(1)
    row["op"], row["kind"], row["option"], row["account"], row["symbol"], row["qty"] = (
        op, kind, scope, account, symbol, qty,
    )  # fmt: skip
    return row


class Forge:
    """Starts exchanges as processes of their own, forked off one that has everything in memory: a start is quick."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.exchange"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._read() == {"ready": True}

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _read(self):
        line = self.process.stdout.readline()
        assert line, "the exchange's parent has ended"
        return json.loads(line)

    async def _line(self):
        return await asyncio.wait_for(asyncio.to_thread(self._read), 60)

    async def start(self, path):
        """Fork one; its pid and ports once orders can be entered."""
        self.process.stdin.write(json.dumps({"config": str(path)}).encode() + b"\n")
        self.process.stdin.flush()
        pid = (await self._line())["pid"]
        up = await self._line()
        assert "port" in up, up
        return SimpleNamespace(pid=pid, **up)

    async def ended(self):
        """The exit code of the one that runs, negative for a signal."""
        return (await self._line())["exit"]


def _child(path):
    import uvloop

    async def run():
        cfg = load(path)
        exchange = Exchange(cfg, limits_file.read(cfg.exchange.limits), tokens(cfg.exchange.logins))
        task = asyncio.create_task(exchange.run())
        while exchange.phase != "running" and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        if not task.done():
            print(json.dumps({"port": exchange.gateway.port}), flush=True)
        return await task

    return uvloop.run(run())


def _end_with_parent():
    """A test that is cut short leaves nothing running."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _forge():
    import logging

    from baretick.exchange.warm import warm

    logging.basicConfig(level="WARNING", stream=sys.stderr)
    _end_with_parent()
    warm()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 99
            _end_with_parent()
            try:
                code = _child(Path(json.loads(line)["config"]))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    _forge()
