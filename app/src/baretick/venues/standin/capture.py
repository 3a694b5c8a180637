"""Reads captures: cryptofeed's raw files (OKX) and hftbacktest's gzipped ones (Binance), verbatim.

A file that is truncated or not in the format is read up to there; the CaptureError names file and line. What was
read before stays. Files of one venue are merged by the time at which they were recorded.
"""

import gzip
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from baretick.venues.standin.recording import Frame, Recording, Steps, Venue

log = logging.getLogger(__name__)

IGNORED = (".md", ".txt", ".json", ".yaml")


class CaptureError(Exception):
    """A capture that cannot be read beyond some line."""

    def __init__(self, path: Path, line: int, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}")
        self.path = path
        self.line = line


class _OkxArg(msgspec.Struct):
    channel: str = ""
    instId: str = ""


class _OkxLevels(msgspec.Struct):
    bids: list[list[str]] = []
    asks: list[list[str]] = []


class _OkxHead(msgspec.Struct):
    arg: _OkxArg | None = None
    event: str = ""
    action: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _OkxDocument(msgspec.Struct):
    code: str
    data: msgspec.Raw


class _BinanceHead(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    lastUpdateId: int | None = None
    bids: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []


class _BinanceSymbol(msgspec.Struct):
    s: str
    pu: int | None = None


_okx_head = msgspec.json.Decoder(_OkxHead)
_okx_levels = msgspec.json.Decoder(list[_OkxLevels])
_okx_document = msgspec.json.Decoder(_OkxDocument)
_binance_head = msgspec.json.Decoder(_BinanceHead)
_binance_symbol = msgspec.json.Decoder(_BinanceSymbol)


class CaptureFile:
    """One capture, read to its end or to its fault."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.venue: Venue | None = None
        self.frames: list[Frame] = []
        self.documents: dict[str, str] = {}
        self.steps = Steps()
        self.symbols: set[str] = set()
        self.error: CaptureError | None = None
        try:
            if path.suffix == ".gz":
                self._read_binance()
            elif path.suffix == ".raw":
                self._read_okx()
            else:
                raise CaptureError(
                    path, 1, f"no capture format is known for {path.suffix!r}: .raw (OKX) or .gz (Binance)"
                )
            if not self.frames and not self.documents:
                raise CaptureError(path, 1, "holds no message of a venue")
        except CaptureError as e:
            self.error = e

    # cryptofeed: `URL <- time: sent`, `URL -> time: received`, `URL <-> time` (connected), `time: received`.

    def _read_okx(self) -> None:
        with self.path.open("rb") as f:
            for n, raw in enumerate(f, 1):
                if not raw.endswith(b"\n"):
                    self._okx_line(n, raw, last=True)
                else:
                    self._okx_line(n, raw.rstrip(b"\r\n"), last=False)

    def _okx_line(self, n: int, raw: bytes, *, last: bool) -> None:
        line = self._text(n, raw)
        if not line.strip():
            return
        if line.startswith("configuration:"):
            return
        url = ""
        if line.startswith(("ws://", "wss://", "http://", "https://")):
            url, _, rest = line.partition(" ")
            arrow, _, line = rest.partition(" ")
            if "okx" not in url and "okex" not in url:
                raise CaptureError(self.path, n, f"is a capture of {url}, only OKX is known in this format")
            self.venue = "okx"
            if arrow in ("<-", "<->"):
                return
            if arrow != "->":
                raise CaptureError(self.path, n, f"expected `URL -> time: message`, found {arrow[:20]!r} after the URL")
        when, colon, body = line.partition(": ")
        if not colon:
            cut = ", the file ends in the middle of it" if last else ""
            raise CaptureError(self.path, n, f"expected `time: message`, found {line[:40]!r}{cut}")
        ts = self._seconds(n, when)
        try:
            if url.startswith("http"):
                _okx_document.decode(body)
                kind = url.partition("instType=")[2].partition("&")[0]
                family = url.partition("uly=")[2].partition("&")[0]
                self.documents[f"{kind}:{family}" if family else kind] = body
                return
            head = _okx_head.decode(body)
            if head.arg is None or head.event or not head.arg.instId or not bytes(head.data):
                return  # acknowledgements and notices are the connection's, not the session's
            if head.arg.channel == "books" and head.action == "snapshot":
                for data in _okx_levels.decode(head.data):
                    self.steps.add(head.arg.instId, [(x[0], x[1]) for x in data.bids + data.asks if len(x) >= 2])
            elif head.arg.instId not in self.symbols:
                self.steps.add(head.arg.instId, ())
        except (msgspec.MsgspecError, UnicodeError) as e:
            raise CaptureError(self.path, n, _json_trouble(e, body, last)) from e
        self.venue = "okx"
        self.symbols.add(head.arg.instId)
        self.frames.append(Frame(ts, f"{head.arg.channel}:{head.arg.instId}", body))

    def _seconds(self, n: int, text: str) -> int:
        whole, _, frac = text.partition(".")
        if not (whole.isascii() and whole.isdigit() and (frac == "" or (frac.isascii() and frac.isdigit()))):
            raise CaptureError(self.path, n, f"expected a time in seconds before the message, found {text[:40]!r}")
        return int(whole) * 1_000_000_000 + int((frac + "000000000")[:9])

    # hftbacktest: `nanoseconds json`; REST snapshots stand in line and name no symbol.

    def _read_binance(self) -> None:
        self.venue = "binance"
        names: dict[str, str] = {}
        snapshot_lines: list[tuple[int, Frame, _BinanceHead]] = []
        for n, raw in self._gunzip():
            line = self._text(n, raw)
            if not line.strip():
                continue
            when, _, body = line.partition(" ")
            if not (when.isascii() and when.isdigit() and len(when) <= 19) or not body:
                raise CaptureError(self.path, n, f"expected `nanoseconds json`, found {line[:40]!r}")
            try:
                head = _binance_head.decode(body)
                if head.lastUpdateId is not None:
                    snapshot_lines.append((n, Frame(int(when), "@snapshot", body), head))
                else:
                    self._binance_frame(n, int(when), body, head, names)
            except (msgspec.MsgspecError, UnicodeError) as e:
                raise CaptureError(self.path, n, _json_trouble(e, body, last=False)) from e
            if snapshot_lines and names:
                self._name_snapshots(snapshot_lines, names)

    def _binance_frame(self, n: int, ts: int, body: str, head: _BinanceHead, names: dict[str, str]) -> None:
        name, at, kind = head.stream.partition("@")
        if not at:
            raise CaptureError(self.path, n, "is neither a frame of a combined stream nor a depth snapshot")
        if name not in names:
            names[name] = _binance_symbol.decode(head.data).s
            self.symbols.add(names[name])
            self.steps.add(names[name], ())
        if self.venue == "binance" and kind.startswith("depth") and _binance_symbol.decode(head.data).pu is not None:
            self.venue = "binance_usdm"
        self.frames.append(Frame(ts, head.stream, body))

    def _name_snapshots(self, lines: list[tuple[int, Frame, _BinanceHead]], names: dict[str, str]) -> None:
        for n, frame, head in lines:
            if len(names) != 1:
                raise CaptureError(self.path, n, f"a depth snapshot names no symbol, and the file holds {len(names)}")
            name, symbol = next(iter(names.items()))
            frame.topic = f"{name}@snapshot"
            self.frames.append(frame)
            self.steps.add(symbol, head.bids + head.asks)
        lines.clear()

    def _gunzip(self) -> Iterator[tuple[int, bytes]]:
        """Lines of the file; damage is reported at the line where it shows."""
        n = 0
        try:
            with gzip.open(self.path, "rb") as f:
                for n, raw in enumerate(f, 1):
                    if not raw.endswith(b"\n"):
                        # A capture that was cut off by its writer, not by damage: the last line may be whole.
                        yield n, raw
                        return
                    yield n, raw.rstrip(b"\r\n")
        except EOFError as e:
            raise CaptureError(self.path, n + 1, "the compressed data ends early: the file is truncated") from e
        except (gzip.BadGzipFile, zlib.error) as e:
            raise CaptureError(self.path, n + 1, f"is not gzip, or damaged: {e}") from e

    def _text(self, n: int, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as e:
            raise CaptureError(self.path, n, f"is not UTF-8: {e.reason} at byte {e.start}") from e


def _json_trouble(error: Exception, body: str, last: bool) -> str:
    cut = "; the file ends in the middle of this line: it is truncated" if last else ""
    return f"the message is not what the venue sends: {error}{cut}: {body[:60]!r}"


def find(folder: Path) -> list[Path]:
    """The files of a captures folder, in order; notes and hidden files left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in IGNORED
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def load(folder: Path) -> tuple[dict[Venue, Recording], list[str]]:
    """Recordings by venue, and what was wrong with the files; raises NotADirectoryError when there is no folder."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder of captures")
    problems: list[str] = []
    files: dict[Venue, list[CaptureFile]] = {}
    for path in find(folder):
        capture = CaptureFile(path)
        if capture.error is not None:
            problems.append(f"{capture.error} ({len(capture.frames)} frames before it are kept)")
            log.error("%s", problems[-1])
        if capture.venue is not None:
            files.setdefault(capture.venue, []).append(capture)
    recordings = {venue: _merge(folder, venue, of) for venue, of in files.items() if any(c.frames for c in of)}
    return recordings, problems


def _merge(folder: Path, venue: Venue, files: list[CaptureFile]) -> Recording:
    frames = [frame for file in files for frame in file.frames]
    frames.sort(key=lambda f: f.ts)
    documents: dict[str, str] = {}
    for file in files:
        documents |= file.documents
    instruments = {i.symbol: i for file in files for i in file.steps.instruments()}
    return Recording(
        venue=venue,
        source="capture:" + ",".join(str(f.path.relative_to(folder)) for f in files if f.frames),
        frames=frames,
        instruments=[instruments[s] for s in sorted(instruments)],
        documents=documents,
        problems=[str(f.error) for f in files if f.error is not None],
    )
