"""Counts what a capture holds, by code that shares nothing with the pipeline: json, gzip and Decimal alone.

    python tests/host/capture_count.py FOLDER [FILE...]

A line of the table is one symbol: trades, levels of book updates, levels of book snapshots, each with the sum of the
quantities. A file that is damaged counts up to its damage, as the venue stand-in serves it.
"""

import gzip
import json
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass
class Tally:
    """A number of things and the sum of their quantities."""

    count: int = 0
    qty: Decimal = Decimal(0)

    def add(self, qty: str) -> None:
        self.count += 1
        self.qty += Decimal(qty)


@dataclass
class Symbol:
    trades: Tally = field(default_factory=Tally)
    updates: Tally = field(default_factory=Tally)
    snapshots: Tally = field(default_factory=Tally)


Counts = dict[tuple[str, str], Symbol]


def count_folder(folder: Path, names: Iterable[str] | None = None) -> Counts:
    """Counts by (kind of venue, symbol) over the files of a folder, or over those named."""
    files = [folder / name for name in names] if names is not None else sorted(folder.rglob("*"))
    total: Counts = defaultdict(Symbol)
    for file in files:
        if file.suffix == ".gz":
            _binance(file, total)
        elif file.suffix == ".raw":
            _okx(file, total)
    return dict(total)


def count_frames(venue: str, frames: Iterable[tuple[str, str]]) -> Counts:
    """Counts over the messages of one venue, given as (topic, text): of a session that was never in a file."""
    total: Counts = defaultdict(Symbol)
    messages = ({"_topic": topic, **json.loads(text)} for topic, text in frames)
    (_okx_frames if venue == "okx" else _binance_frames)(messages, total)
    return dict(total)


def _messages(file: Path, split: Callable[[str], str]) -> Iterator[Any]:
    """The messages of a file, up to the first line that is none."""
    for line in _lines(file):
        try:
            text = split(line)
            if text:
                yield json.loads(text)
        except (IndexError, json.JSONDecodeError):
            return


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file, up to where it is damaged."""
    try:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as f:
            yield from f
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
        return


def _okx(file: Path, total: Counts) -> None:
    """cryptofeed's raw format: `time: message`, with the address before it on lines that change it."""

    def split(line: str) -> str:
        if line.startswith("wss://") and " -> " in line:
            line = line.split(" -> ", 1)[1]
        elif line.startswith(("wss://", "https://", "configuration:")):
            return ""
        return line.partition(": ")[2]

    _okx_frames(_messages(file, split), total)


def _okx_frames(messages: Iterator[Any], total: Counts) -> None:
    for message in messages:
        if "data" not in message or "arg" not in message:
            continue
        symbol = total["okx", message["arg"]["instId"]]
        for data in message["data"]:
            if message["arg"]["channel"] == "trades":
                symbol.trades.add(data["sz"])
            elif message["arg"]["channel"] == "books":
                levels = symbol.snapshots if message["action"] == "snapshot" else symbol.updates
                for level in data["bids"] + data["asks"]:
                    levels.add(level[1])


def _binance(file: Path, total: Counts) -> None:
    """hftbacktest's format: `nanoseconds message`; REST snapshots stand in line and name no symbol."""
    _binance_frames(_messages(file, lambda line: line.split(" ", 1)[1]), total)


def _binance_frames(messages: Iterator[Any], total: Counts) -> None:
    own: dict[str, Symbol] = defaultdict(Symbol)
    snapshots: list[Any] = []
    kind = "binance"
    for message in messages:
        if "lastUpdateId" in message:
            snapshots.append(message)
            continue
        data = message["data"]
        if data.get("e") == "trade":
            own[data["s"]].trades.add(data["q"])
        elif data.get("e") == "depthUpdate":
            if "pu" in data:
                kind = "binance_usdm"
            for level in data["b"] + data["a"]:
                own[data["s"]].updates.add(level[1])
    for message in snapshots:
        # A snapshot names no symbol: its topic does where there is one, else the file holds a single symbol.
        name = message["_topic"].partition("@")[0].upper() if "_topic" in message else next(iter(own))
        for level in message["bids"] + message["asks"]:
            own[name].snapshots.add(level[1])
    for name, found in own.items():
        symbol = total[kind, name]
        for what in ("trades", "updates", "snapshots"):
            into, add = getattr(symbol, what), getattr(found, what)
            into.count += add.count
            into.qty += add.qty


def main(folder: str, *names: str) -> None:
    print(
        f"{'venue':13} {'symbol':18} {'trades':>8} {'qty':>20} {'updates':>9} {'qty':>22} {'snapshot':>8} {'qty':>20}"
    )
    for (venue, name), s in sorted(count_folder(Path(folder), names or None).items()):
        figures = "".join(
            f" {t.count:>{a}} {t.qty:>{b}}" for t, a, b in ((s.trades, 8, 20), (s.updates, 9, 22), (s.snapshots, 8, 20))
        )
        print(f"{venue:13} {name:18}{figures}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
