"""A snapshot made beside a running engine, by a process of its own: the engine never stands still for it.

    python -m baretick.journal.snapshotter FOLDER SYMBOLS ACCOUNTS ORDERS EVENTS

Recovers from the newest snapshot and the journal as far as it is written, makes that journal durable, and writes the
state as a snapshot; prints its sequence number. It changes nothing else, and ends with the process that began it.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

from baretick.journal import recovery, segments, snapshots
from baretick.journal.segments import CorruptError
from baretick.matching.layout import allocate

PR_SET_PDEATHSIG: Final = 1


def snapshot(folder: Path, symbols: int, accounts: int, orders: int, events: int) -> int:
    """Write a snapshot of the journal's end; its sequence number."""
    newest = snapshots.paths(folder)
    state = recovery.load(folder, lambda: allocate(symbols, accounts, orders, events), None, newest)
    seq = state.next_seq - 1
    if state.replayed:
        # What is in a snapshot must be in the journal for good.
        for path in segments.paths(folder)[-2:]:
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        snapshots.write(folder, state.arena, seq, state.chain)
    return seq


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(5)
    folder, *sizes = sys.argv[1:]
    symbols, accounts, orders, events = map(int, sizes)
    try:
        print(snapshot(Path(folder), symbols, accounts, orders, events))
    except (CorruptError, OSError) as e:
        print(f"snapshot: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
