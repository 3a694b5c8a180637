-- Instruments as the venues list them; the newest row of a symbol counts (read with FINAL).
CREATE TABLE IF NOT EXISTS hft_data.symbols
(
    venue      LowCardinality(String),
    symbol     String,
    kind       LowCardinality(String),
    base       LowCardinality(String),
    quote      LowCardinality(String),
    tick_size  Decimal(38, 18),
    lot_size   Decimal(38, 18),
    min_qty    Decimal(38, 18),
    status     LowCardinality(String),
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (venue, symbol)
