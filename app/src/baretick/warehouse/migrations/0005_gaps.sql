-- Holes in the book streams, recorded as data: from recv_ts until the next snapshot the book was invalid.
CREATE TABLE IF NOT EXISTS hft_data.gaps
(
    session         LowCardinality(String),
    venue           LowCardinality(String),
    symbol          LowCardinality(String),
    recv_ts         DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    expected        Int64,
    got             Int64,
    reason          LowCardinality(String),
    kafka_topic     LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset    Int64
)
ENGINE = MergeTree
ORDER BY (venue, symbol, recv_ts, kafka_offset)
TTL toDateTime(recv_ts) + INTERVAL 1 YEAR DELETE
SETTINGS non_replicated_deduplication_window = 10000
