"""Snapshot files: the engine's whole state (matching.snapshot), written beside its place and renamed into it.

snapshot-<last sequence number applied, 20 digits>.bts
header 64 bytes: "BTSNAP01", format version, sequence number, checksum chain of the journal at that point, bytes
that follow, CRC-32C of those, one word unused, CRC-32C of the words before it; then the state.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from baretick.journal.crc32c import crc_of
from baretick.journal.segments import CorruptError
from baretick.journal.writer import sync_folder
from baretick.matching import snapshot
from baretick.matching.records import Words

MAGIC: Final = int.from_bytes(b"BTSNAP01", "little")
FORMAT_VERSION: Final = 1
HEADER_BYTES: Final = 64


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
    state = snapshot.save(arena)  # whole words
    header = np.zeros(HEADER_BYTES // 8, np.int64)
    header[:6] = MAGIC, FORMAT_VERSION, seq, chain, len(state), crc_of(np.frombuffer(state, np.int64))
    header[7] = crc_of(header[:7])
    path = folder / f"snapshot-{seq:020d}.bts"
    beside = folder / f".{path.name}.{os.getpid()}"
    try:
        with beside.open("wb") as f:
            f.write(header.tobytes())
            f.write(state)
            f.flush()
            os.fsync(f.fileno())
        beside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(folder)
    return path


def sweep(folder: Path) -> None:
    """Remove what a killed writer left beside its place."""
    for beside in folder.glob(".snapshot-*"):
        beside.unlink()


def read(path: Path) -> Snapshot:
    """A snapshot, every byte checked; CorruptError if one does not fit."""
    data = path.read_bytes()
    if len(data) < HEADER_BYTES:
        raise CorruptError(path, len(data), "the file ends inside its header")
    header = np.frombuffer(data, np.int64, HEADER_BYTES // 8)
    if int(header[0]) != MAGIC:
        raise CorruptError(path, 0, "this is no snapshot: its first eight bytes are not BTSNAP01")
    if int(header[7]) != crc_of(header[:7]):
        raise CorruptError(path, 56, "the header's checksum does not fit")
    if int(header[1]) != FORMAT_VERSION:
        raise CorruptError(path, 8, f"it has format version {int(header[1])}, this program reads {FORMAT_VERSION}")
    size = int(header[4])
    if len(data) != HEADER_BYTES + size:
        raise CorruptError(path, 32, f"{len(data) - HEADER_BYTES} bytes of state follow, its header says {size}")
    if int(header[5]) != crc_of(np.frombuffer(data, np.int64, offset=HEADER_BYTES)):
        raise CorruptError(path, HEADER_BYTES, "the state's checksum does not fit")
    try:
        arena = snapshot.restore(data[HEADER_BYTES:])
    except snapshot.SnapshotError as e:
        raise CorruptError(path, HEADER_BYTES, str(e)) from None
    return Snapshot(path, int(header[2]), int(header[3]), arena)
