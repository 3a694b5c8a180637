"""Batches into ClickHouse, each record once, whatever is killed in between.

Three things together give that:

* A claim in hft_data.ingest_batches says which records are about to be written, before they are. After a kill the
  newest claim of a partition tells exactly what may have been in flight, and the same records are read again.
* Every insert carries the token topic:partition:first-last. A server that is still busy with an insert whose client
  has died, and the repetition of that insert, can't both land; nor can they in the materialised views.
* Rows carry their Kafka offset. When it is unknown how an insert ended, what has landed is counted, and made equal to
  what the batch says. That covers a server killed between committing data and remembering its token, in either order,
  and between the commit of the rows and that of the aggregates.
"""

import logging
import time
from dataclasses import dataclass

from baretick.warehouse.client import Database
from baretick.warehouse.rows import RAW_TICKS, Batch, Table, TradeSpan

log = logging.getLogger(__name__)

_LEDGER = "hft_data.ingest_batches"
_AGGREGATES = (
    ("hft_analytics.agg_1s", "mv_agg_1s", 1_000_000_000),
    ("hft_analytics.agg_1m", "mv_agg_1m", 60_000_000_000),
)
# An insert whose client died may still run on a living server; its aggregates get this long to appear.
_GRACE_SECONDS = 5.0
_EXPIRED_NS = 29 * 86_400 * 1_000_000_000


class Superseded(Exception):
    """Another writer has claimed these records: this one must look where the partition stands and go on from there."""


@dataclass(frozen=True)
class Claim:
    first: int
    last: int


def _insert_settings(token: str) -> dict[str, str]:
    return {
        "async_insert": "0",
        "insert_deduplicate": "1",
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": "1",
        # A batch must be one block: blocks of one insert are committed one by one.
        "min_insert_block_size_rows": "100000000",
        "min_insert_block_size_bytes": "0",
    }


class Writer:
    """Writes batches; safe for use from several threads as long as each partition has one at a time."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name

    def positions(self) -> dict[tuple[str, int], Claim]:
        """The newest claim of each partition."""
        rows = self._db.query(
            "SELECT topic, partition, max(first) AS newest, argMax(last, first) AS last "
            "FROM hft_data.ingest_batches GROUP BY topic, partition"
        )
        return {(r["topic"], r["partition"]): Claim(r["newest"], r["last"]) for r in rows}

    def write(self, batch: Batch) -> None:
        """Claim and insert a batch that has never been tried. After any error but Superseded: settle()."""
        self.claim(batch)
        for table in batch.tables:
            self._insert(table, batch.token)

    def settle(self, batch: Batch) -> None:
        """Make a claimed batch of unknown fate land once, in its tables and in the aggregates."""
        if batch.recv_span[0] and batch.recv_span[0] < time.time_ns() - _EXPIRED_NS:
            # What the TTL may have removed already can't be counted: the token alone must do.
            for table in batch.tables:
                self._insert(table, batch.token)
            return
        for table in batch.tables:
            self._settle_table(batch, table)
        for span in batch.spans:
            self._settle_aggregates(span)

    def claim(self, batch: Batch) -> None:
        """Announce the batch, unless it is announced already; raise Superseded if others announced otherwise."""
        token = f"claim:{batch.topic}:{batch.partition}:{batch.first}"
        self._insert_claim(batch, token)
        claim = self._read_claim(batch)
        if claim is None:
            # The token is remembered but its row is not there: the server was killed in between.
            self._insert_claim(batch, f"{token}:{time.time_ns()}")
            claim = self._read_claim(batch)
        if claim != Claim(batch.first, batch.last):
            raise Superseded(f"{batch.token}: the newest claim is {claim}")

    def _insert_claim(self, batch: Batch, token: str) -> None:
        record = (batch.topic, batch.partition, batch.first, batch.last, batch.messages, self._name)
        line = "\t".join(str(value) for value in record) + "\n"
        self._db.insert(
            f"INSERT INTO {_LEDGER} (topic, partition, first, last, messages, writer)",
            "TabSeparated",
            line.encode(),
            _insert_settings(token),
        )

    def _read_claim(self, batch: Batch) -> Claim | None:
        rows = self._db.query(
            "SELECT first, last FROM hft_data.ingest_batches "
            "WHERE topic = {topic:String} AND partition = {partition:UInt16} ORDER BY first DESC, claimed_at LIMIT 1",
            {"topic": batch.topic, "partition": batch.partition},
        )
        newest = Claim(**rows[0]) if rows else None
        return None if newest and newest.first < batch.first else newest

    def _insert(self, table: Table, token: str) -> None:
        self._db.insert(table.insert, "Native", table.block, _insert_settings(token))

    def _settle_table(self, batch: Batch, table: Table) -> None:
        landed = self._count(batch, table)
        if landed == 0:
            self._insert(table, batch.token)
            landed = self._count(batch, table)
        if landed == table.rows:
            return
        log.warning("%s: %d of %d rows in %s: writing them anew", batch.token, landed, table.rows, table.name)
        if landed:
            where, params = _range(batch, table)
            self._db.command(f"ALTER TABLE {table.name} DELETE WHERE {_inline(where, params)}", {"mutations_sync": "2"})
        self._insert(table, f"{batch.token}:{time.time_ns()}")
        landed = self._count(batch, table)
        if landed != table.rows:
            raise RuntimeError(f"{batch.token}: {landed} of {table.rows} rows in {table.name} after a repair")

    def _count(self, batch: Batch, table: Table) -> int:
        where, params = _range(batch, table)
        sql = f"SELECT count() AS n FROM {table.name} WHERE {where}"  # noqa: S608  our own names; values are params
        return int(self._db.query(sql, params)[0]["n"])

    def _settle_aggregates(self, span: TradeSpan) -> None:
        for table, view, unit in _AGGREGATES:
            deadline = time.monotonic() + _GRACE_SECONDS
            while not self._aggregates_fit(span, table, unit):
                if time.monotonic() > deadline:
                    self._rebuild(span, table, view, unit)
                    break
                time.sleep(0.5)

    def _aggregates_fit(self, span: TradeSpan, table: str, unit: int) -> bool:
        sql = _FIT.replace("{table}", table)
        [row] = self._db.query(sql, _span_params(span, unit))
        return bool(row["raw"] == row["aggregated"])

    def _rebuild(self, span: TradeSpan, table: str, view: str, unit: int) -> None:
        """Replace the span's buckets by what the view's own SELECT makes of the rows."""
        log.warning("%s: the buckets of %s do not fit its trades: computing them anew", table, span)
        params = _span_params(span, unit)
        where = _inline(f"{_SPAN} AND {_BUCKETS}", params)
        [mv] = self._db.query(
            "SELECT as_select FROM system.tables WHERE database = 'hft_analytics' AND name = {view:String}",
            {"view": view},
        )
        self._db.command(f"ALTER TABLE {table} DELETE WHERE {where}", {"mutations_sync": "2"})
        refill = f"INSERT INTO {table} SELECT * FROM ({mv['as_select']}) WHERE {where}"  # noqa: S608  as above
        self._db.command(refill, {"insert_deduplicate": "0"})
        if not self._aggregates_fit(span, table, unit):
            raise RuntimeError(f"{table}: the buckets of {span} still do not fit after a repair")


_SPAN = "session = {session:String} AND venue = {venue:String} AND symbol = {symbol:String}"
_BUCKETS = "bucket >= toDateTime({from_s:Int64}, 'UTC') AND bucket < toDateTime({to_s:Int64}, 'UTC')"

_FIT = (
    f"SELECT (SELECT count() FROM {RAW_TICKS} WHERE {_SPAN} AND event = 'trade' "  # noqa: S608  as above
    "AND exch_ts >= fromUnixTimestamp64Nano({from:Int64}, 'UTC') "
    "AND exch_ts < fromUnixTimestamp64Nano({to:Int64}, 'UTC')) AS raw, "
    f"(SELECT sum(trades) FROM {{table}} WHERE {_SPAN} AND {_BUCKETS}) AS aggregated"
)


def _span_params(span: TradeSpan, unit: int) -> dict[str, object]:
    start = span.first_ts // unit * unit
    end = span.last_ts // unit * unit + unit
    return {
        "session": span.session,
        "venue": span.venue,
        "symbol": span.symbol,
        "from": start,
        "to": end,
        "from_s": start // 1_000_000_000,
        "to_s": end // 1_000_000_000,
    }


def _range(batch: Batch, table: Table) -> tuple[str, dict[str, object]]:
    """The batch's rows in a table; for raw_ticks bounded by reception time too, which prunes partitions."""
    where = (
        "kafka_topic = {topic:String} AND kafka_partition = {partition:UInt16} "
        "AND kafka_offset BETWEEN {first:Int64} AND {last:Int64}"
    )
    params: dict[str, object] = {
        "topic": batch.topic,
        "partition": batch.partition,
        "first": batch.first,
        "last": batch.last,
    }
    if table.name == RAW_TICKS:
        where += (
            " AND recv_ts BETWEEN fromUnixTimestamp64Nano({from:Int64}, 'UTC') "
            "AND fromUnixTimestamp64Nano({to:Int64}, 'UTC')"
        )
        params["from"], params["to"] = batch.recv_span
    return where, params


def _inline(where: str, params: dict[str, object]) -> str:
    """Query parameters as literals: a mutation is stored as text and knows no parameters."""
    for name, value in params.items():
        literal = (
            str(value) if isinstance(value, int) else "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
        )
        for kind in ("String", "UInt16", "Int64"):
            where = where.replace(f"{{{name}:{kind}}}", literal)
    return where
