"""How fast records become rows: decoding alone, encoding alone, inserting alone, and the whole way of a batch.

    python tests/bench/bench_ingest.py [--rows 2000000] [--batch-bytes 4194304]

One process, the embedded engine in it, no Kafka. A reference is measured in the same run: the same rows handed to the
engine as an Arrow table, which is the fastest way that the field takes. Ratios count, absolute times do not.
"""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from baretick import events
from baretick.events import BookEvent, Trade
from baretick.warehouse import decode, migrate
from baretick.warehouse.local import LocalDatabase
from baretick.warehouse.rows import make_batch
from baretick.warehouse.server.engine import Engine
from baretick.warehouse.writer import Writer


def book_records(rows: int, levels: int) -> list[bytes]:
    """Book updates of `levels` levels for eight symbols, as the engine would publish them."""
    rng = random.Random(1)
    now = time.time_ns()
    out = []
    for n in range(rows // levels):
        middle = 617_376_300_000_000 + rng.randrange(10**9)
        side = [(middle + i * 100_000_000, rng.randrange(10**9)) for i in range(levels // 2)]
        event = BookEvent(
            "bench", "binance", f"SYM{n % 8}USDT", now + n * 1000, now + n * 1000 + 50, n, n - 1, 2, False, side, side
        )
        out.append(events.encode(event))
    return out


def trade_records(rows: int) -> list[bytes]:
    rng = random.Random(2)
    now = time.time_ns()
    return [
        events.encode(
            Trade("bench", "binance", f"SYM{n % 8}USDT", now + n * 1000, now + n * 1000 + 50, n,
                  617_376_300_000_000 + rng.randrange(10**9), rng.randrange(10**9), 1 + n % 2)
        )
        for n in range(rows)
    ]  # fmt: skip


def batches(records: list[bytes], limit: int) -> list[tuple[int, list[bytes]]]:
    out: list[tuple[int, list[bytes]]] = []
    first = size = 0
    for n, record in enumerate(records, 1):
        size += len(record)
        if size >= limit or n == len(records):
            out.append((first, records[first:n]))
            first, size = n, 0
    return out


def line(what: str, rows: int, seconds: float) -> float:
    print(f"  {what:48} {rows / seconds / 1e6:8.2f} M rows/s   {seconds:7.2f} s")
    return rows / seconds


def arrow_reference(db: LocalDatabase, engine: Engine, rows: int) -> float:
    """The same columns, made once, inserted as Arrow streams into a table like raw_ticks."""
    db.command("CREATE TABLE hft_data.arrow AS hft_data.raw_ticks")
    payloads = book_records(200_000, 20)
    r, _, _ = decode.decode(payloads)
    n = len(r)
    words = {c: pa.array(["binance"] * n).dictionary_encode() for c in ("session", "venue", "symbol", "kafka_topic")}
    table = pa.table(
        {
            **words,
            "event": pa.array(r.event),
            "exch_ts": pa.array(r.exch_ts).cast(pa.timestamp("ns", "UTC")),
            "recv_ts": pa.array(r.recv_ts).cast(pa.timestamp("ns", "UTC")),
            "seq": pa.array(r.seq),
            "prev_seq": pa.array(r.prev_seq),
            "trade_id": pa.array(r.trade_id),
            "side": pa.array(r.side),
            "price": pa.array(r.price / 1e10),
            "qty": pa.array(r.qty / 1e8),
            "kafka_partition": pa.array(r.idx * 0),
            "kafka_offset": pa.array(r.msg.astype("int64")),
            "idx": pa.array(r.idx),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data = sink.getvalue().to_pybytes()
    columns = ", ".join(table.column_names)
    started = time.perf_counter()
    done = 0
    while done < rows:
        db.insert(f"INSERT INTO hft_data.arrow ({columns})", "ArrowStream", data, {"insert_deduplicate": "0"})
        done += n
    return line("reference: Arrow stream, columns ready", done, time.perf_counter() - started)


def run(name: str, topic: str, records: list[bytes], limit: int, db: LocalDatabase) -> float:
    print(f"{name}: {len(records):,} records, {sum(map(len, records)) / 1e6:.0f} MB")
    parts = batches(records, limit)
    decode.decode(records[:10])
    started = time.perf_counter()
    rows = sum(len(decode.decode(part)[0]) for _, part in parts)
    line("decode", rows, time.perf_counter() - started)
    started = time.perf_counter()
    made = [make_batch(topic, 0, range(first, first + len(part)), part) for first, part in parts]
    line("decode and lay out as columns", rows, time.perf_counter() - started)
    started = time.perf_counter()
    blocks = [table.block for batch in made for table in batch.tables]
    line(f"serialise ({sum(map(len, blocks)) / rows:.0f} bytes a row)", rows, time.perf_counter() - started)
    del made, blocks
    writer = Writer(db, "bench")
    started = time.perf_counter()
    for first, part in parts:
        writer.write(make_batch(topic, 0, range(first, first + len(part)), part))
    return line("the whole way: decode, claim, insert, aggregate", rows, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--batch-bytes", type=int, default=4 << 20)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-ingest-"))
    engine = Engine(folder)
    try:
        db = LocalDatabase(engine)
        migrate.migrate(db, migrate.shipped())
        books = run("book levels, 20 a record", "md.books", book_records(args.rows, 20), args.batch_bytes, db)
        run("trades, one a record", "md.trades", trade_records(args.rows // 2), args.batch_bytes, db)
        reference = arrow_reference(db, engine, args.rows)
        print(f"book levels against the Arrow reference of this run: {books / reference:.2f}")
    finally:
        engine.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
