"""The exchange as a process: killed at random moments, stopped in every way, reloaded under load.

Clients remember every event that they were ever sent. In the end the whole journal is executed again: each must have
seen exactly what it leads to, byte for byte, so nothing that was acknowledged is lost and nothing was invented.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import sys

import aiohttp
import numpy as np
import pytest
import yaml

from baretick.exchange.delivery import Delivery
from baretick.journal import recovery, segments, snapshots, snapshotter
from baretick.matching import digest
from baretick.matching.layout import allocate
from baretick.matching.records import EVENT, EventKind, Op, Side
from tests.support import exchange as rig
from tests.support.exchange import Client, cancel, new

ROUNDS = 16


def make():
    return allocate(rig.SYMBOLS, rig.ACCOUNTS, rig.ORDERS, rig.EVENTS)


class Trader(Client):
    """Sends random orders until its session breaks; comes back where it was."""

    def __init__(self, http, name, account, seed):
        super().__init__(http, 0, name)
        self.account, self.rng = account, random.Random(seed)
        self.next_id, self.sent = account << 32, []
        self.lost_sends = 0

    def frame(self):
        rows = []
        for _ in range(self.rng.choice((1, 1, 2, 5, 30))):
            if self.rng.random() < 0.3 and self.sent:
                rows.append(cancel(self.rng.choice(self.sent[-50:]), self.account))
                continue
            self.next_id += 1
            self.sent.append(self.next_id)
            side = self.rng.choice((Side.BUY, Side.SELL))
            price = 100 + self.rng.randint(-6, 5) + side
            rows.append(new(self.next_id, price, self.rng.randint(1, 9), side, self.account))
        return rows

    async def trade(self, port):
        self.port = port
        with contextlib.suppress(ConnectionError, aiohttp.ClientError, TimeoutError, RuntimeError):
            await self.open(after=self.last)
            while True:
                for _ in range(self.rng.randint(1, 4)):
                    await self.send(*self.frame())
                await self.receive()

    def answered(self):
        """Its orders that were taken, in the order in which the exchange took them."""
        kinds = (EventKind.ACCEPTED, EventKind.REJECTED)
        return [int(e["order_id"]) for e in self.seen if e["kind"] in kinds and e["account"] == self.account and (
            e["kind"] == EventKind.ACCEPTED or e["aux"] == Op.NEW)]  # fmt: skip


def replayed(folder):
    """Everything that the whole journal leads to: the state, and the events as each account may see them."""
    past = Delivery(np.zeros(1, np.int64), 1 << 20)
    state = recovery.recover(folder, make, past.recall, use_snapshots=False)
    return state, past


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="module")
def forge():
    found = rig.Forge()
    yield found
    found.close()


@pytest.mark.parametrize(("policy", "rounds"), [("each", ROUNDS), ("batch:20:2", ROUNDS // 2), ("off", ROUNDS // 4)])
async def test_killed_at_random_moments_no_acknowledged_order_is_lost(tmp_path, forge, http, policy, rounds):
    path = rig.write(tmp_path, fsync=policy, snapshots_kept=1000, history_events=1 << 18)
    rng = random.Random(policy)
    traders = [Trader(http, "one", 1, 1), Trader(http, "two", 2, 2)]
    for n in range(rounds):
        found = await forge.start(path)
        tasks = [asyncio.create_task(t.trade(found.port)) for t in traders]
        await asyncio.sleep(rng.uniform(0, 0.2))
        gentle = n % 5 == 4
        os.kill(found.pid, signal.SIGTERM if gentle else signal.SIGKILL)
        assert await forge.ended() == (0 if gentle else -signal.SIGKILL)
        await asyncio.gather(*tasks)
    found = await forge.start(path)
    for t in traders:  # what they had not heard of yet
        t.port = found.port
        await t.open(after=t.last)
        await t.close()
    os.kill(found.pid, signal.SIGTERM)
    assert await forge.ended() == 0

    state, past = replayed(tmp_path / "data")
    newest = recovery.recover(tmp_path / "data", make)
    assert newest.replayed == 0, "SIGTERM leaves a snapshot of everything"
    assert digest.fold_state(newest.arena) == digest.fold_state(state.arena)
    assert len(traders[0].seen) > 10 * rounds, "there was something to lose"
    for t in traders:
        mine = past.since(t.account, 0)
        seen = np.array(t.seen, EVENT)
        first = int(mine[0, 0]) if not len(seen) else int(seen["seq"][0])
        assert seen.tobytes() == mine[mine[:, 0] >= first].tobytes()
        taken = t.answered()
        assert taken == [i for i in t.sent if i in set(taken)], "taken in the order in which they were sent"


async def test_a_second_signal_ends_it_at_once_and_recovery_is_exact(tmp_path, forge, http):
    path = rig.write(tmp_path)
    found = await forge.start(path)
    one = await Client(http, found.port, "one").open()
    for i in range(20):
        await one.ask(new(i, 100 - i % 3, 1 + i))
    for i in range(20, 60):
        await one.send(new(i, 100 - i % 3, 1 + i))
    os.kill(found.pid, signal.SIGTERM)
    os.kill(found.pid, signal.SIGINT)
    assert await forge.ended() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert not snapshots.paths(tmp_path / "data"), "it did not stop to take one"
    with contextlib.suppress(ConnectionError):
        await one.until(lambda: False)
    _, past = replayed(tmp_path / "data")
    mine = past.since(1, int(one.seen[0]["seq"]) - 1)
    assert len(one.seen) >= 20
    assert np.array(one.seen, EVENT).tobytes() == mine[: len(one.seen)].tobytes()


async def test_limits_change_under_load_on_sighup_and_when_the_file_changes(tmp_path, forge, http):
    path = rig.write(tmp_path, fsync="off", reload_poll_s=0.05)
    found = await forge.start(path)
    trader = Trader(http, "one", 1, 3)
    task = asyncio.create_task(trader.trade(found.port))
    sizes = []
    for n in range(8):
        limits = json.loads(json.dumps(rig.LIMITS))
        limits["accounts"][0]["max_order_qty"] = sizes.append(3 + n % 5) or sizes[-1]
        rig.write_limits(tmp_path, limits)
        if n % 2:
            os.kill(found.pid, signal.SIGHUP)
        await asyncio.sleep(0.15)
        if n % 4 == 3:
            (tmp_path / "limits.yaml").write_text("symbols: []\n")
            await asyncio.sleep(0.1)
    os.kill(found.pid, signal.SIGTERM)
    assert await forge.ended() == 0
    await task
    _, past = replayed(tmp_path / "data")
    events = past.since(-1, 0).view(EVENT).reshape(-1)
    changes = [int(e["qty"]) for e in events if e["kind"] == EventKind.DONE and e["account"] == 1 and e["price"] == 3]
    assert changes == sizes, "each whole reload once, no refused one"
    limit = 1 << 61
    for e in events:
        if e["kind"] == EventKind.DONE and e["account"] == 1 and e["price"] == 3:
            limit = int(e["qty"])
        elif e["kind"] == EventKind.ACCEPTED:
            assert e["qty"] <= limit


async def test_snapshots_are_made_beside_it_and_old_journal_goes(tmp_path, forge, http):
    path = rig.write(tmp_path, fsync="off", snapshot_every=200, snapshots_kept=2)
    found = await forge.start(path)
    trader = Trader(http, "one", 1, 4)
    task = asyncio.create_task(trader.trade(found.port))
    while len(trader.seen) < 400:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await trader.close()
    while not snapshots.paths(tmp_path / "data"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    os.kill(found.pid, signal.SIGKILL)
    await forge.ended()
    await task
    (newest, *_) = snapshots.paths(tmp_path / "data")
    state, _ = replayed(tmp_path / "data")
    recovered = recovery.recover(tmp_path / "data", make)
    assert recovered.snapshot_seq == int(newest.stem.removeprefix("snapshot-")) > 0
    assert digest.fold_state(recovered.arena) == digest.fold_state(state.arena)
    assert snapshotter.snapshot(tmp_path / "data", rig.SYMBOLS, rig.ACCOUNTS, rig.ORDERS, rig.EVENTS) >= newest_seq(
        state
    )


def newest_seq(state):
    return state.next_seq - 1


async def test_a_journal_that_cannot_be_trusted_stops_it_before_anyone_may_log_in(tmp_path, forge):
    path = rig.write(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / segments.name_of(1)).write_bytes(b"\1" * 200)
    with pytest.raises(AssertionError, match="'exit': 2"):
        await forge.start(path)


async def test_it_serves_health_and_metrics_and_ends_clean(tmp_path, unused_tcp_port, http):
    path = rig.write(tmp_path)
    settings = yaml.safe_load(path.read_text())
    settings["http"]["port"] = unused_tcp_port
    path.write_text(yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "baretick.cli", "exchange", "-c", str(path), stderr=asyncio.subprocess.PIPE
    )
    log, port = b"", None
    while port is None:
        line = await asyncio.wait_for(process.stderr.readline(), 120)
        assert line, log.decode()
        log += line
        if b"order entry: ws://" in line:
            port = int(line.rsplit(b":", 1)[1].split(b"/")[0])
    one = await Client(http, port, "one").open()
    await one.ask(new(1, 100, 5), new(2, 0, 0))
    async with http.get(f"http://127.0.0.1:{unused_tcp_port}/health") as answer:
        body = await answer.json()
        assert (answer.status, body["status"], body["reasons"]) == (200, "ok", [])
    async with http.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as answer:
        text = await answer.text()
    for line in ("baretick_exchange_open_orders 1.0", "baretick_exchange_round_trip_seconds_count 1.0",
                 "baretick_exchange_rejects_total 1.0", "baretick_exchange_sessions_open 1.0"):  # fmt: skip
        assert line in text
    assert 'baretick_exchange_sync_seconds_bucket{le="+Inf"}' in text
    process.send_signal(signal.SIGTERM)
    _, rest = await process.communicate()
    assert process.returncode == 0, rest.decode()
    text = (log + rest).decode()
    assert not any(token in text for token in rig.TOKENS.values())
    assert hashlib.sha256(rig.TOKENS["one"].encode()).hexdigest() not in text
