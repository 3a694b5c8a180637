"""Archives whose bytes depend on their contents alone: names in order, no owner, no time, no compressor.

The gzip frame holds stored blocks: what goes in is compressed already (jars) or crosses a local network, and every
compressor version would give different bytes for the same checksum.
"""

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 65535
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class _StoredGzip(io.RawIOBase):
    """A writable gzip stream of stored (uncompressed) deflate blocks."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._pending = bytearray()
        self._crc = 0
        self._size = 0
        out.write(_GZIP_HEADER)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]
        self._crc = zlib.crc32(chunk, self._crc)
        self._size += len(chunk)
        self._pending += chunk
        while len(self._pending) > _BLOCK:
            self._block(bytes(self._pending[:_BLOCK]), last=False)
            del self._pending[:_BLOCK]
        return len(chunk)

    def finish(self) -> None:
        """Write the last block and the trailer."""
        self._block(bytes(self._pending), last=True)
        self._out.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def _block(self, data: bytes, *, last: bool) -> None:
        self._out.write(struct.pack("<BHH", int(last), len(data), len(data) ^ 0xFFFF) + data)


def pack(folder: Path, archive: Path, prefix: str) -> None:
    """Pack a folder's files under `prefix/`; a file is 0755 when its owner may execute it, else 0644."""
    with archive.open("wb") as out:
        gzip = _StoredGzip(out)
        with tarfile.open(fileobj=gzip, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for path in [folder, *sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix())]:
                relative = path.relative_to(folder).as_posix()
                entry = tarfile.TarInfo(prefix if relative == "." else f"{prefix}/{relative}")
                if path.is_dir():
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
                else:
                    entry.size = path.stat().st_size
                    entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                    with path.open("rb") as content:
                        tar.addfile(entry, content)
        gzip.finish()
