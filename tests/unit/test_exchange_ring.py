"""The ring between two processes: nothing lost, nothing torn, nothing out of order, nobody sleeps for ever."""

import mmap
import os
import time

import numpy as np
import pytest

from baretick.exchange import ring


def shared_ring(capacity, wake_fd=-1):
    memory = mmap.mmap(-1, ring.size_of(capacity))
    return ring.create(np.frombuffer(memory, np.int64), capacity, wake_fd)


def numbered(first, n):
    """Records of which every word follows from their number: a torn one shows."""
    rows = np.arange(first, first + n)[:, None] * 8 + np.arange(8)
    return np.ascontiguousarray(rows)


def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


@pytest.mark.parametrize(("capacity", "waits"), [(16, True), (16, False), (1024, True), (1024, False)])
def test_between_two_processes_every_record_arrives_whole_and_in_order(capacity, waits):
    total = 1000 * capacity if capacity < 100 else 200_000
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    memory = shared_ring(capacity, wake)
    rng = np.random.default_rng(capacity)
    sizes = rng.integers(1, min(capacity, 40), total)
    ring.offer(shared_ring(16), numbered(0, 1), 0)  # compiled before the fork

    def produce():
        sent = 0
        for n in sizes:
            batch = numbered(sent, min(int(n), total - sent))
            while ring.offer(memory, batch, sent) < 0:
                time.sleep(0)
            sent += len(batch)
            if waits and n == 7:
                time.sleep(0.0002)  # let the consumer run dry and lie down
            if sent == total:
                break

    out, seen, slept = ring.records(64), 0, 0
    ring.take(shared_ring(16), out)
    pid = in_child(produce)
    deadline = time.monotonic() + 60
    while seen < total and time.monotonic() < deadline:
        n = ring.take(memory, out)
        if n == 0:
            if waits:
                began = time.monotonic()
                ring.wait(memory, 5000)
                assert time.monotonic() - began < 4, "it slept while there was something to read"
                slept += 1
            else:
                time.sleep(0)
            continue
        assert np.array_equal(out[:n], numbered(seen, n))
        seen += n
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(wake)
    assert seen == total
    assert not waits or slept


def test_a_full_ring_takes_all_records_or_none():
    memory, out = shared_ring(16), ring.records(16)
    assert ring.offer(memory, numbered(0, 10), 0) == 10
    assert ring.offer(memory, numbered(10, 7), 0) == -1
    assert ring.position(memory, ring.R_HEAD) == 10
    assert ring.offer(memory, numbered(10, 6), 0) == 16
    assert ring.take(memory, out) == 16
    assert np.array_equal(out, numbered(0, 16))
    assert ring.take(memory, out) == 0


def test_sizes_that_make_no_sense_and_foreign_memory_are_refused():
    for capacity in (0, 8, 24):
        with pytest.raises(ValueError, match=f"capacity={capacity}"):
            ring.size_of(capacity)
    with pytest.raises(ValueError, match="no ring"):
        ring.attach(np.zeros(1024, np.int64))
    with pytest.raises(ValueError, match="takes 1664 bytes, the memory has 512"):
        ring.create(np.zeros(64, np.int64), 16)
    assert ring.attach(shared_ring(16)) is not None
