"""Segment files of the journal: their names and headers, and reading them back with every byte accounted for.

    journal-<first sequence number, 20 digits>.btj
    header 64 bytes: "BTJRNL01", format version, record version, first sequence number, checksum chain at its
    start, CRC-32C of the words before it; then frames (frames.py) until the end of the file.

What a crash can leave is at the very end of the newest segment: a frame that the file ends in, or one with a sector
that was never written. That is torn: nothing in it was ever acknowledged, so it is cut and reported. Everything else
that does not fit is corruption, and is refused with the file, the offset and the reason: cutting it would lose
acknowledged commands.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from baretick.journal.crc32c import crc_of
from baretick.journal.frames import FRAME_BYTES, FRAME_MAGIC, MAX_RECORDS, frame_crc, header_crc
from baretick.matching.records import RECORD_BYTES, RECORD_VERSION, RECORD_WORDS, Words

MAGIC: Final = int.from_bytes(b"BTJRNL01", "little")
FORMAT_VERSION: Final = 1
HEADER_WORDS: Final = 8
HEADER_BYTES: Final = 8 * HEADER_WORDS
LOW: Final = 0xFFFFFFFF
SECTOR: Final = 512
"""What a disk writes at once: a page that was never written back reads as zeroes, in whole sectors."""


class CorruptError(RuntimeError):
    """A journal or snapshot that cannot be trusted: which file, where, and why."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        self.path, self.offset, self.reason = path, offset, reason
        super().__init__(
            f"{path}: byte {offset}: {reason}. Commands after it may have been acknowledged, so nothing was started: "
            "restore the file from a replica or a backup, or move the journal away to begin anew without it."
        )


class Torn(NamedTuple):
    """What a crash left at the end of the newest segment, and was cut off."""

    path: Path
    offset: int
    cut_bytes: int
    reason: str


class Segment(NamedTuple):
    """One file, read."""

    path: Path
    first_seq: int
    records: Words
    """Its commands, shape (n, 8)."""
    chain: int
    """Checksum of its last frame: the next one must name it."""
    torn: Torn | None


def name_of(first_seq: int) -> str:
    return f"journal-{first_seq:020d}.btj"


def paths(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(folder.glob("journal-*.btj"))


def header(first_seq: int, chain: int) -> bytes:
    words = np.zeros(HEADER_WORDS, np.int64)
    words[:5] = MAGIC, FORMAT_VERSION, RECORD_VERSION, first_seq, chain
    words[7] = crc_of(words[:7])
    return words.tobytes()


def read(path: Path, *, newest: bool, expected_seq: int | None, chain: int | None) -> Segment | Torn:
    """A segment and what is wrong with its end; Torn if not even its header was written.

    `expected_seq` and `chain` are how the segment before it ended; None for the first one kept.
    """
    data = path.read_bytes()
    if newest and (len(data) < HEADER_BYTES or not any(data[:HEADER_BYTES])):
        return Torn(path, 0, len(data), "the file ends inside its header")
    words = np.frombuffer(data + bytes(-len(data) % 8), np.int64)
    first_seq, start = _header(path, words, len(data), expected_seq, chain)
    at, seq, last, parts = HEADER_WORDS, first_seq, start, []
    torn: Torn | None = None
    while 8 * at < len(data):
        fault = _frame(words, at, len(data), seq, last)
        if fault is not None:
            offset, reason, may_be_torn = fault
            if not (newest and may_be_torn):
                raise CorruptError(path, offset, reason)
            torn = Torn(path, 8 * at, len(data) - 8 * at, reason)
            break
        count = (int(words[at]) >> 32) & LOW
        records = at + FRAME_BYTES // 8
        parts.append(words[records : records + count * RECORD_WORDS].reshape(-1, RECORD_WORDS))
        last, seq, at = int(words[at + 3]) & LOW, seq + count, records + count * RECORD_WORDS
    commands = np.concatenate(parts) if parts else np.zeros((0, RECORD_WORDS), np.int64)
    return Segment(path, first_seq, commands, last, torn)


def _header(path: Path, words: Words, size: int, expected_seq: int | None, chain: int | None) -> tuple[int, int]:
    if size < HEADER_BYTES:
        raise CorruptError(path, size, "the file ends inside its header, and a newer segment follows")
    if int(words[0]) != MAGIC:
        raise CorruptError(path, 0, "this is no journal segment: its first eight bytes are not BTJRNL01")
    if int(words[7]) != crc_of(words[:7]):
        raise CorruptError(path, 56, "the header's checksum does not fit")
    for word, mine, what in ((1, FORMAT_VERSION, "journal format"), (2, RECORD_VERSION, "record")):
        if int(words[word]) != mine:
            raise CorruptError(path, 8 * word, f"it has {what} version {int(words[word])}, this program reads {mine}")
    first_seq, start = int(words[3]), int(words[4])
    if path.name != name_of(first_seq):
        raise CorruptError(path, 24, f"its first sequence number is {first_seq}, its name says otherwise")
    if expected_seq is not None and first_seq != expected_seq:
        raise CorruptError(path, 24, f"it begins at {first_seq}, the segment before it ends at {expected_seq - 1}")
    if chain is not None and start != chain:
        raise CorruptError(path, 32, "it does not continue the segment before it: the chain of checksums is broken")
    return first_seq, start


def _frame(words: Words, at: int, size: int, seq: int, chain: int) -> tuple[int, str, bool] | None:
    """What is wrong with the frame at word `at`: (byte, reason, whether a crash alone explains it)."""
    offset = 8 * at
    if offset + FRAME_BYTES > size:
        return offset, "the file ends inside a frame's header", True
    marks = int(words[at + 3])
    if int(words[at]) & LOW != FRAME_MAGIC or (marks >> 32) & LOW != header_crc(words, at):
        never_written = (_hole(words, at, size) or not words[at:].any()) and not _frames_after(words, at + 1, size)
        return offset, "no frame begins here: its header does not fit its checksum", never_written
    count = (int(words[at]) >> 32) & LOW
    if not 1 <= count <= MAX_RECORDS:
        return offset + 4, f"a frame of {count} records is impossible", False
    if int(words[at + 1]) != seq:
        return offset + 8, f"the frame begins with sequence number {int(words[at + 1])}, {seq} was due", False
    if int(words[at + 2]) != chain:
        return offset + 16, "the frame does not continue the one before it: the chain of checksums is broken", False
    end = offset + FRAME_BYTES + count * RECORD_BYTES
    if end > size:
        return offset, f"the file ends inside a frame of {count} records", True
    if marks & LOW != frame_crc(words, at):
        never_written = _hole(words, at, end) and not _frames_after(words, end // 8, size)
        return offset, "the frame's records do not fit its checksum", never_written
    return None


def _hole(words: Words, at: int, end: int) -> bool:
    """Whether a sector between word `at` and byte `end` holds nothing but zeroes.

    Parts shorter than a record are no evidence: a record may end in zeroes, but it never is all zero.
    """
    first = 8 * at
    while first < end:
        last = min((first // SECTOR + 1) * SECTOR, end)
        if last - first >= RECORD_BYTES and not words[first // 8 : last // 8].any():
            return True
        first = last
    return False


def _frames_after(words: Words, at: int, size: int) -> bool:
    """Whether the header of a frame lies anywhere after word `at`."""
    headers = at + np.flatnonzero(words[at : max(at, size // 8 - 3)] & LOW == FRAME_MAGIC)
    return any((int(words[h + 3]) >> 32) & LOW == header_crc(words, h) for h in headers.tolist())


__all__: list[Any] = ["CorruptError", "Segment", "Torn", "header", "name_of", "paths", "read"]
