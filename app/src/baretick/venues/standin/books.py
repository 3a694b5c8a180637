"""The book of a recording at any position, in the venue's own words: what a client that comes late is given."""

import json
from bisect import bisect_left
from collections.abc import Callable
from zlib import crc32

import msgspec

from baretick.book.l2 import CHECKSUM_DEPTH
from baretick.venues.standin.recording import Recording
from baretick.venues.wire import PRICES, QTYS

Row = list[str]


class _OkxData(msgspec.Struct):
    asks: list[Row]
    bids: list[Row]
    ts: str = "0"
    checksum: int | None = None
    seqId: int | None = None


class _OkxFrame(msgspec.Struct):
    data: list[_OkxData]
    action: str = "update"


class _Diff(msgspec.Struct):
    u: int
    b: list[Row]
    a: list[Row]
    E: int = 0
    T: int = 0


class _DiffFrame(msgspec.Struct):
    data: _Diff


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: list[Row]
    asks: list[Row]


_okx = msgspec.json.Decoder(_OkxFrame)
_diff = msgspec.json.Decoder(_DiffFrame)
_snapshot = msgspec.json.Decoder(_Snapshot)


class _Sides:
    """Rows by price, as sent."""

    def __init__(self) -> None:
        self.bids: dict[int, Row] = {}
        self.asks: dict[int, Row] = {}

    def put(self, bids: list[Row], asks: list[Row]) -> None:
        for side, rows in ((self.bids, bids), (self.asks, asks)):
            for row in rows:
                price = PRICES[row[0]]
                if QTYS[row[1]]:
                    side[price] = row
                else:
                    side.pop(price, None)

    def ordered(self, limit: int | None = None) -> tuple[list[Row], list[Row]]:
        """Bids and asks, best first."""
        bids = [self.bids[p] for p in sorted(self.bids, reverse=True)]
        asks = [self.asks[p] for p in sorted(self.asks)]
        return bids[:limit], asks[:limit]


class OkxBooks:
    """Snapshots of the `books` channel."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._index = _index(recording, lambda topic: topic.startswith("books:"))
        self._done: dict[str, int] = {}
        self._sides: dict[str, _Sides] = {}
        self._last: dict[str, _OkxData] = {}

    def at(self, topic: str, position: int) -> str | None:
        """A snapshot frame with all that was sent before `position`; None where nothing was sent yet."""
        index = self._index.get(topic, [])
        end = bisect_left(index, position)
        if self._done.get(topic, 0) > end:
            self._done.pop(topic)
        sides = self._sides.setdefault(topic, _Sides()) if topic in self._done else _Sides()
        for i in index[self._done.get(topic, 0) : end]:
            frame = _okx.decode(self._recording.frames[i].text)
            if frame.action == "snapshot":
                sides = _Sides()
            for data in frame.data:
                sides.put(data.bids, data.asks)
                self._last[topic] = data
        self._done[topic], self._sides[topic] = end, sides
        if end == 0:
            return None
        last = self._last[topic]
        bids, asks = sides.ordered()
        data_out: dict[str, object] = {"asks": asks, "bids": bids, "ts": last.ts}
        if last.checksum is not None:
            data_out["checksum"] = last.checksum and okx_checksum(bids, asks)
        if last.seqId is not None:
            data_out |= {"prevSeqId": -1, "seqId": last.seqId}
        channel, _, symbol = topic.partition(":")
        return _compact({"arg": {"channel": channel, "instId": symbol}, "action": "snapshot", "data": [data_out]})


class BinanceBooks:
    """REST depth snapshots; keys are lower-case stream names, "btcusdt"."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._index = _index(recording, lambda topic: "@depth" in topic or topic.endswith("@snapshot"), by_name=True)

    def at(self, name: str, position: int, limit: int) -> str:
        """The book before `position`; before any frame of it, the first recorded snapshot."""
        index = self._index.get(name, [])
        frames = self._recording.frames
        end = bisect_left(index, position)
        if end == 0:
            first = next((frames[i].text for i in index if frames[i].is_snapshot), None)
            return first or _compact({"lastUpdateId": 0, "bids": [], "asks": []})
        start = max((k for k in range(end) if frames[index[k]].is_snapshot), default=None)
        sides, last_id = _Sides(), 0
        if start is not None:
            snapshot = _snapshot.decode(frames[index[start]].text)
            sides.put(snapshot.bids, snapshot.asks)
            last_id = snapshot.lastUpdateId
        times: dict[str, int] = {}
        # Updates recorded before the snapshot may be newer than it: all are looked at, old ones are dropped.
        for i in index[:end]:
            if frames[i].is_snapshot:
                continue
            diff = _diff.decode(frames[i].text).data
            if diff.u > last_id:
                sides.put(diff.b, diff.a)
                last_id = diff.u
            if diff.T:
                times = {"E": diff.E, "T": diff.T}
        bids, asks = sides.ordered(limit)
        return _compact({"lastUpdateId": last_id, **times, "bids": bids, "asks": asks})


def okx_checksum(bids: list[Row], asks: list[Row]) -> int:
    """OKX's CRC32 over the best levels, as a signed integer."""
    words: list[str] = []
    for i in range(CHECKSUM_DEPTH):
        words += [f"{row[0]}:{row[1]}" for side in (bids, asks) for row in side[i : i + 1]]
    value = crc32(":".join(words).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def _index(recording: Recording, wanted: Callable[[str], bool], by_name: bool = False) -> dict[str, list[int]]:
    """Where the frames of each topic are, or, `by_name`, of each stream name."""
    index: dict[str, list[int]] = {}
    for i, frame in enumerate(recording.frames):
        if wanted(frame.topic):
            key = frame.topic.partition("@")[0] if by_name else frame.topic
            index.setdefault(key, []).append(i)
    return index


def _compact(document: dict[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"))
