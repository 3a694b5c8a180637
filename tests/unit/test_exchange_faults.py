"""What can go wrong around the core: a full ring, a full disk, a host that lacks what the configuration asks for."""

import asyncio
import logging
import mmap
import os
import time

import aiohttp
import numpy as np
import pytest
from llvmlite import binding
from numba import njit

from baretick.config import ConfigError, load
from baretick.exchange import loop, place, service
from baretick.exchange.machine import acquire64, fence, release64
from baretick.journal import recovery, segments
from baretick.matching import digest
from baretick.matching.layout import allocate
from baretick.matching.records import EventKind, Reason
from tests.support import exchange as rig
from tests.support.exchange import Client, new


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_full_ring_holds_a_frame_back_and_then_refuses_it_whole(tmp_path, monkeypatch, http):
    path = rig.write(tmp_path, fsync="off", inbox_slots=16, max_frame_bytes=1024, busy_wait_s=0.05)
    async with rig.running(path, monkeypatch) as exchange:
        one = await Client(http, exchange.gateway.port, "one").open()
        asleep = exchange.core.call(lambda: time.sleep(0.4))
        await one.send(*[new(i) for i in range(10)])
        await one.send(*[new(i) for i in range(10, 20)])
        await one.until(lambda: len(one.refusals) == 10)
        assert not asleep.done()
        assert {Reason(e["reason"]) for e in one.refusals} == {Reason.BUSY}
        await one.until(lambda: len(one.seen) == 10)
        again = await one.ask(*[new(i) for i in range(10, 20)])
        assert [e["kind"] for e in again] == [EventKind.ACCEPTED] * 10
        assert exchange.gateway.counts["busy_waits"] > 1
        # Held back for less than that, it is simply late.
        exchange.core.call(lambda: time.sleep(0.03))
        answers = await asyncio.gather(one.ask(*[new(i) for i in range(20, 30)], *[new(i) for i in range(30, 36)]))
        assert len(answers[0]) == 16
        assert len(one.refusals) == 10


async def test_a_full_disk_ends_it_and_nothing_unwritten_is_acknowledged(tmp_path, monkeypatch, http, caplog):
    path = rig.write(tmp_path)
    async with rig.running(path, monkeypatch) as exchange:
        one = await Client(http, exchange.gateway.port, "one").open()
        await one.ask(new(1))
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, exchange.core.journal._fd)
        os.close(full)
        await one.send(new(2))
        with pytest.raises(ConnectionError):
            await one.receive()
        assert one.ws.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR
    assert exchange.task.result() == 1
    assert "write: No space left on device" in caplog.text
    assert [int(e["order_id"]) for e in one.seen] == [1]
    async with rig.running(path, monkeypatch) as exchange:
        one.port, one.seen = exchange.gateway.port, []
        await one.open(after=0)
        assert [int(e["order_id"]) for e in one.seen] == [1], "the one that was not written is not there"
        assert [e["kind"] for e in await one.ask(new(2))] == [EventKind.ACCEPTED]


async def test_the_journal_goes_on_in_new_segments_under_way(tmp_path, monkeypatch, http):
    path = rig.write(tmp_path, fsync="batch:50:1", snapshots_kept=100)
    async with rig.running(path, monkeypatch) as exchange:
        exchange.core._block[loop.C_SIZE_LIMIT // 8] = 4096
        one = await Client(http, exchange.gateway.port, "one").open()
        for first in range(0, 600, 30):
            await one.ask(*[new(i, 100 - i % 5, 1 + i % 3) for i in range(first, first + 30)])
    assert exchange.task.result() == 0
    with pytest.raises(RuntimeError, match="the core has ended"):
        exchange.core.call(lambda: None).result(5)
    assert len(segments.paths(tmp_path / "data")) > 5
    sizes = rig.SYMBOLS, rig.ACCOUNTS, rig.ORDERS, rig.EVENTS
    whole = recovery.recover(tmp_path / "data", lambda: allocate(*sizes), use_snapshots=False)
    assert digest.fold_state(whole.arena) == digest.fold_state(exchange.core.arena)


async def test_a_folder_of_another_size_is_refused_with_both_sizes(tmp_path, monkeypatch):
    async with rig.running(rig.write(tmp_path), monkeypatch):
        pass
    with pytest.raises(ConfigError, match="holds 1024 commands, the ring 512"):
        load(rig.write(tmp_path, inbox_slots=512))
    cfg = load(rig.write(tmp_path, orders=8192)).exchange
    with pytest.raises(ConfigError, match=r"'orders': 4096.*'orders': 8192"):
        service.restore(cfg, np.zeros(1, np.int64))


async def test_the_core_has_a_cpu_of_its_own_and_one_that_is_missing_is_named(tmp_path, monkeypatch, caplog):
    mine = os.sched_getaffinity(0)
    first, last = min(mine), max(mine)
    path = rig.write(tmp_path, core_cpu=last)
    path.write_text(path.read_text() + f"cpu_affinity: [{first}]\n")
    try:
        async with rig.running(path, monkeypatch) as exchange:
            assert os.sched_getaffinity(0) == {first}
            assert os.sched_getaffinity(exchange.core.thread_id) == {last}
        async with rig.running(rig.write(tmp_path, core_cpu=4095), monkeypatch):
            assert "core_cpu: CPU 4095 cannot be had" in caplog.text
    finally:
        os.sched_setaffinity(0, mine)


def test_hugepages_and_a_node_that_are_missing_are_named_and_done_without(monkeypatch, tmp_path, caplog):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("HugePages_Total: 0\nHugePages_Free: 0\nHugepagesize: 2048 kB\n")
    monkeypatch.setattr(place, "MEMINFO", meminfo)
    monkeypatch.setattr(place, "MAP_HUGETLB", 0x40000 | 31 << 26)  # a size of page that no kernel has
    monkeypatch.setattr(place, "NODES", tmp_path)
    (tmp_path / "node0").mkdir()
    with caplog.at_level(logging.WARNING):
        memory = place.take(3 << 20, "engine", hugepages=True, node=7)
    assert memory.nbytes >= 3 << 20
    assert memory.ctypes.data % mmap.PAGESIZE == 0
    assert not memory.any()
    assert "the engine wants 2 of 2 MiB, 0 of 0 are free" in caplog.text
    assert "vm.nr_hugepages" in caplog.text
    assert "node 7 does not exist here (nodes: 0)" in caplog.text
    meminfo.write_text("MemTotal: 1 kB\n")
    place.take(4096, "ring", hugepages=True)
    assert "CONFIG_HUGETLBFS" in caplog.text


def test_memory_can_be_bound_to_a_node_that_is_there(caplog):
    memory = place.take(1 << 20, "engine", node=0)
    memory[:] = 5
    assert int(memory.sum()) == 5 * len(memory)
    assert "does not exist" not in caplog.text


@pytest.mark.parametrize(
    ("triple", "wanted"),
    [("aarch64-linux-gnu", ("ldapr", "ldar", "stlr", "dmb")), ("x86_64-linux-gnu", ("mfence", "lock"))],
)
def test_hand_over_is_ordered_on_every_processor(triple, wanted):
    """What the ring's loads, stores and fences compile to, read from the assembly."""

    @njit
    def hand_over(a):
        release64(a, 0, acquire64(a, 8))
        fence()
        return acquire64(a, 0)

    hand_over.compile("int64(int64)")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = binding.parse_assembly(next(iter(hand_over.inspect_llvm().values())))
    module.triple = triple
    module.data_layout = ""
    machine = binding.Target.from_triple(triple).create_target_machine(opt=2)
    text = machine.emit_assembly(module)
    found = [name for name in wanted if name in text]
    if triple.startswith("aarch64"):
        assert {"stlr", "dmb"} <= set(found)
        assert {"ldapr", "ldar"} & set(found)
    else:
        assert found
