"""Compile, or load from numba's cache, all that the exchange calls, before the first client could wait for it."""

import os
import time

import numpy as np

from baretick.exchange import delivery as deliveries
from baretick.exchange import entry, loop, ring
from baretick.exchange.delivery import Delivery
from baretick.matching import kernel
from baretick.matching.layout import allocate
from baretick.telemetry import HdrHistogram


def warm() -> float:
    """Call each compiled function once, on nothing that matters; the seconds it took."""
    began = time.perf_counter()
    wake = os.eventfd(1, os.EFD_NONBLOCK)
    try:
        inbox, outbox = (
            ring.create(np.zeros(ring.size_of(16) // 8, np.int64), 16, wake) for _ in range(2)
        )  # fmt: skip
        kernel.attach(allocate(1, 1, 8, 16))
        spans, syncs = HdrHistogram(), HdrHistogram()
        block = loop.block()
        block[loop.C_IN // 8], block[loop.C_OUT // 8] = inbox.ctypes.data, outbox.ctypes.data
        block[loop.C_SIZE_LIMIT // 8], block[loop.C_POLICY // 8] = 1, loop.OFF
        loop.interrupt(block)
        loop.run(block, spans.cells, syncs.cells)
        loop.run_rows(block, ring.records(0), spans.cells, syncs.cells)
        loop.watch(block, loop.C_DURABLE)
        entry.enter(ring.records(1).reshape(-1), 1, inbox, 0, 0, 1, 0)
        delivery = Delivery(outbox, 16)
        delivery.recall(memoryview(ring.records(1)).cast("B"))
        delivery.since(0, 0)
        delivery.pump()
        deliveries.rest(outbox)
        deliveries.linger(outbox, 1)
        ring.position(inbox, ring.R_HEAD)
        spans.record(1)
        _ = spans.cumulative()
    finally:
        os.close(wake)
    return time.perf_counter() - began
