"""HTTP content codings that ClickHouse speaks: gzip, deflate, lz4 (frame), zstd; in and out."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import lz4.frame
import zstandard


class UnknownCoding(ValueError):
    """A Content-Encoding this server can't read."""


class _Frame(Protocol):
    @property
    def unused_data(self) -> bytes | None: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_FRAMES: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}

# In the order in which we prefer them: what is cheapest on our side comes first.
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
    "gzip": lambda data: gzip.compress(data, 1),
}


class Decoder:
    """Undoes a Content-Encoding piece by piece; a body may hold several concatenated frames."""

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        self._make: Callable[[], Any] | None = None
        if coding not in ("", "identity"):
            if coding not in _FRAMES:
                raise UnknownCoding(f"Unknown Content-Encoding {coding!r}; this server reads {', '.join(_FRAMES)}")
            self._make = _FRAMES[coding]
        self._frame: _Frame | None = None

    def feed(self, data: bytes) -> bytes:
        if self._make is None:
            return data
        out = []
        while data:
            if self._frame is None:
                self._frame = cast(_Frame, self._make())
            out.append(self._frame.decompress(data))
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = None
        return b"".join(out)

    def finish(self) -> None:
        """Raise if the body ended in the middle of a frame: a cut-off insert must not look whole."""
        if self._frame is not None:
            raise EOFError("compressed body ends in the middle of a frame")


def encode(data: bytes, accept: str) -> tuple[str | None, bytes]:
    """Compress by the best coding that the client accepts; (None, data) if there is none."""
    accepted = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    for name, pack in _PACKERS.items():
        if name in accepted:
            return name, pack(data)
    return None, data
