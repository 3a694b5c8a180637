"""Snapshots: the engine's whole arena in a file, written beside its place and renamed into it.

    snapshot-<last sequence number applied, 20 digits>.bts
    header 4096 bytes: "BTSNAP01", format version, record version, sequence number, arena bytes, checksum chain of the
    journal at that point, CRC-32C of the arena, CRC-32C of the words before it; then the arena.

An arena is restored byte for byte, so the order inside every queue is what it was. Pages that hold only zeroes are
left out of the file (it is sparse) and of the memory that is restored into.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from baretick.journal.crc32c import crc_of
from baretick.journal.segments import CorruptError
from baretick.journal.writer import sync_folder
from baretick.matching.records import RECORD_VERSION, Words

MAGIC: Final = int.from_bytes(b"BTSNAP01", "little")
FORMAT_VERSION: Final = 1
PAGE: Final = 4096
PAGE_WORDS: Final = PAGE // 8


class Snapshot(NamedTuple):
    """A snapshot that was read: the state after command `seq`."""

    path: Path
    seq: int
    chain: int
    arena: Words


def paths(folder: Path) -> list[Path]:
    """The snapshots of a folder, newest first."""
    return sorted(folder.glob("snapshot-*.bts"), reverse=True)


def write(folder: Path, arena: Words, seq: int, chain: int) -> Path:
    """Write the state after command `seq`; the events must have been drained. Durable under its name or not there."""
    header = np.zeros(PAGE_WORDS, np.int64)
    header[:7] = MAGIC, FORMAT_VERSION, RECORD_VERSION, seq, arena.nbytes, chain, crc_of(arena)
    header[7] = crc_of(header[:7])
    path = folder / f"snapshot-{seq:020d}.bts"
    beside = folder / f".{path.name}.{os.getpid()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        os.ftruncate(fd, PAGE + arena.nbytes)
        _put(fd, memoryview(header).cast("B"), 0)
        data = memoryview(arena).cast("B")
        used = np.flatnonzero(arena.reshape(-1, PAGE_WORDS).any(axis=1))
        for run in np.split(used, np.flatnonzero(np.diff(used) > 1) + 1):
            if len(run):
                first, last = int(run[0]) * PAGE, (int(run[-1]) + 1) * PAGE
                _put(fd, data[first:last], PAGE + first)
        os.fsync(fd)
        beside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    finally:
        os.close(fd)
    sync_folder(folder)
    return path


def _put(fd: int, data: memoryview, at: int) -> None:
    while data:
        n = os.pwrite(fd, data, at)
        data, at = data[n:], at + n


def read(path: Path) -> Snapshot:
    """A snapshot, every byte checked; CorruptError if one does not fit."""
    with path.open("rb") as f:
        head = f.read(PAGE)
    if len(head) < PAGE:
        raise CorruptError(path, len(head), "the file ends inside its header")
    header = np.frombuffer(head, np.int64)
    if int(header[0]) != MAGIC:
        raise CorruptError(path, 0, "this is no snapshot: its first eight bytes are not BTSNAP01")
    if int(header[7]) != crc_of(header[:7].copy()):
        raise CorruptError(path, 56, "the header's checksum does not fit")
    for word, mine, what in ((1, FORMAT_VERSION, "snapshot format"), (2, RECORD_VERSION, "record")):
        if int(header[word]) != mine:
            raise CorruptError(path, 8 * word, f"it has {what} version {int(header[word])}, this program reads {mine}")
    size = int(header[4])
    if path.stat().st_size != PAGE + size:
        raise CorruptError(path, 32, f"it holds {path.stat().st_size - PAGE} bytes of arena, its header says {size}")
    arena = _restore(np.memmap(path, np.int64, "r", PAGE), size)
    if int(header[6]) != crc_of(arena):
        raise CorruptError(path, PAGE, "the arena's checksum does not fit")
    return Snapshot(path, int(header[3]), int(header[5]), arena)


def _restore(stored: Words, size: int) -> Words:
    """The arena on a page of its own memory; pages of zeroes are not touched, so they take no memory."""
    raw = np.zeros(size // 8 + PAGE_WORDS, np.int64)
    arena: Words = raw[(-(raw.ctypes.data // 8)) % PAGE_WORDS :][: size // 8]
    source, target = stored.reshape(-1, PAGE_WORDS), arena.reshape(-1, PAGE_WORDS)
    used = source.any(axis=1)
    target[used] = source[used]
    return arena
