-- The ingestor's intents: before it writes records first..last of a partition it claims them here. The newest claim
-- of a partition says where to go on after a kill, and exactly which records may have been in flight. A claim's
-- token names only `first`, so of two writers that claim the same start just one gets a row (compare-and-set).
CREATE TABLE IF NOT EXISTS hft_data.ingest_batches
(
    topic      LowCardinality(String),
    partition  UInt16,
    first      Int64,
    last       Int64,
    messages   UInt32,
    writer     String,
    claimed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(first)
ORDER BY (topic, partition)
SETTINGS non_replicated_deduplication_window = 10000
