"""The thread that runs the matching loop, and what interrupts it: full segments, calls from outside, the end.

The loop itself (`loop.run`) is compiled and holds no interpreter lock. Between two stretches of it this thread does
what needs Python, with the engine standing still: so whatever is called through `call` sees a quiescent arena.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import numpy as np

from baretick import host
from baretick.exchange import loop, ring
from baretick.journal import recovery, snapshots
from baretick.journal.policy import Fsync
from baretick.journal.writer import Journal
from baretick.matching import kernel
from baretick.matching.records import Words
from baretick.telemetry import HdrHistogram

log = logging.getLogger(__name__)
STEPS: Final = {loop.WRITE: "write", loop.SYNC: "fdatasync"}


class JournalFailed(RuntimeError):
    """The journal could not be written: nothing more is acknowledged, the process has to end and recover."""


class Core:
    """An engine, its journal and its two rings, worked on by a thread of its own.

    `inbox` takes commands, `outbox` gives events that are durable. `call` runs a function on the core's thread between
    two commands. Everything else that is public may be read from any thread.
    """

    def __init__(
        self,
        arena: Words,
        journal: Journal,
        inbox: Words,
        outbox: Words,
        *,
        cpu: int | None = None,
        spin_ns: int = 0,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        """`spin_ns` is how long it looks for commands before it sleeps, below zero for ever; `on_end` is called last,
        from the core's thread.
        """
        self.arena, self.journal, self.inbox, self.outbox = arena, journal, inbox, outbox
        self.spans, self.syncs = HdrHistogram(), HdrHistogram()
        self.failure: BaseException | None = None
        self._cpu, self._on_end = cpu, on_end
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = self._ended = False
        kernel.attach(arena)
        self._block = loop.block()
        policy: Fsync = journal.fsync
        for field, value in {
            loop.C_ARENA: arena.ctypes.data,
            loop.C_PEN: journal.pen.ctypes.data,
            loop.C_IN: inbox.ctypes.data,
            loop.C_OUT: outbox.ctypes.data,
            loop.C_SIZE_LIMIT: journal.segment_bytes,
            loop.C_POLICY: loop.POLICIES[policy.mode],
            loop.C_TURN: loop.TURN if policy.mode == "off" else loop.TURN_SYNCED,
            loop.C_BATCH: policy.commands,
            loop.C_INTERVAL: int(policy.interval_ms * 1e6),
            loop.C_SPIN: spin_ns,
            loop.C_WRITTEN: journal.durable,
            loop.C_DURABLE: journal.durable,
            loop.C_OUT_HEAD: ring.position(outbox, ring.R_HEAD),
        }.items():
            self._block[field // 8] = value
        self._thread = threading.Thread(target=self._work, name="core", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def durable(self) -> int:
        """The last command that is durable."""
        return int(loop.watch(self._block, loop.C_DURABLE))

    @property
    def thread_id(self) -> int | None:
        """The kernel's number of its thread, for `ps -T` and /proc."""
        return self._thread.native_id

    def counter(self, field: int) -> int:
        """One of the loop's counters (`loop.C_...`)."""
        return int(loop.watch(self._block, field))

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Run a function on the core's thread, between two commands; everything before is published by then."""
        future: Future[Any] = Future()
        self._calls.append((function, future))
        if self._ended:  # set before the thread drops its calls: one of the two sees this one
            self._drop_calls()
        loop.interrupt(self._block)
        return future

    def stop(self) -> "Future[Any]":
        """Have the thread end once all calls made so far are done; commands still in the ring are left there."""

        def end() -> None:
            self._stopping = True

        return self.call(end)

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def execute(self, commands: Words) -> None:
        """Journal and execute commands that do not come from the ring. Only from within `call`.

        They are one frame of the journal, if there are not many thousands: after a crash all of them count or none.
        """
        if len(commands):
            rows = np.ascontiguousarray(commands)
            self._lent(lambda: loop.run_rows(self._block, rows, self.spans.cells, self.syncs.cells))

    def snapshot(self, keep: int) -> Path | None:
        """Write the engine's state; None if there is nothing new. Only from within `call`."""
        seq = self.journal.next_seq - 1
        newest = snapshots.paths(self.journal.folder)[:1]
        if seq == 0 or (newest and newest[0].stem == f"snapshot-{seq:020d}"):
            return None
        self.journal.roll()
        path = snapshots.write(self.journal.folder, self.arena, seq, self.journal.chain)
        recovery.prune(self.journal.folder, keep)
        return path

    def _lent(self, work: Callable[[], int]) -> int:
        """Run compiled code that writes to the journal."""
        block = self._block
        block[loop.C_FD // 8], block[loop.C_SIZE // 8] = self.journal.lend(), self.journal.size
        before = int(block[loop.C_SIZE // 8])
        why = work()
        failed = why == loop.FAILED
        durable = int(block[loop.C_DURABLE // 8])
        self.journal.take_back(int(block[loop.C_SIZE // 8]) - before, durable, failed=failed)
        if failed:
            error = int(block[loop.C_ERROR // 8])
            step = STEPS[int(block[loop.C_STEP // 8])]
            raise JournalFailed(f"journal in {self.journal.folder}: {step}: {os.strerror(error)}")
        return why

    def _work(self) -> None:
        try:
            if self._cpu is not None:
                host.pin_thread(self._cpu, "core_cpu")
            while not self._stopping:
                cells = self.spans.cells, self.syncs.cells
                why = self._lent(lambda cells=cells: loop.run(self._block, *cells))  # type: ignore[misc]
                if why == loop.FULL:
                    self.journal.roll()
                self._run_calls()
        except BaseException as e:
            self.failure = e
            log.critical("the core ended: %s", e, exc_info=not isinstance(e, JournalFailed))
        finally:
            self._ended = True
            self._drop_calls()
            self._on_end()

    def _run_calls(self) -> None:
        while self._calls:
            function, future = self._calls.popleft()
            try:
                future.set_result(function())
            except JournalFailed as e:
                future.set_exception(e)
                raise
            except BaseException as e:
                future.set_exception(e)

    def _drop_calls(self) -> None:
        while True:
            try:
                _, future = self._calls.popleft()
            except IndexError:
                return
            future.set_exception(RuntimeError(f"the core has ended: {self.failure or 'stopped'}"))


__all__ = ["Core", "JournalFailed"]
