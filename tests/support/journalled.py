"""Small engines and command streams for the journal's tests."""

import numpy as np

from baretick.bench.core import commands_of
from baretick.bench.orders import make
from baretick.journal import frames
from baretick.journal.writer import Journal
from baretick.matching.layout import allocate

SYMBOLS, ACCOUNTS, ORDERS, EVENTS = 2, 64, 1 << 12, 1 << 10


def arena():
    return allocate(SYMBOLS, ACCOUNTS, ORDERS, EVENTS)


def commands(n, seed=7):
    """`n` commands of a market, not numbered yet."""
    out = commands_of(make(seed, n, SYMBOLS))
    out[:, 0] = 0
    return out


def written(folder, batches, **options):
    """A journal with these batches of commands, a frame each; its segment files."""
    journal = Journal(folder, 1, 0, **options)
    for batch in batches:
        journal.append(batch.copy())
    journal.close()
    return journal


def frame_starts(data):
    """Byte offsets of the frames of a segment."""
    words, at, out = np.frombuffer(data, np.int64), 8, []
    while 8 * at < len(data):
        out.append(8 * at)
        at += (frames.FRAME_BYTES + (int(words[at]) >> 32) * 64) // 8
    return out
