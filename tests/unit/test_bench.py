"""The benchmark: streams are reproducible and checked, all engines do the same work, figures are what they say."""

import hashlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from baretick.bench import bare, core, l2, measure, orders, peers, stream
from baretick.bench import main as bench_main
from baretick.bench.stream import StreamError
from baretick.cli import app
from baretick.telemetry.clock import calibrate

N = 20_000


@pytest.fixture(scope="module")
def rows():
    return orders.make(5, N, 3)


@pytest.fixture(scope="module")
def machine(rows):
    return core.Core(core.commands_of(rows), 3, 1 << 12)


def test_the_streams_of_the_published_digests_come_out_byte_for_byte():
    for seed, symbols, sha in (
        (42, 1, "4ff0de45ceca45f4285c652b4076351f597719fe5f8c995cde3082407017fe8a"),
        (43, 8, "85edf7cb3ff71bde3ffb57f384485bcd4bcc240035707cfb7d063df9050ac52a"),
    ):
        assert hashlib.sha256(orders.make(seed, 1_000_000, symbols).tobytes()).hexdigest() == sha


def test_the_deep_stream_comes_out_byte_for_byte():
    deep = orders.make_deep(44, 1_000_000, cancels=True)
    expected = "e69f100a0a543ead02e8106eb27dc6312e484e1c1bac9fe8e007f4cd08d2bfd0"
    assert hashlib.sha256(deep.tobytes()).hexdigest() == expected


@pytest.mark.parametrize("mix", sorted(orders.MIXES))
def test_the_engine_with_everything_on_does_what_the_bare_book_does(mix):
    made = orders.make(9, 5000, 2, mix)
    book = bare.allocate(2, 5000, 5000)
    bare.run(book, made)
    trades, volume, tradehash, resting, restqty, bookhash, rejects = (int(x) for x in bare.digest(book))
    engine = core.Core(core.commands_of(made), 2, 1 << 13)
    expected = (trades, volume, f"{tradehash:016x}", resting, restqty, f"{bookhash:016x}", rejects)
    assert engine.fingerprint() == expected
    assert engine.other_rejects == 0


def test_every_loop_leaves_the_same_book(machine, rows):
    expected = machine.fingerprint()[3:]
    histogram, calibration = measure.HdrHistogram(3), calibrate()
    for run in (
        machine.run,
        lambda: machine.run(journal=False),
        lambda: machine.profile(histogram, calibration),
        lambda: machine.open_loop(1e9, calibration),
    ):
        machine.fresh()
        run()
        from baretick.matching import digest

        bookhash, resting, restqty = digest.fold_book(machine.book.arena)
        assert (resting, restqty, digest.hex_digest(bookhash), machine.book.unknown) == expected
    assert histogram.count == N


def test_an_open_loop_counts_the_wait_for_those_that_were_held_up(machine):
    calibration = calibrate()
    machine.fresh()
    service, response = machine.open_loop(1e9, calibration)  # far more than any engine takes: the queue only grows
    assert response.percentile(99) > 10 * service.percentile(50)
    assert response.count == service.count == N


def test_a_book_too_small_for_a_stream_is_made_larger(rows):
    small = core.Core(core.commands_of(rows), 3, 16)
    assert small.orders > small.peak
    assert small.other_rejects == 0


def test_level_updates_lead_to_the_books_own_levels(rows):
    updates = l2.updates(rows, 3)
    levels = {}
    for _, _, tag, _, price, qty in updates.tolist():
        levels[tag, price] = qty
    book = bare.allocate(3, N, N)
    bare.run(book, rows)
    expected = {}
    for symbol in range(3):
        bid, ask = book.best[symbol]
        for price in np.flatnonzero(book.totals[symbol * bare.TICKS : (symbol + 1) * bare.TICKS, 1]).tolist():
            side = 0 if price <= bid else 1
            assert side == 0 or price >= ask
            expected[symbol * 2 + side, price] = int(book.totals[symbol * bare.TICKS + price, 1])
    assert {key: qty for key, qty in levels.items() if qty} == expected


# Files.


def spoiled(rows, row, column, value):
    out = rows[:100].copy()
    out[row, column] = value
    return out.tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rows: b"", "byte 0: the file is empty"),
        (lambda rows: rows[:10].tobytes()[:-1], r"byte 432: the file ends inside a row, 47 bytes of 48"),
        (lambda rows: spoiled(rows, 7, 1, 6), "byte 344: op is 6 in row 7"),
        (lambda rows: spoiled(rows, 7, 2, -1), r"byte 352: symbol\*2\+side is -1 in row 7"),
        (lambda rows: spoiled(rows, 0, 4, 1 << 60), "byte 32: price is 1152921504606846976 in row 0"),
        (lambda rows: rows[:100].astype(">i8").tobytes(), r"byte \d+: .*little-endian"),
    ],
)
def test_a_bad_file_is_refused_in_one_paragraph_with_its_name_and_the_byte(tmp_path, rows, make, message):
    path = tmp_path / "bad.bin"
    path.write_bytes(make(rows))
    with pytest.raises(StreamError, match=message) as caught:
        stream.read(path)
    assert str(path) in str(caught.value)
    done = CliRunner().invoke(app, ["bench", "--stream", str(path), "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StreamError, match="nowhere: No such file"):
        stream.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("mix", "count", "symbols"), [("nonsense", 1, 1), ("market", 0, 1), ("market", 1, 0), ("deep", 10, 2)]
)
def test_a_senseless_stream_is_refused(mix, count, symbols):
    with pytest.raises(ValueError, match=r"mix=|orders=|symbols="):
        bench_main._make(count, symbols, mix)


# The command.


def test_json_has_the_figures_that_others_read(tmp_path, rows):
    path = tmp_path / "stream.bin"
    rows.tofile(path)
    done = CliRunner().invoke(app, ["bench", "--stream", str(path), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    book = bare.allocate(3, N, N)
    bare.run(book, rows)
    trades, volume, tradehash, resting, restqty, bookhash, rejects = (int(x) for x in bare.digest(book))
    expected = {
        "events": N, "trades": trades, "volume": volume, "tradehash": f"{tradehash:016x}", "resting": resting,
        "restqty": restqty, "bookhash": f"{bookhash:016x}", "rejects": rejects,
    }  # fmt: skip
    assert {key: report[key] for key in expected} == expected
    for key in ("mean_ns", "p50_ns", "p99_ns", "p999_ns", "orders_per_s", "bytes_per_order"):
        assert report[key] > 0
    assert report["p50_ns"] <= report["p99_ns"] <= report["p999_ns"] <= report["max_ns"]


# Peers.


def test_a_difference_to_a_peer_is_told_and_what_it_does_not_say_is_not():
    ours = {"trades": 5, "volume": 7, "bookhash": "a"}
    assert peers.differences(ours, {"trades": 5, "volume": 8}) == ["volume 8, ours 7"]


def test_harnesses_pin_everything_and_name_no_registry():
    root = peers.sources()
    for name in peers.RUST:
        lock = (root / name / "Cargo.lock").read_text()
        own = 2  # the harness itself and what the harnesses share
        assert lock.count("\nchecksum = ") == lock.count("[[package]]") - own
        assert "source" not in lock
        assert '"=' in (root / name / "Cargo.toml").read_text()
    assert len((root / peers.JAVA / "jars.sha256").read_text().splitlines()) == 18
    for path in root.rglob("*"):
        if path.is_file():
            assert "://" not in path.read_text().replace("http://maven.apache.org/POM/4.0.0", "")


def test_a_peer_that_cannot_be_built_says_which_and_where_its_log_is(tmp_path, monkeypatch):
    monkeypatch.setenv("BARETICK_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(peers.PeerError, match="lobster: cargo is not on PATH: install Rust"):
        peers.build("lobster", peers.sources(), lambda text: None)
    with pytest.raises(peers.PeerError, match="--peers-dir"):
        peers.sources(tmp_path)
