-- One row a trade, one row a book level, two rows a ticker (bid, ask). Each row names the Kafka record it came
-- from, so that what has landed can be counted by offset. TTL is on the time of reception: replayed sessions carry
-- exchange times of years ago. The deduplication window remembers the batches' tokens (topic:partition:first-last).
CREATE TABLE IF NOT EXISTS hft_data.raw_ticks
(
    session         LowCardinality(String),
    venue           LowCardinality(String),
    symbol          LowCardinality(String),
    event           Enum8('trade' = 1, 'book_snapshot' = 2, 'book_update' = 3, 'ticker' = 4),
    exch_ts         DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    recv_ts         DateTime64(9, 'UTC') CODEC(Delta(8), LZ4),
    seq             Int64                CODEC(Delta(8), LZ4),
    prev_seq        Int64                CODEC(Delta(8), LZ4),
    trade_id        Int64                CODEC(Delta(8), ZSTD(1)),
    resync          Bool                 CODEC(LZ4),
    side            Enum8('none' = 0, 'buy' = 1, 'sell' = 2) CODEC(LZ4),
    price           Decimal(18, 10)      CODEC(Delta(8), ZSTD(1)),
    qty             Decimal(18, 8)       CODEC(ZSTD(1)),
    kafka_topic     LowCardinality(String),
    kafka_partition UInt16               CODEC(LZ4),
    kafka_offset    Int64                CODEC(Delta(8), LZ4),
    idx             UInt32               CODEC(Delta(4), LZ4),
    INDEX by_offset kafka_offset TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toDate(recv_ts)
ORDER BY (venue, symbol, event, exch_ts, kafka_offset, idx)
TTL toDateTime(recv_ts) + INTERVAL 30 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
