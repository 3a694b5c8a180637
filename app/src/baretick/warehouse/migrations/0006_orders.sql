-- Every state change of every order of ours, with the reception time of the tick that caused it.
CREATE TABLE IF NOT EXISTS hft_data.orders
(
    session         LowCardinality(String),
    venue           LowCardinality(String),
    symbol          LowCardinality(String),
    ts              DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    order_id        Int64                CODEC(Delta(8), ZSTD(1)),
    side            Enum8('none' = 0, 'buy' = 1, 'sell' = 2),
    price           Decimal(18, 10)      CODEC(ZSTD(1)),
    qty             Decimal(18, 8)       CODEC(ZSTD(1)),
    remaining       Decimal(18, 8)       CODEC(ZSTD(1)),
    status          LowCardinality(String),
    reason          LowCardinality(String),
    tick_recv_ts    DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    kafka_topic     LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset    Int64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (venue, symbol, ts, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000
