-- Trades by minute of exchange time. Only states and simple aggregates, so that parts merge in any order; read it through
-- hft_analytics.ohlc_1m. Ties in exchange time are broken by trade id. TTL is on the time of reception.
CREATE TABLE IF NOT EXISTS hft_analytics.agg_1m
(
    session      LowCardinality(String),
    venue        LowCardinality(String),
    symbol       LowCardinality(String),
    bucket       DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    open         AggregateFunction(argMin, Decimal(18, 10), Tuple(DateTime64(9, 'UTC'), Int64)),
    high         SimpleAggregateFunction(max, Decimal(18, 10)),
    low          SimpleAggregateFunction(min, Decimal(18, 10)),
    close        AggregateFunction(argMax, Decimal(18, 10), Tuple(DateTime64(9, 'UTC'), Int64)),
    volume       SimpleAggregateFunction(sum, Decimal(38, 8)) CODEC(ZSTD(1)),
    buy_volume   SimpleAggregateFunction(sum, Decimal(38, 8)) CODEC(ZSTD(1)),
    notional     SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD(1)),
    trades       SimpleAggregateFunction(sum, UInt64),
    last_recv_ts SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (venue, symbol, session, bucket)
TTL toDateTime(last_recv_ts) + INTERVAL 1 YEAR DELETE
SETTINGS non_replicated_deduplication_window = 10000
