"""Captures: what is read, what a damaged one says, and that what was read before the damage stays."""

import gzip
import json
from pathlib import Path

import pytest

from baretick.venues.standin import capture

OKX = "wss://ws.okx.com:8443/ws/v5/public"
TRADE = {"instId": "BTC-USDT", "tradeId": "1", "px": "30236", "sz": "0.0002", "side": "buy", "ts": "1652459224818"}


def okx_line(second: int, **extra: str) -> str:
    frame = {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [{**TRADE, **extra}]}
    return f"{1652459225 + second}.5: {json.dumps(frame)}"


def okx_file(folder: Path, lines: list[str], end: str = "\n") -> Path:
    path = folder / "okx" / "ws.raw"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "\n".join([f"{OKX} <-> 1652459224.5", f'{OKX} <- 1652459224.6: {{"op":"subscribe"}}', *lines]) + end
    )
    return path


def diff(u: int, symbol: str = "BTCUSDT", **extra: int) -> str:
    data = {"e": "depthUpdate", "E": 1, "s": symbol, "U": u, "u": u, "b": [["1.10", "2.00"]], "a": [], **extra}
    return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})


SNAPSHOT = json.dumps({"lastUpdateId": 1, "bids": [["1.10", "2.00"]], "asks": [["1.25", "4.00"]]})


def binance_file(folder: Path, bodies: list[str], name: str = "spot.gz") -> Path:
    path = folder / "binance" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{n} {b}\n" for n, b in enumerate(bodies, 1)).encode()))
    return path


def test_okx_data_frames_are_kept_verbatim_and_the_connections_talk_is_not(tmp_path: Path) -> None:
    ack = '1652459225.1: {"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}'
    lines = [ack, ack, okx_line(0), okx_line(1, tradeId="2"), 'configuration: {"trades": []}']
    okx_file(tmp_path, lines)
    found, problems = capture.load(tmp_path)
    assert problems == []
    frames = found["okx"].frames
    assert [f.text for f in frames] == [lines[2].partition(": ")[2], lines[3].partition(": ")[2]]
    assert [f.ts for f in frames] == [1652459225_500000000, 1652459226_500000000]
    assert {f.topic for f in frames} == {"trades:BTC-USDT"}
    assert found["okx"].source == "capture:okx/ws.raw"


def test_a_line_cut_off_names_file_and_line_and_keeps_what_was_before(tmp_path: Path) -> None:
    path = okx_file(tmp_path, [okx_line(0), okx_line(1), okx_line(2)[:80]], end="")
    found, problems = capture.load(tmp_path)
    assert len(found["okx"].frames) == 2
    assert len(problems) == 1
    assert f"{path}:5: " in problems[0]
    assert "truncated" in problems[0]
    assert "2 frames before it are kept" in problems[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello", "expected `time: message`"),
        ("yesterday: {}", "expected a time in seconds"),
        ('1652459225.1: {"arg": 5}', "not what the venue sends"),
        ("1652459225.1: []", "not what the venue sends"),
        ("wss://stream.binance.com/ws -> 1.0: {}", "only OKX is known"),
        (f"{OKX} => 1.0: {{}}", "expected `URL -> time: message`"),
    ],
)
def test_a_foreign_okx_line_says_what_was_expected(tmp_path: Path, line: str, why: str) -> None:
    path = okx_file(tmp_path, [okx_line(0), line, okx_line(2)])
    found, problems = capture.load(tmp_path)
    assert f"{path}:4: " in problems[0]
    assert why in problems[0]
    assert len(found["okx"].frames) == 1


def test_bytes_that_are_no_text_are_a_named_fault(tmp_path: Path) -> None:
    path = okx_file(tmp_path, [okx_line(0)])
    with path.open("ab") as f:
        f.write(b"\xff\xfe\x00\n")
    _, problems = capture.load(tmp_path)
    assert f"{path}:4: is not UTF-8" in problems[0]


def test_binance_files_merge_by_time_and_snapshots_get_their_files_symbol(tmp_path: Path) -> None:
    binance_file(tmp_path, [diff(1), SNAPSHOT, diff(2)], "a.gz")
    binance_file(tmp_path, [SNAPSHOT, diff(1, "ETHUSDT"), diff(2, "ETHUSDT")], "b.gz")
    found, problems = capture.load(tmp_path)
    assert problems == []
    recording = found["binance"]
    assert [f.ts for f in recording.frames] == sorted(f.ts for f in recording.frames)
    assert sorted(f.topic for f in recording.frames if f.is_snapshot) == ["btcusdt@snapshot", "ethusdt@snapshot"]
    assert recording.symbols == ["BTCUSDT", "ETHUSDT"]
    assert recording.instruments[0].tick == "0.01"
    assert recording.instruments[0].lot == "1"


def test_futures_are_known_by_their_sequence_not_by_the_files_name(tmp_path: Path) -> None:
    binance_file(tmp_path, [diff(5, pu=4), SNAPSHOT], "some.gz")
    found, _ = capture.load(tmp_path)
    assert list(found) == ["binance_usdm"]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_gzip_keeps_every_whole_line_before_the_cut(tmp_path: Path, keep: float) -> None:
    import random

    rng = random.Random(5)
    bodies = [diff(rng.randrange(10**9)) for _ in range(3000)]
    path = binance_file(tmp_path, [bodies[0], SNAPSHOT, *bodies[1:]])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    found, problems = capture.load(tmp_path)
    assert len(problems) == 1
    n = int(problems[0].split(f"{path}:")[1].split(":")[0])
    assert "truncated" in problems[0]
    frames = found["binance"].frames
    assert len(frames) == n - 1
    assert len(frames) > 3000 * keep * 0.8
    assert frames[1].topic == "btcusdt@snapshot"
    assert frames[2].text == bodies[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"not gzip at all", "is not gzip"), (b"", "holds no message"), (gzip.compress(b"a b c\n"), "nanoseconds json")],
)
def test_a_file_that_is_no_capture_says_so(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "binance" / "x.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    found, problems = capture.load(tmp_path)
    assert found == {}
    assert f"{path}:1: " in problems[0]
    assert why in problems[0]


def test_json_that_is_cut_inside_a_good_gzip_names_the_line(tmp_path: Path) -> None:
    path = binance_file(tmp_path, [diff(1), diff(2), diff(3)[:50]])
    found, problems = capture.load(tmp_path)
    assert f"{path}:3: the message is not what the venue sends" in problems[0]
    assert len(found["binance"].frames) == 2


def test_an_unknown_kind_of_file_is_reported_and_notes_are_not(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "trades.parquet").write_bytes(b"PAR1")
    _, problems = capture.load(tmp_path)
    assert len(problems) == 1
    assert "trades.parquet:1: no capture format is known" in problems[0]


def test_a_missing_folder_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere: no such folder of captures"):
        capture.load(tmp_path / "nowhere")


def test_the_recorded_instrument_lists_are_found(captures: Path) -> None:
    found, problems = capture.load(captures)
    assert problems == []
    assert set(found) == {"okx", "binance", "binance_usdm"}
    rows = json.loads(found["okx"].documents["SPOT"])["data"]
    assert any(r["instId"] == "BTC-USDT" and r["tickSz"] == "0.1" for r in rows)
    assert "OPTION:BTC-USD" in found["okx"].documents
