"""Writing the journal: frames into segment files, durable before anything is acknowledged."""

import os
import time
from pathlib import Path
from typing import Final

from baretick.journal import segments
from baretick.journal.frames import P_CHAIN, P_SEQ, make_pen, taken, write_all
from baretick.journal.policy import Fsync
from baretick.matching.records import Words

SEGMENT_BYTES: Final = 64 << 20
SAFE: Final = Fsync()


def sync_folder(folder: Path) -> None:
    """Make names durable: a new file is lost with the power until its folder is written."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Journal:
    """The journal's end, open for writing.

    `append` numbers commands and writes them; `durable` is the last sequence number that may be acknowledged. With
    the batch policy call `settle` when idle: it syncs what has waited long enough (`due` says when). After an OSError
    (disk full, I/O error) nothing more may be written through this object: what the kernel kept is unknown (a failed
    fsync drops dirty pages), so open it anew through `recovery`.
    """

    def __init__(
        self, folder: Path, next_seq: int, chain: int, fsync: Fsync = SAFE, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder, self.fsync, self.segment_bytes = folder, fsync, segment_bytes
        self.pen = make_pen(1 << 20, next_seq, chain)
        self.durable = next_seq - 1
        self._written = next_seq - 1
        self._waiting_since = 0.0
        self._fd = -1
        self._size = 0
        self._failed = False

    @property
    def next_seq(self) -> int:
        return int(self.pen[P_SEQ // 8])

    @property
    def chain(self) -> int:
        """Checksum of the last frame."""
        return int(self.pen[P_CHAIN // 8])

    @property
    def size(self) -> int:
        """Bytes of the segment that is open."""
        return self._size

    @property
    def due(self) -> float | None:
        """When `settle` has something to do (time.monotonic), None when nothing waits."""
        return self._waiting_since + self.fsync.interval_ms / 1000 if self._written > self.durable else None

    def append(self, commands: Words) -> int:
        """Number the commands (rows of 8 words, changed in place), write them as frames; the last number given."""
        if self._failed:
            raise RuntimeError("the journal failed before and is closed for writing: recover, then open it anew")
        try:
            row = 0
            while row < len(commands):
                row = write_all(self.pen, commands, row)
                self._put(taken(self.pen))
            self._written = self.next_seq - 1
            self._account(len(commands))
        except OSError:
            self._failed = True
            raise
        return self._written

    def settle(self) -> int:
        """Sync what waited for its interval; what is durable now."""
        due = self.due
        if due is not None and time.monotonic() >= due:
            self.sync()
        return self.durable

    def sync(self) -> None:
        """Make everything written durable now."""
        if self._fd >= 0 and self.durable < self._written:
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._failed = True
                raise
        self.durable = self._written

    def lend(self) -> int:
        """The segment's descriptor, a new one if none is open, for compiled code that writes the pen's frames itself.

        What it did is told to `take_back`; until then nothing else here may be called.
        """
        if self._failed:
            raise RuntimeError("the journal failed before and is closed for writing: recover, then open it anew")
        if self._fd < 0:
            self._open(self.next_seq, self.chain)
        return self._fd

    def take_back(self, written_bytes: int, durable: int, *, failed: bool = False) -> None:
        """After `lend`: bytes written, the last command that is durable, whether a write or a sync failed."""
        self._size += written_bytes
        self._written, self.durable = self.next_seq - 1, durable
        self._failed = self._failed or failed

    def roll(self) -> None:
        """Close the segment, so that the next command begins a new one: before a snapshot."""
        self.sync()
        self._close()

    def close(self) -> None:
        """Sync and close."""
        if not self._failed:
            self.sync()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._size == segments.HEADER_BYTES:  # no command came: the next segment has the same name
                (self.folder / segments.name_of(self.next_seq)).unlink()

    def _account(self, n: int) -> None:
        if self.fsync.mode == "off":
            self.durable = self._written
        elif self.fsync.mode == "each":
            self.sync()
        else:
            if self._written - self.durable == n:
                self._waiting_since = time.monotonic()
            if self._written - self.durable >= self.fsync.commands:
                self.sync()

    def _put(self, data: memoryview) -> None:
        if self._fd < 0:
            first = int.from_bytes(data[8:16], "little")
            self._open(first, int.from_bytes(data[16:24], "little", signed=True))
        while data:
            n = os.write(self._fd, data)
            self._size += n
            data = data[n:]
        if self._size >= self.segment_bytes:
            os.fdatasync(self._fd)
            self._close()

    def _open(self, first_seq: int, chain: int) -> None:
        path = self.folder / segments.name_of(first_seq)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        head = segments.header(first_seq, chain)
        os.write(self._fd, head)
        self._size = len(head)
        if self.fsync.mode != "off":
            sync_folder(self.folder)


__all__ = ["SEGMENT_BYTES", "Journal", "sync_folder"]
