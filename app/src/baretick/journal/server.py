"""An engine that acknowledges commands once they are durable: commands in on one descriptor, acknowledgements out.

    python -m baretick.journal.server --folder DIR [--symbols 1] [--accounts 4] [--orders 131072]
        [--fsync each|batch:COUNT:MS|off] [--snapshot-every N]

Standard input carries command records of 64 bytes (their sequence numbers are given here). Standard output carries
acknowledgements of 16 bytes, two unsigned words: the last command that is durable, and the last event that the engine
has written. The first acknowledgement, before any command, says where recovery ended: whoever feeds the server goes
on after it. At the end of input, or on SIGTERM, it settles, writes a snapshot and exits 0.
"""

import argparse
import logging
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from baretick.journal import recovery, snapshots
from baretick.journal.policy import Fsync
from baretick.journal.segments import CorruptError
from baretick.journal.writer import Journal
from baretick.matching.layout import H_EVENT_BASE, allocate
from baretick.matching.records import RECORD_BYTES, RECORD_WORDS, Words

log = logging.getLogger("baretick.journal")
ACK: Final = struct.Struct("<QQ")
READ_BYTES: Final = RECORD_BYTES * 1024


class JournalledEngine:
    """The engine in a folder: recovered, fed batch by batch, snapshotted now and then."""

    def __init__(self, folder: Path, make: Callable[[], Words], fsync: Fsync, snapshot_every: int) -> None:
        state = recovery.recover(folder, make)
        for bad in state.bad_snapshots:
            log.warning("passed over a snapshot: %s", bad)
        if state.torn is not None:
            log.warning("cut %d bytes from %s at %d: %s", state.torn.cut_bytes, *state.torn[:2], state.torn.reason)
        self.folder, self.arena, self.snapshot_every = folder, state.arena, snapshot_every
        self.journal = Journal(folder, state.next_seq, state.chain, fsync)
        self._snapshot_at = state.snapshot_seq

    def feed(self, commands: Words) -> None:
        """Journal a batch, then execute it: the order that makes an acknowledgement true."""
        self.journal.append(commands)
        recovery.replay(self.arena, commands)
        if self.snapshot_every and self.journal.next_seq - 1 - self._snapshot_at >= self.snapshot_every:
            self.snapshot()

    def snapshot(self) -> None:
        """Write the state as it is now, and remove what it makes unnecessary."""
        seq = self.journal.next_seq - 1
        if seq == self._snapshot_at:
            return
        self.journal.roll()
        snapshots.write(self.folder, self.arena, seq, self.journal.chain)
        recovery.prune(self.folder)
        self._snapshot_at = seq

    def acknowledgement(self) -> bytes:
        return ACK.pack(self.journal.durable, int(self.arena[H_EVENT_BASE // 8]) - 1)


def serve(engine: JournalledEngine, source: int, sink: int) -> None:
    """Feed the engine from a descriptor until it ends, or SIGTERM comes."""
    stopping = False

    def stop(signum: int, frame: Any) -> None:
        nonlocal stopping
        stopping = True

    previous = signal.signal(signal.SIGTERM, stop)
    os.write(sink, engine.acknowledgement())
    acknowledged, held = engine.journal.durable, b""
    try:
        while not stopping:
            due = engine.journal.due
            wait = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([source], [], [], 0.5 if wait is None else wait)
            if ready:
                data = held + os.read(source, READ_BYTES)
                if len(data) == len(held):
                    break
                whole = len(data) // RECORD_BYTES * RECORD_BYTES
                held = data[whole:]
                if whole:
                    engine.feed(np.frombuffer(data[:whole], np.int64).reshape(-1, RECORD_WORDS).copy())
            engine.journal.settle()
            if engine.journal.durable > acknowledged:
                acknowledged = engine.journal.durable
                os.write(sink, engine.acknowledgement())
        engine.snapshot()
        engine.journal.close()
        if engine.journal.durable > acknowledged:
            os.write(sink, engine.acknowledgement())
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="baretick.journal.server", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--accounts", type=int, default=4)
    parser.add_argument("--orders", type=int, default=1 << 17)
    parser.add_argument("--events", type=int, default=1 << 14)
    parser.add_argument("--fsync", default="each")
    parser.add_argument("--snapshot-every", type=int, default=1_000_000, help="commands; 0 takes none but at the end")
    a = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")

    def make() -> Words:
        return allocate(a.symbols, a.accounts, a.orders, a.events)

    try:
        engine = JournalledEngine(a.folder, make, Fsync.parse(a.fsync), a.snapshot_every)
    except (CorruptError, ValueError) as e:
        print(f"journal: {e}", file=sys.stderr)
        return 2
    serve(engine, 0, 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
