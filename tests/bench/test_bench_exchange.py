"""Order entry over loopback websocket, frame in to acknowledgement out, beside an echo server on the same stack.

Run with `pytest tests/bench/test_bench_exchange.py -s`. One client, one order at a time, in turns of all servers in
one run, so that whatever else the machine does falls on all of them. What is judged is the ratio.
"""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np

from baretick.matching.records import EVENT, EventKind
from tests.support import exchange as rig
from tests.support.exchange import cancel, new

TURNS, EACH = 20, 400
SLOWEST_RATIO = 8.0
"""Of the medians, fsync off: two threads' worth of wake-ups and an engine against none."""


class Wire:
    """A websocket client that does nothing but send one frame and read one: it costs the same for every server."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            "GET /orders HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {rig.TOKENS['one']}\r\n\r\n".encode()
        )
        self.held = b""
        while b"\r\n\r\n" not in self.held:
            self.held += self.socket.recv(4096)
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0]

    def frame(self):
        """One frame of fewer than 126 bytes."""
        while len(self.held) < 2 or len(self.held) < 2 + self.held[1]:
            self.held += self.socket.recv(4096)
        size = 2 + self.held[1]
        data, self.held = self.held[2:size], self.held[size:]
        return data

    def ask(self, record):
        self.socket.sendall(b"\x82\xc0\0\0\0\0" + record)  # 64 bytes under a mask of zeroes
        return self.frame()


def turn(wire, count):
    """Nanoseconds of `count` round trips; orders rest and are cancelled."""
    frames = [(new(i) if i % 2 == 0 else cancel(i - 1)).tobytes() for i in range(count)]
    took = np.zeros(count, np.int64)
    for i, data in enumerate(frames):
        began = time.perf_counter_ns()
        wire.ask(data)
        took[i] = time.perf_counter_ns() - began
    return took


async def test_order_entry_beside_an_echo_server(tmp_path, capsys):
    folders = {"fsync off": "off", "fsync each (default)": "each"}
    program = [sys.executable, "-m", "tests.support.echo"]
    echo = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220
    forges, wires, pids = [], {"echo": Wire(int(echo.stdout.readline()))}, []
    for name, fsync in folders.items():
        (tmp_path / fsync).mkdir()
        forges.append(rig.Forge())
        found = await forges[-1].start(rig.write(tmp_path / fsync, fsync=fsync, heartbeat_s=3600))
        pids.append(found.pid)
        wires[name] = Wire(found.port)
        kinds = [int(np.frombuffer(wires[name].frame(), EVENT)["kind"][0]) for _ in range(2)]
        assert kinds == [EventKind.WELCOME, EventKind.READY]
        answer = np.frombuffer(wires[name].ask(new(1).tobytes()), EVENT)
        assert (answer["kind"][0], answer["order_id"][0]) == (EventKind.ACCEPTED, 1)
        assert np.frombuffer(wires[name].ask(cancel(1).tobytes()), EVENT)["kind"][0] == EventKind.CANCELLED
    took = {name: [] for name in wires}
    for n in range(TURNS + 1):
        for name, wire in wires.items():
            got = turn(wire, EACH)
            if n:  # the first turn warms up
                took[name].append(got)
    for pid, forge in zip(pids, forges, strict=True):
        os.kill(pid, signal.SIGTERM)
        assert await forge.ended() == 0
        forge.close()
    echo.stdin.close()
    echo.wait()
    percentiles = {name: np.percentile(np.concatenate(parts), [50, 99]) / 1e3 for name, parts in took.items()}
    base = percentiles["echo"]
    with capsys.disabled():
        print(f"\norder entry, {TURNS * EACH} round trips each, one at a time")
        for name, (p50, p99) in percentiles.items():
            ratios = f"{p50 / base[0]:5.2f} and {p99 / base[1]:5.2f} times the echo's"
            print(f"  {name:22} P50 {p50:8.0f} us, P99 {p99:8.0f} us: {ratios}")
        print("  " + json.dumps({name: [round(x, 1) for x in p.tolist()] for name, p in percentiles.items()}))
    assert percentiles["fsync off"][0] < SLOWEST_RATIO * base[0]
    await asyncio.sleep(0)
