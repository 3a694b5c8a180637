"""Frames of the journal: command records gathered in memory, sealed with a checksum, all in compiled code.

    frame   word 0   magic "BTJF" (low half), number of records (high half)
            word 1   sequence number of the first record; the others follow without a gap
            word 2   checksum of the frame before it (of the segment's header, for the first): frames form a chain
            word 3   CRC-32C over the records, then words 0 to 2 (low half); CRC-32C over words 0 to 2 (high half),
                     so that the number of records can be trusted when the file ends before they do
            then     the records, 64 bytes each (matching.records.COMMAND)

A frame is one batch: it is valid as a whole or not at all. `Pen` is the memory that frames are written in, one int64
array with its own header, so that the matching loop can journal a command without a Python object and without a call.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np

from baretick.journal.crc32c import START, crc_word, crc_words
from baretick.matching.records import RECORD_BYTES, Words
from baretick.memory import address, compiled, inline, load64, store64

FRAME_MAGIC: Final = 0x464A5442  # "BTJF"
FRAME_BYTES: Final = 32
MAX_RECORDS: Final = 1 << 20

# Header of a pen, offsets in bytes: capacity and use of the bytes after it, the open frame, the chain.
P_CAPACITY, P_USED, P_COUNT, P_CRC, P_CHAIN, P_SEQ = 0, 8, 16, 24, 32, 40
PEN_BYTES: Final = 64


def make_pen(capacity: int, next_seq: int, chain: int) -> Words:
    """Memory for `capacity` bytes of frames; the next record gets `next_seq`, the next frame follows `chain`."""
    if capacity < FRAME_BYTES + RECORD_BYTES or capacity % 8:
        raise ValueError(f"capacity={capacity}: a pen holds at least one frame of one record, in whole words")
    pen: Words = np.zeros((PEN_BYTES + capacity) // 8, np.int64)
    for offset, value in ((P_CAPACITY, capacity), (P_CRC, START), (P_CHAIN, chain), (P_SEQ, next_seq)):
        pen[offset // 8] = value
    return pen


@inline
def write(p, c):
    """Give the command at address c its sequence number and add it to the open frame of the pen at address p.

    Returns False, having done nothing, if the pen is full: seal it, take its bytes away, and write again.
    """
    used, count = load64(p, P_USED), load64(p, P_COUNT)
    if count == 0:
        used += FRAME_BYTES
    if used + RECORD_BYTES > load64(p, P_CAPACITY) or count == MAX_RECORDS:
        return False
    seq = load64(p, P_SEQ)
    store64(c, 0, seq)
    crc = load64(p, P_CRC)
    at = p + PEN_BYTES + used
    for k in range(0, RECORD_BYTES, 8):
        word = load64(c, k)
        store64(at, k, word)
        crc = crc_word(crc, word)
    store64(p, P_CRC, crc)
    store64(p, P_SEQ, seq + 1)
    store64(p, P_COUNT, count + 1)
    store64(p, P_USED, used + RECORD_BYTES)
    return True


@inline
def seal(p):
    """Close the open frame; nothing happens if it has no record."""
    count = load64(p, P_COUNT)
    if count == 0:
        return
    at = p + PEN_BYTES + load64(p, P_USED) - count * RECORD_BYTES - FRAME_BYTES
    store64(at, 0, FRAME_MAGIC | (count << 32))
    store64(at, 8, load64(p, P_SEQ) - count)
    store64(at, 16, load64(p, P_CHAIN))
    crc = crc_words(load64(p, P_CRC), at, 3) ^ START
    store64(at, 24, crc | ((crc_words(START, at, 3) ^ START) << 32))
    store64(p, P_CHAIN, crc)
    store64(p, P_CRC, START)
    store64(p, P_COUNT, 0)


@compiled
def write_all(pen, commands, start):
    """Write command rows from `start` into the pen as one frame and seal it; returns the row that it got to."""
    p, c = address(pen), address(commands)
    row = start
    while row < commands.shape[0] and write(p, c + row * RECORD_BYTES):
        row += 1
    seal(p)
    return row


@compiled
def frame_crc(words, at):
    """The checksum that the frame at word `at` ought to carry; its records must lie within `words`."""
    frame = address(words) + 8 * at
    count = (load64(frame, 0) >> 32) & 0xFFFFFFFF
    crc = crc_words(START, frame + FRAME_BYTES, count * (RECORD_BYTES // 8))
    return crc_words(crc, frame, 3) ^ START


@compiled
def header_crc(words, at):
    """The checksum that the header of the frame at word `at` ought to carry."""
    return crc_words(START, address(words) + 8 * at, 3) ^ START


def taken(pen: Words) -> Any:
    """The sealed bytes of a pen as a buffer; they are forgotten, so use them before the next write."""
    used = int(pen[P_USED // 8])
    pen[P_USED // 8] = 0
    return memoryview(pen).cast("B")[PEN_BYTES : PEN_BYTES + used]
