"""The independent count, itself held against figures worked out by hand."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

from tests.host.capture_count import Counts, count_folder, count_frames


def figures(counts: Counts, venue: str, symbol: str) -> list[tuple[int, Decimal]]:
    s = counts[venue, symbol]
    return [(t.count, t.qty) for t in (s.trades, s.updates, s.snapshots)]


OKX = [
    "wss://ws.okx.com:8443/ws/v5/public <-> 1652459224.5",
    'wss://ws.okx.com:8443/ws/v5/public <- 1652459225.2: {"op":"subscribe","args":[{"channel":"books","instId":"A"}]}',
    '1652459225.3: {"event":"subscribe","arg":{"channel":"books","instId":"A"}}',
    '1652459225.4: {"arg":{"channel":"books","instId":"A"},"action":"snapshot","data":[{"bids":[["9","1.5","0","1"]],'
    '"asks":[["10","2","0","1"],["11","0.25","0","1"]]}]}',
    'wss://ws.okx.com:8443/ws/v5/public -> 1652459225.5: {"arg":{"channel":"books","instId":"A"},"action":"update",'
    '"data":[{"bids":[["9","0","0","0"]],"asks":[]}]}',
    '1652459225.6: {"arg":{"channel":"trades","instId":"A"},"data":[{"sz":"0.1"},{"sz":"0.2"}]}',
    '1652459225.7: {"arg":{"channel":"tickers","instId":"A"},"data":[{"askSz":"5"}]}',
]


def test_an_okx_capture(tmp_path: Path) -> None:
    (tmp_path / "ws.raw").write_text("\n".join(OKX) + "\n")
    assert figures(count_folder(tmp_path), "okx", "A") == [
        (2, Decimal("0.3")), (1, Decimal(0)), (3, Decimal("3.75")),
    ]  # fmt: skip


def binance(futures: bool) -> list[str]:
    depth = {"e": "depthUpdate", "s": "X", "b": [["1", "2.5"]], "a": [["2", "0.5"], ["3", "0"]]}
    return [
        json.dumps({"stream": "x@trade", "data": {"e": "trade", "s": "X", "q": "0.01"}}),
        json.dumps({"lastUpdateId": 1, "bids": [["1", "7"]], "asks": [["2", "8"]]}),
        json.dumps({"stream": "x@depth", "data": {**depth, **({"pu": 1} if futures else {})}}),
        json.dumps({"stream": "x@bookTicker", "data": {"u": 1, "s": "X", "B": "9", "A": "9"}}),
    ]


HELD = [(1, Decimal("0.01")), (3, Decimal("3.0")), (2, Decimal(15))]


def test_binance_captures_spot_and_futures(tmp_path: Path) -> None:
    for name, futures in (("spot.gz", False), ("usdm.gz", True)):
        with gzip.open(tmp_path / name, "wt") as f:
            f.writelines(f"17 {line}\n" for line in binance(futures))
    counts = count_folder(tmp_path)
    assert figures(counts, "binance", "X") == HELD
    assert figures(counts, "binance_usdm", "X") == HELD
    assert set(count_folder(tmp_path, ["spot.gz"])) == {("binance", "X")}


def test_a_session_given_as_frames() -> None:
    topics = ["x@trade", "x@snapshot", "x@depth", "x@bookTicker"]
    counts = count_frames("binance", zip(topics, binance(False), strict=True))
    assert figures(counts, "binance", "X") == HELD


def test_what_was_read_before_the_damage_counts(tmp_path: Path) -> None:
    (tmp_path / "ws.raw").write_text("\n".join(OKX[:5]) + '\n1652459225.6: {"arg":{"chan')
    assert figures(count_folder(tmp_path), "okx", "A")[2] == (3, Decimal("3.75"))
    packed = gzip.compress("".join(f"17 {line}\n" for line in binance(False) * 500).encode())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    trades = figures(count_folder(tmp_path), "binance", "X")[0][0]
    assert 0 < trades < 500
