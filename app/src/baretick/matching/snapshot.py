"""A whole engine as bytes, and back: every order in its place, every counter, every limit.

The arena is kept as it is, page by page, without the pages that hold nothing and without the event buffer, which
must be drained. So what is restored is the same to the byte, and behaves the same to the last event.

    header    magic, format, record and layout versions, geometry, pages, last command, state digest, CRC
    index    8 bytes a page: which pages of the arena follow
    pages    4096 bytes each
"""

import struct
import zlib
from typing import Final

import numpy as np

from baretick.matching import digest, kernel
from baretick.matching.layout import (
    H_EVENT_COUNT,
    H_EXECUTE,
    H_LAST_APPLIED,
    H_O_EVENTS,
    H_RESUME,
    LAYOUT_VERSION,
    MAGIC,
    PAGE,
    Arena,
    geometry,
)
from baretick.matching.records import RECORD_VERSION

FORMAT: Final = 1
_HEADER: Final = struct.Struct("<QIIQQQQQQQQQII")
_PAGE_WORDS: Final = PAGE // 8


class SnapshotError(ValueError):
    """These bytes are not a snapshot that this program can restore, or the engine cannot be saved just now."""


def save(arena: Arena) -> bytes:
    """The engine as bytes. Raises SnapshotError between a command and the drain it waits for."""
    if arena[H_EVENT_COUNT // 8] or arena[H_RESUME // 8]:
        raise SnapshotError("events wait or a command is half done: drain the events and finish the command first")
    pages = arena[: arena[H_O_EVENTS // 8] // 8].reshape(-1, _PAGE_WORDS)
    used = np.flatnonzero(pages.any(axis=1))
    body = pages[used]
    body[0, H_EXECUTE // 8] = 0  # page 0 is always used: the magic stands there
    index = used.astype("<i8").tobytes()
    data = body.tobytes()
    crc = zlib.crc32(data, zlib.crc32(index))
    head = _HEADER.pack(
        MAGIC,
        FORMAT,
        RECORD_VERSION,
        LAYOUT_VERSION,
        *arena[2:6].tolist(),
        len(used),
        int(arena[H_LAST_APPLIED // 8]) & 0xFFFFFFFFFFFFFFFF,
        int(digest.fold_state(arena)) & 0xFFFFFFFFFFFFFFFF,
        arena.nbytes,
        crc,
        0,
    )
    return head + struct.pack("<Q", zlib.crc32(head)) + index + data


def last_command(snapshot: bytes) -> int:
    """Sequence number of the last command that the snapshot has seen: the journal goes on after it."""
    return int(_parse(snapshot)[9])


def restore(snapshot: bytes, arena: Arena | None = None) -> Arena:
    """The engine that was saved, in fresh memory or in `arena`: zeroed, page-aligned and of the same size.

    Raises SnapshotError, saying what is wrong, for anything that is not a whole and true snapshot.
    """
    head = _parse(snapshot)
    symbols, accounts, orders, events = head[4:8]
    pages, saved_digest, size, crc = head[8], head[10], head[11], head[12]
    at = _HEADER.size + 8
    index_end, end = at + 8 * pages, at + (8 + PAGE) * pages
    if len(snapshot) != end:
        raise SnapshotError(f"the snapshot has {len(snapshot)} bytes, its header says {end}: it was cut or added to")
    if zlib.crc32(snapshot[at:]) != crc:
        raise SnapshotError("the snapshot's checksum is wrong: its pages have changed since it was written")
    offsets, total = geometry(symbols, accounts, orders, events)
    if total != size:
        raise SnapshotError(f"an engine of this size takes {total} bytes here, the snapshot says {size}")
    if arena is None:
        raw = np.zeros(total // 8 + _PAGE_WORDS, np.int64)
        arena = raw[(-(raw.ctypes.data // 8)) % _PAGE_WORDS :][: total // 8]
    elif arena.nbytes != total:
        raise SnapshotError(f"the given memory has {arena.nbytes} bytes, the engine takes {total}")
    used = np.frombuffer(snapshot, "<i8", pages, at)
    limit = offsets[H_O_EVENTS] // PAGE
    if pages == 0 or used[0] != 0 or used[-1] >= limit or (np.diff(used) <= 0).any():
        raise SnapshotError("the snapshot's index of pages makes no sense: it was not written by this program")
    body = np.frombuffer(snapshot, np.int64, pages * _PAGE_WORDS, index_end)
    arena[: limit * _PAGE_WORDS].reshape(-1, _PAGE_WORDS)[used] = body.reshape(pages, _PAGE_WORDS)
    kernel.attach(arena)
    state = int(digest.fold_state(arena)) & 0xFFFFFFFFFFFFFFFF
    if state != saved_digest:
        raise SnapshotError(f"the restored engine's digest is {state:016x}, the saved one's {saved_digest:016x}")
    return arena


def _parse(snapshot: bytes) -> tuple[int, ...]:
    size = _HEADER.size
    if len(snapshot) < size + 8:
        raise SnapshotError(f"{len(snapshot)} bytes are too few for a snapshot's header of {size + 8}")
    head = _HEADER.unpack_from(snapshot)
    if head[0] != MAGIC:
        raise SnapshotError("this is no snapshot of a matching engine: it does not begin with its magic number")
    if struct.unpack_from("<Q", snapshot, size)[0] != zlib.crc32(snapshot[:size]):
        raise SnapshotError("the snapshot's header is damaged: its checksum is wrong")
    if head[1:4] != (FORMAT, RECORD_VERSION, LAYOUT_VERSION):
        raise SnapshotError(
            f"the snapshot has format, record and layout versions {head[1:4]}, this program reads "
            f"{(FORMAT, RECORD_VERSION, LAYOUT_VERSION)}: restore it with the program that wrote it"
        )
    return head
