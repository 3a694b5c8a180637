"""The matching loop: take commands from the ring, journal them, execute them, show their events once they are durable.

One call of `run` is one long stretch of compiled code without the interpreter, the heap or a lock. It comes back to
Python (`core.py`) only for what is rare: a full segment, a call from outside, a failed write.

    write     a batch, as one frame, to the journal's file      write-ahead: nothing is executed that is not written
    execute   each command; events go into the outgoing ring, not shown yet
    sync      as the fsync policy says
    publish   the events, and the commands' slots as free

What has been published is durable: whoever reads the outgoing ring can acknowledge without a look at the journal.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np

from baretick.exchange import ring
from baretick.exchange.machine import acquire64, pause, release64, sys_fdatasync, sys_poll, write_whole
from baretick.journal.frames import P_SEQ, P_USED, PEN_BYTES, seal, write
from baretick.matching.entry import PAUSED
from baretick.matching.kernel import look_ahead
from baretick.matching.layout import (
    H_EVENT_BASE,
    H_EVENT_COUNT,
    H_EXECUTE,
    H_LAST_APPLIED,
    H_O_EVENTS,
)
from baretick.matching.records import RECORD_BYTES, Words
from baretick.memory import add64, address, call, compiled, inline, load64, store64
from baretick.telemetry.clock import CLOCK_MONOTONIC, clock_ns
from baretick.telemetry.hdr import record

# The loop's own block of memory: where things are, and how it is to behave.
C_ARENA, C_PEN, C_IN, C_OUT, C_FD, C_SIZE, C_SIZE_LIMIT, C_POLICY = range(0, 64, 8)
C_BATCH, C_INTERVAL, C_SPIN, C_ERROR, C_STEP, C_TURN = range(64, 112, 8)
# Written by the loop, read by anyone.
C_WRITTEN, C_DURABLE, C_SINCE, C_OUT_HEAD, C_SYNCS, C_FRAMES, C_COMMANDS, C_HELD_UP = range(128, 192, 8)
C_CALL: Final = 256
"""Set by whoever wants the loop to come back to Python."""
BLOCK_BYTES: Final = 320

EACH, BATCH, OFF = 0, 1, 2
POLICIES: Final = {"each": EACH, "batch": BATCH, "off": OFF}
TURN, TURN_SYNCED = 512, 4096
"""Commands of one turn at most. More wait for the next, so that the first ones' events do not wait for all of them;
where a turn ends in a sync, that costs more than many commands, and so more of them share it.
"""
IDLE_MS: Final = 1000

CALLED, FULL, FAILED = 1, 2, 3
WRITE, SYNC = 1, 2


def block() -> Words:
    """The loop's memory, zeroed."""
    return np.zeros(BLOCK_BYTES // 8, np.int64)


@inline
def _fail(k, step, error):
    store64(k, C_STEP, step)
    store64(k, C_ERROR, -error)
    return FAILED


@inline
def _sync(k, syncs):
    """Make everything written durable; 0 or FAILED."""
    if load64(k, C_POLICY) != OFF and load64(k, C_DURABLE) < load64(k, C_WRITTEN):
        began = clock_ns(CLOCK_MONOTONIC)
        error = sys_fdatasync(load64(k, C_FD))
        if error < 0:
            return _fail(k, SYNC, error)
        record(syncs, clock_ns(CLOCK_MONOTONIC) - began)
        add64(k, C_SYNCS, 1)
    release64(k, C_DURABLE, load64(k, C_WRITTEN))
    return 0


@inline
def _publish(k, spans):
    """Show the events of what is durable, which is everything taken, and give the commands' slots back."""
    inbox, out = load64(k, C_IN), load64(k, C_OUT)
    taken, shown = load64(inbox, ring.R_TAKEN), load64(inbox, ring.R_TAIL)
    now = clock_ns(CLOCK_MONOTONIC)
    for position in range(shown, taken):
        record(spans, now - load64(ring.stamp(inbox, position), 0))
    # The tail first: who sees the events also sees that their commands are done.
    release64(inbox, ring.R_TAIL, taken)
    ring.publish(out, load64(k, C_OUT_HEAD))


@compiled
def _move_events(k, spans, syncs):
    """The engine's events into the outgoing ring, waiting for room; 0 or FAILED."""
    a, out = load64(k, C_ARENA), load64(k, C_OUT)
    n = load64(a, H_EVENT_COUNT)
    source = a + load64(a, H_O_EVENTS)
    for i in range(n):
        head = load64(k, C_OUT_HEAD)
        while head - acquire64(out, ring.R_TAIL) >= load64(out, ring.R_CAPACITY):
            # The reader has to see what is there before it can make room.
            if load64(out, ring.R_HEAD) != head:
                if _sync(k, syncs) != 0:
                    return FAILED
                ring.publish(out, head)
            add64(k, C_HELD_UP, 1)
            sys_poll(-1, 1)
        ring.copy(ring.slot(out, head), source + i * RECORD_BYTES)
        store64(k, C_OUT_HEAD, head + 1)
    add64(a, H_EVENT_BASE, n)
    store64(a, H_EVENT_COUNT, 0)
    return 0


@inline
def _write_frame(k):
    """Close the pen's frame and write it to the segment; 0 or FAILED."""
    p = load64(k, C_PEN)
    seal(p)
    size = load64(p, P_USED)
    error = write_whole(load64(k, C_FD), p + PEN_BYTES, size)
    if error < 0:
        return _fail(k, WRITE, error)
    store64(p, P_USED, 0)
    if load64(k, C_WRITTEN) == load64(k, C_DURABLE):
        store64(k, C_SINCE, clock_ns(CLOCK_MONOTONIC))
    add64(k, C_SIZE, size)
    add64(k, C_FRAMES, 1)
    release64(k, C_WRITTEN, load64(p, P_SEQ) - 1)
    return 0


@inline
def _execute(k, c, spans, syncs):
    """One command, however often it has to wait for its events to be taken away; 0 or FAILED."""
    a = load64(k, C_ARENA)
    while call(load64(a, H_EXECUTE), a, c) == PAUSED:
        if _move_events(k, spans, syncs) != 0:
            return FAILED
    store64(a, H_LAST_APPLIED, load64(c, 0))
    add64(k, C_COMMANDS, 1)
    return 0


@inline
def _settled(k):
    """Whether the fsync policy lets everything written be published now, at the cost of a sync."""
    waiting = load64(k, C_WRITTEN) - load64(k, C_DURABLE)
    if load64(k, C_POLICY) != BATCH or waiting == 0:
        return True
    return waiting >= load64(k, C_BATCH) or clock_ns(CLOCK_MONOTONIC) - load64(k, C_SINCE) >= load64(k, C_INTERVAL)


@inline
def _settle(k, spans, syncs):
    if _sync(k, syncs) != 0:
        return FAILED
    _publish(k, spans)
    return 0


@inline
def _turn(k, first, n, spans, syncs):
    """A batch of commands from the ring: written, executed, and published if the policy allows; 0 or FAILED."""
    inbox, p, a = load64(k, C_IN), load64(k, C_PEN), load64(k, C_ARENA)
    for i in range(n):
        write(p, ring.slot(inbox, first + i))
    if _write_frame(k) != 0:
        return FAILED
    capacity = load64(inbox, ring.R_CAPACITY)
    for i in range(n):
        c = ring.slot(inbox, first + i)
        look_ahead(a, c, min(n - i, capacity - ((first + i) & (capacity - 1))))
        if _execute(k, c, spans, syncs) != 0:
            return FAILED
    store64(inbox, ring.R_TAKEN, first + n)
    return _move_events(k, spans, syncs)


@compiled
def run(core, spans, syncs):
    """Work until something needs Python: CALLED, FULL (a new segment is due) or FAILED (C_STEP and C_ERROR say why).

    `spans` and `syncs` are the cells of histograms: nanoseconds from a command's stamp to its events' publication,
    and of each fdatasync. On CALLED and FULL everything taken is durable and published.
    """
    k = address(core)
    inbox = load64(k, C_IN)
    spin = load64(k, C_SPIN)
    idle_since = clock_ns(CLOCK_MONOTONIC)
    while True:
        called = acquire64(k, C_CALL) != 0
        if called or load64(k, C_SIZE) >= load64(k, C_SIZE_LIMIT):
            if _settle(k, spans, syncs) != 0:
                return FAILED
            if called:
                release64(k, C_CALL, 0)
            return CALLED if called else FULL
        taken = load64(inbox, ring.R_TAKEN)
        n = min(ring.ready(inbox, taken), load64(k, C_TURN))
        if n > 0:
            if _turn(k, taken, n, spans, syncs) != 0:
                return FAILED
            if _settled(k) and _settle(k, spans, syncs) != 0:
                return FAILED
            idle_since = clock_ns(CLOCK_MONOTONIC)
            continue
        timeout_ms = IDLE_MS
        if load64(inbox, ring.R_TAIL) != taken:
            if _settled(k):
                if _settle(k, spans, syncs) != 0:
                    return FAILED
                continue
            # The rest of the interval, rounded up: a poll of nothing would be a spin.
            timeout_ms = (load64(k, C_SINCE) + load64(k, C_INTERVAL) - clock_ns(CLOCK_MONOTONIC)) // 1_000_000 + 1
        if spin < 0 or clock_ns(CLOCK_MONOTONIC) - idle_since < spin:
            pause()
        else:
            ring.lie_down(inbox)
            if acquire64(k, C_CALL) == 0 and acquire64(inbox, ring.R_HEAD) == taken:
                ring.doze(inbox, timeout_ms)
            ring.get_up(inbox)
            idle_since = clock_ns(CLOCK_MONOTONIC) - spin


@compiled
def run_rows(core, rows, spans, syncs):
    """Commands that do not come from the ring (rows of 8 words, numbered in place), as one frame where they fit.

    Only between two calls of `run`, by the same thread. Durable and published when it returns 0; FAILED as above.
    """
    k = address(core)
    p, c = load64(k, C_PEN), address(rows)
    at = 0
    while at < rows.shape[0]:
        first = at
        while at < rows.shape[0] and write(p, c + at * RECORD_BYTES):
            at += 1
        if _write_frame(k) != 0:
            return FAILED
        for i in range(first, at):
            if _execute(k, c + i * RECORD_BYTES, spans, syncs) != 0:
                return FAILED
        if _move_events(k, spans, syncs) != 0:
            return FAILED
    return _settle(k, spans, syncs)


@compiled
def interrupt(core):
    """From any thread: have `run` come back to Python soon."""
    k = address(core)
    release64(k, C_CALL, 1)
    ring.wake(load64(k, C_IN))


@compiled
def watch(core, field):
    """A word of the block as another thread sees it."""
    return acquire64(address(core), field)


__all__: list[Any] = ["BLOCK_BYTES", "CALLED", "FAILED", "FULL", "block", "interrupt", "run", "run_rows", "watch"]
