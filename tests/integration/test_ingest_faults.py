"""Batches through every way in which a write can fail, on the real engine: lost answers, lost tokens, lost rows.

A kill hits these windows rarely; here each is opened on purpose, many times over, from seeds.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from baretick import events
from baretick.events import BookEvent, Trade
from baretick.warehouse import migrate, writer
from baretick.warehouse.client import Database, Row, WarehouseUnavailable
from baretick.warehouse.rows import Batch, make_batch
from baretick.warehouse.writer import Claim, Superseded, Writer
from tests.integration.ingest_rig import Warehouse

TOPIC = "md.trades"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    warehouse = Warehouse(tmp_path_factory.mktemp("faults"))
    warehouse.start()
    try:
        warehouse.wait()
        migrate.migrate(warehouse.db, migrate.shipped())
        yield warehouse.db
    finally:
        warehouse.kill()


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_GRACE_SECONDS", 0.0)


class Faulty:
    """A warehouse whose inserts fail, each in one of the ways in which a server can die over them."""

    WAYS = (
        "not heard",  # died before it did anything
        "not answered",  # did it all, the answer was lost
        "token lost",  # committed the rows, died before it remembered the token
        "rows lost",  # remembered the token, died before it committed the rows
        "half lost",  # committed one of two parts
        "aggregates lost",  # committed the rows, died before the views' own inserts
    )

    def __init__(self, db: Database, rng: random.Random, odds: float, topic: str) -> None:
        self._db, self._rng, self._odds, self._topic = db, rng, odds, topic
        self.opened: set[str] = set()

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        if self._rng.random() < self._odds / 4:
            raise WarehouseUnavailable("no answer to a query")
        return self._db.query(sql, params)

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        self._db.command(sql, settings)

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        if self._rng.random() > self._odds:
            self._db.insert(head, fmt, data, settings)
            return
        way = self._rng.choice(self.WAYS)
        table = head.split()[2]
        if table == "hft_data.ingest_batches":
            self._claim(way, head, fmt, data, settings)
        elif way != "not heard":
            newest = self._newest(table)
            with self._views_dead(way):
                self._db.insert(head, fmt, data, self._unless(way == "token lost", settings))
            self._lose(way, table, newest)
        self.opened.add(way)
        raise WarehouseUnavailable(f"the server died: {way}")

    @staticmethod
    def _unless(lost: bool, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {**(settings or {}), **({"insert_deduplicate": "0"} if lost else {})}

    def _claim(self, way: str, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None) -> None:
        if way == "rows lost":
            # The token is remembered for a row of no consequence: to remove the claim's own row again would be too
            # late, a merge may have replaced the claim before it by then.
            self._db.insert(head, fmt, b"lost\t0\t0\t0\t0\tnobody\n", settings)
        elif way in ("not answered", "token lost"):
            self._db.insert(head, fmt, data, self._unless(way == "token lost", settings))

    def _newest(self, table: str) -> int:
        [row] = self._db.query(
            f"SELECT count() AS n, max(kafka_offset) AS newest FROM {table} WHERE kafka_topic = '{self._topic}'"
        )
        return int(row["newest"]) if row["n"] else -1

    def _lose(self, way: str, table: str, newest: int) -> None:
        new = f"kafka_topic = '{self._topic}' AND kafka_offset > {newest}"
        if way == "rows lost":
            self._delete(table, new)
        elif way == "half lost":
            self._delete(table, f"{new} AND kafka_offset % 2 = 0")

    @contextmanager
    def _views_dead(self, way: str) -> Iterator[None]:
        """The insert into the views does not happen: into both, or just into the second."""
        views = (
            ["mv_agg_1m", "mv_agg_1s"][: self._rng.choice((1, 2))] if way in ("rows lost", "aggregates lost") else []
        )
        for view in views:
            self._db.command(f"DETACH TABLE hft_analytics.{view}")
        try:
            yield
        finally:
            for view in views:
                self._db.command(f"ATTACH TABLE hft_analytics.{view}")

    def _delete(self, table: str, where: str) -> None:
        self._db.command(f"ALTER TABLE {table} DELETE WHERE {where}", {"mutations_sync": "2"})


def make_log(rng: random.Random, session: str) -> list[bytes]:
    now = time.time_ns()
    log = []
    for n in range(120):
        price, qty = rng.randrange(10**15), rng.randrange(1, 10**9)
        exch = 1_723_161_255_000_000_000 + n * 150_000_000
        if rng.random() < 0.8:
            event: events.Event = Trade(session, "v", "x", exch, now + n, n, price, qty, rng.choice((1, 2)))
        else:
            event = BookEvent(session, "v", "x", exch, now + n, n, n - 1, 2, False, [(price, qty)], [(price, 0)])
        log.append(b"junk" if rng.random() < 0.03 else events.encode(event))
    return log


def batch_of(topic: str, log: list[bytes], first: int, last: int) -> Batch:
    return make_batch(topic, 0, range(first, last + 1), log[first : last + 1])


def ingest(db: Database, topic: str, log: list[bytes], rng: random.Random) -> int:
    """An ingestor that is started again whenever it dies; how often it was."""
    starts = 0
    while True:
        starts += 1
        assert starts < 400, "does not get on"
        try:
            one = Writer(db, f"writer {starts}")
            claim = one.positions().get((topic, 0))
            at = 0
            if claim is not None:
                one.settle(batch_of(topic, log, claim.first, claim.last))
                at = claim.last + 1
            while at < len(log):
                batch = batch_of(topic, log, at, min(len(log) - 1, at + rng.randrange(25)))
                try:
                    one.write(batch)
                except WarehouseUnavailable:
                    if rng.random() < 0.5:
                        raise  # killed too, along with the server
                    one.claim(batch)  # or it lived on, and goes to make sure
                    one.settle(batch)
                at = batch.last + 1
            return starts
        except (WarehouseUnavailable, Superseded):
            continue


@pytest.mark.parametrize("seed", range(8))
def test_every_record_lands_once_whatever_fails(db: Database, seed: int) -> None:
    rng = random.Random(seed)
    topic, session = f"test.{seed}", f"faults-{seed}"
    log = make_log(rng, session)
    faulty = Faulty(db, rng, 0.3, topic)
    ingest(faulty, topic, log, rng)
    assert len(faulty.opened) >= 3, "too few windows were open for this to prove anything"

    whole = batch_of(topic, log, 0, len(log) - 1)
    for table in whole.tables:
        [row] = db.query(
            f"SELECT count() AS n, uniqExact(kafka_offset) AS u FROM {table.name} WHERE kafka_topic = '{topic}'"
        )
        assert (row["n"], row["u"]) == (table.rows, len(set(table.offsets.tolist()))), table.name
    [span] = whole.spans
    for unit in ("1s", "1m"):
        raw = db.query(
            "SELECT count() AS n, toString(sum(qty)) AS q, toString(max(price)) AS hi, "
            "toString(argMin(price, (exch_ts, trade_id))) AS first "
            f"FROM hft_data.raw_ticks WHERE session = '{session}' AND event = 'trade'"
        )
        bars = db.query(
            "SELECT sum(trades) AS n, toString(sum(volume)) AS q, toString(max(high)) AS hi, "
            "toString(argMin(open, bucket)) AS first "
            f"FROM hft_analytics.ohlc_{unit} WHERE session = '{session}'"
        )
        assert bars == raw, (unit, span)


def test_a_batch_that_fits_is_left_as_it_is(db: Database) -> None:
    log = make_log(random.Random(99), "calm")
    batch = batch_of("test.calm", log, 0, 50)
    one = Writer(db, "one")
    one.write(batch)
    for _ in range(3):
        one.claim(batch)
        one.settle(batch)
        one.write(batch)
    [row] = db.query("SELECT count() AS n FROM hft_data.raw_ticks WHERE kafka_topic = 'test.calm'")
    assert row["n"] == batch.tables[0].rows


def test_of_two_writers_with_the_same_start_one_is_told_to_look_again(db: Database) -> None:
    log = make_log(random.Random(98), "race")
    mine, theirs = batch_of("test.race", log, 0, 10), batch_of("test.race", log, 0, 20)
    Writer(db, "they").write(theirs)
    with pytest.raises(Superseded):
        Writer(db, "me").write(mine)
    assert Writer(db, "me").positions()["test.race", 0] == Claim(0, 20)
    [row] = db.query("SELECT count() AS n FROM hft_data.raw_ticks WHERE kafka_topic = 'test.race'")
    assert row["n"] == theirs.tables[0].rows


def test_a_writer_that_was_overtaken_may_not_write(db: Database) -> None:
    log = make_log(random.Random(97), "late")
    Writer(db, "they").write(batch_of("test.late", log, 0, 10))
    Writer(db, "they").write(batch_of("test.late", log, 11, 20))
    with pytest.raises(Superseded):
        Writer(db, "me").write(batch_of("test.late", log, 0, 15))


def test_old_records_are_taken_though_their_rows_may_expire_at_once(db: Database) -> None:
    long_ago = time.time_ns() - 90 * 86_400 * 10**9
    payload = events.encode(Trade("old", "v", "x", long_ago, long_ago, 1, 2, 3, 1))
    batch = make_batch("test.old", 0, [0], [payload])
    one = Writer(db, "one")
    one.write(batch)
    one.settle(batch)
    assert one.positions()["test.old", 0] == Claim(0, 0)


def test_ttl_is_on_the_time_of_reception(db: Database) -> None:
    [row] = db.query("SELECT create_table_query AS q FROM system.tables WHERE name = 'raw_ticks'")
    assert "TTL toDateTime(recv_ts) + toIntervalDay(30)" in row["q"]
    for name in ("agg_1s", "agg_1m"):
        [row] = db.query(f"SELECT create_table_query AS q FROM system.tables WHERE name = '{name}'")
        assert "TTL toDateTime(last_recv_ts) + toIntervalYear(1)" in row["q"]
